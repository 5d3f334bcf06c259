"""The textbook GRU in torch: r resets h before the product W_n (r ⊙ h); z weights the new state."""

from collections.abc import Mapping, Sequence

import torch
from torch.nn.functional import linear


def step(
    params: Mapping[str, torch.Tensor], suffix: str, x: torch.Tensor, state: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """The state [h] [B, H] after one step of x [B, I], from parameters that end in `suffix`."""
    (h,) = state
    W_r, W_z, W_n = params[f"weight_hh{suffix}"].chunk(3)
    u = linear(x, params[f"weight_ih{suffix}"], params.get(f"bias_ih{suffix}"))
    u_r, u_z, u_n = (u + params.get(f"bias_hh{suffix}", 0)).chunk(3, -1)
    r, z = torch.sigmoid(u_r + h @ W_r.T), torch.sigmoid(u_z + h @ W_z.T)
    n = torch.tanh(u_n + (r * h) @ W_n.T)
    return [(1 - z) * h + z * n]


def unroll(params: dict[str, torch.Tensor], x: torch.Tensor, h_0: torch.Tensor) -> torch.Tensor:
    """h [T, B, H] after every step, from x [T, B, I] and h_0 [B, H]; differentiable."""
    state, outputs = [h_0], []
    for x_t in x:
        state = step(params, "", x_t, state)
        outputs.append(state[0])
    return torch.stack(outputs)
