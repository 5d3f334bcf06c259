"""How torch responds to invalid calls: with an exception, or with a result."""

from collections.abc import Callable

import numpy as np
import torch

from torch_impl.execution.backend import flags
from torch_impl.execution.calls import Call, Forward, call_of, forward_of
from torch_impl.execution.catalogue import PATHS
from torch_impl.execution.problem import Problem

from ..judging.invalid_calls import INVALID_CALLS
from ..processes.failures import lacks_resources


def respond(
    problem: Problem, wrap: Callable[[Forward], Forward] | None = None
) -> list[tuple[str, str]]:
    """The name of each invalid call of a problem, and torch's response: `exception: message`, or
    an empty string if torch returned a result.

    `wrap` surrounds the forward function, as in `torch_impl.execution.run.run`. oneDNN is switched
    off: it does not check the sizes of packed data and would kill the process, see deviations.toml.
    """
    forwards = {name: forward_of(name) for name in ("module", "cells")}
    if wrap is not None:
        forwards = {name: wrap(forward) for name, forward in forwards.items()}
    with_cells = problem.lengths is None and not problem.net.proj_size
    valid = call_of(problem._replace(state=None), _tensor, ())
    responses = []
    with torch.no_grad(), flags(PATHS["cpu-native"]):
        for name, invalid in INVALID_CALLS.items():
            altered = invalid.alter(problem)
            if altered is None:
                continue
            call = valid._replace(
                x=_tensor(altered.x),
                lengths=altered.lengths,
                state=None if altered.state is None else [_tensor(s) for s in altered.state],
            )
            responses.append((f"{name}: module", _response(forwards["module"], call)))
            if invalid.cells and with_cells:
                responses.append((f"{name}: cells", _response(forwards["cells"], call)))
    return responses


def _tensor(array: np.ndarray, strided: bool = False) -> torch.Tensor:
    """Single precision, contiguous: the memory layout does not matter to a rejection."""
    return torch.tensor(array, dtype=torch.float32)


def _response(forward: Forward, call: Call) -> str:
    """The exception of one call; empty if it returned."""
    try:
        forward(call)
    except Exception as error:  # any other exception is a rejection
        if lacks_resources(error):
            raise
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return ""
