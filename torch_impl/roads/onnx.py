"""Nets exported to ONNX by both exporters and run by ONNX Runtime: values only.

    onnx-dynamo    torch.onnx.export(dynamo=True), T and B dynamic
    onnx-legacy    torch.onnx.export(dynamo=False), T and B dynamic, lengths as an input

Both export with an example of other sizes and numbers.
"""

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..execution.calls import Call, Prepared, Result, axes
from ..execution.problem import Problem, is_tied
from .exported import evaluate_values, forget_dispatch, without_dynamic_sizes
from .lowered import example_inputs, wrapped
from .road import module_of, require

Tensor = torch.Tensor


class _WithLengths(torch.nn.Module):
    """A net that packs its input by lengths and pads its output."""

    def __init__(self, net: Any, batch_first: bool, lstm: bool) -> None:
        super().__init__()
        self.net, self.batch_first, self.lstm = net, batch_first, lstm

    def forward(self, x: Tensor, lengths: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        initial: Any = state if self.lstm else state[0] if state else None
        packed = pack_padded_sequence(x, lengths, self.batch_first)
        output, final = self.net(packed, initial or None if self.lstm else initial)
        padded, _ = pad_packed_sequence(output, self.batch_first)
        return padded, *(final if self.lstm else (final,))


def by_dynamo(call: Call) -> Prepared:
    """The exporter that is the default since torch 2.9."""
    return _prepared(call, dynamo=True)


def by_tracing(call: Call) -> Prepared:
    """The exporter before it, which traces."""
    return _prepared(call, dynamo=False)


def _prepared(call: Call, dynamo: bool) -> Prepared:
    session, names = _session(call, dynamo)

    def forward(call: Call) -> Result:
        tensors = [call.x, *_lengths(call), *(call.state or [])]
        feeds = {
            name: np.ascontiguousarray(t.detach().numpy())
            for name, t in zip(names, tensors, strict=True)
        }
        output, *final = map(torch.from_numpy, session.run(None, feeds))
        return output, final

    return Prepared(forward, call, evaluate_values)


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporters print for any net: log lines about torchvision, and warnings that
    C++ writes to standard error about the shapes of packed data."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        logger.setLevel(level)


def _lengths(call: Call) -> list[Tensor]:
    return [] if call.lengths is None else [torch.tensor(call.lengths)]


def _session(call: Call, dynamo: bool) -> tuple[Any, list[str]]:
    """A session of ONNX Runtime, and the names of its inputs."""
    import onnxruntime

    module = module_of(call).eval()
    x, *state = example_inputs(call)
    time, batch = axes(call)
    names, example = ["x"], [x]
    sizes: list[dict[int, str]] = [{time: "T"} | ({} if batch is None else {batch: "B"})]
    net = wrapped(module, call._replace(lengths=None))
    if call.lengths is not None:
        net = _WithLengths(module, call.net.batch_first, call.net.mode == "LSTM")
        names, example = (
            ["x", "lengths"],
            [x, torch.tensor([x.shape[time], *[1] * (x.shape[1] - 1)])],
        )
        sizes.append({0: "B"})
    names += ["h_0", "c_0"][: len(state)]
    sizes += [{} if batch is None else {1: "B"}] * len(state)
    file: Any = io.BytesIO()
    options: dict[str, Any] = {"dynamic_axes": dict(zip(names, sizes, strict=True))}
    if dynamo:
        auto = torch.export.Dim.AUTO
        options = {"dynamic_shapes": tuple({k: auto for k in s} for s in sizes), "verbose": False}
    with quiet():
        torch.onnx.export(
            net, (*example, *state), file, input_names=names, dynamo=dynamo, **options
        )
    forget_dispatch(call.net.mode)  # torch 2.15 goes through a while loop, which cannot be compiled
    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = 4
    session_options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        file.getvalue(), session_options, providers=["CPUExecutionProvider"]
    )
    given = [i.name for i in session.get_inputs()]
    require(given == names, f"the graph should have the inputs {names}, not {given}")
    return session, names


def not_installed(problem: Problem, dtype: str) -> str:
    """Why no net is run by ONNX Runtime."""
    missing = [n for n in ("onnx", "onnxscript", "onnxruntime") if find_spec(n) is None]
    if missing:
        return f"{' and '.join(missing)} is not installed"
    if problem.net.dropout:
        return "ONNX Runtime draws no masks"
    if problem.x.ndim == 2:
        return "the nodes of ONNX take batches only"
    return ""


def not_by_tracing(problem: Problem, dtype: str) -> str:
    """Why the tracing exporter cannot export a problem."""
    if problem.lengths is not None and not problem.enforce_sorted:
        return "the exporter takes lengths in descending order only"
    if is_tied(problem):
        return "torch traces no tied parameters"
    if problem.net.proj_size:
        return "the exporter rejects a projection"
    return not_installed(problem, dtype)


def not_by_dynamo(problem: Problem, dtype: str) -> str:
    """Why the other exporter cannot export a problem."""
    if problem.lengths is not None:
        return "an export takes no packed data: their sizes decide its control flow"
    return without_dynamic_sizes() or not_installed(problem, dtype)
