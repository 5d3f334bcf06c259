"""torch's execution paths as implementations: each computes any problem that torch.nn can express,
by `torch_impl.execution.run`, and says why it cannot compute others."""

from functools import cache, partial

import torch

from reference.cells.table import CELL_TABLE
from torch_impl.execution.catalogue import exclusion_reason, path_named
from torch_impl.execution.path import Path, product_precision
from torch_impl.execution.precision import UNIT_ROUNDOFF
from torch_impl.execution.problem import Problem
from torch_impl.execution.run import dropout_masks, run

from ..judging import deviations
from .implementation import Answer, Implementation


@cache
def torch_implementation(path: Path) -> Implementation:
    """The implementation that a path is."""
    return Implementation(
        path.name,
        run=partial(_run, path),
        engine="torch",
        cells=tuple(CELL_TABLE),
        dtypes=tuple(dtype for dtype in UNIT_ROUNDOFF if dtype != "tf32"),
        device=path.device,
        projection=True,
        exclusion_reason=partial(exclusion_reason, path),
        precision=partial(product_precision, path),
        deviations=deviations.FILE,
        version=lambda: torch.__version__,
    )


def torch_path(name: str) -> Implementation:
    """The implementation of the path with that name. Raises KeyError if there is none."""
    return torch_implementation(path_named(name))


def _run(path: Path, problem: Problem, dtype: str) -> Answer:
    outcome = run(path, problem, dtype, dropout_masks(problem, dtype))
    return Answer(outcome.results, outcome.kernel)
