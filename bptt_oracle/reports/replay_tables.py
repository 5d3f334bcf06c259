"""What `replay` prints: one case again, torch's numbers and the true ones."""

from os.path import commonprefix
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..cases.case import Case, draw
from ..implementations.implementation import Answer, Implementation
from ..judging.deviations import mark_known
from ..judging.judge import Score, judge
from ..judging.location import location
from ..judging.truth import Expected
from ..runs.checking import examine_invalid_calls
from ..runs.examine import deviations_of, judge_implementations
from ..runs.results import UNFINISHED
from .console import format_R
from .styles import STYLES

WIDE = 130  # columns from which torch's number and the true one are side by side


class CannotReplay(ValueError):
    """The path cannot compute the case in the dtype, or memory ran out."""


class Replayed(NamedTuple):
    """The reviewed answer of an implementation to a case, or if it has no tensor what came instead;
    the truth with its noise, of the tensors that were returned; and the ids of the known deviations
    if they explain everything that is wrong, otherwise an empty text."""

    answer: Answer | str
    expected: Expected
    known: str


def run_case(case: Case, implementation: Implementation, dtype: str) -> Replayed:
    """Run a case. Raises CannotReplay if the implementation cannot compute it in the dtype, and
    WrongKernel if torch ran another kernel than the path's."""
    (outcome,) = judge_implementations(case, dtype, [implementation])
    result, answer, expected = outcome.result, outcome.answer, outcome.expected
    if expected is None or result.verdict in UNFINISHED:
        advice = "; choose another case, path or dtype" * (result.verdict == "excluded")
        raise CannotReplay(
            f"{implementation.name} cannot compute this case in {dtype}: {result.note}{advice}"
        )
    marked = mark_known(result, case, deviations_of(implementation))
    known = marked.note if marked.verdict == "known deviation" else ""
    came = answer if answer is not None and answer.results else result.note
    return Replayed(came, expected, known)


def print_replay(
    console: Console, case: Case, outcome: Answer, expected: Expected, known: str = ""
) -> str:
    """Print R of every tensor and its worst element in torch and in truth; return the verdict.
    What is wrong is a known deviation if `known` names one.

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
        console.print(f"not returned: {missing}", soft_wrap=True)
    for error in outcome.errors.values():
        console.print(f"wrong: {error}", soft_wrap=True)
    word = "known deviation" if known else "fault" if outcome.errors else verdict.word
    kernel = f"kernel: {outcome.kernel}; " if outcome.kernel else ""
    print_replay_verdict(console, word, kernel, f" {known}".rstrip())
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
    word = (verdict, STYLES[verdict])
    console.print(Text.assemble(before, "verdict: ", word, after), soft_wrap=True)


def print_invalid_calls(console: Console, case: Case) -> str:
    """Print torch's response to each invalid call made from a case; return the verdict."""
    table = Table("invalid call", "torch's response")
    for column in table.columns:
        column.overflow = "fold"
    from ..implementations.responses import respond

    for name, exception in respond(draw(case)):
        table.add_row(name, exception or Text("accepted", STYLES["fault"]))
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
