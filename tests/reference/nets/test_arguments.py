"""Nets reject what torch rejects: the same class, a clear sentence, before any computation.

A row has `torch` if torch behaves differently: it raises another class, or accepts.
"""

import warnings

import numpy as np
import pytest
import torch

import reference
from reference import PackedSequence
from reference.sequences.packing import pack_padded_sequence
from support.rejections import (
    ACCEPTS,
    Row,
    each,
    net_and_module,
    rejects_row,
    same_since,
    to_torch,
    torch_rejects_row,
)

NETS, PLAIN, LSTM = ("RNN", "GRU", "LSTM"), ("RNN", "GRU"), ("LSTM",)
CELLS = ("RNNCell", "GRUCell", "LSTMCell")
PLAIN_CELLS, LSTM_CELL = ("RNNCell", "GRUCell"), ("LSTMCell",)
normal = np.random.default_rng(0).standard_normal
X = normal((5, 3, 4))


def mistake(error, message, *positional, torch="the same", **options):
    """A row of a constructor's arguments."""
    shown = [f"{a!r}" for a in positional] + [f"{k}={v!r}" for k, v in options.items()]
    return Row(",".join(shown), (positional, options), error, message, torch)


A_NUMBER = r"dropout should be a number in range \[0, 1\] .*, got "
STRICT = same_since("2.11")
FIRST = same_since("2.11", before=ValueError)  # of hidden_size
OF_NETS = [
    mistake(ValueError, "input_size must be greater than zero, got 0", 0, 6, torch=STRICT),
    mistake(ValueError, "hidden_size must be greater than zero, got -1", 4, -1),
    mistake(ValueError, "num_layers must be greater than zero, got 0", 4, 6, 0),
    mistake(TypeError, "input_size should be of type int, got: float 4.0", 4.0, 6),
    mistake(TypeError, "hidden_size should be of type int, got: str '6'", 4, "6"),
    mistake(
        TypeError, "input_size should be of type int, got: int64", np.int64(4), 6, torch=STRICT
    ),
    mistake(TypeError, "num_layers should be of type int, got: float", 4, 6, 2.0),
    mistake(TypeError, "num_layers should be of type int, got: str", 4, 6, "2"),
    mistake(TypeError, "bias should be of type bool, got: int 1", 4, 6, bias=1, torch=STRICT),
    mistake(TypeError, "bias should be of type bool, got: NoneType", 4, 6, bias=None, torch=STRICT),
    mistake(
        TypeError,
        "batch_first should be of type bool, got: str",
        4,
        6,
        batch_first="y",
        torch=STRICT,
    ),
    mistake(ValueError, A_NUMBER + "True", 4, 6, dropout=True),
    mistake(ValueError, A_NUMBER + "-0.1", 4, 6, dropout=-0.1),
    mistake(ValueError, A_NUMBER + "1.5", 4, 6, dropout=1.5),
    mistake(ValueError, A_NUMBER + "nan", 4, 6, dropout=float("nan")),
    mistake(ValueError, A_NUMBER + "'0.5'", 4, 6, dropout="0.5"),
    mistake(TypeError, A_NUMBER + "None", 4, 6, dropout=None),
    mistake(TypeError, A_NUMBER + "0.5j", 4, 6, dropout=0.5j),
    # Of two mistakes, the one that torch checks first.
    mistake(ValueError, A_NUMBER + "2", 0, 6, dropout=2),
    mistake(TypeError, "bias should be of type bool", 0, 6, bias=1, torch=STRICT),
    mistake(TypeError, "batch_first should be of type bool", "4", 0, batch_first=0, torch=FIRST),
    mistake(TypeError, "input_size should be of type int", "4", 0, torch=FIRST),
    mistake(ValueError, "hidden_size must be greater than zero", 4, 0, 0),
    # Torch accepts these with another meaning.
    mistake(TypeError, "bidirectional should be .*str", 4, 6, bidirectional="x", torch=ACCEPTS),
    mistake(TypeError, "bidirectional should be .*int", 4, 6, bidirectional=2, torch=ACCEPTS),
    mistake(TypeError, "num_layers should be .*bool", 4, 6, True, torch=ACCEPTS),
    mistake(TypeError, "input_size should be .*bool", True, 6, torch=ACCEPTS),
]
OF_PLAIN_NETS = [
    mistake(ValueError, "proj_size argument is only supp.* got 0: leave it", 4, 6, proj_size=0),
    mistake(ValueError, "proj_size argument is only supp.* got 2: leave it", 4, 6, proj_size=2),
    mistake(ValueError, "proj_size argument is only supported", 0, 6, proj_size=2, bias=1),
]
OF_LSTM = [
    mistake(ValueError, "should be a positive integer or zero .* got -1", 4, 6, proj_size=-1),
    mistake(ValueError, "has to be smaller than hidden_size, got 6 and 6", 4, 6, proj_size=6),
    mistake(TypeError, "proj_size should be of type int, got: float", 4, 6, proj_size=2.0),
    mistake(TypeError, "proj_size should be of type int, got: NoneType", 4, 6, proj_size=None),
]
OF_RNN = [
    mistake(ValueError, "Unknown nonlinearity 'gelu': select from", 4, 6, nonlinearity="gelu"),
    mistake(ValueError, "Unknown nonlinearity 'None'", 4, 6, nonlinearity=None),
    mistake(ValueError, "Unknown nonlinearity 'gelu'", 0, 6, nonlinearity="gelu", dropout="x"),
]
OF_CELLS = [
    mistake(RuntimeError, "Trying to create tensor with negative dimension", -1, 6),
    mistake(RuntimeError, "hidden_size should be 0 or more, got -1", 4, -1),
    mistake(TypeError, "input_size should be of type int, got: float", 4.0, 6),
    mistake(TypeError, "hidden_size should be of type int, got: str", 4, "6"),
    mistake(TypeError, "input_size should be of type int, got: bool", True, 6, torch=ACCEPTS),
    mistake(TypeError, "bias should be of type bool, got: str", 4, 6, "relu", torch=ACCEPTS),
]
OF_RNN_CELL = [  # torch raises in forward, RuntimeError
    mistake(ValueError, "Unknown nonlinearity 'gelu'", 4, 6, nonlinearity="gelu", torch=ACCEPTS)
]


@pytest.mark.claim("A2")
@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param(name, row, id=f"{name}({row.id})")
        for names, rows in [
            (NETS, OF_NETS),
            (PLAIN, OF_PLAIN_NETS),
            (LSTM, OF_LSTM),
            (("RNN",), OF_RNN),
            (CELLS, OF_CELLS),
            (("RNNCell",), OF_RNN_CELL),
        ]
        for name in names
        for row in rows
    ],
)
def test_a_constructor_rejects(name, row):
    positional, options = row.arguments
    rejects_row(row, getattr(reference, name), *positional, **options)
    torch_rejects_row(row, getattr(torch.nn, name), *positional, **options)


@pytest.mark.claim("A2")
@pytest.mark.parametrize("name", [*PLAIN, *CELLS])
def test_python_rejects_an_argument_that_is_not_in_the_signature(name):
    options = ("nonlinearity", "proj_size") if name == "RNN" else ("proj_size",)
    option = "projection" if name in PLAIN else options[-1]
    for library in (reference, torch.nn):
        with pytest.raises(TypeError, match="unexpected keyword"):
            getattr(library, name)(4, 6, **{option: 2})


@pytest.mark.claim("A2")
@pytest.mark.parametrize("name", PLAIN)
def test_proj_size_by_position_is_rejected_where_torch_accepts_it_and_forward_fails(name):
    nonlinearity = ("tanh",) if name == "RNN" else ()
    arguments = (4, 6, 1, *nonlinearity, True, False, 0.0, False, 2)
    with pytest.raises(TypeError, match="positional arguments but"):
        getattr(reference, name)(*arguments)
    with pytest.raises(RuntimeError, match="Expected hidden size"):
        getattr(torch.nn, name)(*arguments).double()(to_torch(X))


@pytest.mark.claim("A2")
@pytest.mark.parametrize("name", NETS)
def test_dropout_with_one_layer_warns_at_the_line_of_the_constructor(name):
    messages = []
    for library in (reference, torch.nn):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            getattr(library, name)(4, 6, dropout=0.3)
        (warning,) = caught
        messages.append((warning.category, str(warning.message)))
    assert messages[0] == messages[1]
    with pytest.warns(UserWarning) as caught:
        getattr(reference, name)(4, 6, dropout=0.3)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(reference, name)(4, 6, 2, dropout=0.3)
        getattr(reference, name)(4, 6)


def state_of(name, h):
    """A state whose h, and c if there is one, has this shape."""
    if not isinstance(h, tuple):
        return h
    return (normal(h), normal(h)) if name.startswith("LSTM") else normal(h)


DTYPE = r"input dtype \({}\) does not match weight dtype \(float64\): convert"
TOO_SHORT = r"Expected sequence length to be larger than 0, got .* \({}\)"
H_0 = r"Expected h_0 of size \({}\), \[layers·directions, batch, features\].*, got \({}\)"
INPUTS = [
    Row("list", [[1.0]], AttributeError, "input of .* should be an array, got list"),
    Row("None", None, AttributeError, "input of .* should be an array, got NoneType"),
    Row("tuple", (X, X), AttributeError, "input of .* should be an array, got tuple"),
    Row("0-D", np.array(1.5), ValueError, "Expected input to be 2D, .* or 3D, .* got 0D"),
    Row("1-D", normal(4), ValueError, "Expected input to be 2D, .* or 3D, .* got 1D"),
    Row("4-D", normal((2, 5, 3, 4)), ValueError, "Expected input to be 2D.* got 4D"),
    Row("features", X[..., :3], RuntimeError, r"to input_size, expected 4, got 3 in shape \(5, 3"),
    Row("features unbatched", X[:, 0, :3], RuntimeError, "input_size, expected 4, got 3 in"),
    Row("float32", X.astype("f"), ValueError, DTYPE.format("float32")),
    Row("integers", np.arange(60).reshape(5, 3, 4), ValueError, DTYPE.format("int64")),
    Row("complex", X + 1j, ValueError, DTYPE.format("complex128")),
    Row("no steps", X[:0], RuntimeError, TOO_SHORT.format("0, 3, 4")),
    Row("no steps unbatched", X[:0, 0], RuntimeError, TOO_SHORT.format("0, 4")),
]
# x, and the shape of h_0 and c_0 or an invalid state
STATES = [
    Row("batch", (X, (1, 2, 6)), RuntimeError, H_0.format("1, 3, 6", "1, 2, 6")),
    Row("layers", (X, (2, 3, 6)), RuntimeError, H_0.format("1, 3, 6", "2, 3, 6")),
    Row("width", (X, (1, 3, 7)), RuntimeError, H_0.format("1, 3, 6", "1, 3, 7")),
    Row("batch first", (X, (3, 1, 6)), RuntimeError, "with or without batch_first, got"),
    Row("2-D", (X, (1, 6)), RuntimeError, H_0.format("1, 3, 6", "1, 6")),
    Row("3-D", (X[:, 0], (1, 1, 6)), RuntimeError, H_0.format("1, 6", "1, 1, 6")),
]
OF_ONE_STATE = [
    Row("list", (X, [[0.5]]), AttributeError, "h_0 should be an array, got list"),
    Row("number", (X, 5), AttributeError, "h_0 should be an array, got int"),
    Row("pair", (X, (normal((1, 3, 6)),) * 2), AttributeError, "should be an array, got tuple"),
    Row("float32", (X, normal((1, 3, 6)).astype("f")), RuntimeError, "h_0 must have the same dty"),
]
h, c, short = normal((1, 3, 6)), normal((1, 3, 6)), normal((1, 3, 5))
TWO = "lstm expects two hidden states, the pair .*, got "
OF_A_PAIR = [
    Row("h alone", (X, h), IndexError, r"should be the pair \(h, c\), got ndarray"),
    Row("1-tuple", (X, (h,)), IndexError, TWO + "1 in state"),
    Row("empty", (X, ()), IndexError, TWO + "0 in state"),
    Row("3-tuple", (X, (h, c, c)), RuntimeError, TWO + "3 in state"),
    Row("number", (X, 5), TypeError, r"should be the pair \(h, c\), got int"),
    Row("None twice", (X, (None, None)), AttributeError, "h_0 should be an array, got NoneType"),
    Row("no c", (X, (h, None)), AttributeError, "c_0 should be an array, got NoneType"),
    Row("c's width", (X, (h, short)), RuntimeError, r"Expected c_0 of .*got \(1, 3, 5\)"),
    Row("float32", (X, (h.astype("f"), c)), RuntimeError, "h_0 must have the same dtype as"),
    Row("c float32", (X, (h, c.astype("f"))), RuntimeError, "c_0 must have the sam", ACCEPTS),
    Row("c's rank", (X, (h, c[0])), RuntimeError, r"Expected c_0 of .*got \(3, 6\)"),
]


@pytest.mark.claim("A2")
@each(INPUTS, NETS)
def test_an_invalid_input_is_rejected(name, row):
    net, module, params = net_and_module(name, 4, 6)
    rejects_row(row, net.forward, params, row.arguments)
    torch_rejects_row(row, module, to_torch(row.arguments))


@pytest.mark.claim("A2")
@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param(name, row, id=f"{name}-{row.id}")
        for names, rows in [(NETS, STATES), (PLAIN, OF_ONE_STATE), (LSTM, OF_A_PAIR)]
        for name in names
        for row in rows
    ],
)
def test_an_invalid_state_is_rejected(name, row):
    net, module, params = net_and_module(name, 4, 6)
    x, state = row.arguments
    if row in STATES:
        state = state_of(name, state)
    rejects_row(row, net.forward, params, x, state)
    torch_rejects_row(row, module, to_torch(x), to_torch(state))


@pytest.mark.claim("A2")
@pytest.mark.parametrize(("layers", "does"), [(1, IndexError), (2, RuntimeError)])
def test_h_0_without_c_0_is_rejected_by_an_lstm_of_any_depth(layers, does):
    net, module, params = net_and_module("LSTM", 4, 6, layers)
    h_0 = normal((layers, 3, 6))
    row = Row("", h_0, IndexError, r"should be the pair \(h, c\), got ndarray", does)
    rejects_row(row, net.forward, params, X, h_0)
    torch_rejects_row(row, module, to_torch(X), to_torch(h_0))


@pytest.mark.claim("A2")
def test_the_state_of_an_lstm_is_a_pair_of_any_kind():
    net, _, params = net_and_module("LSTM", 4, 6)
    expected = net.forward(params, X, (h, c))[0]
    for state in ([h, c], reference.cells.lstm.State(h, c)):
        np.testing.assert_array_equal(net.forward(params, X, state)[0], expected)


@pytest.mark.claim("A2")
def test_h_0_has_the_width_of_the_projection_and_c_0_that_of_the_cell():
    net, module, params = net_and_module("LSTM", 4, 6, proj_size=2)
    row = Row("", (h, c), RuntimeError, r"Expected h_0 of size \(1, 3, 2\),.* got \(1, 3, 6\)")
    rejects_row(row, net.forward, params, X, row.arguments)
    torch_rejects_row(row, module, to_torch(X), to_torch(row.arguments))
    net.forward(params, X, (h[..., :2], c))


WEIGHT = normal((3, 6))
PARAMS = [
    Row("missing", lambda p: p.pop("weight_hh"), RuntimeError, r"missing \['weight_hh.*, unexp"),
    Row("extra", lambda p: p.update(foo=h), RuntimeError, r"missing \[\], unexpected \['foo.*\]"),
    Row("shape", lambda p: p.update(weight_hh=WEIGHT), RuntimeError, r"weight_hh.*got \(3, 6\)"),
    Row("list", lambda p: p.update(bias_hh=[0.5]), RuntimeError, "bias_hh.* be an array, got list"),
]


@pytest.mark.claim("A2")
@each(PARAMS, NETS + CELLS)
def test_parameters_that_torch_would_not_load_are_rejected(name, row):
    net, module, params = net_and_module(name, 4, 6)
    suffix = "_l0" if name in NETS else ""
    wrong = {key.removesuffix("_l0"): value for key, value in params.items()}
    row.arguments(wrong)
    wrong = {key + suffix: value for key, value in wrong.items()}
    rejects_row(row, net.forward, wrong, X[0] if suffix == "" else X)
    torch_rejects_row(row, module.load_state_dict, to_torch(wrong))


@pytest.mark.claim("A2")
@pytest.mark.parametrize("name", NETS + CELLS)
def test_parameters_that_are_not_a_dict_of_one_floating_dtype_are_rejected(name):
    net, module, params = net_and_module(name, 4, 6)
    x = X if name in NETS else X[0]
    row = Row("", list(params), TypeError, "should be a dict of arrays, got list")
    rejects_row(row, net.forward, row.arguments, x)
    torch_rejects_row(row, module.load_state_dict, row.arguments)
    last = list(params)[-1]
    mixed = params | {last: params[last].astype("f")}
    row = Row("", mixed, RuntimeError, f"{last} must have the same dtype as .* got float32")
    rejects_row(row, net.forward, mixed, x)
    getattr(module, last).data = getattr(module, last).data.float()
    torch_rejects_row(row, module, to_torch(x))
    whole = {key: np.ones(value.shape, int) for key, value in params.items()}
    row = Row("", whole, RuntimeError, "Only floating point and complex .* got dtype int64")
    rejects_row(row, net.forward, whole, x.astype(int))
    torch_rejects_row(row, torch.nn.Parameter, to_torch(whole[last]))


LENGTHS = {"sorted": [5, 3, 2], "unsorted": [2, 5, 3]}


def pack(x, order="sorted"):
    """x [5, 3, ·] packed."""
    return pack_padded_sequence(x, LENGTHS[order], enforce_sorted=order == "sorted")


# What torch does with rows of INPUTS and STATES if packed, where it differs from dense data.
BY_TORCH = {
    ("LSTM", "float32", "sorted"): RuntimeError,
    ("LSTM", "float32", "unsorted"): RuntimeError,
    ("LSTM", "integers", "sorted"): RuntimeError,
    ("LSTM", "integers", "unsorted"): RuntimeError,
    ("LSTM", "complex", "sorted"): RuntimeError,
    ("LSTM", "complex", "unsorted"): RuntimeError,
    ("LSTM", "2-D", "sorted"): IndexError,
    ("LSTM", "2-D", "unsorted"): IndexError,
    ("RNN", "2-D", "unsorted"): RuntimeError,
    ("LSTM", "None twice", "sorted"): TypeError,
}


@pytest.mark.claim("A2", "P3")
@pytest.mark.parametrize("order", LENGTHS)
@each([r for r in INPUTS if r.id in ("features", "float32", "integers", "complex")], NETS)
def test_packed_input_is_rejected_as_dense_input_is(name, row, order):
    net, module, params = net_and_module(name, 4, 6)
    row = row._replace(
        arguments=pack(row.arguments, order),
        message=row.message.replace(r"(5, 3", r"(10, 3"),
        torch=BY_TORCH.get((name, row.id, order), row.torch),
    )
    rejects_row(row, net.forward, params, row.arguments)
    torch_rejects_row(row, module, to_torch(row.arguments))


@pytest.mark.claim("A2", "P3")
@pytest.mark.parametrize("order", LENGTHS)
@each([r for r in STATES if r.id != "3-D"], NETS)
def test_the_state_of_packed_input_is_rejected_as_that_of_dense_input_is(name, row, order):
    net, module, params = net_and_module(name, 4, 6)
    x, state = pack(X, order), state_of(name, row.arguments[1])
    row = row._replace(torch=BY_TORCH.get((name, row.id, order), row.torch))
    rejects_row(row, net.forward, params, x, state)
    torch_rejects_row(row, module, to_torch(x), to_torch(state))


@pytest.mark.claim("A2", "P3")
@pytest.mark.parametrize("name", NETS)
def test_more_states_than_sequences_are_rejected_where_torch_drops_them_from_an_unsorted_pack(name):
    net, module, params = net_and_module(name, 4, 6)
    row = Row("", (1, 4, 6), RuntimeError, H_0.format("1, 3, 6", "1, 4, 6"))
    state = state_of(name, row.arguments)
    rejects_row(row, net.forward, params, pack(X), state)
    torch_rejects_row(row, module, to_torch(pack(X)), to_torch(state))
    rejects_row(row, net.forward, params, pack(X, "unsorted"), state)
    torch_rejects_row(row._replace(torch=ACCEPTS), module, *to_torch([pack(X, "unsorted"), state]))


def packed(data, batch_sizes, *indices):
    """A PackedSequence made by hand."""
    return PackedSequence(data, np.array(batch_sizes, int), *[np.array(i) for i in indices])


INVERSE = "should be inverse permutations of the 3 sequences"
SIZES, BACK = np.array([3]), np.array([1, 2, 0])
BY_HAND = [
    Row("1-D", packed(normal(10), [3, 3, 2, 1, 1]), RuntimeError, "must have 2 dimensions, got 1"),
    Row("3-D", packed(normal((3, 4, 4)), [2, 1]), RuntimeError, "must have 2 dimensions, got 3"),
    Row("rows missing", packed(X[0], [2, 2, 2]), RuntimeError, "sum to 6, but the data has 3"),
    Row("growing", packed(X[:, 0], [2, 3]), RuntimeError, "not grow, got"),
    Row("float sizes", PackedSequence(X[0], SIZES * 1.0), TypeError, "be integers, got float64"),
    # Torch reads some of the rows or indices and ignores the rest.
    Row(
        "rows left", packed(X[:, 0], [2, 1]), RuntimeError, "sum to 3, but the data has 5", ACCEPTS
    ),
    Row("no steps", packed(X[:0, 0], []), RuntimeError, "should be positive", IndexError),
    Row("no rows", packed(X[:0, 0], [0]), RuntimeError, "should be positive", ACCEPTS),
    Row("twice", packed(X[0], [3], [0, 0, 1], [0, 1, 2]), RuntimeError, "a permut", ACCEPTS),
    Row("other", packed(X[0], [3], [1, 2, 0], [1, 2, 0]), RuntimeError, INVERSE, ACCEPTS),
    Row("few", packed(X[0], [3], [1, 0], [1, 0]), RuntimeError, INVERSE, ACCEPTS),
    Row("2-D sizes", packed(X[0], [[3]]), RuntimeError, "should be positive", same_since("2.15")),
    Row("no order", PackedSequence(X[0], SIZES, None, BACK), RuntimeError, INVERSE, ACCEPTS),
    Row("no inverse", packed(X[0], [3], [1, 2, 0]), RuntimeError, INVERSE, ACCEPTS),
]


@pytest.mark.claim("A2", "P2")
@each(BY_HAND, NETS)
def test_a_packed_sequence_with_contradictory_fields_is_rejected(name, row):
    net, module, params = net_and_module(name, 4, 6)
    rejects_row(row, net.forward, params, row.arguments)
    torch_rejects_row(row, module, to_torch(row.arguments))
