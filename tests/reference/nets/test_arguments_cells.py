"""Single-step cells reject what torch's reject, with its classes: RuntimeError for a dtype."""

import numpy as np
import pytest

from reference import LSTMCell
from reference.sequences.packing import pack_sequence
from support.rejections import Row, each, net_and_module, rejects_row, to_torch, torch_rejects_row

PLAIN, LSTM = ("RNNCell", "GRUCell"), ("LSTMCell",)
CELLS = PLAIN + LSTM
normal = np.random.default_rng(0).standard_normal
X, H, C = normal((3, 4)), normal((3, 6)), normal((3, 6))

DTYPE = "input and parameters must have the same dtype, but got {} and float64: convert"
INPUTS = [
    Row("list", [[1.0]], AttributeError, "input of .*Cell should be an array, got list"),
    Row("packed", pack_sequence([X]), AttributeError, "be an array, got PackedSequence"),
    Row("0-D", np.array(1.5), ValueError, "Cell: Expected input to be 1D or 2D, .* got 0D"),
    Row("3-D", X[None], ValueError, "Cell: Expected input to be 1D or 2D, .* got 3D"),
    Row("features", X[:, :3], RuntimeError, r"input_size: got 3 in shape \(3, 3\), expected 4"),
    Row("features unbatched", X[0, :3], RuntimeError, "inconsistent input_size: got 3"),
    Row("float32", X.astype("f"), RuntimeError, DTYPE.format("float32")),
    Row("integers", np.arange(12).reshape(3, 4), RuntimeError, DTYPE.format("int64")),
]
SIZE = r"Expected h of size \({}\), \[batch, hidden_size\].*, got \({}\)"
STATES = [
    Row("3-D", (X, H[None]), ValueError, "Cell: Expected h to be 1D or 2D, got 3D"),
    Row("0-D", (X, np.array(0.5)), ValueError, "Cell: Expected h to be 1D or 2D, got 0D"),
    Row("width", (X, normal((3, 7))), RuntimeError, SIZE.format("3, 6", "3, 7")),
    Row("batch", (X, H[:2]), RuntimeError, SIZE.format("3, 6", "2, 6")),
    Row("one row for all", (X, H[:1]), RuntimeError, SIZE.format("3, 6", "1, 6")),
    Row("1-D for a batch", (X, H[0]), RuntimeError, SIZE.format("3, 6", "6,")),
    Row("2-D for none", (X[0], H[:1]), RuntimeError, SIZE.format("6,", "1, 6")),
    Row("float32", (X, H.astype("f")), RuntimeError, "h must have the same dtype as"),
]
OF_ONE_STATE = [
    Row("list", (X, [[0.5]]), AttributeError, "h should be an array, got list"),
    Row("number", (X, 5), AttributeError, "h should be an array, got int"),
    Row("pair", (X, (H, C)), AttributeError, "h should be an array, got tuple"),
]
TWO = "lstm expects two hidden states, the pair .*, got {} in state"
OF_A_PAIR = [
    Row("h alone", (X, H), TypeError, r"should be the pair \(h, c\), got ndarray"),
    Row("number", (X, 5), TypeError, r"should be the pair \(h, c\), got int"),
    Row("1-tuple", (X, (H,)), RuntimeError, TWO.format(1)),
    Row("3-tuple", (X, (H, C, C)), RuntimeError, TWO.format(3)),
    Row("None twice", (X, (None, None)), AttributeError, "h should be an array, got NoneType"),
    Row("c's width", (X, (H, normal((3, 5)))), RuntimeError, r"Expected c .* got \(3, 5\)"),
    Row("c's batch", (X, (H, C[:2])), RuntimeError, r"Expected c .* got \(2, 6\)"),
    Row("c's rank", (X, (H, C[None])), ValueError, "Expected c to be 1D or 2D, got 3D"),
]


@pytest.mark.claim("A9")
@each(INPUTS, CELLS)
def test_an_invalid_input_is_rejected(name, row):
    net, module, params = net_and_module(name, 4, 6)
    rejects_row(row, net.forward, params, row.arguments)
    torch_rejects_row(row, module, to_torch(row.arguments))


@pytest.mark.claim("A9")
@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param(name, row, id=f"{name}-{row.id}")
        for names, rows in [(CELLS, STATES), (PLAIN, OF_ONE_STATE), (LSTM, OF_A_PAIR)]
        for name in names
        for row in rows
    ],
)
def test_an_invalid_state_is_rejected(name, row):
    net, module, params = net_and_module(name, 4, 6)
    x, state = row.arguments
    if row in STATES and name == "LSTMCell":
        state = (state, state)
    rejects_row(row, net.forward, params, x, state)
    torch_rejects_row(row, module, to_torch(x), to_torch(state))


@pytest.mark.claim("A9")
def test_the_state_of_an_lstm_cell_is_a_pair_of_any_kind():
    net, _, params = net_and_module("LSTMCell", 4, 6)
    expected, _ = net.forward(params, X, (H, C))
    np.testing.assert_array_equal(net.forward(params, X, [H, C])[0], expected)


COTANGENTS = [
    Row("batch", H[:2], RuntimeError, r"Expected d_h of .*\(3, 6\),.* got \(2, 6\)"),
    Row("float32", H.astype("f"), RuntimeError, "d_h must have the same dtype as"),
    Row("list", [[0.5]], TypeError, "d_h should be an array, got list"),
]


@pytest.mark.claim("A9")
@each(COTANGENTS, CELLS)
def test_a_cotangent_unlike_the_state_is_rejected(name, row):
    net, _, params = net_and_module(name, 4, 6)
    _, tape = net.forward(params, X)
    d = (row.arguments, None) if name == "LSTMCell" else row.arguments
    rejects_row(row, net.backward, tape, d)


@pytest.mark.claim("A9")
def test_the_cotangent_of_an_lstm_cell_is_a_pair_either_of_which_may_be_none():
    net = LSTMCell(4, 6)
    _, tape = net.forward(net.init(np.random.default_rng(1)), X)
    rejects_row(Row("", H, TypeError, "should be the pair"), net.backward, tape, H)
    rejects_row(Row("", H, RuntimeError, TWO[:40]), net.backward, tape, (H, C, C))
    either = [net.backward(tape, d).x for d in [(H, None), (None, C), (None, None)]]
    np.testing.assert_allclose(either[0] + either[1], net.backward(tape, (H, C)).x, rtol=1e-12)
    assert not either[2].any()


@pytest.mark.claim("A9")
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("B", "inputs", "hidden"), [(0, 4, 6), (3, 0, 6), (3, 4, 0)])
def test_zero_rows_features_or_hidden_units_are_valid(name, B, inputs, hidden):
    net, module, params = net_and_module(name, inputs, hidden)
    x = normal((B, inputs))
    after, tape = net.forward(params, x)
    theirs = module(to_torch(x))
    for ours, tensor in zip(
        *[v if isinstance(v, tuple) else (v,) for v in (after, theirs)], strict=True
    ):
        assert ours.shape == tuple(tensor.shape)
    grads = net.backward(tape, after)
    assert grads.x.shape == x.shape
    assert {k: v.shape for k, v in grads.params.items()} == net.parameter_shapes()
