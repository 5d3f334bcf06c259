"""The known mistakes that give the results of one call.

Page: docs/diagnosis/diagnosis.md
"""

from collections.abc import Mapping

import numpy as np

from torch_impl.execution.problem import Problem

from ..cases.case import Case
from ..diagnosis.diagnose import Diagnosis, diagnose_results
from ..diagnosis.evidence import Evidence
from ..judging.renumbering import is_tied
from ..judging.truth import products_of
from ..judging.wide import wide_dtype
from .values import NAMES

LARGEST = (
    500_000  # products of weights: up to three seconds, because there are hundreds of mistakes
)
NOTHING = Diagnosis((), "", "")


def diagnose_call(problem: Problem, results: Mapping[str, np.ndarray], dtype: str) -> Diagnosis:
    """The diagnosis of the results of one problem. It is empty if the net is too large to compare,
    or if the dtype is neither float32 nor float64."""
    if dtype not in ("float32", "float64") or wide_dtype(dtype).kind == "O":
        return NOTHING
    if products_of(problem) > LARGEST:
        return NOTHING
    return diagnose_results([Evidence(case_of(problem), dtype, results, problem)])


def case_of(problem: Problem) -> Case:
    """The net and the sizes of a problem whose numbers were not drawn."""
    net, layout = problem.net, "time"
    T, B = problem.x.shape[0], 1 if problem.x.ndim == 2 else problem.x.shape[1]
    if problem.lengths is not None:
        layout = "packed"
    elif problem.x.ndim == 2:
        layout = "unbatched"
    elif net.batch_first:
        T, B, layout = B, T, "batch"
    return Case(
        net.mode,
        T,
        B,
        net.input_size,
        net.hidden_size,
        layers=net.num_layers,
        bidirectional=net.directions == 2,
        bias=net.bias,
        P=net.proj_size or 0,
        layout=layout,
        lengths=problem.lengths or (),
        tied=is_tied(problem),
        state=problem.state is not None,
        cotangents=tuple(
            name
            for name, d in zip(NAMES, (problem.d_output, *problem.d_state), strict=False)
            if d is not None
        ),
    )
