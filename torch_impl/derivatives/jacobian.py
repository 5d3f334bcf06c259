"""Jacobians of a recurrent module's step by autograd."""

import torch

from ..nets.state import State, split_state


def jacobian(module: torch.nn.RNNBase, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """∂s_t/∂s_{t−1} [B, S, S] of one step, from x [B, I] and the state [B, S].

    s is h, for an nn.LSTM h and c concatenated: S = H, or 2H. The module has one layer and one
    direction, and no projection.
    """

    def step(state: torch.Tensor) -> torch.Tensor:
        return join(module(x[None], split(module, state))[1])

    full = torch.autograd.functional.jacobian(step, state)  # [B, S, B, S]; 0 between two rows
    return torch.stack([full[row, :, row] for row in range(len(x))])


def split(module: torch.nn.RNNBase, state: torch.Tensor) -> State:
    """The state [B, S] in the module's form: h [1, B, H] or (h, c)."""
    if module.mode != "LSTM":
        return state[None]
    H = module.hidden_size
    return state[None, :, :-H].contiguous(), state[None, :, -H:].contiguous()


def join(state: State) -> torch.Tensor:
    """The module's state as [B, S]; inverts `split`."""
    return torch.cat(split_state(state), dim=-1)[0]
