"""The roads by name, their paths, and when one of them cannot run.

ROADS is the group `roads` of `bptt-oracle check --path roads`. The path of a road is called cpu-
and its name; `path_named` finds it beside those of `execution.catalogue`.

Page: docs/roads/roads.md
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from ..execution import catalogue
from ..execution.calls import Forward
from ..execution.path import Path
from ..execution.problem import Problem
from ..execution.run import Outcome, run
from .table import ROADS

__all__ = ["ROADS", "ROAD_PATHS", "exclusion_reason", "path_named", "run_path"]
ROAD_PATHS = {name: Path(name, "cpu", "module", road.kernel) for name, road in ROADS.items()}


def path_named(name: str) -> Path:
    """The path with that name, of a road or not. Raises KeyError if there is none."""
    return ROAD_PATHS[name] if name in ROAD_PATHS else catalogue.path_named(name)


def exclusion_reason(path: Path, problem: Problem, dtype: str) -> str:
    """Why a path, of a road or not, cannot compute a problem in a dtype; empty if it can."""
    reason = catalogue.exclusion_reason(path, problem, dtype)
    road = ROADS.get(path.name)
    if reason or road is None:
        return reason
    if dtype not in road.dtypes:
        return f"this road has no {dtype}"
    if problem.seed % road.every:
        return f"a case takes seconds on this road, which takes one of {road.every} cases"
    return road.exclusion_reason(problem, dtype)


def run_path(
    path: Path,
    problem: Problem,
    dtype: str,
    masks: Sequence[np.ndarray] = (),
    wrap: Callable[[Forward], Forward] | None = None,
) -> Outcome:
    """As `execution.run.run`, for the path of a road too."""
    road = ROADS.get(path.name)
    if road is None:
        return run(path, problem, dtype, masks, wrap)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torch deprecates, and of slow code
        outcome = run(path, problem, dtype, masks, wrap, road.prepare)
    if not road.not_returned:
        return outcome
    kept = {n: v for n, v in outcome.results.items() if not n.startswith(road.not_returned)}
    return outcome._replace(results=kept)
