"""A model's parameters: arrays by name, the names of each part under the part's prefix.

    rnn.weight_ih_l0, rnn.bias_ih_l0 …, head.weight        as in the state_dict of a torch module

Source: torch.nn.Module.state_dict.
Page: docs/models/layers.md
"""

import numpy as np

Params = dict[str, np.ndarray]


def select_prefix(params: Params, prefix: str) -> Params:
    """The parameters whose names begin with `prefix`, under their names without it."""
    return {name[len(prefix) :]: p for name, p in params.items() if name.startswith(prefix)}


def add_prefix(params: Params, prefix: str) -> Params:
    """The inverse of `select_prefix`: every name with `prefix` before it."""
    return {prefix + name: p for name, p in params.items()}
