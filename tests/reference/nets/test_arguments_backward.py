"""Invalid cotangents and dropout masks are rejected, and a rejection changes nothing."""

import numpy as np
import pytest
import torch

from reference import LSTM, PackedSequence
from reference.cells.table import CELL_TABLE
from reference.sequences.packing import pack_padded_sequence
from support.rejections import (
    ACCEPTS,
    Row,
    bits,
    each,
    net_and_module,
    rejects_row,
    to_torch,
    torch_rejects_row,
)

NETS = ("RNN", "GRU", "LSTM")
normal = np.random.default_rng(0).standard_normal
X, D_OUTPUT, D_STATE = normal((5, 3, 4)), normal((5, 3, 6)), normal((1, 3, 6))

OUTPUTS = [
    Row("width", normal((5, 3, 7)), RuntimeError, r"d_output of size \(5, 3, 6\),.*\(5, 3, 7\)"),
    Row("rank", normal((5, 3)), RuntimeError, r"d_output of size \(5, 3, 6\),.* got \(5, 3\)"),
    Row("batch first", normal((3, 5, 6)), RuntimeError, r"d_output of .* got \(3, 5, 6\)"),
    Row("complex", D_OUTPUT * 1j, RuntimeError, "the same dtype as .*, but got complex128"),
    Row("list", [[0.5]], TypeError, "d_output should be an array, got list"),
    Row("number", 3, TypeError, "d_output should be an array, got int"),
    Row("float32", D_OUTPUT.astype("f"), RuntimeError, "but got float32: convert it", ACCEPTS),
]
STATES = [
    Row("width", normal((1, 3, 7)), RuntimeError, r"d_h_n of size \(1, 3, 6\),.* \(1, 3, 7\)"),
    Row("batch", D_STATE[:, :2], RuntimeError, r"d_h_n of size \(1, 3, 6\),.* got \(1, 2, 6\)"),
    Row("layers", normal((2, 3, 6)), RuntimeError, r"d_h_n of .* got \(2, 3, 6\)"),
    Row("rank", D_STATE[0], RuntimeError, r"d_h_n of .* got \(3, 6\)"),
    Row("complex", D_STATE * 1j, RuntimeError, "the same dtype as .*, but got complex128"),
    Row("list", [[0.5]], TypeError, "d_h_n should be an array, got list"),
    Row("float32", D_STATE.astype("f"), RuntimeError, "but got float32: convert it", ACCEPTS),
]


@pytest.mark.claim("A2")
@each(OUTPUTS, NETS)
def test_a_cotangent_unlike_the_output_is_rejected(name, row):
    net, module, params = net_and_module(name, 4, 6)
    tape = net.forward(params, X)[2]
    rejects_row(row, net.backward, tape, row.arguments)
    torch_rejects_row(row, torch.autograd.backward, module(to_torch(X))[0], to_torch(row.arguments))


@pytest.mark.claim("A2")
@each(STATES, NETS)
def test_a_cotangent_unlike_the_state_is_rejected(name, row):
    net, module, params = net_and_module(name, 4, 6)
    tape = net.forward(params, X)[2]
    d_state = (row.arguments, None) if name == "LSTM" else row.arguments
    rejects_row(row, net.backward, tape, None, d_state)
    h_n = module(to_torch(X))[1]
    h_n = h_n[0] if name == "LSTM" else h_n
    torch_rejects_row(row, torch.autograd.backward, h_n, to_torch(row.arguments))


@pytest.mark.claim("A2")
def test_the_cotangent_of_an_lstms_state_is_a_pair_either_of_which_may_be_none():
    net, _, params = net_and_module("LSTM", 4, 6)
    tape = net.forward(params, X)[2]
    rejects_row(
        Row("", 0, TypeError, r"the pair \(h, c\), got nda"), net.backward, tape, None, D_STATE
    )
    row = Row("", 0, RuntimeError, "two hidden states, .* got 1 in d_state")
    rejects_row(row, net.backward, tape, None, (D_STATE,))
    row = Row("", 0, RuntimeError, r"Expected d_c_n of .* got \(1, 3, 5\)")
    rejects_row(row, net.backward, tape, None, (None, D_STATE[..., :5]))
    net.backward(tape, None, (None, D_STATE))


LENGTHS = [2, 5, 3]


def pack(x, lengths=LENGTHS):
    """x [5, 3, ·] packed."""
    return pack_padded_sequence(x, lengths, enforce_sorted=False)


OF_PACKED = [
    Row("array", D_OUTPUT, TypeError, r"be a PackedSequence .* use x._replace\(data=d_output\)"),
    Row("lengths", pack(D_OUTPUT, [2, 5, 4]), RuntimeError, "should be packed as the input is"),
    Row("order", pack(D_OUTPUT, [3, 5, 2]), RuntimeError, "should be packed as the input is"),
    Row("width", pack(D_OUTPUT[..., :5]), RuntimeError, r"of size \(10, 6\),.* got \(10, 5\)"),
]


@pytest.mark.claim("P2")
@each(OF_PACKED, NETS)
def test_a_cotangent_of_packed_output_is_packed_like_it(name, row):
    net, _, params = net_and_module(name, 4, 6)
    tape = net.forward(params, pack(X))[2]
    rejects_row(row, net.backward, tape, row.arguments)
    net.backward(tape, pack(D_OUTPUT))


def test_a_packed_cotangent_of_a_dense_output_is_rejected():
    net, _, params = net_and_module("GRU", 4, 6)
    tape = net.forward(params, X)[2]
    row = Row("", pack(D_OUTPUT), TypeError, "d_output should be an array, got PackedSequence")
    rejects_row(row, net.backward, tape, row.arguments)


MASK = normal((5, 3, 6)) > 0
MASKS = [
    Row("none", [], ValueError, "expected 1 dropout masks, one for each layer but the last, got 0"),
    Row("of every layer", [MASK, MASK], ValueError, "expected 1 dropout masks, .* got 2"),
    Row("shape", [MASK[..., :5]], RuntimeError, r"masks\[0\] of size \(5, 3, 6\),.* \(5, 3, 5\)"),
    Row("batch first", [MASK.swapaxes(0, 1)], RuntimeError, r"of size \(5, 3, 6\),.* \(3, 5, 6\)"),
    Row("scaled", [MASK / 0.7], ValueError, r"ones where .* scale 1 / \(1 − p\) is applied here"),
    Row("list", [[0.5]], TypeError, r"dropout_masks\[0\] should be an array, got list"),
    Row("complex", [MASK * (1 + 0j)], RuntimeError, "should be bool or float64, got complex128"),
]


@pytest.mark.claim("A7")
@each(MASKS, NETS)
def test_dropout_masks_other_than_zeros_and_ones_between_layers_are_rejected(name, row):
    net, _, params = net_and_module(name, 4, 6, 2, dropout=0.3)
    rejects_row(row, net.forward, params, X, None, row.arguments)
    expected = net.forward(params, X, None, [MASK])[0]
    np.testing.assert_array_equal(net.forward(params, X, None, [MASK * 1.0])[0], expected)


@pytest.mark.claim("A7")
def test_dropout_masks_of_packed_input_are_packed_like_it():
    net, _, params = net_and_module("LSTM", 4, 6, 2, dropout=0.3, bidirectional=True, proj_size=2)
    mask = normal((5, 3, 4)) > 0
    net.forward(params, pack(X), None, [pack(mask)])
    row = Row("", mask, TypeError, r"dropout_masks\[0\] should be a PackedSequence")
    rejects_row(row, net.forward, params, pack(X), None, [mask])
    row = Row("", mask, RuntimeError, r"dropout_masks\[0\] should be packed as the input is")
    rejects_row(row, net.forward, params, pack(X), None, [pack(mask, [2, 3, 5])])


# One mistake of each kind: x, state, masks.
LATE = [
    Row("x", (X[..., :3], None, None), RuntimeError, "input_size"),
    Row("dtype", (X.astype("f"), None, None), ValueError, "dtype"),
    Row("h_0", (X, (normal((2, 2, 6)), normal((2, 3, 6))), None), RuntimeError, "h_0"),
    Row("c_0", (X, (normal((2, 3, 6)), normal((2, 3, 5))), None), RuntimeError, "c_0"),
    Row("mask", (X, None, [MASK / 0.7]), ValueError, "mask"),
    Row("pack", (PackedSequence(X[0], np.array([2, 2])), None, None), RuntimeError, "sum to"),
]


@pytest.mark.claim("A2")
@each(LATE)
def test_arguments_are_rejected_before_any_computation_and_not_changed(row, monkeypatch):
    net = LSTM(4, 6, 2, dropout=0.3)
    params = net.init(np.random.default_rng(1))
    arguments = [params, *row.arguments]
    before = bits(arguments)
    broken = CELL_TABLE["LSTM"]._replace(net_input=None, step=None)
    monkeypatch.setitem(CELL_TABLE, "LSTM", broken)
    rejects_row(row, net.forward, *arguments)
    assert bits(arguments) == before


@pytest.mark.claim("A2")
@pytest.mark.parametrize("name", NETS)
def test_after_a_rejected_cotangent_the_tape_gives_the_same_gradients(name):
    net, _, params = net_and_module(name, 4, 6)
    output, state, tape = net.forward(params, X)
    expected = bits(net.backward(tape, output, state))
    for row in OUTPUTS:
        with pytest.raises(row.error):
            net.backward(tape, row.arguments, state)
    for row in STATES:
        with pytest.raises(row.error):
            net.backward(tape, output, [row.arguments] * 2 if name == "LSTM" else row.arguments)
    assert bits(net.backward(tape, output, state)) == expected
