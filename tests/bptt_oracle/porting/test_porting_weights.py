"""Porting weights: the reference computes what the other framework's documentation says."""

import re
import subprocess
import sys
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt_oracle.ledger.claims import ROOT
from bptt_oracle.porting.conventions import FRAMEWORKS
from bptt_oracle.porting.weights import from_torch_names, to_torch_names
from reference import RecurrentNet
from support.other_frameworks import DOCUMENTED, documented_output

PAIRS = [(name, cell) for name, framework in FRAMEWORKS.items() for cell in framework.cells]
OTHERS = [pair for pair in PAIRS if pair[0] != "torch"]
PROJECTED = [("torch", "LSTM"), ("paddle", "LSTM")]
ONE_BIAS = ("keras LSTM", "keras GRU_TEXTBOOK", "keras RNN", "flax.nnx", "equinox")


def each(pairs):
    return pytest.mark.parametrize(("framework", "cell"), pairs, ids=map("-".join, pairs))


@st.composite
def nets(draw, cell, framework="torch"):
    """A net that the framework can store."""
    biased = FRAMEWORKS[framework].always_biased
    sizes = st.integers(1, 4)
    projection = (framework, cell) in PROJECTED and draw(st.booleans())
    H = draw(st.integers(2, 5))
    return RecurrentNet(
        cell,
        draw(sizes),
        H,
        num_layers=draw(st.integers(1, 3)),
        bidirectional=draw(st.booleans()),
        bias=True if biased else draw(st.booleans()),
        **({"proj_size": H - 1} if projection else {}),
    )


def parameters(net, seed, framework="torch"):
    """Standard normal; b_hn is 0 where the framework has none."""
    rng = np.random.default_rng(seed)
    params = {n: rng.standard_normal(s) for n, s in net.parameter_shapes().items()}
    if framework == "flax.nnx" and net.mode == "GRU":
        for name in params:
            if name.startswith("bias_hh"):
                params[name][2 * net.hidden_size :] = 0
    return params


def same(found, expected):
    """Assert equality bit by bit of nested lists, tuples and mappings of arrays, names in order."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            same(found[name], expected[name])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected) and type(found) is type(expected)
        for a, b in zip(found, expected, strict=True):
            same(a, b)
    else:
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def output_of(net, params, x):
    return net.forward(params, x)[0]


@each(OTHERS)
@given(data=st.data())
def test_the_translation_to_torch_computes_what_the_framework_documents(framework, cell, data):
    net = data.draw(nets(cell, framework))
    seed = data.draw(st.integers(0, 1000))
    weights = weights_of(net, framework, seed)
    x = np.random.default_rng(seed + 1).standard_normal((3, 2, net.input_size))
    params = to_torch_names(weights, framework=framework, cell=cell)
    assert {n: v.shape for n, v in params.items()} == net.parameter_shapes()
    documented = documented_output(weights, framework, cell, x, net.num_layers)
    np.testing.assert_allclose(output_of(net, params, x), documented, rtol=1e-10, atol=1e-12)


@each(OTHERS)
@given(data=st.data())
def test_the_translation_from_torch_computes_the_same(framework, cell, data):
    net = data.draw(nets(cell, framework))
    seed = data.draw(st.integers(0, 1000))
    params = parameters(net, seed, framework)
    x = np.random.default_rng(seed + 1).standard_normal((3, 2, net.input_size))
    weights = from_torch_names(params, framework=framework, cell=cell)
    documented = documented_output(weights, framework, cell, x, net.num_layers)
    np.testing.assert_allclose(output_of(net, params, x), documented, rtol=1e-10, atol=1e-12)


def weights_of(net, framework, seed):
    """Random weights in the framework's form and shapes, as its documentation states them."""
    rng = np.random.default_rng(seed)
    H, D = net.hidden_size, 1 + net.bidirectional
    G = {"LSTM": 4, "LSTM_PEEPHOLE": 4, "GRU": 3, "GRU_TEXTBOOK": 3}.get(net.mode, 1)
    P = net.proj_size or H
    layers, width = [], net.input_size
    for _ in range(net.num_layers):
        layers.append(
            [_cell(rng.standard_normal, framework, net, G, H, P, width) for _ in range(D)]
        )
        width = D * P
    if framework == "keras":
        return [[array for cell in layer for array in cell] for layer in layers]
    if framework == "onnx":
        return [{n: np.stack([cell[n] for cell in layer]) for n in layer[0]} for layer in layers]
    if framework == "paddle":
        prefixes = ("cell_fw", "cell_bw") if D == 2 else ("cell",)
        return {
            f"{k}.{prefix}.{name}": value
            for k, layer in enumerate(layers)
            for prefix, cell in zip(prefixes, layer, strict=True)
            for name, value in cell.items()
        }
    return [tuple(layer) if D == 2 else layer[0] for layer in layers]


def _cell(draw, framework, net, G, H, P, width):
    """The arrays of one layer and direction."""
    if framework == "keras":
        bias = draw((2, 3 * H)) if net.mode == "GRU" else draw(G * H)
        return [draw((width, G * H)), draw((H, G * H)), *([bias] if net.bias else [])]
    if framework == "onnx":
        node = {"W": draw((G * H, width)), "R": draw((G * H, H))}
        node |= {"B": draw(2 * G * H)} if net.bias else {}
        return node | ({"P": draw(3 * H)} if net.mode == "LSTM_PEEPHOLE" else {})
    if framework == "flax.nnx":
        dense_i, dense_h = {"kernel": draw((width, G * H))}, {"kernel": draw((H, G * H))}
        (dense_h if net.mode == "LSTM" else dense_i)["bias"] = draw(G * H)
        return {"dense_i": dense_i, "dense_h": dense_h}
    if framework == "equinox":
        cell = {"weight_ih": draw((G * H, width)), "weight_hh": draw((G * H, H))}
        cell |= {"bias": draw(G * H)} if net.bias else {}
        return cell | ({"bias_n": draw(H)} if net.bias and net.mode == "GRU" else {})
    cell = {"weight_ih": draw((G * H, width)), "weight_hh": draw((G * H, P))}
    cell |= {"bias_ih": draw(G * H), "bias_hh": draw(G * H)}
    return cell | ({"weight_ho": draw((H, P))} if net.proj_size else {})


def test_every_convention_is_compared_with_a_documentation():
    assert set(DOCUMENTED) == set(OTHERS)


@each(OTHERS)
@given(data=st.data())
def test_to_torch_and_back_is_the_same_bit_by_bit(framework, cell, data):
    net = data.draw(nets(cell, framework))
    weights = weights_of(net, framework, data.draw(st.integers(0, 1000)))
    params = to_torch_names(weights, framework=framework, cell=cell)
    same(from_torch_names(params, framework=framework, cell=cell), weights)


@each(PAIRS)
@given(data=st.data(), dtype=st.sampled_from(["float16", "float32", "float64"]))
def test_from_torch_and_back_merges_at_most_the_biases(framework, cell, data, dtype):
    net = data.draw(nets(cell, framework))
    params = parameters(net, data.draw(st.integers(0, 1000)), framework)
    params = {name: value.astype(dtype) for name, value in params.items()}
    weights = from_torch_names(params, framework=framework, cell=cell)
    back = to_torch_names(weights, framework=framework, cell=cell)
    if f"{framework} {cell}".startswith(ONE_BIAS):
        n = slice(2 * net.hidden_size, None)
        for name in [name for name in params if name.startswith("bias_ih")]:
            other = name.replace("ih", "hh")
            kept = params[other][n].copy() if framework == "equinox" and cell == "GRU" else None
            total = params[name] + params[other]
            if kept is not None:
                total[n] = params[name][n]
            params[name], params[other] = total, np.zeros_like(total)
            if kept is not None:
                params[other][n] = kept
    same(back, params)


@pytest.mark.parametrize("framework", ["flax.nnx", "paddle"])
def test_a_net_without_biases_gets_biases_of_zeros_where_the_framework_always_has_them(framework):
    net = RecurrentNet("GRU", 2, 3, bias=False)
    params = parameters(net, 0)
    weights = from_torch_names(params, framework=framework, cell="GRU")
    back = to_torch_names(weights, framework=framework, cell="GRU")
    zeros = {"bias_ih_l0": np.zeros(9), "bias_hh_l0": np.zeros(9)}
    same(back, params | zeros)


@each(PAIRS)
def test_the_arrays_are_new_and_contiguous(framework, cell):
    projection = {"proj_size": 2} if (framework, cell) in PROJECTED else {}
    params = parameters(RecurrentNet(cell, 2, 3, **projection), 0, framework)
    weights = from_torch_names(params, framework=framework, cell=cell)
    before = {name: value.copy() for name, value in params.items()}
    back = to_torch_names(weights, framework=framework, cell=cell)
    for array in back.values():
        assert array.flags.c_contiguous
        array[:] = 7
    same(params, before)
    for array in leaves(weights):
        assert not (array == 7).any() and array.flags.c_contiguous
        array[:] = 7
    same(params, before)


def leaves(weights):
    if isinstance(weights, np.ndarray):
        return [weights]
    parts = weights.values() if isinstance(weights, dict) else weights
    return [array for part in parts for array in leaves(part)]


def test_one_layer_may_stand_without_a_list():
    for framework in ("keras", "onnx", "flax.nnx", "equinox"):
        weights = weights_of(RecurrentNet("LSTM", 2, 3, bidirectional=True), framework, 0)
        of_list = to_torch_names(weights, framework=framework, cell="LSTM")
        same(to_torch_names(weights[0], framework=framework, cell="LSTM"), of_list)


def test_tensors_of_torch_are_read():
    torch = pytest.importorskip("torch")
    module = torch.nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2)
    arrays = {name: value.numpy() for name, value in module.state_dict().items()}
    same(to_torch_names(module.state_dict(), framework="torch", cell="LSTM"), arrays)


def test_paddles_names_of_the_net_are_passed_over_because_they_may_stand_for_other_arrays():
    weights = weights_of(RecurrentNet("LSTM", 2, 3, proj_size=2), "paddle", 0)
    params = to_torch_names(weights, framework="paddle", cell="LSTM")
    wrong = {"weight_ih_l0": np.zeros(1), "bias_hh_l0_reverse": np.zeros((4, 2))}
    same(to_torch_names(wrong | weights, framework="paddle", cell="LSTM"), params)


# Planted mistakes: the comparison with the documentation sees each wrong order of gates.


@each([pair for pair in OTHERS if "RNN" not in pair[1]])
def test_every_wrong_order_of_gates_is_seen(framework, cell, monkeypatch):
    convention = FRAMEWORKS[framework].cells[cell]
    net = RecurrentNet(cell, 2, 3)
    weights = weights_of(net, framework, 0)
    x = np.random.default_rng(1).standard_normal((3, 2, 2))
    documented = documented_output(weights, framework, cell, x)
    agreeing = []
    for order in map("".join, permutations(convention.gates)):
        altered = {cell: convention._replace(gates=order)}
        monkeypatch.setitem(FRAMEWORKS, framework, FRAMEWORKS[framework]._replace(cells=altered))
        output = output_of(net, to_torch_names(weights, framework=framework, cell=cell), x)
        if np.abs(output - documented).max() < 1e-3:
            agreeing.append(order)
    assert agreeing == [convention.gates]


@pytest.mark.parametrize("order", ["ifo", "oif", "ofi", "fio", "foi"])
def test_every_wrong_order_of_peepholes_is_seen(order, monkeypatch):
    net = RecurrentNet("LSTM_PEEPHOLE", 2, 3)
    weights = weights_of(net, "onnx", 0)
    x = np.random.default_rng(1).standard_normal((3, 2, 2))
    documented = documented_output(weights, "onnx", "LSTM_PEEPHOLE", x)
    convention = FRAMEWORKS["onnx"].cells["LSTM_PEEPHOLE"]
    monkeypatch.setitem(
        FRAMEWORKS["onnx"].cells, "LSTM_PEEPHOLE", convention._replace(peepholes=order)
    )
    output = output_of(net, to_torch_names(weights, framework="onnx", cell="LSTM_PEEPHOLE"), x)
    assert np.abs(output - documented).max() > 1e-3


# What cannot be translated


LSTM_KERAS = [np.zeros((2, 12)), np.zeros((3, 12)), np.zeros(12)]
GRU = parameters(RecurrentNet("GRU", 2, 3), 0)
REJECTED = {
    "framework": (GRU, "mxnet", "GRU", r"Expected framework to be one of torch, keras.*'mxnet'"),
    "cell": (
        GRU,
        "keras",
        "LSTM_PEEPHOLE",
        r"Expected a cell of Keras \(RNN_TANH.*'LSTM_PEEPHOLE'",
    ),
    "gates of another cell": (
        LSTM_KERAS,
        "keras",
        "GRU",
        r"Expected recurrent_kernel \[4, 12\] in the GRU \(reset_after=True\) of Keras with H = 4",
    ),
    "bias of the other GRU": (
        [np.zeros((2, 9)), np.zeros((3, 9)), np.zeros(9)],
        "keras",
        "GRU",
        r"Expected bias \[2, 9\] in the GRU \(reset_after=True\) of Keras with H = 3, got \[9\]",
    ),
    "columns not divisible": (
        [np.zeros((10, 2)), np.zeros((12, 3)), np.zeros(12)],
        "keras",
        "LSTM",
        r"Expected kernel \[·, 4 · H\] in the LSTM of Keras, got \[10, 2\]",
    ),
    "rows not divisible": (
        GRU,
        "torch",
        "LSTM",
        r"Expected weight_ih \[4 · H, ·\] in the LSTM of torch, got \[9, 2\]",
    ),
    "recurrent kernel": (
        [np.zeros((2, 12)), np.zeros((4, 12)), np.zeros(12)],
        "keras",
        "LSTM",
        r"Expected recurrent_kernel \[3, 12\] in the LSTM of Keras with H = 3, got \[4, 12\]",
    ),
    "five arrays": ([np.zeros(1)] * 5, "keras", "LSTM", "Expected 2 or 3 arrays in a layer.*got 5"),
    "no list": ({"kernel": np.zeros(1)}, "keras", "LSTM", "Expected a list of arrays.*got dict"),
    "no layers": ([], "keras", "LSTM", r"Expected the weights of one or more layers of Keras"),
    "integers": ([np.zeros((2, 4), int)] * 2, "keras", "LSTM", "floating dtype, got int64"),
    "no mapping": (3, "onnx", "LSTM", "Expected a mapping from names such as W, R, B, got int"),
    "no axis of directions": (
        {"W": np.zeros((12, 2)), "R": np.zeros((12, 3))},
        "onnx",
        "LSTM",
        r"first axis is 1 or 2, the number of directions, got W \[12, 2\], R \[12, 3\]",
    ),
    "no R": ({"W": np.zeros((1, 12, 2))}, "onnx", "LSTM", "Expected W, R, B in the LSTM.*got no R"),
    "peepholes of a plain LSTM": (
        {"W": np.zeros((1, 12, 2)), "R": np.zeros((1, 12, 3)), "P": np.zeros((1, 9))},
        "onnx",
        "LSTM",
        "Expected W, R, B in the LSTM of ONNX, got P",
    ),
    "no bias_n": (
        {"weight_ih": np.zeros((9, 2)), "weight_hh": np.zeros((9, 3)), "bias": np.zeros(9)},
        "equinox",
        "GRU",
        "Expected weight_ih, weight_hh, bias, bias_n in the GRU of Equinox, got no bias_n",
    ),
    "names of the net of Paddle": (GRU, "paddle", "GRU", "Expected the names of the cells"),
    "another name in Paddle": (
        {"lstm.x": np.zeros(1)},
        "paddle",
        "LSTM",
        "such as 0.cell.weight_ih",
    ),
    "another name in torch": (
        {"head": np.zeros(1)},
        "torch",
        "LSTM",
        "such as weight_ih_l0, got 'h",
    ),
    "no second direction": (
        {
            "weight_ih_l0": np.zeros(1),
            "weight_ih_l1": np.zeros(1),
            "bias_ih_l1_reverse": np.zeros(1),
        },
        "torch",
        "LSTM",
        "Expected weights of the reverse direction of layer 0, got none",
    ),
    "layers of two widths": (
        [LSTM_KERAS, [np.zeros((3, 16)), np.zeros((4, 16)), np.zeros(16)]],
        "keras",
        "LSTM",
        "one width, because torch's have one, got 3 and, in layer 1, 4",
    ),
    "inputs of the second layer": (
        [LSTM_KERAS, LSTM_KERAS],
        "keras",
        "LSTM",
        "Expected 3 inputs in layer 1, got 2",
    ),
    "biases in one layer only": (
        [LSTM_KERAS, [np.zeros((3, 12)), np.zeros((3, 12))]],
        "keras",
        "LSTM",
        "Expected weight_ih, weight_hh, bias_ih, bias_hh in layer 1, got weight_ih, weight_hh",
    ),
    "one and two directions": (
        [LSTM_KERAS, LSTM_KERAS * 2],
        "keras",
        "LSTM",
        r"same number of directions, got layers with \[1, 2\] directions",
    ),
}


def one_sentence(caught, pattern):
    message = str(caught.value)
    assert re.search(pattern, message), message
    assert message.endswith(".") and not re.search(r"\. [A-Z]", message), message


@pytest.mark.parametrize("name", REJECTED)
def test_what_is_not_of_the_frameworks_form_is_rejected_with_one_sentence(name):
    weights, framework, cell, pattern = REJECTED[name]
    with pytest.raises(ValueError) as caught:
        to_torch_names(weights, framework=framework, cell=cell)
    one_sentence(caught, pattern)


def test_what_the_framework_cannot_store_is_rejected_with_one_sentence():
    with pytest.raises(ValueError) as caught:
        from_torch_names(GRU, framework="flax.nnx", cell="GRU")
    one_sentence(caught, r"Expected b_hn = 0, because the GRU of flax.nnx has none, got values up")
    params = parameters(RecurrentNet("LSTM", 2, 3, proj_size=2), 0)
    with pytest.raises(ValueError) as caught:
        from_torch_names(params, framework="keras", cell="LSTM")
    one_sentence(caught, "Keras has no LSTM with a projection, and weight_hr was given")
    with pytest.raises(ValueError) as caught:
        from_torch_names({"weight_ih_l0": GRU["weight_ih_l0"]}, framework="keras", cell="GRU")
    one_sentence(
        caught, "Expected weight_ih, weight_hh, bias_ih, bias_hh in the GRU of torch, got no"
    )


def test_no_framework_is_imported_not_even_torch():
    program = (
        "import sys; sys.modules['torch'] = None; "
        "from bptt_oracle.porting.weights import from_torch_names; "
        "print({'keras', 'jax', 'onnx', 'paddle'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (ran.stdout.strip(), ran.stderr) == ("set()", "")


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"holds": "list"}, "holds weights as 'list'; expected one of arrays, node, cells, net"),
        ({"gates": "fiig"}, "to be i, f, g, o, each once, in any order, got 'fiig'."),
        ({"gates": "fio"}, "each once, in any order, got 'fio'."),
    ],
)
def test_a_convention_with_a_typo_is_one_sentence(monkeypatch, changed, words):
    keras = FRAMEWORKS["keras"]
    gates = {"gates": changed.pop("gates")} if "gates" in changed else {}
    own = keras._replace(cells={"LSTM": keras.cells["LSTM"]._replace(**gates)}, **changed)
    monkeypatch.setitem(FRAMEWORKS, "own", own)
    weights = [np.ones((3, 16)), np.ones((4, 16)), np.ones(16)]
    with pytest.raises(ValueError) as raised:
        to_torch_names(weights, framework="own", cell="LSTM")
    assert words in str(raised.value)
