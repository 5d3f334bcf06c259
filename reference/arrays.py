"""The rules that every argument follows where an array or tokens are expected.

    array    an ndarray, but not a masked one: its hidden elements would be computed with
    tokens   an array of any integer type, signed or not; bool and floating types are rejected
    token    one integer, as padding_idx, ⟨bos⟩ and ⟨eos⟩ are

Tokens are converted to intp where they come in. In a narrower type, arithmetic and assignment
would wrap: 256 in uint8 is 0.

Source: torch.nn.functional.embedding and cross_entropy for the exceptions.
Page: docs/nets/arguments.md
"""

from numbers import Integral
from typing import TypeGuard

import numpy as np


def check_not_masked(name: str, value: object, error: type[Exception]) -> None:
    """Raise `error` for a masked array."""
    if isinstance(value, np.ma.MaskedArray):
        raise error(
            f"{name} should be an array without a mask, got MaskedArray, whose hidden elements "
            "would be read: pass its filled() or compressed() data."
        )


def check_array(name: str, value: object, error: type[Exception]) -> np.ndarray:
    """The value if it is an array; raises `error` otherwise, and for a masked array."""
    check_not_masked(name, value, error)
    if not isinstance(value, np.ndarray):
        raise error(f"{name} should be an array, got {type(value).__name__}.")
    return value


def check_shape(name: str, value: object, shape: tuple[int, ...], meaning: str) -> np.ndarray:
    """The value if it is an array of this shape.

    `meaning` explains the shape. Raises TypeError for other types, RuntimeError for another shape.
    """
    array = check_array(name, value, TypeError)
    if array.shape != shape:
        raise RuntimeError(f"Expected {name} of size {shape}, {meaning}, got {array.shape}.")
    return array


def is_token(value: object) -> TypeGuard[int]:
    """Whether a value is an integer of Python or NumPy; a bool is not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_token_type(
    name: str, value: object, error: type[Exception] = RuntimeError
) -> np.ndarray | np.generic:
    """The value if it is an array of integers, or one integer of NumPy; it is not converted.

    Raises `error` for another dtype, bool included, and TypeError for other types.
    """
    tokens = value if isinstance(value, np.generic) else check_array(name, value, TypeError)
    # Differs: torch accepts int32 and int64 in an embedding, uint8 and int64 as labels.
    if tokens.dtype.kind not in "iu":
        raise error(f"Expected {name} to be integers, got {tokens.dtype}; convert them first.")
    return tokens


def check_tokens(
    name: str, value: object, error: type[Exception] = RuntimeError
) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    """The tokens as an array of intp; the same array where it has this type already.

    An integer above the largest intp, possible in uint64, becomes the largest intp: it stays
    outside every vocabulary. Raises the errors of `check_token_type`.
    """
    tokens = np.asarray(check_token_type(name, value, error))
    if not np.can_cast(tokens.dtype, np.intp):
        tokens = np.minimum(tokens, np.iinfo(np.intp).max)
    return tokens.astype(np.intp, copy=False)
