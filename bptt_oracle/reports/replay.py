"""One case again, the framework beside the truth."""

import numpy as np
from rich.console import Console
from rich.table import Table

from torch_impl.execution.backend import WrongKernel
from torch_impl.execution.catalogue import exclusion_reason
from torch_impl.execution.path import Path, product_precision
from torch_impl.execution.run import Outcome, dropout_masks, run

from ..cases.case import Case, draw
from ..judging.invalid_calls import responses
from ..judging.judge import judge
from ..judging.location import location
from ..judging.truth import Expected
from ..runs.examine import measure, refused
from .tables import STYLE


class Excluded(ValueError):
    """The path does not exist for the case."""


def replay(case: Case, path: Path, dtype: str) -> tuple[Outcome | str, Expected]:
    """A case's results on a path, or what torch said instead of them; and the expected. Raises
    Excluded where the path does not exist, and WrongKernel."""
    problem = draw(case)
    reason = exclusion_reason(path, problem, dtype)
    if reason:
        raise Excluded(f"{path.name} does not exist for this case: {reason}; choose another --path")
    masks = dropout_masks(problem, dtype)
    measured = measure(problem, dtype, product_precision(path, dtype), masks)
    try:
        return run(path, problem, dtype, masks), measured
    except WrongKernel:
        raise
    except Exception as error:  # whatever torch raises on a valid case is its answer
        return f"{type(error).__name__}: {error}", measured


def print_replay(console: Console, case: Case, outcome: Outcome, measured: Expected) -> str:
    """R of every tensor, then the worst tensor's worst elements side by side; the verdict."""
    exact = case.regime == "exact" and measured.exact
    verdict = judge(outcome.results, measured, exact)
    table = Table("tensor", "shape", "R", "worst at", "framework", "truth", "noise")
    for score in sorted(verdict.scores, key=lambda s: -s.R):
        value, truth = outcome.results[score.tensor], measured.truth[score.tensor]
        table.add_row(
            score.tensor,
            str(list(value.shape)),
            "ill-conditioned" if score.ill else f"{score.R:.2f}",
            location(case, score.tensor, score.at),
            _number(value, score.at),
            _number(truth, score.at),
            f"{measured.noise[score.tensor][0]:.1e}",
        )
    console.print(table)
    console.print(f"kernel: {outcome.kernel}; verdict: [{STYLE[verdict.word]}]{verdict.word}[/]")
    return verdict.word


def print_refusals(console: Console, case: Case) -> str:
    """What torch says to each spoiled form of a case; the verdict."""
    table = Table("spoiled", "torch says")
    for name, exception in responses(draw(case)):
        table.add_row(name, exception or "[bold red]an answer[/]")
    console.print(table)
    result = refused(case)
    console.print(f"verdict: [{STYLE[result.verdict]}]{result.verdict}[/] {result.note}")
    return result.verdict


def _number(array: np.ndarray, index: tuple[int, ...]) -> str:
    """The element with all its digits."""
    return f"{array[index]:.17g}" if array.size and index else "-"
