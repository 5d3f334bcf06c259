"""torch's switches are set for a path and restored, and a kernel other than the path's raises."""

import contextlib

import pytest
import torch

from bptt_oracle.cases.case import draw
from support.drawn_cases import pinned
from torch_impl.execution.backend import flags, identify_kernel
from torch_impl.execution.catalogue import OPTIONAL_PATHS, PATHS, path_named
from torch_impl.execution.path import WrongKernel
from torch_impl.execution.run import run

CPU = [p for p in OPTIONAL_PATHS.values() if p.device == "cpu" and p.variant != "compiled"]
CASE = pinned(bidirectional=True, dropout=0.0, layout="packed", lengths=(2, 5, 1), strided=True)


@pytest.mark.parametrize(
    "name, owner, switch, replacement",
    [
        ("cpu-autocast-bfloat16", torch, "autocast", lambda *_, **__: contextlib.nullcontext()),
        ("cpu-deterministic", torch, "set_deterministic_debug_mode", lambda _: None),
        ("cpu-threads", torch, "set_num_threads", lambda _: None),
        ("cpu-native", torch.backends.mkldnn, "flags", lambda **_: contextlib.nullcontext()),
    ],
)
def test_a_switch_without_effect_raises_wrong_kernel(monkeypatch, name, owner, switch, replacement):
    torch.set_num_threads(1)
    monkeypatch.setattr(owner, switch, replacement)
    with pytest.raises(WrongKernel, match=name):
        run(path_named(name), draw(pinned(state=False)), "float32")


@pytest.mark.parametrize("path", CPU, ids=lambda p: p.name)
def test_every_switch_is_restored_even_if_a_call_fails(path):
    def fails(forward):
        def wrapped(call):
            raise ZeroDivisionError

        return wrapped

    def state():
        return (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch._C._get_mkldnn_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.is_inference_mode_enabled(),
        )

    before = state()
    with pytest.raises(ZeroDivisionError):
        run(path, draw(CASE), "float32", (), fails)
    assert state() == before


@pytest.mark.parametrize("name, tf32", [("cuda-tf32", True), ("cuda-cudnn", False)])
def test_the_switches_of_cuda_are_set_and_restored(name, tf32):
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    named = hasattr(matmul, "fp32_precision")  # torch 2.9 and later

    def state():
        if named:
            return cudnn.enabled, cudnn.rnn.fp32_precision, matmul.fp32_precision
        return cudnn.enabled, cudnn.allow_tf32, matmul.allow_tf32

    before, precision = state(), ("tf32" if tf32 else "ieee") if named else tf32
    with flags(PATHS[name]):
        assert state() == (True, precision, precision)
    with flags(PATHS["cuda-native"]):
        assert not cudnn.enabled
    assert state() == before


@pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, "rnn"), reason="this torch does not report its precision"
)
def test_a_precision_other_than_the_path_s_raises_wrong_kernel():
    value = torch.ones(2, requires_grad=True) * 3
    with (
        flags(PATHS["cuda-tf32"]),
        pytest.raises(WrongKernel, match="ieee, but cuDNN reports tf32"),
    ):
        identify_kernel(PATHS["cuda-native"], [value])


def test_a_switch_is_restored_to_a_value_other_than_the_default():
    torch.set_deterministic_debug_mode("warn")
    try:
        with flags(OPTIONAL_PATHS["cpu-deterministic"]):
            assert torch.get_deterministic_debug_mode() == 2
        assert torch.get_deterministic_debug_mode() == 1
    finally:
        torch.set_deterministic_debug_mode("default")
