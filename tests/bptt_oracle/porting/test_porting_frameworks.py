"""The frameworks themselves compute what the reference computes with the translated weights.

Each test runs where its framework is installed. Elsewhere it is skipped, which counts as not run.
In an environment without torch, from the root of the repository, whose folder `tests` must be in
PYTHONPATH: pytest --noconftest -o addopts= tests/bptt_oracle/porting/test_porting_frameworks.py
"""

from importlib.util import find_spec

import numpy as np
import pytest

from bptt_oracle.porting.conventions import FRAMEWORKS
from bptt_oracle.porting.weights import from_torch_names, to_torch_names
from reference import RecurrentNet

T, B, WIDTH, H = 5, 3, 4, 6
TOLERANCE = 2e-6  # absolute, of outputs below 1 in float32
X = np.random.default_rng(0).standard_normal((T, B, WIDTH)).astype(np.float32)


def needs(package):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def each_net(framework):
    """Parametrise by the cells of a framework, one and two layers, one and two directions."""
    nets = [
        pytest.param(cell, layers, bidirectional, id=f"{cell}-L{layers}{'-bi' * bidirectional}")
        for cell in FRAMEWORKS[framework].cells
        for layers in (1, 2)
        for bidirectional in (False, True)
    ]
    return pytest.mark.parametrize(("cell", "layers", "bidirectional"), nets)


def net_and_params(cell, layers, bidirectional, **options):
    """A net and parameters of moderate size, float32."""
    net = RecurrentNet(cell, WIDTH, H, num_layers=layers, bidirectional=bidirectional, **options)
    rng = np.random.default_rng(1)
    shapes = net.parameter_shapes()
    return net, {n: (0.5 * rng.standard_normal(s)).astype(np.float32) for n, s in shapes.items()}


def agrees(net, params, output):
    """Assert that the framework's output [T, B, D·H] is the reference's in float64."""
    exact = {name: value.astype(np.float64) for name, value in params.items()}
    expected = net.forward(exact, X.astype(np.float64))[0]
    assert np.shape(output) == expected.shape
    assert np.abs(output - expected).max() < TOLERANCE * max(1, np.abs(expected).max())


def same(found, expected):
    """Assert that two lists of nested arrays are equal."""
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            same(found[name], expected[name])
    else:
        for a, b in zip(found, expected, strict=True):
            same(a, b)


@each_net("keras")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "nobias"])
def test_keras(cell, layers, bidirectional, bias):
    needs("keras")
    import keras

    kinds = {"LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU, "GRU_TEXTBOOK": keras.layers.GRU}
    options = {"return_sequences": True, "use_bias": bias}
    options |= {"reset_after": cell == "GRU"} if cell.startswith("GRU") else {}
    options |= {"activation": "relu"} if cell == "RNN_RELU" else {}
    net, params = net_and_params(cell, layers, bidirectional, bias=bias)
    weights = from_torch_names(params, framework="keras", cell=cell)
    y = keras.ops.convert_to_tensor(X.swapaxes(0, 1))
    stored = []
    for arrays in weights:
        layer = kinds.get(cell, keras.layers.SimpleRNN)(H, **options)
        layer = keras.layers.Bidirectional(layer) if bidirectional else layer
        layer.build(tuple(y.shape))
        layer.set_weights(arrays)
        stored.append(layer.get_weights())
        y = layer(y)
    output = keras.ops.convert_to_numpy(y).swapaxes(0, 1)
    agrees(net, params, output)
    same(stored, weights)
    agrees(net, to_torch_names(stored, framework="keras", cell=cell), output)


def onnx_output(cell, weights):
    """The output of one node for each layer, by ONNX Runtime."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, initializers, y = [], [], "x"
    for k, arrays in enumerate(weights):
        for name, value in arrays.items():
            initializers.append(numpy_helper.from_array(value, f"{name}{k}"))
        D = len(arrays["W"])
        options = {"hidden_size": H, "direction": "bidirectional" if D == 2 else "forward"}
        if cell.startswith("GRU"):
            options["linear_before_reset"] = int(cell == "GRU")
        if cell.startswith("RNN"):
            options["activations"] = [cell[4:].capitalize()] * D
        inputs = [y, f"W{k}", f"R{k}", f"B{k}" if "B" in arrays else ""]
        inputs += ["", "", "", f"P{k}"] if "P" in arrays else []
        nodes.append(helper.make_node(cell.split("_")[0], inputs, [f"Y{k}"], **options))
        nodes.append(helper.make_node("Transpose", [f"Y{k}"], [f"t{k}"], perm=[0, 2, 1, 3]))
        initializers.append(numpy_helper.from_array(np.array([T, B, D * H]), f"shape{k}"))
        nodes.append(helper.make_node("Reshape", [f"t{k}", f"shape{k}"], [f"y{k}"]))
        y = f"y{k}"
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [T, B, WIDTH])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run([y], {"x": X})[0]


@each_net("onnx")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "nobias"])
def test_onnx(cell, layers, bidirectional, bias):
    needs("onnxruntime")
    net, params = net_and_params(cell, layers, bidirectional, bias=bias)
    weights = from_torch_names(params, framework="onnx", cell=cell)
    agrees(net, params, onnx_output(cell, weights))
    same(to_torch_names(weights, framework="onnx", cell=cell), params)


@each_net("flax.nnx")
def test_flax(cell, layers, bidirectional):
    needs("flax")
    import jax
    from flax import nnx

    def new_cell(width):
        if cell == "LSTM":
            return nnx.OptimizedLSTMCell(width, H, rngs=nnx.Rngs(0))
        if cell == "GRU":
            return nnx.GRUCell(width, H, rngs=nnx.Rngs(0))
        activation = jax.nn.relu if cell == "RNN_RELU" else nnx.tanh
        return nnx.SimpleCell(width, H, activation_fn=activation, rngs=nnx.Rngs(0))

    net, params = net_and_params(cell, layers, bidirectional)
    if cell == "GRU":
        for name in params:
            if name.startswith("bias_hh"):
                params[name][2 * H :] = 0
    weights = from_torch_names(params, framework="flax.nnx", cell=cell)
    y, stored = X, []
    for layer in weights:
        cells = [new_cell(y.shape[-1]) for _ in range(1 + bidirectional)]
        for own, arrays in zip(cells, layer if bidirectional else [layer], strict=True):
            nnx.update(own, arrays)
        rnns = [nnx.RNN(own, time_major=True) for own in cells]
        y = (nnx.Bidirectional(*rnns, time_major=True) if bidirectional else rnns[0])(y)
        trees = tuple(nnx.to_pure_dict(nnx.state(own, nnx.Param)) for own in cells)
        stored.append(trees if bidirectional else trees[0])
    agrees(net, params, np.asarray(y))
    same(stored, weights)
    agrees(net, to_torch_names(stored, framework="flax.nnx", cell=cell), np.asarray(y))


@each_net("equinox")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "nobias"])
def test_equinox(cell, layers, bidirectional, bias):
    needs("equinox")
    import equinox
    import jax

    kind = equinox.nn.LSTMCell if cell == "LSTM" else equinox.nn.GRUCell
    net, params = net_and_params(cell, layers, bidirectional, bias=bias)
    weights = from_torch_names(params, framework="equinox", cell=cell)
    y = X
    for layer in weights:
        halves = []
        for d, arrays in enumerate(layer if bidirectional else [layer]):
            own = kind(y.shape[-1], H, use_bias=bias, key=jax.random.PRNGKey(0))
            names = list(arrays)
            own = equinox.tree_at(
                lambda c, names=names: [getattr(c, n) for n in names], own, list(arrays.values())
            )
            h = np.zeros((B, H), np.float32)
            state, out = ((h, h) if cell == "LSTM" else h), []
            for x_t in y[:: -1 if d else 1]:
                state = jax.vmap(own)(x_t, state)
                out.append(state[0] if cell == "LSTM" else state)
            halves.append(np.array(out)[:: -1 if d else 1])
        y = np.concatenate(halves, axis=-1)
    agrees(net, params, y)
    agrees(net, to_torch_names(weights, framework="equinox", cell=cell), y)


@each_net("paddle")
def test_paddle(cell, layers, bidirectional):
    paddle_agrees(cell, layers, bidirectional)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_paddle_with_a_projection(layers, bidirectional):
    paddle_agrees("LSTM", layers, bidirectional, proj_size=2)


def paddle_agrees(cell, layers, bidirectional, **projection):
    needs("paddle")
    import paddle

    kinds = {"LSTM": paddle.nn.LSTM, "GRU": paddle.nn.GRU}
    options = {"num_layers": layers, "time_major": True}
    options |= {"direction": "bidirect"} if bidirectional else {}
    options |= {"activation": cell[4:].lower()} if cell.startswith("RNN") else {}
    net, params = net_and_params(cell, layers, bidirectional, **projection)
    weights = from_torch_names(params, framework="paddle", cell=cell)
    own = kinds.get(cell, paddle.nn.SimpleRNN)(WIDTH, H, **options, **projection)
    _, unexpected = own.set_state_dict(weights)
    assert not unexpected
    agrees(net, params, own(paddle.to_tensor(X))[0].numpy())
    stored = {name: value.numpy() for name, value in own.state_dict().items()}
    same(to_torch_names(stored, framework="paddle", cell=cell), params)
