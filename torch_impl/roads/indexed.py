"""Packed data made and padded by indices: torch has no forward mode of pack_padded_sequence."""

from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from ..execution.calls import Call, Forward, Result
from .road import call_net, forward_function


class _Indices(NamedTuple):
    """Where a row of packed data comes from, t B + b, and where it goes to; padding gets the row
    after the last."""

    packed: PackedSequence
    rows: torch.Tensor  # [N]
    place: torch.Tensor  # [T·B]


def _indices(call: Call) -> _Indices:
    T, B, _ = call.x.shape
    numbers = torch.arange(T * B).view(T, B, 1)
    packed = pack_padded_sequence(
        numbers, torch.tensor(call.lengths), enforce_sorted=call.enforce_sorted
    )
    rows = packed.data[:, 0]
    place = torch.full((T * B,), len(rows))
    place[rows] = torch.arange(len(rows))
    return _Indices(packed, rows, place)


def forward_by_indices(module: torch.nn.Module, call: Call) -> Forward:
    """The Forward that calls a module on data packed as that of the call; other data as it is."""
    indices = None if call.lengths is None else _indices(call)

    def forward(call: Call) -> Result:
        if indices is None:
            return call_net(forward_function(module, call), call)
        return _call_packed(forward_function(module, call), call, indices)

    return forward


def _call_packed(function: Any, call: Call, indices: _Indices) -> Result:
    T, B, features = call.x.shape
    data = call.x.reshape(T * B, features)[indices.rows]
    state: Any = None if call.state is None else tuple(call.state)
    if state is not None and call.net.mode != "LSTM":
        state = state[0]
    output, final = function(indices.packed._replace(data=data), state)
    width = output.data.shape[-1]
    with_zeros = torch.cat([output.data, torch.zeros_like(output.data[:1])])
    padded = with_zeros[indices.place].view(T, B, width)
    return padded, final if call.net.mode == "LSTM" else (final,)
