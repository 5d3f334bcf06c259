"""The reference's initializers for torch's modules, in place."""

import torch


def orthogonal_recurrence(module: torch.nn.RNNBase) -> None:
    """Set every gate's block of every weight_hh to a random orthogonal matrix."""
    for name, value in module.named_parameters():
        if name.startswith("weight_hh"):
            for block in torch.split(value.detach(), module.hidden_size):
                torch.nn.init.orthogonal_(block)


def forget_bias(module: torch.nn.LSTM, b: float) -> None:
    """Set the forget gate's bias_ih to b and its bias_hh to 0, because torch adds the two."""
    H = module.hidden_size
    for name, value in module.named_parameters():
        if name.startswith("bias_"):
            value.detach()[H : 2 * H] = b if name.startswith("bias_ih") else 0
