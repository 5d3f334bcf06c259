"""The GRU as the papers write it, in torch: r resets h before the product W_n (r ∘ h), and z
weights the new state."""

import torch
from torch.nn.functional import linear


def unroll(params: dict[str, torch.Tensor], x: torch.Tensor, h_0: torch.Tensor) -> torch.Tensor:
    """h [T, B, H] after every step, from x [T, B, I] and h_0 [B, H]; differentiable."""
    W_r, W_z, W_n = params["weight_hh"].chunk(3)
    h, states = h_0, []
    for x_t in x:
        u = linear(x_t, params["weight_ih"], params.get("bias_ih"))
        u_r, u_z, u_n = (u + params.get("bias_hh", 0)).chunk(3, -1)
        r, z = torch.sigmoid(u_r + h @ W_r.T), torch.sigmoid(u_z + h @ W_z.T)
        n = torch.tanh(u_n + (r * h) @ W_n.T)
        h = (1 - z) * h + z * n
        states.append(h)
    return torch.stack(states)
