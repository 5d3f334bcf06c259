"""The contestants: each a forward pass, and a backward pass that takes its result."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

import reference

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
SIGMOIDS = {"RNN": 0, "GRU": 2, "LSTM": 3}  # of H elements at each step
TANHS = {"RNN": 1, "GRU": 1, "LSTM": 2}


class Size(NamedTuple):
    """Steps, sequences, features of x, features of h."""

    T: int
    B: int
    I: int  # noqa: E741
    H: int


class Contestant(NamedTuple):
    """The two timed functions: forward() -> outcome, backward(outcome)."""

    forward: Callable[[], Any]
    backward: Callable[[Any], Any]


class Workload(NamedTuple):
    """The arrays that all contestants share: x [T, B, I], and d_output [T, B, H] or,
    with lengths [B], [Σ lengths, H]; lengths are None if no sequence is padded."""

    cell: str
    size: Size
    params: dict[str, np.ndarray]
    x: np.ndarray
    d_output: np.ndarray
    lengths: np.ndarray | None


def draw(cell: str, size: Size, dtype: Any = np.float64, half_padding: bool = False) -> Workload:
    """A workload of this size; with half padding the lengths are spread evenly over 1 … T."""
    T, B, I, H = size  # noqa: E741
    rng = np.random.default_rng(0)
    params = getattr(reference, cell)(I, H).init(rng)
    lengths = np.linspace(T, 1, B).round().astype(int) if half_padding else None
    rows = (T, B) if lengths is None else (lengths.sum(),)
    return Workload(
        cell,
        size,
        {name: value.astype(dtype) for name, value in params.items()},
        rng.standard_normal((T, B, I)).astype(dtype),
        rng.standard_normal((*rows, H)).astype(dtype),
        lengths,
    )


def reference_net(p: Workload) -> Contestant:
    """The reference, through its public classes."""
    net = getattr(reference, p.cell)(p.size.I, p.size.H)
    x: Any = p.x
    d_output: Any = p.d_output
    if p.lengths is not None:
        x = reference.pack_padded_sequence(x, p.lengths)
        d_output = x._replace(data=d_output)
    return Contestant(
        lambda: net.forward(p.params, x), lambda outcome: net.backward(outcome[2], d_output)
    )


def torch_net(p: Workload) -> Contestant:
    """torch.nn and autograd."""
    net = getattr(torch.nn, p.cell)(p.size.I, p.size.H)
    for name, value in net.named_parameters():
        value.data = torch.from_numpy(p.params[name])
    inputs: Any = torch.from_numpy(p.x).requires_grad_()
    data = inputs
    if p.lengths is not None:
        inputs = torch.nn.utils.rnn.pack_padded_sequence(inputs, torch.from_numpy(p.lengths))
        data = inputs.data
    leaves, d_output = [data, *net.parameters()], torch.from_numpy(p.d_output)

    def forward() -> Any:
        output, _ = net(inputs)
        return output if p.lengths is None else output.data

    return Contestant(forward, lambda outcome: torch.autograd.grad(outcome, leaves, d_output))


def floor(p: Workload) -> Contestant:
    """Only the matrix products."""
    T, B, I, H = p.size  # noqa: E741
    rng = np.random.default_rng(1)
    x, W_ih, W_hh = p.x.reshape(T * B, I), p.params["weight_ih_l0"], p.params["weight_hh_l0"]
    delta = rng.standard_normal((T * B, GATES[p.cell] * H)).astype(x.dtype)
    h = rng.standard_normal((T * B, H)).astype(x.dtype)

    def forward() -> Any:
        u = x @ W_ih.T
        for t in range(T):
            h[t * B : (t + 1) * B] @ W_hh.T
        return u

    def backward(outcome: Any) -> Any:
        for t in range(T):
            delta[t * B : (t + 1) * B] @ W_hh
        return delta @ W_ih, delta.T @ x, delta.T @ h

    return Contestant(forward, backward)


def least(p: Workload) -> Contestant:
    """The floor, and in its forward pass NumPy's exp for each σ and NumPy's tanh for each tanh."""
    products, block = floor(p), p.d_output[0]
    out = np.empty_like(block)

    def forward() -> Any:
        for _ in range(p.size.T):
            for _ in range(SIGMOIDS[p.cell]):
                np.exp(block, out=out)
            for _ in range(TANHS[p.cell]):
                np.tanh(block, out=out)
        return products.forward()

    return Contestant(forward, products.backward)
