"""Compare tensors: what rounding may cause, what is a difference, and what cannot be compared."""

from collections.abc import Sequence

import torch
from torch import Tensor

FACTOR = 1000.0  # times eps, in float32 and float64
COARSE_FACTOR = 16.0  # in half types, of which 1000 eps would be as large as the values
SURE_FACTOR = 1 / 4  # of these, within which results in half types surely agree
SAME_FACTOR = 1 / 16  # of these, for the same computation with inputs that should not matter


def epsilon(dtype: torch.dtype) -> float:
    """The spacing at 1 of a dtype; 0 of integers."""
    return torch.finfo(dtype).eps if dtype.is_floating_point else 0.0


def rounding(expected: Tensor, eps: float = 0.0) -> float:
    """How much rounding may change a tensor: a bound, not a measurement.

    1000 · eps times the largest finite magnitude; in half types, or where the values were computed
    in one (`eps`), 16 · eps.
    """
    eps = max(eps, epsilon(expected.dtype))
    finite = expected.detach()[expected.detach().isfinite()].double()
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    return (COARSE_FACTOR if eps > 1e-4 else FACTOR) * eps * largest


def difference(actual: Tensor, expected: Tensor, eps: float = 0.0) -> float:
    """The largest absolute difference, or 0 if it is within `rounding`.

    Integers: the number of elements that differ. Different shapes, or NaN or infinities at
    different places: infinity.
    """
    largest = largest_difference(actual, expected)
    bound = rounding(expected, max(eps, epsilon(actual.dtype)))
    return largest if largest > bound else 0.0


def disagreement(actual: Tensor, expected: Tensor, eps: float = 0.0) -> float:
    """The difference of two results that should be the same, computed in different ways.

    Raises ValueError if they differ by more than careful rounding in a half type causes, and by
    less than `rounding`, which decides nothing.
    """
    eps = max(eps, epsilon(actual.dtype), epsilon(expected.dtype))
    found = difference(actual, expected, eps)
    if found or eps <= 1e-4:
        return found
    largest, bound = largest_difference(actual, expected), rounding(expected, eps)
    if largest > bound * SURE_FACTOR:
        raise ValueError(
            f"Expected results that agree or clearly differ, got a difference of {largest:.2g}, "
            f"where a half type decides nothing up to {bound:.2g}; use float32."
        )
    return 0.0


def largest_difference(actual: Tensor, expected: Tensor) -> float:
    """The same, without a bound: 0 only if the tensors are equal."""
    if actual.shape != expected.shape:
        return float("inf")
    actual, expected = actual.detach(), expected.detach().to(actual.device)
    if not actual.is_floating_point():
        return float((actual != expected).sum())
    actual, expected = actual.double(), expected.double()
    finite = expected.isfinite()
    if not torch.equal(actual[~finite].nan_to_num(0), expected[~finite].nan_to_num(0)):
        return float("inf")
    if not torch.equal(actual.isfinite(), finite) or not torch.equal(
        actual.isnan(), expected.isnan()
    ):
        return float("inf")
    if not finite.any():
        return 0.0
    return float((actual[finite] - expected[finite]).abs().max())


def change(actual: Tensor, expected: Tensor, eps: float = 0.0) -> float:
    """The difference of two results of the same computation: 0 if they are equal to the bit.

    Raises ValueError if they differ by less than rounding may cause, which decides nothing.
    """
    largest = largest_difference(actual, expected)
    bound = SAME_FACTOR * rounding(expected, max(eps, epsilon(actual.dtype)))
    if 0 < largest <= bound:
        raise ValueError(
            f"Expected results that are equal or clearly different, got a difference of "
            f"{largest:.2g}, which rounding may cause up to {bound:.2g}; use shorter sequences or "
            "float64."
        )
    return largest


def require_numbers(tensors: Sequence[Tensor], source: str) -> None:
    """Raise ValueError if a result holds NaN, or nothing that is finite, because nothing can be
    seen in it. Infinities beside finite numbers are accepted: masked logits are −∞.
    """
    for tensor in tensors:
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        finite = tensor.detach().isfinite()
        if tensor.detach().isnan().any() or not finite.any():
            index = [int(i) for i in (~finite).nonzero()[0]]
            kind = "NaN" if tensor.detach().isnan().any() else "infinities"
            raise ValueError(f"Expected finite numbers from {source}, got {kind} (at {index}).")
