"""Is a backward pass written by hand in NumPy the adjoint of its forward pass?

The adjoint identity ⟨v̄, J u⟩ = ⟨Jᵀv̄, u⟩ is tried with random cotangents v̄ and, for each input, with
directions u that differ from zero in one element of that input. J u comes from the complex step and
is exact to rounding, so that an error of 10⁻⁶ in one element shows. In an input of more than
`DIRECTIONS` elements a direction holds several of them with random signs, and every element is in
one direction.

A difference is a mistake if rounding does not explain it. Rounding explains
    10⁻¹² of the products summed
    `LIMIT` times the change of ⟨v̄, J u⟩ when inputs and cotangents change by one unit roundoff, the
    largest of all directions in this input
    what does not stay at inputs nearby, up to 10⁻¹² of the largest of all gradients: a mistake is a
    smooth function of the inputs, and rounding is not. Such are the gradient of a shift in softmax,
    whose terms cancel, and 1 − y² of a saturated unit.

Page: docs/implementations/adjoint.md
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .adjoint_derivative import CENTRAL, confirm, difference_of, inner, require_analytic, step_of
from .adjoint_pair import EPS, Pair, evaluate, named, perturbed
from .complex_step import adjoint_gap

DIRECTIONS = 256  # of each input
TOLERANCE = 1e-12  # of the complex step, relative to the products summed
LIMIT = 16
NEARBY = 1e-6  # relative


class WrongGradient(NamedTuple):
    """The gradient of one input that is not the derivative, and its worst element."""

    name: str
    at: tuple[int, ...] = ()  # its index
    found: float = np.nan  # by f_back
    expected: float = np.nan
    wrong: int = 0  # directions in which the identity fails
    directions: int = 0  # that were tried
    reason: str = ""  # why there is nothing to compare: a shape, a dtype, a missing array

    def __str__(self) -> str:
        """What is wrong, where, and by how much."""
        if self.reason:
            return f"the gradient of {self.name} {self.reason}"
        return (
            f"the gradient of {self.name} is wrong at {list(self.at)}: f_back returns "
            f"{self.found:.10g}, the derivative of f is {self.expected:.10g}, a difference of "
            f"{self.found - self.expected:.3g} ({self.wrong} of {self.directions} directions)"
        )


class AdjointCheck(NamedTuple):
    """True if every gradient is right; `assert check_adjoint(…)` fails with the evidence."""

    holds: bool
    wrong: tuple[WrongGradient, ...]  # one for each input whose gradient is wrong
    evidence: str  # what is wrong, or what was compared

    def __bool__(self) -> bool:
        """Whether every gradient is right."""
        return self.holds

    def __str__(self) -> str:
        """One line: holds or FAILS, and the evidence."""
        return f"{'holds' if self.holds else 'FAILS'}: {self.evidence}"


def check_adjoint(
    f: Callable[..., Any],
    f_back: Callable[..., Any],
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    seed: int = 0,
    method: str = "complex",
) -> AdjointCheck:
    """Compare the gradients of `f_back` with the derivative of `f`, element by element.

    Args:
        f: f(*inputs) → an array, a number, or a tuple of them. With the complex step it is called
            with complex arrays and must compute in their dtype: `np.zeros_like(x)`, not
            `np.zeros(x.shape)`. Comparisons and maxima order complex numbers by their real parts
            and are right except at a tie.
        f_back: f_back(*inputs, *cotangents) → the gradient of each input, in the order of the
            inputs: an array for one input, a tuple for several, or a mapping by their names. There
            is one cotangent for each output, of its shape.
        inputs: the arrays at which to compare, real and of a floating dtype; they are converted to
            float64. Those of a mapping are passed in its order, and its keys name them in the
            report; otherwise the names of f's arguments do. Bind anything else, such as labels,
            with functools.partial.
        seed: of the cotangents and directions.
        method: "complex" detects an error of 10⁻¹² of the products summed; "central" takes central
            differences, which detect 10⁻⁶, for an f that cannot be evaluated at complex numbers.

    Returns:
        True if all gradients agree. Otherwise `wrong` names each input whose gradient is wrong,
        with the index of its worst element, what f_back returned and what is right; an array of
        another shape, of a dtype that is not real, or with NaN is wrong, too.

    Raises:
        ValueError: there is no such method, an input is not real, f_back returns another number of
            gradients, f is not finite or not the same in two calls; f is not analytic, so that the
            complex step does not give its derivative; or f amplifies rounding so much that an error
            of 10⁻⁶ would not show.
    """
    if method not in ("complex", "central"):
        raise ValueError(f"Expected method to be 'complex' or 'central', got {method!r}.")
    pair = evaluate(f, f_back, named(inputs, f), np.random.default_rng(seed))
    if method == "complex":
        require_analytic(pair, np.random.default_rng(seed))
    results = [_compare(pair, name, method, np.random.default_rng(seed)) for name in pair.inputs]
    wrong = tuple(result for result in results if result is not None)
    if wrong:
        return AdjointCheck(False, wrong, "; ".join(map(str, wrong)))
    elements = sum(v.size for v in pair.inputs.values())
    directions = sum(min(v.size, DIRECTIONS) for v in pair.inputs.values())
    by = "the complex step" if method == "complex" else "central differences"
    return AdjointCheck(True, (), f"{elements} elements in {directions} directions, by {by}")


def _compare(pair: Pair, name: str, method: str, rng: np.random.Generator) -> WrongGradient | None:
    """The gradient of one input against the derivative in all directions; None if it is right."""
    gradient = np.asarray(pair.gradients[name])
    shape, size = pair.inputs[name].shape, pair.inputs[name].size
    reason = _why_unusable(gradient, shape)
    if reason:
        return WrongGradient(name, reason=reason)
    gradient = gradient.astype(np.float64)
    signs = rng.choice([-1.0, 1.0], size)
    groups = np.array_split(rng.permutation(size), min(size, DIRECTIONS)) if size else []

    def direction(group: np.ndarray) -> np.ndarray:
        u = np.zeros(size)
        u[group] = signs[group]
        return u.reshape(shape)

    def gap_of(group: np.ndarray) -> float:
        gap, rounding = _gap(pair, name, gradient, direction(group), method)
        return gap if gap > rounding else 0.0

    gaps = [gap_of(group) for group in groups]
    if any(gaps) and method == "complex":
        noise = LIMIT * max(_noise(pair, name, direction(group)) for group in groups)
        gaps = [gap if gap > noise else 0.0 for gap in gaps]
        small = TOLERANCE * _largest(pair)
        for k, group in enumerate(groups):
            if 0 < gaps[k] <= small and not _stays(pair, name, direction(group)):
                gaps[k] = 0.0
        if not any(gaps) and noise > CENTRAL * float(np.abs(gradient).max()):
            raise ValueError(
                f"Expected inputs at which f does not amplify rounding, but rounding explains "
                f"errors of {noise:.1g} in the gradient of {name}, whose largest element is "
                f"{np.abs(gradient).max():.1g}."
            )
    if not any(gaps):
        return None
    group = groups[int(np.argmax(gaps))]
    while len(group) > 1:  # one half at least has half of the difference
        halves = np.array_split(group, 2)
        group = max(halves, key=lambda h: _gap(pair, name, gradient, direction(h), method)[0])
    u = np.abs(direction(group))
    moved = difference_of(pair, name, u)[0] if method == "central" else step_of(pair, name, u)
    if method == "complex":  # if the differences say otherwise, f is not analytic there
        confirm(pair, name, u, moved)
    at = tuple(int(k) for k in np.unravel_index(int(group[0]), shape))
    found, expected = float(gradient[at]), inner(pair.cotangents, moved)
    return WrongGradient(name, at, found, expected, int(np.count_nonzero(gaps)), len(groups))


def _why_unusable(gradient: np.ndarray, shape: tuple[int, ...]) -> str:
    """Why what f_back returned cannot be compared; empty if it can."""
    if gradient.dtype == object and gradient.item(0) is None:
        return "was not returned"
    if gradient.shape != shape:
        return f"has shape {list(gradient.shape)}, expected {list(shape)}"
    if gradient.dtype.kind not in "fiu":
        return f"has dtype {gradient.dtype}, expected float64"
    if not np.isfinite(gradient).all():
        at = [int(k) for k in np.argwhere(~np.isfinite(gradient))[0]]
        return f"is {gradient[tuple(at)]} at {at}"
    return ""


def _gap(
    pair: Pair, name: str, gradient: np.ndarray, u: np.ndarray, method: str
) -> tuple[float, float]:
    """The difference of the two products in one direction, and the rounding of its terms."""
    if method == "central":
        moved, rounding = difference_of(pair, name, u)
    else:
        moved, rounding = step_of(pair, name, u), 0.0
    gap, scale = adjoint_gap(pair.cotangents, moved, {name: gradient}, {name: u})
    tolerance = TOLERANCE if method == "complex" else CENTRAL
    return float(gap), tolerance * float(scale) + rounding


def _noise(pair: Pair, name: str, u: np.ndarray) -> float:
    """How much ⟨v̄, J u⟩ by the complex step changes under rounding, the largest of three."""
    exact = inner(pair.cotangents, step_of(pair, name, u))
    changes = []
    for seed in range(3):
        nearby = perturbed(pair, EPS, seed)
        changes.append(abs(inner(nearby.cotangents, step_of(nearby, name, u)) - exact))
    return max(changes)


def _largest(pair: Pair) -> float:
    """The largest element of all gradients."""
    gradients = [np.asarray(value) for value in pair.gradients.values()]
    return max(float(np.abs(g).max(initial=0)) for g in gradients if g.dtype.kind in "fiu")


def _stays(pair: Pair, name: str, u: np.ndarray) -> bool:
    """Whether the difference is the same, to a tenth, at twelve inputs nearby."""
    differences = []
    for nearby in [pair, *[perturbed(pair, k * NEARBY, k) for k in range(1, 13)]]:
        gradient = np.asarray(nearby.back(nearby.inputs, nearby.cotangents)[name])
        exact = inner(nearby.cotangents, step_of(nearby, name, u))
        differences.append(float((gradient * u).sum()) - exact)
    here = differences[0]
    return all(0.9 < difference / here < 1.1 for difference in differences)
