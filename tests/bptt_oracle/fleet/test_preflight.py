"""A preflight: a device that computes rightly is healthy, and one flipped bit is not."""

import json
import os
import platform

import numpy as np
import pytest
import torch

from bptt_oracle.cli import preflight as command
from bptt_oracle.fleet import computing, preflight
from bptt_oracle.fleet.fixed_cases import CASES
from bptt_oracle.fleet.flip import flip_bit
from bptt_oracle.fleet.lines import parse, status_of
from bptt_oracle.fleet.preflight import examine, examine_device
from bptt_oracle.fleet.truth_file import read
from bptt_oracle.processes.failures import Crash
from support.command_line import bptt_oracle
from support.fleet_lines import STEPS, healthy_line, write_lines

TRUTH = read()
STEP = CASES["steps"]
PLACES = [
    ("weight_hh_l0", (255, 3), "input changed", [255, 3]),
    ("weight_ih_l0", (0, 15), "input changed", [0, 15]),
    ("bias_hh_l0", (77,), "input changed", [77]),
    ("gates", (7, 200), "runs differ", [113, 7, 200]),
    ("c", (0, 63), "runs differ", [113, 0, 63]),
    ("output", (3, 0), "runs differ", [113, 3, 0]),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", ["steps", "gru"])
def test_torch_is_healthy(name, dtype):
    one = examine(CASES[name], dtype, "cpu", TRUTH)
    assert one.findings == [] and 0 < one.R < 8


@pytest.mark.parametrize("tensor, element, kind, where", PLACES)
@pytest.mark.parametrize("dtype, bit", [("float32", 0), ("float32", 22), ("float64", 40)])
def test_one_bit_in_one_run_is_named(tensor, element, kind, where, dtype, bit):
    touches = [None, flip_bit(tensor, 113, element, bit), None]
    (found,) = examine(STEP, dtype, "cpu", TRUTH, touches=touches).findings
    assert (found["kind"], found["tensor"], found["element"]) == (kind, tensor, where)
    digits = 8 if dtype == "float32" else 16
    assert found["xor"] == f"0x{1 << bit:0{digits}x}"
    assert int(found["expected"], 16) ^ int(found["actual"], 16) == 1 << bit
    assert (found["runs"], found["repeated"]) == ("1 of 3", "once")


def test_a_bit_of_bfloat16_has_sixteen_bits():
    touches = [flip_bit("c", 5, (1, 2), 3), None, None]
    (found,) = examine(STEP, "bfloat16", "cpu", TRUTH, touches=touches).findings
    assert (found["tensor"], found["element"], found["xor"]) == ("c", [5, 1, 2], "0x0008")


def test_a_weight_that_is_wrong_in_every_run_is_named_without_a_majority():
    touches = [flip_bit("weight_hh_l0", 0, (9, 9), 0)] * 3
    (found,) = examine(STEP, "float32", "cpu", TRUTH, touches=touches).findings
    assert (found["kind"], found["repeated"]) == ("input changed", "repeated")
    assert (found["element"], found["xor"]) == ([9, 9], "0x00000001")


def test_a_large_error_in_every_run_is_wrong_by_the_truth_alone():
    touches = [flip_bit("output", 113, (3, 10), 29)] * 3
    one = examine(STEP, "float32", "cpu", TRUTH, touches=touches)
    (found,) = one.findings
    assert (found["kind"], found["runs"], found["repeated"]) == ("wrong", "3 of 3", "repeated")
    assert found["R"] == one.R > 16
    assert found["tensor"] == "output" and found["element"][0] >= 113
    truth = TRUTH.expected(STEP, "float32").truth["output"]
    expected = np.uint32(int(found["expected"], 16)).view(np.float32)
    assert expected in truth.astype(np.float32)


def test_a_small_error_in_every_run_is_left_to_the_cohort():
    touches = [flip_bit("c", 113, (3, 10), 0)] * 3
    assert examine(STEP, "float32", "cpu", TRUTH, touches=touches).findings == []


def test_nan_is_wrong():
    def make_nan(name, t, value):
        if (name, t) == ("output", 150):
            value.data[0, 0] = float("nan")

    one = examine(STEP, "float32", "cpu", TRUTH, touches=[make_nan] * 3)
    assert one.findings[0]["kind"] == "wrong" and float("inf") == one.R


def test_three_different_runs_are_all_but_one_named():
    touches = [flip_bit("c", t, (3, 10), 2) for t in (20, 30, 40)]
    found = examine(STEP, "float32", "cpu", TRUTH, touches=touches).findings
    assert [(f["runs"], f["element"][0]) for f in found] == [("1 of 3", 20)] * 2


@pytest.mark.parametrize("name", ["steps", "gru"])
def test_every_copy_of_the_batch_is_judged(name):
    one = examine(CASES[name], "float32", "cpu", TRUTH, copies=4, touches=[None])
    assert one.findings == [] and 0 < one.R < 8


def test_an_error_in_the_last_copy_is_found():
    row = 3 * STEP.B + 5
    touches = [flip_bit("output", 113, (row, 10), 29)] * 3
    (found,) = examine(STEP, "float32", "cpu", TRUTH, 4, touches).findings
    assert found["kind"] == "wrong" and found["element"][1] == row


def test_a_wrong_gradient_alone_is_found(monkeypatch):
    grad = torch.autograd.grad

    def doubled(results, wanted, cotangents):
        grads = [*grad(results, wanted, cotangents)]
        grads[1] = grads[1] * (1 + 2.0**-10)
        return grads

    monkeypatch.setattr(torch.autograd, "grad", doubled)
    (found,) = examine(STEP, "float32", "cpu", TRUTH).findings
    assert (found["kind"], found["tensor"]) == ("wrong", "d_weight_hh_l0")


def test_the_loop_of_steps_agrees_with_its_own_gates_and_states():
    from bptt_oracle.fleet.fixed_cases import draw_problem

    values = computing.compute(draw_problem(STEP), "float64", "cpu", in_steps=True).values
    i, f, g, o = np.split(values["gates"], 4, axis=2)
    before = np.concatenate([values["c_0"], values["c"][:-1]])
    np.testing.assert_allclose(values["c"], f * before + i * g, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(values["output"], o * np.tanh(values["c"]), rtol=1e-14, atol=1e-15)
    d_c = values["d_c"]
    np.testing.assert_allclose(values["d_c_0"][0], d_c[0] * f[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(values["d_gates"][..., : STEP.H], d_c * g, rtol=1e-12, atol=1e-14)


def test_a_line_has_what_a_cluster_needs():
    line = healthy_line()
    assert line["verdict"] == "healthy" and line["device"] == "cpu" and line["host"]
    for name in ("time", "name", "uuid", "driver", "cores", "kernel", "torch", "seed", "tensor"):
        assert name in line
    assert 0 < line["R"] < 16 and line["findings"] == []
    assert line["cohort"]["truth"] == TRUTH.digest and line["cohort"]["torch"] == torch.__version__
    assert {*line["digests"]} == {"steps/float32"}
    assert parse(json.dumps(line).encode()).verdict == "healthy"


def test_an_error_of_the_device_is_no_verdict(monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: uncorrectable ECC error\nand advice")

    monkeypatch.setattr(computing, "compute", fail)
    line = examine_device("cpu", STEPS)
    assert line["verdict"] == "could not run" and "digests" not in line
    assert line["reason"] == "RuntimeError: CUDA error: uncorrectable ECC error"
    assert parse(json.dumps(line).encode()).verdict == "could not run"


def test_the_host_of_a_pod_is_its_node(monkeypatch):
    monkeypatch.setenv("NODE_NAME", "node-7")
    assert preflight.new_line("cuda:3")["host"] == "node-7"
    monkeypatch.delenv("NODE_NAME")
    assert preflight.new_line("cuda:3")["host"] == platform.node()


@pytest.mark.parametrize(
    "words, status",
    [
        ([], 2),
        (["healthy"], 0),
        (["healthy", "could not run"], 2),
        (["could not run", "wrong", "healthy"], 1),
    ],
)
def test_the_status_of_several_devices(words, status):
    assert status_of([{"verdict": word} for word in words]) == status


@pytest.fixture
def in_this_process(monkeypatch):
    """The command without a process of its own for each device, and with the smallest case."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # which the command sets
    monkeypatch.setattr(command, "run_isolated", lambda work, device: work(device))
    monkeypatch.setattr(
        preflight, "examine_device", lambda device, settings: examine_device(device, STEPS)
    )


@pytest.mark.usefixtures("in_this_process")
def test_the_command_prints_one_line_and_one_sentence(capsys, tmp_path):
    file = tmp_path / "lines.jsonl"
    for _ in range(2):
        status, out, err = bptt_oracle(capsys, "preflight", "--device=cpu", "-o", str(file))
        assert status == 0 and out.count("\n") == 1 and "sketches" not in json.loads(out)
        assert err.startswith("bptt-oracle: cpu of ") and " is healthy: R is at most " in err
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(written) == 2 and all(line["sketches"] for line in written)


@pytest.mark.usefixtures("in_this_process")
def test_quiet_leaves_the_sentence_and_the_file(capsys, tmp_path):
    file = tmp_path / "lines"
    status, out, err = bptt_oracle(capsys, "preflight", "--device=cpu", "-q", "-o", str(file))
    assert (status, out) == (0, "") and "healthy" in err and err.count("\n") == 1
    assert json.loads(file.read_text())["verdict"] == "healthy"


@pytest.mark.usefixtures("in_this_process")
def test_the_command_exits_with_1_for_a_wrong_device(capsys, monkeypatch):
    compute = computing.compute

    def wrong(problem, dtype, device, in_steps, touch):
        return compute(problem, dtype, device, in_steps, flip_bit("output", 9, (0, 0), 29))

    monkeypatch.setattr(computing, "compute", wrong)
    status, out, err = bptt_oracle(capsys, "preflight", "--device=cpu")
    assert status == 1 and json.loads(out)["verdict"] == "wrong"
    assert "is wrong: wrong: steps/float32/" in err and "repeated" in err and " xor 0x" in err


def test_the_command_exits_with_2_if_the_process_of_a_device_dies(capsys, monkeypatch):
    def die(work, device):
        raise Crash("its process was ended by SIGSEGV", killed=False)

    monkeypatch.setattr(command, "run_isolated", die)
    status, out, err = bptt_oracle(capsys, "preflight", "--device=cpu")
    assert status == 2 and json.loads(out)["reason"] == "its process was ended by SIGSEGV"
    assert "could not be examined: its process was ended by SIGSEGV" in err


def test_what_is_no_file_of_lines_is_left_unchanged(capsys, tmp_path):
    file = tmp_path / "notes"
    file.write_text("mine\n")
    status, out, err = bptt_oracle(capsys, "preflight", "--device=cpu", "-o", str(file))
    assert (status, out, file.read_text()) == (2, "", "mine\n")
    assert err == f"bptt-oracle: {file} holds no lines of preflight and was left unchanged; " + (
        "choose another name\n"
    )


def test_a_dtype_without_truth_is_rejected(capsys):
    status, out, err = bptt_oracle(capsys, "preflight", "--dtype=float16")
    assert (status, out) == (2, "") and "there is no truth for float16; choose from" in err


def test_a_device_that_is_not_there_is_rejected(capsys):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    status, out, err = bptt_oracle(capsys, "preflight", "--device=cuda")
    assert (status, out) == (2, "") and "no CUDA device on this machine" in err


def test_a_damaged_truth_is_one_sentence(capsys, monkeypatch, tmp_path):
    from bptt_oracle.fleet import truth_file

    file = tmp_path / "truth.npz"
    file.write_bytes(truth_file.FILE.read_bytes()[:-1])
    file.with_suffix(".sha256").write_text(truth_file.FILE.with_suffix(".sha256").read_text())
    monkeypatch.setattr(truth_file.read, "__defaults__", (file,))
    status, out, err = bptt_oracle(capsys, "preflight", "--device=cpu")
    assert (status, out, err.count("\n")) == (2, "", 1) and "is damaged" in err


def test_a_file_of_lines_is_appended_to_only_if_it_is_one(tmp_path):
    command.require_appendable(write_lines(tmp_path / "a", [healthy_line()]))
    command.require_appendable(write_lines(tmp_path / "empty", []))
    command.require_appendable(tmp_path / "new")


@pytest.mark.parametrize("name", ["preflight", "hunt"])
def test_a_file_that_grows_must_be_writable_before_the_work(capsys, tmp_path, monkeypatch, name):
    """That its folder is suffices only for a file that is replaced."""
    file = write_lines(tmp_path / "lines", [healthy_line()])
    option, work = {
        "preflight": ("--output", "bptt_oracle.cli.preflight.run_isolated"),
        "hunt": ("--state", "bptt_oracle.hunting.store.open_state"),
    }[name]
    monkeypatch.setattr(work, lambda *arguments, **options: pytest.fail("worked"))
    monkeypatch.setattr("os.access", lambda path, mode: path != file or mode != os.W_OK)
    status, out, err = bptt_oracle(capsys, name, option, str(file))
    assert (status, out) == (2, "")
    assert err == f"bptt-oracle: {file} cannot be written: Permission denied\n"


def test_lines_are_appended_also_in_a_folder_that_takes_no_file(tmp_path, monkeypatch):
    file = write_lines(tmp_path / "lines", [healthy_line()])
    monkeypatch.setattr("os.access", lambda path, mode: path == file)
    command.require_appendable(file)


@pytest.mark.slow
def test_the_whole_preflight_of_this_machine_is_healthy(capsys):
    status, out, err = bptt_oracle(capsys, "preflight", "--device=cpu")
    line = json.loads(out)
    assert (status, line["verdict"]) == (0, "healthy"), err
    assert {key.split("/")[0] for key in line["digests"]} == {*CASES}
