"""The same starts for torch's modules, in place."""

import torch


def orthogonal_recurrence(module: torch.nn.RNNBase) -> None:
    """Every gate's block of every weight_hh a random orthogonal matrix."""
    for name, value in module.named_parameters():
        if name.startswith("weight_hh"):
            for block in value.detach().split(module.hidden_size):
                torch.nn.init.orthogonal_(block)


def forget_bias(module: torch.nn.LSTM, b: float) -> None:
    """Forget gates that start at σ(b): b in bias_ih, 0 in bias_hh, for torch adds the two."""
    H = module.hidden_size
    for name, value in module.named_parameters():
        if name.startswith("bias_"):
            value.detach()[H : 2 * H] = b if name.startswith("bias_ih") else 0
