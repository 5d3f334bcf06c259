"""Refused nets: constructor arguments that make no RNN, GRU, LSTM or single-step cell.

One sentence says what came and what was expected; the class of the exception is torch's for the
same mistake, and so is the order in which mistakes are found.

Source: torch.nn.RNN, GRU, LSTM and their cells.
Differs: refused, too, is what torch takes for something else; the page lists it.
Page: docs/nets/arguments.md
"""

import warnings
from numbers import Integral, Real
from typing import Any


def of_net(net: Any) -> None:
    """Refuse constructor arguments of RNN, GRU and LSTM, in torch's order."""
    _nonlinearity(net)
    if net.mode != "LSTM" and net.proj_size is not None:
        raise ValueError(
            f"proj_size argument is only supported for LSTM, not RNN or GRU, got "
            f"{net.proj_size!r}: leave it out."
        )
    _dropout(net)
    _flag(net, "bias")
    _flag(net, "batch_first")
    for name, kind in ("input_size", int), ("hidden_size", int), ("num_layers", Integral):
        if _size(net, name, kind) <= 0:
            raise ValueError(f"{name} must be greater than zero, got {getattr(net, name)}.")
    if net.mode == "LSTM":
        P = _size(net, "proj_size", Integral)
        if P < 0:
            raise ValueError(
                f"proj_size should be a positive integer or zero to disable projections, got {P}."
            )
        if net.hidden_size <= P:
            raise ValueError(
                f"proj_size has to be smaller than hidden_size, got {P} and {net.hidden_size}."
            )
    _flag(net, "bidirectional")


def of_cell(net: Any) -> None:
    """Refuse constructor arguments of a single-step cell; a size may be 0, as in torch."""
    for name in ("input_size", "hidden_size"):
        if _size(net, name, Integral) < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension: {name} should be 0 or more, "
                f"got {getattr(net, name)}."
            )
    _flag(net, "bias")
    _nonlinearity(net)


def _nonlinearity(net: Any) -> None:
    chosen = getattr(net, "nonlinearity", "tanh")
    if chosen not in ("tanh", "relu"):
        raise ValueError(f"Unknown nonlinearity '{chosen}': select from 'tanh' or 'relu'.")


def _dropout(net: Any) -> None:
    p: Any = net.dropout
    told = (
        f"dropout should be a number in range [0, 1] representing the probability of an element "
        f"being zeroed, got {p!r}."
    )
    if isinstance(p, (bool, str)):
        raise ValueError(told)
    if not isinstance(p, Real):
        raise TypeError(told)
    if not 0 <= float(p) <= 1:
        raise ValueError(told)
    if float(p) > 0 and net.num_layers == 1:
        warnings.warn(
            f"dropout option adds dropout after all but last recurrent layer, so non-zero dropout "
            f"expects num_layers greater than 1, but got dropout={p} and num_layers=1",
            stacklevel=5,  # the line that constructs the net
        )


def _flag(net: Any, name: str) -> None:
    value = getattr(net, name)
    if not isinstance(value, bool):
        raise TypeError(f"{name} should be of type bool, got: {type(value).__name__} {value!r}.")


def _size(net: Any, name: str, kind: type) -> Any:
    value = getattr(net, name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} should be of type int, got: {type(value).__name__} {value!r}.")
    return value
