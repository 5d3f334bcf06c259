"""The LSTM with peepholes in torch: i and f also read the old cell state, o the new one."""

from collections.abc import Mapping, Sequence

import torch
from torch.nn.functional import linear


def step(
    params: Mapping[str, torch.Tensor], suffix: str, x: torch.Tensor, state: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """The state [h, c] [B, H] after one step of x [B, I], from parameters that end in `suffix`."""
    h, c = state
    p_i, p_f, p_o = params[f"weight_ch{suffix}"].chunk(3)
    u = linear(x, params[f"weight_ih{suffix}"], params.get(f"bias_ih{suffix}"))
    v = linear(h, params[f"weight_hh{suffix}"], params.get(f"bias_hh{suffix}"))
    a_i, a_f, a_g, a_o = (u + v).chunk(4, -1)
    i, f = torch.sigmoid(a_i + p_i * c), torch.sigmoid(a_f + p_f * c)
    c = f * c + i * torch.tanh(a_g)
    o = torch.sigmoid(a_o + p_o * c)
    return [o * torch.tanh(c), c]
