"""The caller's lengths, and the values that the caller's function returns, by name; their dtype."""

import operator
from collections.abc import Sequence
from typing import Any

from torch_impl.execution.precision import DTYPES, UNIT_ROUNDOFF
from torch_impl.execution.problem import Problem

NAMES = ("output", "h_n", "c_n")


def named_values(problem: Problem, returned: Any) -> dict[str, Any]:
    """What a function returned, by the names output, h_n, c_n. Raises ValueError for another number
    of values."""
    if isinstance(returned, (tuple, list)) and len(returned) != 2:
        raise ValueError(
            f"the function returned {len(returned)} values; expected the output, or (output, h_n), "
            "or (output, (h_n, c_n))"
        )
    output, final = returned if isinstance(returned, (tuple, list)) else (returned, ())
    empty = final is None or (isinstance(final, (tuple, list)) and not final)
    parts = () if empty else pair_of(problem.net, final)
    return dict(zip(NAMES, (output, *parts), strict=False))


def known_dtype(name: str) -> str:
    """The dtype, if it can be judged; otherwise ValueError."""
    if name not in UNIT_ROUNDOFF:
        raise ValueError(f"the numbers are {name}; expected one of {', '.join(DTYPES)}")
    return name


def pair_of(net: Any, state: Any, name: str = "the state") -> Sequence[Any]:
    """h, or h and c, as a sequence. Raises ValueError for another number."""
    parts = state if isinstance(state, (tuple, list)) else (state,)
    if len(parts) == len(net.state_sizes):
        return parts
    if len(net.state_sizes) == 1:
        raise ValueError(f"{name} has {len(parts)} arrays, expected 1")
    raise ValueError(f"the state of {net.mode} is a {type(state).__name__}, expected two, (h, c)")


def lengths_of_rows(lengths: Any, x: Any, batch_first: bool) -> tuple[int, ...]:
    """The lengths of the rows of x, [T, B, I] or with batch_first [B, T, I], as integers. Raises
    ValueError unless there is a whole number from 1 to T for each row, and one is T."""
    if x.ndim != 3 or 0 in x.shape[:2]:
        raise ValueError(
            f"lengths came for x of shape {list(x.shape)}; give [T, B, I] of one row or more, or "
            "leave them out"
        )
    B, T = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
    try:
        each = [*lengths]
    except TypeError:
        raise ValueError(f"lengths is {lengths}; give a whole number for each row") from None
    if len(each) != B:
        raise ValueError(f"{len(each)} lengths came for {B} rows; give one for each")
    whole = tuple(map(_whole_number, each))
    if min(whole) < 1 or max(whole) != T:
        raise ValueError(
            f"the lengths are {min(whole)} to {max(whole)} for x of {T} steps; expected 1 or more, "
            "the longest as many as there are steps"
        )
    return whole


def _whole_number(length: Any) -> int:
    """The length as an integer; ValueError if it is none, which int() would round."""
    try:
        return operator.index(length)
    except TypeError:
        raise ValueError(f"a length is {length!r}; give a whole number for each row") from None
