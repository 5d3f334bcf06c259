"""The linear recurrence h_t = A h_{t−1} + B x_t in torch; differentiable."""

import torch


def unroll(A: torch.Tensor, B: torch.Tensor, x: torch.Tensor, h_0: torch.Tensor) -> torch.Tensor:
    """h [T, n, H] after every step, from x [T, n, I] and h_0 [n, H]."""
    h, states = h_0, []
    for x_t in x:
        h = h @ A.T + x_t @ B.T
        states.append(h)
    return torch.stack(states)
