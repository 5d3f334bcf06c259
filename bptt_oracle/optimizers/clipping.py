"""Judge clip_grad_norm_ and clip_grad_value_ in both forms.

Truth is `reference.models.optim.clipping` in a wide type. In torch the norm and the factor are
tensors of the dtype of the gradients, so a careful evaluation rounds them to it. It sums pairwise;
one term after another would be off by some √n/2 roundings for n elements, which is within the limit
for the few hundred elements here.

Infinities and NaN are compared by their places: an infinite gradient makes the norm infinite, the
factor 0, every other element 0 and the infinite ones NaN; clipping by value makes it finite.
"""

import numpy as np

from reference.models.optim import clip_by_global_norm, clip_by_value
from torch_impl.execution.precision import UNIT_ROUNDOFF, stored
from torch_impl.optimizers.clip import ClippingProblem, clip

from ..judging.judge import Verdict, judge
from ..judging.noise import deviation_of, element_noise, tensor_noise
from ..judging.truth import Expected, floors_of
from ..judging.wide import difference, narrow, wide_dtype, widen
from .cases import SHAPES
from .expectation import Results
from .rounded import Rounded, Rounding, as_rounded, moved, to_nearest

MOVED_RUNS = 6
SPECIAL = {"finite": None, "zero": 0.0, "inf": np.inf, "-inf": -np.inf, "nan": np.nan}
NORMS = (1.0, 2.0, np.inf)


def draw_clipping(
    p: float | None, limit: float, special: str, layout: str, dtype: str, seed: int
) -> ClippingProblem:
    """Gradients over two powers of ten; one element is special, or all are 0."""
    rng = np.random.default_rng([seed, 5])
    grads = {}
    for name, shape in SHAPES.items():
        value = rng.standard_normal(shape) * 10.0 ** rng.uniform(-1, 1, shape)
        value = np.asarray(0 * value if special == "zero" else value)
        grads[name] = np.asarray(stored(value, dtype), dtype=np.float64)
    value_of_special = SPECIAL[special]
    if value_of_special:
        grads["kernel"][1, 2, 0, 3] = value_of_special
    return ClippingProblem(grads, limit, p, layout)


def judge_clipping(problem: ClippingProblem, dtype: str, foreach: bool) -> tuple[Verdict, bool]:
    """The verdict on a form of torch's clipping, and whether memory outside was changed."""
    answer = clip(problem, dtype, foreach)
    return judge(answer.results, expect_clipping(problem, dtype)), answer.damaged


def expect_clipping(problem: ClippingProblem, dtype: str) -> Expected:
    """Truth and noise of clipped gradients, and of their norm."""
    wide, u = wide_dtype(dtype), UNIT_ROUNDOFF[dtype]
    floors = floors_of(dtype, u)
    with np.errstate(all="ignore"):
        truth = _evaluate(problem, {n: widen(g, wide) for n, g in problem.grads.items()})
        runs = [_run(problem, to_nearest(dtype), np.dtype(np.float64))]
        for k in range(MOVED_RUNS):
            runs.append(_run(problem, moved(dtype, np.random.default_rng([k, 7])), wide))
        noise, elements = {}, {}
        for name, exact in truth.items():
            known = np.isfinite(narrow(exact))
            errors = [np.where(known, difference(run[name], exact), 0.0) for run in runs]
            noise[name] = tensor_noise(errors, narrow(exact), floors)
            deviation = deviation_of(errors, np.where(known, narrow(exact), 0), floors)
            elements[name] = element_noise(deviation, deviation.ratio)
    return Expected(truth, noise, False, "", elements, u)


def _evaluate(problem: ClippingProblem, grads: Results) -> Results:
    if problem.p is None:
        return clip_by_value(grads, problem.limit)
    clipped, norm = clip_by_global_norm(grads, problem.limit, problem.p)
    return clipped | {"norm": np.asarray(norm)}


def _run(problem: ClippingProblem, rounding: Rounding, wide: np.dtype) -> Results:
    """An evaluation in which numbers, too, have the precision of the dtype."""
    own = rounding._replace(number=rounding.array, cast=lambda value: value)
    grads: dict[str, np.ndarray] = {
        n: as_rounded(widen(g, wide), own) for n, g in problem.grads.items()
    }
    return {
        n: np.asarray(v).view(np.ndarray) if isinstance(v, Rounded) else np.asarray(v)
        for n, v in _evaluate(problem, grads).items()
    }
