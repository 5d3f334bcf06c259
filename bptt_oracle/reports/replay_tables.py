"""What `replay` prints: one case again, torch's numbers and the true ones."""

from functools import partial
from os.path import commonprefix
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from torch_impl.execution.path import WrongKernel

from ..cases.case import Case, draw
from ..implementations.compute import compute, review
from ..implementations.fitting import problem_for
from ..implementations.implementation import Answer, Implementation
from ..implementations.loading import place_of
from ..judging.confirmation import judge_and_confirm
from ..judging.judge import Score, judge
from ..judging.location import location
from ..judging.truth import Expected
from ..processes.failures import lacks_resources
from ..runs.examine import (
    draw_masks,
    examine_invalid_calls,
    exclusion_reason_of,
    expect_in_precision,
)
from .console import format_R
from .styles import STYLES

WIDE = 130  # columns from which torch's number and the true one are side by side


class Excluded(ValueError):
    """The path cannot compute the case in the dtype."""


def run_case(
    case: Case, implementation: Implementation, dtype: str
) -> tuple[Answer | str, Expected]:
    """The reviewed answer of an implementation to a case, or the message of the exception that it
    raised; and the truth with its noise, of the tensors that were returned. Raises Excluded if it
    cannot compute the case in the dtype, and WrongKernel if torch ran another kernel than the
    path's."""
    problem = problem_for(implementation, case)
    reason = exclusion_reason_of(implementation, case, problem, dtype)
    if reason:
        raise Excluded(
            f"{implementation.name} cannot compute this case in {dtype}: {reason}; "
            "choose another --path or --dtype"
        )
    masks = draw_masks(problem, dtype)
    precision = implementation.product_precision(dtype)
    expect_with = partial(expect_in_precision, problem, dtype, precision, masks)
    expected = expect_with()
    try:
        answer = compute(implementation, problem, dtype)
    except WrongKernel:
        raise
    except Exception as error:  # any other exception is the answer to a valid case
        if lacks_resources(error):
            raise
        return f"{type(error).__name__}: {error}{place_of(error)}", expected
    answer = review(implementation, answer, expected.truth, dtype)
    if not answer.results:
        return "; ".join(answer.errors.values()) or "no tensor was returned", expected

    exact = case.regime == "exact" and expected.exact
    _, judged_by = judge_and_confirm(
        answer.results,
        expected.of(answer.results),
        exact,
        lambda effort: expect_with(effort).of(answer.results),
    )
    return answer, judged_by


def print_replay(console: Console, case: Case, outcome: Answer, expected: Expected) -> str:
    """Print R of every tensor and its worst element in torch and in truth; return the verdict.

    Below WIDE columns torch's number is printed above the true one, so that no digit is cut.
    """
    exact = case.regime == "exact" and expected.exact
    verdict = judge(outcome.results, expected, exact)
    wide = console.width >= WIDE
    heads = ["tensor", "shape", "R", "worst at", "framework", "truth", "noise", "condition"]
    table = Table(*(heads if wide else ["tensor", "R, noise", "worst at", "framework, truth"]))
    for column in table.columns:
        column.no_wrap = column.header != "worst at"
    for score in sorted(verdict.scores, key=lambda s: -s.R):
        value, truth = outcome.results[score.tensor], expected.truth[score.tensor]
        R = "–" if score.ill else format_R(score.R)
        place = location(case, score.tensor, score.at)
        noise = f"{_noise_at(expected, score):.1e}"
        condition = _condition(expected, score)
        numbers = mark_difference(_digits(value, score.at), _digits(truth, score.at))
        shape = str(list(value.shape))
        if wide:
            table.add_row(score.tensor, shape, R, place, *numbers, noise, condition)
        else:
            above = Text("\n").join(numbers)
            table.add_row(f"{score.tensor}\n{shape}", f"{R}\n{noise}", place, above)
    console.print(table)
    if any(score.ill for score in verdict.scores):
        console.print("R –: ill-conditioned, because zeros would agree as well")
    untrusted = {s.tensor: s.untrusted for s in verdict.scores if s.untrusted and not s.ill}
    if untrusted:
        counts = ", ".join(f"{n} of {name}" for name, n in untrusted.items())
        console.print(f"elements that could not be judged by themselves: {counts}", soft_wrap=True)
    if outcome.not_returned:
        missing = ", ".join(outcome.not_returned)
        console.print(f"not returned: {missing}", markup=False, soft_wrap=True)
    for error in outcome.errors.values():
        console.print(f"wrong: {error}", markup=False, soft_wrap=True)
    word = "fault" if outcome.errors else verdict.word
    kernel = f"kernel: {outcome.kernel}; " if outcome.kernel else ""
    print_replay_verdict(console, word, kernel)
    return word


def _noise_at(expected: Expected, score: Score) -> float:
    """The noise of the worst element; that of the tensor where there is none by element."""
    elements = expected.elements.get(score.tensor)
    if elements is None or not score.at:
        return expected.noise[score.tensor][0]
    return float(elements.sizes[score.at])


def _condition(expected: Expected, score: Score) -> str:
    """The condition number of the worst element: how often rounding is amplified in it."""
    elements, truth = expected.elements.get(score.tensor), expected.truth[score.tensor]
    if elements is None or not score.at or not truth[score.at]:
        return "–"
    return f"{float(elements.deviation[score.at]) / abs(float(truth[score.at])) / expected.u:.1e}"


def print_replay_verdict(console: Console, verdict: str, before: str = "", after: str = "") -> None:
    """Print the last line."""
    console.print(f"{before}verdict: [{STYLES[verdict]}]{verdict}[/]{after}", soft_wrap=True)


def print_invalid_calls(console: Console, case: Case) -> str:
    """Print torch's response to each invalid call made from a case; return the verdict."""
    table = Table("invalid call", "torch's response")
    for column in table.columns:
        column.overflow = "fold"
    from ..implementations.responses import respond

    for name, exception in respond(draw(case)):
        table.add_row(name, Text(exception) if exception else "[bold red]accepted[/]")
    console.print(table)
    result = examine_invalid_calls(case)
    print_replay_verdict(console, result.verdict, after=f" {result.note}".rstrip())
    return result.verdict


def mark_difference(value: str, truth: str) -> tuple[Text, Text]:
    """Both numbers, set in bold from the first digit that differs."""
    same = len(commonprefix([value, truth]))
    texts = Text(value), Text(truth)
    for text in texts:
        text.stylize("bold", same)
    return texts


def _digits(array: np.ndarray[Any, Any], index: tuple[int, ...]) -> str:
    """The element with every digit of its type; a dash if there is none."""
    if not (array.size and index):
        return "-"
    element = array[index]
    digits = 21 if array.dtype == np.longdouble else 17
    if not np.isfinite(element) or element == 0 or 1e-5 <= abs(float(element)) < 1e16:
        return np.format_float_positional(
            element, precision=digits, unique=False, fractional=False, trim="-"
        )
    return np.format_float_scientific(element, precision=digits - 1, unique=False, trim="-")
