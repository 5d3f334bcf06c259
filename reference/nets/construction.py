"""Reject invalid constructor arguments of RNN, GRU, LSTM and the single-step cells.

The message states what came and what was expected. The exception has torch's class for the same
mistake, and the arguments are checked in torch's order.

Source: torch.nn.RNN, GRU, LSTM and their cells.
Differs: some arguments that torch accepts with another meaning are rejected; the page lists them.
Page: docs/nets/arguments.md
"""

import warnings
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

from ..cells.table import CELL_TABLE
from .net import Configuration, Net


def check_net(net: Any) -> None:
    """Reject invalid constructor arguments of a net, in torch's order.

    Raises TypeError for a wrong type and ValueError for a wrong value.
    """
    _check_nonlinearity(net)
    _check_cell_name(net)
    default = next(f.default for f in fields(net) if f.name == "proj_size")
    projected = net.proj_size is not default
    # Differs: torch accepts proj_size of RNN and GRU by position, and forward fails.
    if projected and not net.cell.projection:
        raise ValueError(
            f"proj_size argument is only supported for LSTM, not RNN or GRU, got "
            f"{net.proj_size!r}: leave it out."
        )
    _check_dropout(net)
    _check_flag(net, "bias")
    _check_flag(net, "batch_first")
    for name, kind in ("input_size", int), ("hidden_size", int), ("num_layers", Integral):
        if _size(net, name, kind) <= 0:
            raise ValueError(f"{name} must be greater than zero, got {getattr(net, name)}.")
    if projected:
        P = _size(net, "proj_size", Integral)
        if P < 0:
            raise ValueError(
                f"proj_size should be a positive integer or zero to disable projections, got {P}."
            )
        if net.hidden_size <= P:
            raise ValueError(
                f"proj_size has to be smaller than hidden_size, got {P} and {net.hidden_size}."
            )
    _check_flag(net, "bidirectional")


def check_cell(net: Configuration) -> None:
    """Reject invalid constructor arguments of a single-step cell; a size may be 0, as in torch.

    Raises TypeError for a wrong type, ValueError for an unknown name, RuntimeError for a size < 0.
    """
    for name in ("input_size", "hidden_size"):
        if _size(net, name, Integral) < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension: {name} should be 0 or more, "
                f"got {getattr(net, name)}."
            )
    _check_flag(net, "bias")
    _check_nonlinearity(net)
    _check_cell_name(net)


def _check_cell_name(net: Configuration) -> None:
    if net.mode not in CELL_TABLE:
        raise ValueError(
            f"Expected the name of a cell, one of {', '.join(CELL_TABLE)}, got {net.mode!r}."
        )


def _check_nonlinearity(net: Configuration) -> None:
    chosen = getattr(net, "nonlinearity", "tanh")
    # Differs: of a single-step cell, torch raises RuntimeError in forward.
    if chosen not in ("tanh", "relu"):
        raise ValueError(f"Unknown nonlinearity '{chosen}': select from 'tanh' or 'relu'.")


def _check_dropout(net: Net) -> None:
    p: object = net.dropout
    message = (
        f"dropout should be a number in range [0, 1] representing the probability of an element "
        f"being zeroed, got {p!r}."
    )
    if isinstance(p, (bool, str)):
        raise ValueError(message)
    if not isinstance(p, Real):
        raise TypeError(message)
    if not 0 <= float(p) <= 1:
        raise ValueError(message)
    if float(p) > 0 and net.num_layers == 1:
        warnings.warn(
            f"dropout option adds dropout after all but last recurrent layer, so non-zero dropout "
            f"expects num_layers greater than 1, but got dropout={p} and num_layers=1",
            stacklevel=5,  # the line of the constructor call
        )


def _check_flag(net: Configuration, name: str) -> None:
    value = getattr(net, name)
    # Differs: torch uses the truth value of `bidirectional`, and of a cell's `bias`.
    if not isinstance(value, bool):
        raise TypeError(f"{name} should be of type bool, got: {type(value).__name__} {value!r}.")


def _size(net: Configuration, name: str, kind: type) -> int:
    value: int = getattr(net, name)
    # Differs: torch mostly uses a bool as a number.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} should be of type int, got: {type(value).__name__} {value!r}.")
    return value
