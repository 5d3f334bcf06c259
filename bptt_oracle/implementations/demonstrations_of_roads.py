"""Deviations of PyTorch on its roads (`torch_impl.roads`), each shown by a function, as in
`demonstrations`. They run only with a road; those that compile or export a net, which takes
seconds, with the road that does so too.
"""

import copy
import io
import os
from contextlib import redirect_stdout
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrizations, rnn, weight_norm

from torch_impl.execution.backend import compiler
from torch_impl.roads.onnx import quiet

from .rejections import rejection

ANY = "any road"
RUNS_WITH = {
    "onnx_rnn_keeps_the_traced_steps": "cpu-onnx-dynamo",
    "quantised_gradient_of_the_state": ANY,
    "package_of_another_length": "cpu-aotinductor",
    "compiled_training_without_gradient_of_x": "cpu-aot-eager",
    "while_loop_that_has_no_effect": "cpu-export",
    "packed_sequence_to_copy": ANY,
    "vmap_of_rows_without_a_state": ANY,
    "weight_norm_then_deepcopy": ANY,
    "old_weight_norm_then_deepcopy": ANY,
    "deleted_parameter_still_used": ANY,
    "packed_data_under_torch_func": ANY,
    "tangent_of_shared_memory": ANY,
    "linearized_net_without_a_state": "cpu-jvp",
    "script_ignores_an_assigned_parameter": ANY,
    "quantised_net_hides_nan": ANY,
    "quantised_projection": ANY,
}


def onnx_rnn_keeps_the_traced_steps() -> bool | None:
    """nn.RNN exported with 4 steps and Dim.AUTO: h_n of 9 steps is the state after 4."""
    if any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        return None
    import onnxruntime

    net = nn.RNN(3, 5).eval()
    shapes = ({0: torch.export.Dim.AUTO},)
    file: Any = io.BytesIO()
    with redirect_stdout(io.StringIO()), quiet():
        torch.onnx.export(
            net, (torch.randn(4, 1, 3),), file, dynamo=True, dynamic_shapes=shapes, verbose=False
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    x = torch.randn(9, 1, 3)
    try:
        _, h_n = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    except Exception:  # the input was declared of 4 steps
        return False
    with torch.no_grad():
        after_four, after_nine = net(x[:4])[1].numpy(), net(x)[1].numpy()
    return bool(np.allclose(h_n, after_four, atol=1e-5) and not np.allclose(h_n, after_nine))


def _quantised(net: nn.Module) -> Any:
    """The net with weights in int8."""
    from torch.ao.quantization import quantize_dynamic

    return quantize_dynamic(nn.Sequential(net), {type(net)}, dtype=torch.qint8)[0]


def quantised_gradient_of_the_state() -> bool | None:
    """The gradient of h_0 of a GRU in int8 is off by more than a tenth, and x has none."""
    if torch.backends.quantized.engine not in ("x86", "fbgemm"):
        return None
    torch.manual_seed(0)
    net = nn.GRU(8, 8)
    x, h = torch.randn(5, 3, 8, requires_grad=True), torch.randn(1, 3, 8, requires_grad=True)
    output, _ = _quantised(net)(x, h)
    if not output.requires_grad:
        return False
    d_x, d_h = torch.autograd.grad(output.sum(), (x, h), allow_unused=True)
    right = torch.autograd.grad(net(x, h)[0].sum(), h)[0]
    return d_x is None and float((d_h - right).norm() / right.norm()) > 0.1


def package_of_another_length() -> bool | None:
    """An AOTInductor package of a GRU traced with 4 steps returns 4 steps for 6."""
    if not compiler() or os.environ.get("AOTI_RUNTIME_CHECK_INPUTS") == "1":
        return None
    import tempfile

    net = nn.GRU(3, 5).eval()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        program = torch.export.export(net, (torch.randn(4, 2, 3),))
        path = os.path.join(folder, "net.pt2")
        file = torch._inductor.aoti_compile_and_package(program, package_path=path)
        package = torch._inductor.aoti_load_package(file)
        try:
            output, _ = package(torch.randn(6, 2, 3))
        except RuntimeError:
            return False
    return len(output) == 4


def compiled_training_without_gradient_of_x() -> bool:
    """A compiled float32 LSTM whose input needs no gradient: an AssertionError."""
    torch._dynamo.reset()
    net = nn.LSTM(3, 5)
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(net, backend="aot_eager")
        message = rejection(lambda: compiled(torch.randn(4, 2, 3))[0].sum().backward())
    torch._dynamo.reset()
    return bool(message)


def while_loop_that_has_no_effect() -> bool | None:
    """A GRU exported with T dynamic: without torch's while loop, and then within it."""
    try:
        from torch.export._patches import register_gru_while_loop_decomposition
    except ImportError:
        return None
    dispatched: Any = torch.ops.aten.gru.input
    dispatched._dispatch_cache.clear()

    def of_any_length() -> Any:
        sizes = ({0: torch.export.Dim.DYNAMIC},)
        return torch.export.export(nn.GRU(3, 5), (torch.randn(4, 2, 3),), dynamic_shapes=sizes)

    rejection(of_any_length)
    with register_gru_while_loop_decomposition():
        message = rejection(of_any_length)
    dispatched._dispatch_cache.clear()
    return "specialized it" in message


def packed_sequence_to_copy() -> bool:
    """PackedSequence.to(torch.float32, copy=True), as Tensor.to has it."""
    packed: Any = rnn.pack_sequence([torch.randn(3, 2), torch.randn(2, 2)])
    return bool(rejection(lambda: packed.to(torch.float32, copy=True)))


def vmap_of_rows_without_a_state() -> bool:
    """Gradients of each row of a net without a state."""
    net = nn.GRU(4, 6)
    params = dict(net.named_parameters())

    def loss(params: Any, x: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = torch.func.functional_call(net, params, (x,))[0].sum()
        return total

    per_row: Any = torch.func.vmap(torch.func.grad(loss), (None, 1))
    return "broadcast shape" in rejection(lambda: per_row(params, torch.randn(5, 3, 4)))


def weight_norm_then_deepcopy() -> bool:
    """A net under parametrizations.weight_norm that has been called."""
    net = parametrizations.weight_norm(nn.GRU(4, 6), "weight_hh_l0")
    net(torch.randn(5, 3, 4))
    return bool(rejection(lambda: copy.deepcopy(net)))


def old_weight_norm_then_deepcopy() -> bool:
    """A net under torch.nn.utils.weight_norm that has been called."""
    net = weight_norm(nn.GRU(4, 6), "weight_hh_l0")
    net(torch.randn(5, 3, 4))
    return bool(rejection(lambda: copy.deepcopy(net)))


def deleted_parameter_still_used() -> bool:
    """A net computes with a weight that was deleted."""
    net: Any = nn.GRU(4, 6)
    x = torch.randn(5, 3, 4)
    before = net(x)[0]
    del net.weight_hh_l0
    return not rejection(lambda: net(x)) and bool(torch.equal(net(x)[0], before))


def packed_data_under_torch_func() -> bool:
    """torch.func.jvp of a net of packed data."""
    net = nn.GRU(4, 6)
    packed = rnn.pack_padded_sequence(torch.randn(5, 3, 4), torch.tensor([5, 3, 2]))
    jvp: Any = torch.func.jvp

    def values(data: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = net(packed._replace(data=data))[0].data
        return output

    data = packed.data
    return "data pointer" in rejection(lambda: jvp(values, (data,), (torch.ones_like(data),)))


def tangent_of_shared_memory() -> bool:
    """The tangent of a net's output by torch.func.jvp at windows of a series, and at their copy."""
    net = nn.GRU(1, 4)
    x = torch.randn(6).as_strided((4, 3, 1), (1, 1, 1))
    tangent = torch.randn(4, 3, 1)

    def moved(x: torch.Tensor) -> torch.Tensor:
        jvp: Any = torch.func.jvp
        along: torch.Tensor = jvp(lambda z: net(z)[0], (x,), (tangent,))[1]
        return along

    try:
        return not torch.allclose(moved(x), moved(x.clone()), rtol=1e-3, atol=1e-5)
    except RuntimeError:  # it is rejected, as an expanded tensor is
        return False


def linearized_net_without_a_state() -> bool:
    """The linear function of a net whose parameters require grad."""
    net = nn.GRU(4, 6)
    x = torch.randn(5, 3, 4)
    linearize: Any = torch.func.linearize
    _, linear = linearize(lambda z: net(z)[0], x)
    return "in-place" in rejection(lambda: linear(x))


class _Scripted(nn.Module):
    """A net that is a part of a script."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.gru(x)[0]
        return output


def script_ignores_an_assigned_parameter() -> bool:
    """A weight of a scripted net replaced by zeros: the output is that of the first weight."""
    net: Any = torch.jit.script(_Scripted())
    x = torch.randn(5, 3, 4)
    before = net(x)
    net.gru.weight_hh_l0 = nn.Parameter(torch.zeros(18, 6))
    return not net.gru.weight_hh_l0.any() and torch.equal(net(x), before)


def quantised_net_hides_nan() -> bool | None:
    """A NaN in the input of a GRU in int8: its output is finite."""
    if torch.backends.quantized.engine not in ("x86", "fbgemm"):
        return None
    x = torch.randn(5, 3, 4)
    x[2, 1, 1] = float("nan")
    return bool(_quantised(nn.GRU(4, 6))(x)[0].isfinite().all())


def quantised_projection() -> bool | None:
    """An LSTM with a projection is quantised, and fails when it is called."""
    if torch.backends.quantized.engine not in ("x86", "fbgemm"):
        return None
    net = nn.LSTM(4, 6, proj_size=2)
    if rejection(lambda: _quantised(net)):
        return False
    return "packB" in rejection(lambda: _quantised(net)(torch.randn(5, 3, 4)))
