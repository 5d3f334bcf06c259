"""torch's execution paths as implementations: each computes any problem that torch.nn can express,
by `torch_impl.execution.run`, and says why it cannot compute others."""

from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

from reference.cells.table import CELL_TABLE
from torch_impl.execution.path import Path as ExecutionPath
from torch_impl.execution.path import product_precision
from torch_impl.execution.precision import DTYPES
from torch_impl.execution.problem import Problem
from torch_impl.execution.run import dropout_masks
from torch_impl.roads.catalogue import ROADS, exclusion_reason, path_named, run_path

from ..judging.deviation_entries import FILE, Deviation
from ..judging.deviations import deviations_in
from .implementation import Answer, Implementation


@cache
def torch_implementation(path: ExecutionPath) -> Implementation:
    """The implementation that a path is, of a road too."""
    road = ROADS.get(path.name)
    return Implementation(
        path.name,
        run=partial(_run, path),
        engine="torch",
        cells=tuple(CELL_TABLE),
        dtypes=DTYPES,
        device=path.device,
        projection=True,
        dropout=True,
        tied=True,
        exclusion_reason=partial(exclusion_reason, path),
        precision=partial(_precision, path),
        constrain=None if road is None else road.constrain,
        not_returned=() if road is None else road.not_returned,
        deviations=_deviations(road.package if road is not None else ""),
        version=lambda: torch.__version__,
    )


def torch_path(name: str) -> Implementation:
    """The implementation of the path with that name. Raises KeyError if there is none."""
    return torch_implementation(path_named(name))


def _deviations(package: str) -> Path | tuple[Deviation, ...]:
    """Those of torch, and those of a package that computes what torch exported."""
    if not package or find_spec(package) is None:
        return FILE
    file = Path(__file__).parent / "adapters" / "deviations" / f"{package}.toml"
    of_torch = deviations_in(FILE, torch.__version__)
    return (*of_torch, *deviations_in(file, version(package)))


def _precision(path: ExecutionPath, dtype: str) -> str:
    road = ROADS.get(path.name)
    return road.precision if road is not None and road.precision else product_precision(path, dtype)


def _run(path: ExecutionPath, problem: Problem, dtype: str) -> Answer:
    outcome = run_path(path, problem, dtype, dropout_masks(problem, dtype))
    return Answer(outcome.results, outcome.kernel)
