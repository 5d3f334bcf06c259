"""The output in what models return."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from bptt_oracle.checklist.values import (
    batch_axis,
    map_tensors,
    output_tensor,
    replace_output,
    tensors_in,
)
from support.calculus import rejects

Y, S = torch.ones(2, 3), torch.zeros(1, 2, 4)


class Named(NamedTuple):
    loss: torch.Tensor
    logits: torch.Tensor


@dataclass
class Data:
    loss: object
    last_hidden_state: torch.Tensor


RETURNED = [
    Y,
    (Y, S),
    [Y, S],
    ((Y, S), S),
    (torch.tensor(1.0), Y),
    {"logits": Y, "state": S},
    {"loss": None, "output": Y},
    SimpleNamespace(logits=Y, loss=None),
    SimpleNamespace(loss=None, logits=(Y, S)),
    Named(torch.tensor(1.0), Y),
    Data(None, Y),
]


@pytest.mark.parametrize("returned", RETURNED)
def test_the_output_is_found_and_replaced(returned):
    assert output_tensor(returned) is Y
    new = replace_output(returned, S)
    assert type(new) is type(returned)
    assert output_tensor(new) is S
    assert output_tensor(returned) is Y  # the original is as it was


def test_a_pack_is_padded():
    pack = pack_padded_sequence(torch.ones(2, 3, 4), torch.tensor([3, 1]), True)
    output = output_tensor((pack, S))
    assert output.shape == (2, 3, 4) and output.sum() == 16
    assert map_tensors(lambda t: 2 * t, pack).data.sum() == 32


@pytest.mark.parametrize("returned", [None, (), "logits", {"other": S}, SimpleNamespace(a=1)])
def test_what_has_no_output_is_rejected(returned):
    rejects(TypeError, "Expected a tensor", output_tensor, returned)


def test_tensors_are_found_at_any_depth():
    assert [id(t) for t in tensors_in({"a": (Y, [S]), "b": SimpleNamespace(c=Y), "d": 1})] == [
        id(Y),
        id(S),
        id(Y),
    ]


def test_the_axis_of_the_rows_is_the_one_with_their_number():
    assert batch_axis(S, 2, 1) == 1
    assert batch_axis(S.transpose(0, 1), 2, 1) == 0
    assert batch_axis(Y, 2, 0) == 0
    rejects(ValueError, "one result for each of 5 rows", batch_axis, Y, 5, 0)
