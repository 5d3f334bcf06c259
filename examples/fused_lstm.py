"""An LSTM with one kernel [I + H, 4H] and the gates in the order f, i, o, g, to be judged.

    bptt-oracle check --implementation examples.fused_lstm:fused

The adapter `layer` brings torch's parameters into the module's layout. The permutation is a part of
the function that torch differentiates, so that gradients come back in torch's order.
"""

import torch

from bptt_oracle import Implementation


class Fused(torch.nn.Module):
    """One layer in one direction; x [T, B, I], state [h, c], each [B, H]."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.kernel = torch.nn.Parameter(torch.empty(input_size + hidden_size, 4 * hidden_size))
        self.bias = torch.nn.Parameter(torch.empty(4 * hidden_size))

    def forward(
        self, x: torch.Tensor, state: list[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        (h, c), ys = state, []
        for x_t in x:
            a = torch.cat([x_t, h], 1) @ self.kernel + self.bias
            f, i, o, g = a.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            ys.append(h)
        return torch.stack(ys), [h, c]


def layer(mode, p, x, state, lengths, reverse):  # type: ignore[no-untyped-def]
    bias = p["bias_ih"] + p["bias_hh"]
    i, f, g, o = torch.cat([p["weight_ih"], p["weight_hh"], bias[:, None]], 1).chunk(4)
    *kernel, bias = torch.cat([f, i, o, g]).T
    state = state or [x.new_zeros(x.shape[1], len(i))] * 2
    own = {"kernel": torch.stack(kernel), "bias": bias}
    return torch.func.functional_call(Fused(x.shape[2], len(i)), own, (x, state))


fused = Implementation(
    "fused",
    layer,
    engine="torch",
    cells=("LSTM",),
    lengths=False,
    bidirectional=False,
    no_biases=False,
)
