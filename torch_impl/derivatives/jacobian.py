"""Jacobians of a recurrent module's step by autograd."""

import torch


def jacobian(module: torch.nn.RNNBase, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """∂s_t/∂s_{t−1} [B, S, S] of one step, from x [B, I] and the state [B, S].

    S is h, or h and c side by side for an nn.LSTM; the module has one layer and one direction.
    """

    def step(state: torch.Tensor) -> torch.Tensor:
        return join(module(x[None], split(module, state))[1])

    full = torch.autograd.functional.jacobian(step, state)
    return torch.stack([full[row, :, row] for row in range(len(x))])


def split(module: torch.nn.RNNBase, state: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """[B, S] as the module takes it."""
    if module.mode != "LSTM":
        return state[None]
    H = module.hidden_size
    return state[None, :, :-H].contiguous(), state[None, :, -H:].contiguous()


def join(state: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The module's state as [B, S]."""
    return torch.cat(state, dim=-1)[0] if isinstance(state, tuple) else state[0]
