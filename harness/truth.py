"""What a problem's results truly are, and the noise that a careful evaluation makes.

Truth is the reference in a wider type: float64 for float32, longdouble for float64. The inputs
are cast to the tested type first, then up, which is exact; results are never cast down.

The noise of a tensor is the largest error, over four evaluations of the same case, that rounding
alone brings about: the reference run in the tested type, and three runs in the wide type in which
every number that goes in, and every value of an activation, is moved by one unit roundoff up or
down (Monte Carlo arithmetic, Parker 1997). Where a gate saturates, 1 − z is noise of absolute size
u, and only the moved activations show it. A tensor's noise is never below u times its largest
element: no evaluation stores it better.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from reference import activations, packing
from torch_impl.problem import Problem

WIDER = {"float32": np.float64, "float64": np.longdouble}
MOVED_RUNS = 3


class Yardstick(NamedTuple):
    """Truth by name, and the noise of each tensor: of its largest error, and root mean square."""

    truth: dict[str, np.ndarray]
    noise: dict[str, tuple[float, float]]
    exact: bool  # the evaluation in the tested type made no error at all


def longdouble_is_wider() -> bool:
    """False where longdouble is double under another name: Windows, Apple silicon."""
    return bool(np.finfo(np.longdouble).eps < np.finfo(np.float64).eps)


def evaluate(problem: Problem, dtype: Any, masks: Sequence[np.ndarray] = ()) -> dict[str, Any]:
    """Outputs, final states and all gradients by the reference in one dtype, by torch_impl's
    names. `problem` is cast; packed batches are padded, in the order given."""

    def cast(value: Any) -> Any:
        return None if value is None else np.asarray(value, dtype)

    return _evaluate(problem, cast, masks)


def yardstick(
    problem: Problem, dtype: str, u: float | None = None, masks: Sequence[np.ndarray] = ()
) -> Yardstick:
    """Truth and noise of a problem in a tested dtype, `u` its unit roundoff."""
    tested, wide = np.dtype(dtype), WIDER[dtype]
    u = float(np.finfo(tested).eps) / 2 if u is None else u

    def up(value: np.ndarray | None) -> np.ndarray | None:
        return None if value is None else value.astype(tested).astype(wide)

    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        truth = _evaluate(problem, up, masks)
        runs = [evaluate(problem, tested, masks)]
        for k in range(MOVED_RUNS):
            rng = np.random.default_rng([problem.seed, k])

            def moved(value: Any, rng: np.random.Generator = rng) -> Any:
                exact = up(value)
                return None if exact is None else exact * (1 + u * _signs(rng, exact.shape))

            with _moved_activations(rng, u):
                runs.append(_evaluate(problem, moved, masks))
        noise, exactly = {}, True
        for name, exact in truth.items():
            floor = u * float(np.abs(exact).max(initial=0))
            sizes = [_sizes(run[name] - exact) for run in runs]
            noise[name] = (
                max(floor, *(s[0] for s in sizes)),
                max(floor / np.sqrt(max(exact.size, 1)), *(s[1] for s in sizes)),
            )
            exactly &= sizes[0][0] == 0
    return Yardstick(truth, noise, exactly)


def _sizes(error: np.ndarray) -> tuple[float, float]:
    """Largest and root mean square of the finite part of an error."""
    finite = np.abs(error[np.isfinite(error)])
    if not finite.size:
        return 0.0, 0.0
    largest = finite.max()
    scaled = finite / largest if largest else finite  # squares may not underflow
    return float(largest), float(largest * np.sqrt(np.mean(scaled * scaled)))


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """±1 at random, as small integers: they cast into any dtype."""
    return (2 * rng.integers(0, 2, shape, dtype=np.int8) - 1).astype(np.int8)


@contextmanager
def _moved_activations(rng: np.random.Generator, u: float) -> Iterator[None]:
    """Every value of σ, tanh and relu moved by one unit roundoff, up or down."""
    originals = {name: getattr(activations, name) for name in ("sigmoid", "tanh", "relu")}

    def moving(activation: Any) -> Any:
        def moved(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
            value = activation(a, out=out)
            return np.multiply(value, 1 + value.dtype.type(u) * _signs(rng, a.shape), out=value)

        return moved

    for name, activation in originals.items():
        setattr(activations, name, moving(activation))
    try:
        yield
    finally:
        for name, activation in originals.items():
            setattr(activations, name, activation)


def _evaluate(problem: Problem, cast: Any, masks: Sequence[np.ndarray]) -> dict[str, Any]:
    """The reference's results, each array cast on its way in."""
    net, lengths = problem.net, problem.lengths

    def rows(value: Any) -> Any:
        if value is None or lengths is None:
            return value
        return packing.pack_padded_sequence(value, lengths, enforce_sorted=problem.enforce_sorted)

    def padded(value: Any) -> np.ndarray:
        return value if lengths is None else packing.pad_packed_sequence(value)[0]

    state = None if problem.state is None else [cast(s) for s in problem.state]
    pair = net.mode == "LSTM"
    x = cast(problem.x)
    kept = [rows(mask.astype(x.dtype)) for mask in masks]
    output, final, tape = net.forward(
        {name: cast(p) for name, p in problem.params.items()},
        rows(x),
        state if state is None or pair else state[0],
        kept or None,
    )
    d_state = tuple(cast(d) for d in problem.d_state)
    grads = net.backward(tape, rows(cast(problem.d_output)), d_state if pair else d_state[0])
    results = {"output": padded(output), "d_x": padded(grads.x)}
    results |= dict(zip(("h_n", "c_n"), final if pair else (final,), strict=False))
    if state is not None:
        given = grads.state if pair else (grads.state,)
        results |= dict(zip(("d_h_0", "d_c_0"), given, strict=False))
    tied: dict[int, Any] = {}  # one array under two names is one parameter: its gradients add
    for name, d in grads.params.items():
        tied[id(problem.params[name])] = tied.get(id(problem.params[name]), 0) + d
    return results | {f"d_{name}": tied[id(problem.params[name])] for name in grads.params}
