"""The known mistakes that give the results of one call.

Page: docs/diagnosis/diagnosis.md
"""

from collections.abc import Mapping

import numpy as np

from torch_impl.execution.problem import Problem

from ..cases.case import Case
from ..diagnosis.diagnose import diagnose_results
from ..diagnosis.evidence import Evidence
from ..judging.truth import products_of

LARGEST = 10**6  # products of weights: several seconds, because there are hundreds of mistakes


def mistakes_of(problem: Problem, results: Mapping[str, np.ndarray], dtype: str) -> tuple[str, ...]:
    """Their names: several if these numbers fit them all, none if the net is too large to compare
    or the dtype is neither float32 nor float64."""
    if dtype not in ("float32", "float64") or products_of(problem) > LARGEST:
        return ()
    return diagnose_results([Evidence(case_of(problem), dtype, results, problem)]).names


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
        P=net.proj_size,
        layout=layout,
        lengths=problem.lengths or (),
        state=problem.state is not None,
    )
