"""Nodes RNN, GRU and LSTM of ONNX in ONNX Runtime, OpenVINO and ONNX's ReferenceEvaluator.

    onnxruntime, openvino, reference_evaluator    a net is one graph, its nodes have one or two
                                                  directions; cells of torch, the GRU of the papers
                                                  and the LSTM with peepholes
    …_reverse       a graph for each layer and direction, the second with direction="reverse"
    …_batch_first   layout=1, batch before time, which only ONNX's own evaluator has

Runtimes compute values only. A node RNN in ONNX Runtime has no float64, and ONNX's own evaluator no
Relu.

Page: docs/implementations/frameworks.md
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np

from ..implementation import Implementation, Layer, Lengths, Net
from .common import DEVIATIONS, with_moderate_gates
from .onnx_graph import Params, model

CELLS = ("RNN_TANH", "RNN_RELU", "GRU", "LSTM", "GRU_TEXTBOOK", "LSTM_PEEPHOLE")
Evaluate = Callable[[Any, dict[str, np.ndarray], list[str]], Sequence[np.ndarray]]


def evaluate_in_onnxruntime(
    graph: Any, feeds: dict[str, np.ndarray], outputs: list[str]
) -> Sequence[np.ndarray]:
    """The outputs of a model in ONNX Runtime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=providers)
    values: Sequence[np.ndarray] = session.run(outputs, feeds)
    return values


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def evaluate_in_openvino(
    graph: Any, feeds: dict[str, np.ndarray], outputs: list[str]
) -> Sequence[np.ndarray]:
    """The outputs of a model in OpenVINO, on the CPU, without its permission to use bfloat16."""
    precision = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = _core().compile_model(
        _core().read_model(graph.SerializeToString()), "CPU", precision
    )
    values = compiled(feeds)
    return [np.array(values[compiled.output(name)]) for name in outputs]


def evaluate_by_reference(
    graph: Any, feeds: dict[str, np.ndarray], outputs: list[str]
) -> Sequence[np.ndarray]:
    """The outputs of a model in ONNX's ReferenceEvaluator."""
    from onnx.reference import ReferenceEvaluator

    values: Sequence[np.ndarray] = ReferenceEvaluator(graph).run(outputs, feeds)
    return values


def evaluate(
    evaluator: Evaluate,
    mode: str,
    layers: Sequence[Sequence[Params]],
    x: np.ndarray,
    state: Sequence[np.ndarray] | None,
    lengths: Lengths,
    **attributes: Any,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The output and the final states of layers, each a list of one or two directions."""
    graph, outputs = model(mode, layers, x, state, lengths, **attributes)
    feeds = {"x": x} | dict(zip(("h_0", "c_0"), state or (), strict=False))
    output, *final = evaluator(graph, feeds, outputs)
    return output, final


def net_of(evaluator: Evaluate, **attributes: Any) -> Net:
    """A net as one graph, whose nodes have these attributes."""

    def net(net: Any, params: Params, x: Any, state: Sequence[Any] | None, lengths: Lengths) -> Any:
        direction = "bidirectional" if net.bidirectional else "forward"
        layers = [
            [_of(params, suffix) for suffix in net.suffixes(k)] for k in range(net.num_layers)
        ]
        options = attributes | {"direction": direction}
        return evaluate(evaluator, net.mode, layers, x, state, lengths, **options)

    return net


def _of(params: Params, suffix: str) -> dict[str, np.ndarray]:
    """The parameters of one layer and direction, without the suffix."""
    return {name.removesuffix(suffix): p for name, p in params.items() if name.endswith(suffix)}


def layer_of(evaluator: Evaluate) -> Layer:
    """A layer in one direction as a graph of its own."""

    def layer(
        mode: str,
        p: Params,
        x: Any,
        state: Sequence[Any] | None,
        lengths: Lengths,
        reverse: bool,
    ) -> Any:
        given = None if state is None else [s[None] for s in state]
        direction = "reverse" if reverse else "forward"
        y, final = evaluate(evaluator, mode, [[p]], x, given, lengths, direction=direction)
        return y, [s[0] for s in final]

    return layer


def _with(**options: Any) -> Any:
    """An implementation without gradients, with these options."""
    return partial(Implementation, engine="none", fit=with_moderate_gates, **options)


_onnxruntime = _with(
    cells=CELLS,
    dtypes=("float32",),
    deviations=DEVIATIONS / "onnxruntime.toml",
    version=partial(version, "onnxruntime"),
)
_openvino = _with(
    cells=CELLS, deviations=DEVIATIONS / "openvino.toml", version=partial(version, "openvino")
)
_reference = _with(
    cells=tuple(cell for cell in CELLS if cell != "RNN_RELU"),
    deviations=DEVIATIONS / "onnx_reference.toml",
    version=partial(version, "onnx"),
)

onnxruntime = _onnxruntime("onnxruntime", net=net_of(evaluate_in_onnxruntime))
onnxruntime_reverse = _onnxruntime("onnxruntime-reverse", layer=layer_of(evaluate_in_onnxruntime))
openvino = _openvino("openvino", net=net_of(evaluate_in_openvino))
openvino_reverse = _openvino("openvino-reverse", layer=layer_of(evaluate_in_openvino))
reference_evaluator = _reference("onnx-reference", net=net_of(evaluate_by_reference))
reference_evaluator_reverse = _reference(
    "onnx-reference-reverse", layer=layer_of(evaluate_by_reference)
)
reference_evaluator_batch_first = _reference(
    "onnx-reference-batch-first", net=net_of(evaluate_by_reference, layout=1)
)
