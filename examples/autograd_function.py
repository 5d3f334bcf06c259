"""A torch.autograd.Function with a backward pass of its own, to be judged: the gates of an LSTM.

    bptt-oracle check --implementation examples.autograd_function:lstm

The products with the weights are torch's; what happens between net inputs and states is the
function's. `layer` calls it once a step.
"""

from typing import Any

import torch

from bptt_oracle import Implementation


class Gates(torch.autograd.Function):
    """(a, c) → (h, c_new) for net inputs a [B, 4H] in the order i, f, g, o, and c [B, H]."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        i, f, g, o = a.chunk(4, 1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        new = f * c + i * g
        ctx.save_for_backward(i, f, g, o, c, new.tanh())
        return o * new.tanh(), new

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        d_h, d_new = cotangents
        i, f, g, o, c, tanh_c = ctx.saved_tensors
        d_new = d_new + d_h * o * (1 - tanh_c * tanh_c)
        d_i, d_f = d_new * g * i * (1 - i), d_new * c * f * (1 - f)
        d_g, d_o = d_new * i * (1 - g * g), d_h * tanh_c * o * (1 - o)
        return torch.cat([d_i, d_f, d_g, d_o], 1), d_new * f


def layer(mode, p, x, state, lengths, reverse):  # type: ignore[no-untyped-def]
    h, c = state or [x.new_zeros(x.shape[1], p["weight_hh"].shape[1])] * 2
    bias = p["bias_ih"] + p["bias_hh"] if "bias_ih" in p else 0
    y = []
    for x_t in x.flip(0) if reverse else x:
        h, c = Gates.apply(x_t @ p["weight_ih"].T + h @ p["weight_hh"].T + bias, c)
        y.append(h)
    output = torch.stack(y)
    return (output.flip(0) if reverse else output), [h, c]


lstm = Implementation("gates", layer, engine="torch", cells=("LSTM",), lengths=False)
