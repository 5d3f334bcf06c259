"""A Triton kernel of the gates of an LSTM, forward and backward, to be judged on a GPU.

    bptt-oracle check --implementation examples.triton_lstm:lstm

Without a GPU Triton's interpreter computes the same on the CPU: set TRITON_INTERPRET=1.
"""

import os
from typing import Any

import torch
import triton
import triton.language as tl

from bptt_oracle import Implementation

BLOCK = 128
DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") else "cuda"


@triton.jit
def sigmoid(a):  # type: ignore[no-untyped-def]
    return 1 / (1 + tl.exp(-a))


@triton.jit
def tanh(a):  # type: ignore[no-untyped-def]
    """tanh with relative accuracy near 0, where (1 − e) / (1 + e) has none: a series there."""
    e = tl.exp(-2 * tl.abs(a))
    far = (1 - e) / (1 + e)
    s = a * a
    terms = -17 / 315 + s * (62 / 2835 - s * (1382 / 155925 - s * 21844 / 6081075))
    near = tl.abs(a) * (1 + s * (-1 / 3 + s * (2 / 15 + s * terms)))
    size = tl.where(tl.abs(a) < 0.25, near, far)
    return tl.where(a < 0, -size, size)


@triton.jit
def forward_kernel(a, c, h, new, gates, size, H, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = k < size
    row, unit = k // H, k % H
    at = row * 4 * H + unit
    i = sigmoid(tl.load(a + at, mask=inside))
    f = sigmoid(tl.load(a + at + H, mask=inside))
    g = tanh(tl.load(a + at + 2 * H, mask=inside))
    o = sigmoid(tl.load(a + at + 3 * H, mask=inside))
    after = f * tl.load(c + k, mask=inside) + i * g
    tl.store(new + k, after, mask=inside)
    tl.store(h + k, o * tanh(after), mask=inside)
    tl.store(gates + at, i, mask=inside)
    tl.store(gates + at + H, f, mask=inside)
    tl.store(gates + at + 2 * H, g, mask=inside)
    tl.store(gates + at + 3 * H, o, mask=inside)


@triton.jit
def backward_kernel(d_h, d_new, gates, c, new, d_a, d_c, size, H, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = k < size
    row, unit = k // H, k % H
    at = row * 4 * H + unit
    i, f = tl.load(gates + at, mask=inside), tl.load(gates + at + H, mask=inside)
    g, o = tl.load(gates + at + 2 * H, mask=inside), tl.load(gates + at + 3 * H, mask=inside)
    tanh_c = tanh(tl.load(new + k, mask=inside))
    of_h = tl.load(d_h + k, mask=inside)
    of_c = tl.load(d_new + k, mask=inside) + of_h * o * (1 - tanh_c * tanh_c)
    tl.store(d_c + k, of_c * f, mask=inside)
    tl.store(d_a + at, of_c * g * i * (1 - i), mask=inside)
    tl.store(d_a + at + H, of_c * tl.load(c + k, mask=inside) * f * (1 - f), mask=inside)
    tl.store(d_a + at + 2 * H, of_c * i * (1 - g * g), mask=inside)
    tl.store(d_a + at + 3 * H, of_h * tanh_c * o * (1 - o), mask=inside)


class Gates(torch.autograd.Function):
    """(a, c) → (h, c_new) for net inputs a [B, 4H] in the order i, f, g, o, and c [B, H]."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, c = a.contiguous(), c.contiguous()
        h, new, gates = torch.empty_like(c), torch.empty_like(c), torch.empty_like(a)
        grid = (triton.cdiv(c.numel(), BLOCK),)
        forward_kernel[grid](a, c, h, new, gates, c.numel(), c.shape[1], BLOCK)
        ctx.save_for_backward(gates, c, new)
        return h, new

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        d_h, d_new = (d.contiguous() for d in cotangents)
        gates, c, new = ctx.saved_tensors
        d_a, d_c = torch.empty_like(gates), torch.empty_like(c)
        grid = (triton.cdiv(c.numel(), BLOCK),)
        backward_kernel[grid](d_h, d_new, gates, c, new, d_a, d_c, c.numel(), c.shape[1], BLOCK)
        return d_a, d_c


def layer(mode, p, x, state, lengths, reverse):  # type: ignore[no-untyped-def]
    h, c = state or [x.new_zeros(x.shape[1], p["weight_hh"].shape[1])] * 2
    bias = p["bias_ih"] + p["bias_hh"] if "bias_ih" in p else 0
    y = []
    for x_t in x.flip(0) if reverse else x:
        h, c = Gates.apply(x_t @ p["weight_ih"].T + h @ p["weight_hh"].T + bias, c)
        y.append(h)
    output = torch.stack(y)
    return (output.flip(0) if reverse else output), [h, c]


lstm = Implementation(
    "triton",
    layer,
    engine="torch",
    device=DEVICE,
    cells=("LSTM",),
    dtypes=("float32",),
    lengths=False,
)
