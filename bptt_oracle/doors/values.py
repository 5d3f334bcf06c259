"""The values that a caller's function returns, by name, and their dtype."""

from collections.abc import Sequence
from typing import Any

from torch_impl.execution.precision import DTYPES, UNIT_ROUNDOFF
from torch_impl.execution.problem import Problem

NAMES = ("output", "h_n", "c_n")


def named_values(problem: Problem, returned: Any) -> dict[str, Any]:
    """What a function returned, by the names output, h_n, c_n."""
    if isinstance(returned, (tuple, list)) and len(returned) != 2:
        raise ValueError(
            f"the function returned {len(returned)} values; expected the output, or (output, h_n), "
            "or (output, (h_n, c_n))"
        )
    output, final = returned if isinstance(returned, (tuple, list)) else (returned, ())
    parts = () if final is None else pair_of(problem.net, final) if len(final) else ()
    return dict(zip(NAMES, (output, *parts), strict=False))


def known_dtype(name: str) -> str:
    """The dtype, if it can be judged; otherwise ValueError."""
    if name not in UNIT_ROUNDOFF:
        raise ValueError(f"the numbers are {name}; expected one of {', '.join(DTYPES)}")
    return name


def pair_of(net: Any, state: Any) -> Sequence[Any]:
    """h_0, or h_0 and c_0, as a sequence."""
    if len(net.state_sizes) == 1:
        return state if isinstance(state, (tuple, list)) else (state,)
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise ValueError(
            f"the state of {net.mode} is a {type(state).__name__}, expected two, (h, c)"
        )
    return state
