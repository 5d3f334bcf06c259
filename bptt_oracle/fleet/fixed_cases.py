"""The computations of a preflight: fixed nets whose numbers come from a seed by integers alone.

Every number is an integer of at most 7 bits and a sign, times a power of two. It is exact in
float64, float32 and bfloat16, so that all of them compute the same problem and share one truth;
and it is the same with every version of NumPy, because only integers are drawn, by SplitMix64.

Source: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", figure 12.
Page: docs/fleet/fleet.md
"""

import hashlib
import math
from typing import NamedTuple

import numpy as np

import reference
from torch_impl.execution.problem import Problem

SEED = 20_170
DTYPES = ("float32", "float64", "bfloat16")  # those with shipped noise
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class FixedCase(NamedTuple):
    """One net of a preflight. Widths are powers of four, so that the scale of weights is exact."""

    name: str
    cell: str
    T: int
    B: int
    I: int  # noqa: E741  the input size, as in every equation
    H: int
    layers: int
    in_steps: bool  # a loop of steps whose gates and states are kept, instead of torch's module
    most_copies: int  # how often the batch is repeated at most, to load a large device


CASES = {
    case.name: case
    for case in (
        FixedCase("steps", "LSTM", 200, 8, 16, 64, 1, True, 1),
        FixedCase("gru", "GRU", 200, 8, 64, 256, 2, False, 64),
        FixedCase("lstm", "LSTM", 200, 8, 64, 1024, 1, False, 64),
    )
}


def draw_integers(stream: int, count: int) -> np.ndarray:
    """`count` integers from −127 to 127 of a stream of random bits, int64."""
    with np.errstate(over="ignore"):
        z = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(stream << 32)) * _GOLDEN
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z % np.uint64(255)).astype(np.int64) - 127


def draw_problem(case: FixedCase, copies: int = 1) -> Problem:
    """The net of a case and its arrays, float64, its batch repeated `copies` times.

    `copies` is a power of two. The cotangents of each copy are divided by it, which is exact: the
    gradients of parameters are those of one copy, those of inputs are divided by `copies`.
    """
    module = reference.LSTM if case.cell == "LSTM" else reference.GRU
    net = module(case.I, case.H, num_layers=case.layers)
    streams = iter(range(SEED + 1000 * list(CASES).index(case.name), 2**31))

    def draw(shape: tuple[int, ...], scale: float) -> np.ndarray:
        return draw_integers(next(streams), math.prod(shape)).reshape(shape) * scale

    def repeated(value: np.ndarray) -> np.ndarray:
        return np.concatenate([value] * copies, axis=1)

    params = {
        name: draw(shape, 2.0**-6 / math.isqrt(shape[-1]) if len(shape) == 2 else 2.0**-7)
        for name, shape in net.parameter_shapes().items()
    }
    x = repeated(draw((case.T, case.B, case.I), 2.0**-6))
    shapes = [(case.layers, case.B, width) for width in net.state_sizes]
    state = tuple(repeated(draw(shape, 2.0**-7)) for shape in shapes)
    d_output = repeated(draw((case.T, case.B, case.H), 2.0**-6)) / copies
    d_state = tuple(repeated(draw(shape, 2.0**-6)) / copies for shape in shapes)
    return Problem(net, params, x, None, False, state, d_output, d_state, False, SEED)


def inputs_of(problem: Problem) -> dict[str, np.ndarray]:
    """What is given to a net, by name: its parameters, x, h_0 and c_0."""
    state = dict(zip(("h_0", "c_0"), problem.state or (), strict=False))
    return {**problem.params, "x": problem.x, **state}


def problem_digest(problem: Problem) -> str:
    """The SHA-256 of every number given to a net, and of the cotangents."""
    hasher = hashlib.sha256()
    cotangents = [d for d in (problem.d_output, *problem.d_state) if d is not None]
    for value in (*inputs_of(problem).values(), *cotangents):
        hasher.update(f"{value.shape}".encode())
        hasher.update(np.ascontiguousarray(value, dtype="<f8").tobytes())
    return hasher.hexdigest()


def sample(case: FixedCase, tensor: str, size: int) -> np.ndarray:
    """The places, in a flattened tensor of one copy, whose truth is shipped: all of a small one,
    else places drawn by the same generator; ascending int64."""
    most = 8192 if tensor in ("output", "d_x") else 4096
    if size <= most:
        return np.arange(size)
    stream = int.from_bytes(hashlib.sha256(f"{case.name} {tensor}".encode()).digest()[:3], "big")
    drawn = [draw_integers(stream + 2**24 * (1 + k), most) + 127 for k in range(4)]
    places = (((drawn[0] * 255 + drawn[1]) * 255 + drawn[2]) * 255 + drawn[3]) % size
    return np.unique(places)
