"""The program that replay --script prints: it asks torch as the path does, and gets the same."""

import runpy
import subprocess
import sys

import pytest
import torch

from bptt_oracle.__main__ import main
from bptt_oracle.cases.case import draw
from bptt_oracle.reports.script import script
from bptt_oracle.runs.examine import expect_in_precision
from support.drawn_cases import pinned
from torch_impl.execution.backend import compiler, flags, graph_nodes
from torch_impl.execution.catalogue import path_named
from torch_impl.execution.dtypes import array_of
from torch_impl.execution.path import ANY, Path
from torch_impl.execution.run import run

DENSE = pinned(tied=True, bidirectional=True)
PACKED = pinned(cell="GRU", dropout=0.5, layout="packed", lengths=(2, 5, 1), cotangents=("h_n",))
VARIANTS = ("functional", "eval", "thrice", "inference", "deterministic", "threads")


def printed(capsys, *words):
    """The program for a case, a path and a type."""
    with pytest.raises(SystemExit) as stop:
        main(["replay", *words, "--script"])
    out, err = capsys.readouterr()
    assert (stop.value.code, err) == (0, "")
    return out


def ratios(output):
    """The errors that a program prints, each divided by the noise."""
    return [float(line.split()[-1]) for line in output.splitlines() if "over the noise" in line]


def conditions(module):
    """Whatever a call of nn's modules can see of the way in which it is made."""
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
    return (
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        autocast,
        module.training,
        all(isinstance(p, torch.nn.Parameter) for p in module._parameters.values()),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        torch._C._get_mkldnn_enabled(),
    )


@pytest.fixture
def calls(monkeypatch):
    """The conditions of every call of nn's modules from here on."""
    seen = []
    for kind in (torch.nn.LSTM, torch.nn.GRU):

        def spied(module, *inputs, forward=kind.forward):
            seen.append(conditions(module))
            return forward(module, *inputs)

        monkeypatch.setattr(kind, "forward", spied)
    return seen


@pytest.fixture
def switches_put_back():
    """A program sets torch's switches for good; here they are as before when it has run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as replay does
    with flags(Path("all of them", "cpu", "module", ANY, variant="deterministic")):
        torch.set_deterministic_debug_mode("default")
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("case", [DENSE, PACKED], ids=["dense LSTM", "packed GRU"])
@pytest.mark.parametrize(
    "name, dtype",
    [
        ("cpu-native", "float64"),
        ("cpu-plain", "float16"),
        *((f"cpu-{variant}", "float32") for variant in VARIANTS),
        ("cpu-autocast-bfloat16", "float32"),
        ("cpu-autocast-float16", "float32"),
    ],
)
def test_a_script_calls_torch_as_its_path_does_and_gets_the_same_bits(
    capsys, tmp_path, calls, switches_put_back, name, dtype, case
):
    if "autocast" in name and case.dropout:
        case = case._replace(dropout=0.0)
    file = tmp_path / "program.py"
    file.write_text(printed(capsys, case.id, "--path", name, "--dtype", dtype))
    calls.clear()
    expected = run(path_named(name), draw(case), dtype).results
    of_the_path = calls.copy()
    calls.clear()
    found = runpy.run_path(str(file))
    assert calls == of_the_path
    values = dict(zip(found["names"], found["values"] + found["zero"], strict=True))
    assert values.keys() == expected.keys()
    for tensor, value in values.items():
        assert array_of(value).tobytes() == expected[tensor].tobytes(), tensor


@pytest.mark.slow
def test_a_script_in_bfloat16_which_numpy_lacks_runs(capsys, tmp_path):
    file = tmp_path / "program.py"
    file.write_text(printed(capsys, DENSE.id, "--dtype", "bfloat16"))
    ran = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    measured = ratios(ran.stdout)
    assert all(ratio < 8 for ratio in measured) and any(ratio > 0.1 for ratio in measured)


def test_a_path_of_gradients_in_turns_has_no_script(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["replay", DENSE.id, "--path", "cpu-subsets", "--script"])
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    assert "cpu-subsets asks for gradients in turns and has no --script; leave it out" in err


@pytest.mark.parametrize("kind", ["module", "cells", "manual"])
def test_a_script_of_compiled_code_compiles(capsys, tmp_path, request, switches_put_back, kind):
    if not compiler():
        pytest.skip("there is no C++ compiler on this machine")
    if request.config.getoption("--hypothesis-profile") != "nightly":
        pytest.skip("compiling takes minutes: run with --hypothesis-profile=nightly")
    case = pinned(cell="GRU", T=2, layers=1, cotangents=("output", "h_n"))
    file = tmp_path / "program.py"
    file.write_text(printed(capsys, case.id, "--path", f"cpu-{kind}-compiled"))
    with torch._dynamo.config.patch(allow_rnn=False):
        found = runpy.run_path(str(file))
    assert "CompiledFunctionBackward" in graph_nodes(found["values"])
    assert all(ratio < 8 for ratio in ratios(capsys.readouterr().out))


def test_a_script_for_the_gpu_leaves_cudnn_to_torch_unless_the_path_does_not():
    measured = expect_in_precision(draw(DENSE), "float32", "float32", [])
    for name, enabled in (("cuda-cudnn", True), ("cuda-eval", True), ("cuda-native", False)):
        program = script(DENSE, path_named(name), "float32", measured)
        assert f"torch.backends.cudnn.enabled = {enabled}\n" in program
        assert compile(program, "program.py", "exec")
