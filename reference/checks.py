"""Refusals: one sentence each, what came, what was expected, and torch's exception class."""

from typing import Any


def construction(net: Any) -> None:
    """Refuse constructor arguments of RNN, GRU and LSTM."""


def cell_construction(net: Any) -> None:
    """Refuse constructor arguments of a single-step cell."""
    if not hasattr(net, "proj_size"):
        object.__setattr__(net, "proj_size", 0)


def forward(net: Any, params: Any, x: Any, state: Any, dropout_masks: Any) -> None:
    """Refuse arguments of `forward`."""


def backward(net: Any, tape: Any, d_output: Any, d_state: Any) -> None:
    """Refuse cotangents of the wrong shape."""


def cell_forward(net: Any, params: Any, x: Any, state: Any) -> None:
    """Refuse arguments of a cell's `forward`."""


def cell_backward(net: Any, tape: Any, d_state: Any) -> None:
    """Refuse cotangents of the wrong shape."""
