"""The known mistakes that give the results of one call.

Page: docs/diagnosis/diagnosis.md
"""

from collections.abc import Mapping

import numpy as np

from torch_impl.execution.problem import Problem, is_tied

from ..cases.case import Case
from ..diagnosis.diagnose import Diagnosis, diagnose_results
from ..diagnosis.evidence import Evidence
from ..diagnosis.precision import LOWER_PRECISIONS
from ..judging.truth import products_of
from ..judging.wide import wide_dtype
from .values import NAMES

LARGEST = 500_000  # products of inputs or states with weights
LONGEST = 32  # steps of all layers and directions: about ten seconds for hundreds of mistakes
NOTHING = Diagnosis((), "", "")


def reason_not_to_compare(problem: Problem, results: Mapping[str, np.ndarray], dtype: str) -> str:
    """Why the results of a problem are not compared with those of the known mistakes; empty if they
    are."""
    net, products = problem.net, products_of(problem)
    steps = case_of(problem).T * net.num_layers * net.directions
    if dtype not in ("float32", "float64"):
        return f"the numbers are {dtype}, not float32 or float64"
    if wide_dtype(dtype).kind == "O":
        return "longdouble is no wider than double on this machine"
    if not all(np.isfinite(value).all() for value in results.values()):
        return "not all numbers are finite"
    if steps > LONGEST:
        return f"all layers and directions have {steps} steps, more than {LONGEST}"
    if products > LARGEST:
        return f"{products:,} products with weights are more than {LARGEST:,}"
    return ""


def diagnose_call(problem: Problem, results: Mapping[str, np.ndarray], dtype: str) -> Diagnosis:
    """The diagnosis of the results of a problem. No precision is named, because errors of one call
    may be small for other reasons."""
    found = diagnose_results([Evidence(case_of(problem), dtype, results, problem)])
    return NOTHING if LOWER_PRECISIONS.keys() & found.names else found


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
