"""A net as an ONNX graph, with a node RNN, GRU or LSTM for each layer.

`linear_before_reset=1` is torch's GRU, 0 is that of the papers; z is the share of the old state in
both. Gate orders: `bptt_oracle/porting/conventions.py`.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html and onnx__RNN.html.
Page: docs/implementations/frameworks.md
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import helper, numpy_helper

from ...porting.cells import write
from ..implementation import Lengths

STATES = {"h_0": "h_n", "c_0": "c_n"}
Params = Mapping[str, np.ndarray]


class Graph(NamedTuple):
    """The nodes and constants of a graph that grows. Its methods return the names of values."""

    nodes: list[Any]
    constants: list[Any]

    def constant(self, array: np.ndarray) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))

    def value(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"value{len(self.nodes)}"
        self.add(operator, list(inputs), [name], **attributes)
        return name


def weights(graph: Graph, mode: str, directions: Sequence[Params]) -> dict[str, str]:
    """The constants W [D, G·H, I], R [D, G·H, H], and B and P where there are any, of one node."""
    written = [write(p, "onnx", mode) for p in directions]
    return {n: graph.constant(np.stack([arrays[n] for arrays in written])) for n in written[0]}


def node(
    graph: Graph, mode: str, directions: Sequence[Params], given: list[str], **attributes: Any
) -> list[str]:
    """Add one node; `given` are the names of x, lengths and the initial state, empty if absent.
    Returns the names of Y and of the final states."""
    operator = mode.split("_")[0]
    names = weights(graph, mode, directions)
    x, lengths, *state = given
    attributes["hidden_size"] = directions[0]["weight_hh"].shape[1]
    if operator == "GRU":
        attributes["linear_before_reset"] = int(mode == "GRU")
    if operator == "RNN":
        attributes["activations"] = [mode[4:].capitalize()] * len(directions)
    inputs = [x, names["W"], names["R"], names.get("B", ""), lengths, *state, names.get("P", "")]
    outputs = [f"{name}{len(graph.nodes)}" for name in ("Y", "Y_h", "Y_c")[: 1 + len(state)]]
    graph.add(operator, inputs if operator == "LSTM" else inputs[:-1], outputs, **attributes)
    return outputs


def model(
    mode: str,
    layers: Sequence[Sequence[Params]],
    x: np.ndarray,
    state: Sequence[np.ndarray] | None,
    lengths: Lengths,
    **attributes: Any,
) -> tuple[Any, list[str]]:
    """The graph of a net, whose layers are lists of one or two directions, and its outputs' names.

    x [T, B, I] and the states [L·D, B, H] are inputs of the graph, in time-major layout.
    """
    graph, kind = Graph([], []), helper.np_dtype_to_tensor_dtype(x.dtype)
    D, states = len(layers[0]), list(STATES)[: 2 if mode.startswith("LSTM") else 1]
    batch_first = attributes.get("layout") == 1
    n = "" if lengths is None else graph.constant(np.array(lengths, np.int32))
    below = graph.value("Transpose", "x", perm=[1, 0, 2]) if batch_first else "x"
    finals: list[list[str]] = []
    for k, directions in enumerate(layers):
        given = [""] * len(states)
        if state is not None:
            ends = [graph.constant(np.array([row])) for row in (k * D, k * D + D)]
            given = [graph.value("Slice", name, *ends) for name in states]
            if batch_first:
                given = [graph.value("Transpose", name, perm=[1, 0, 2]) for name in given]
        y, *final = node(graph, mode, directions, [below, n, *given], **attributes)
        if batch_first:
            final = [graph.value("Transpose", name, perm=[1, 0, 2]) for name in final]
        else:
            y = graph.value("Transpose", y, perm=[0, 2, 1, 3])  # [T, D, B, H] to [T, B, D, H]
        below = graph.value("Reshape", y, graph.constant(np.array([0, 0, -1])))
        finals.append(final)
    graph.add("Transpose", [below], ["output"], perm=[1, 0, 2] if batch_first else [0, 1, 2])
    for name, parts in zip(states, zip(*finals, strict=True), strict=True):
        graph.add("Concat", list(parts), [STATES[name]], axis=0)
    outputs = ["output", *(STATES[name] for name in states)]
    shapes = {"x": x.shape} | {n: s.shape for n, s in zip(states, state or (), strict=False)}
    built = helper.make_graph(
        graph.nodes,
        "net",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        graph.constants,
    )
    opset = [helper.make_opsetid("", 22)]
    return helper.make_model(built, opset_imports=opset, ir_version=10), outputs
