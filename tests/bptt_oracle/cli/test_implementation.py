"""The commands with --implementation: statuses, counts, crashes, deviations, JSON, and no torch."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bptt_oracle.cases.case import draw, parse
from bptt_oracle.judging.truth import expect
from bptt_oracle.reports.script import implementation_script
from support.command_line import bptt_oracle
from support.runs import read

ROOT = Path(__file__).parents[3]
MODULE = "support.written_implementations"
CASE = "LSTM.T2.B2.I3.H4.L1.time.h0.output.generic.s0"


def check(capsys, name, *options):
    return bptt_oracle(
        capsys, "check", "--implementation", f"{MODULE}:{name}", "--workers", "1", *options
    )


def test_a_right_one_agrees_with_counts_and_a_control(capsys, tmp_path):
    file = tmp_path / "report.json"
    code, out, _ = check(capsys, "numpy_lstm", "--cases", "20", "--json", str(file))
    assert code == 0
    counts = out.splitlines()[-2]
    assert counts.startswith("ran 20 of 20 cases, ") and "; control: " in counts
    report = json.loads(file.read_text())
    assert report["counts"]["judged"] == 20 and report["counts"]["too_little"] == ""
    assert report["control"]["planted"] == report["control"]["detected"] > 30
    assert sum(len(r["tensors"]) for r in report["results"]) == report["counts"]["tensors"]
    assert report["diagnosis"] is None


def test_one_of_a_half_type_alone_is_judged_in_it(capsys):
    code, out, _ = check(capsys, "torch_in_bfloat16", "--cases", "24")
    assert code == 0 and "agrees with the derivations: 24 results" in out.splitlines()[-1]


@pytest.mark.slow
def test_a_wrong_one_exits_1_and_is_diagnosed(capsys):
    code, out, _ = check(capsys, "doubling", "--cases", "40")
    assert code == 1
    assert "and stopped after many faults" in out
    assert "control: no answer agrees, so that no mistake could be planted" in out
    verdict = out.splitlines()[-1]
    assert verdict.startswith(f"{MODULE}:doubling does not agree with the derivations: 20 faults")
    assert "every gradient" in verdict and "2" in verdict


@pytest.mark.slow
def test_an_error_where_the_truth_is_0_is_not_given_a_size(capsys):
    code, out, _ = check(capsys, "shifted", "--cases", "50", "--dtype", "float64")
    assert code == 1 and "e+" not in out and "(R > 1e16)" in out
    assert re.search(r" >1e16 .*\n +d_x, time \d row \d input \d, where the truth is 0\n", out)


def test_a_run_that_judges_too_little_exits_2(capsys):
    code, out, _ = check(capsys, "raising", "--cases", "20", "--dtype", "float32")
    assert code == 2
    assert "only 0 cases could be judged, and at least 16 must be" in out
    line = r"RuntimeError: the kernel was not launched \(written_implementations.py, line \d+\)"
    assert re.search(line, out)
    above = out[: out.index("worst cases")]
    assert "raised" in above and "fault" not in above and " inf" not in above
    code, out, _ = check(capsys, "numpy_lstm", "--cases", "3")
    assert code == 0, "no more than three were asked for"


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_case_that_crashes_is_named_and_the_others_go_on(capsys, workers):
    name = f"{MODULE}:crashing_sometimes"
    code, out, _ = bptt_oracle(
        capsys, "check", "--implementation", name, "--workers", workers, "--cases", "50", "-q"
    )
    assert code == 2
    assert re.search(r"could not be judged completely: \d+ × crash in \d+ results", out), out


def test_where_every_case_crashes_the_verdict_says_how(capsys):
    code, out, _ = check(capsys, "crashing", "--cases", "3", "--dtype", "float32")
    assert code == 2 and "only 0 cases could be judged, and at least 3 must be; " in out
    assert "3 results did not come, of the first its process was ended by SIGSEGV" in out


def test_a_crash_is_recorded_by_one_worker_too(capsys, tmp_path):
    name = f"{MODULE}:crashing"
    arguments = ["record", "-o", str(tmp_path / "run"), "--cases", "2", "--workers", "1"]
    code, _, err = bptt_oracle(capsys, *arguments, "--implementation", name)
    assert code == 0 and "4 × crash" in err and "ended by SIGSEGV" in err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--path", "cpu-native"], "--implementation replaces --path and --device; leave them out"),
        (["--device", "cpu"], "--implementation replaces --path and --device; leave them out"),
        (["--dtype", "bfloat16"], "has no bfloat16; it has float32, float64"),
    ],
)
def test_options_that_contradict_each_other_exit_2(capsys, arguments, words):
    code, out, err = check(capsys, "numpy_lstm", *arguments)
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1


def test_a_report_is_not_overwritten_by_that_of_another_implementation(capsys, tmp_path):
    more = ["--implementation", f"{MODULE}:run_lstm", "--json", str(tmp_path / "report.json")]
    code, out, err = check(capsys, "numpy_lstm", *more)
    assert (code, out) == (2, "") and "--json holds the results of one --implementation" in err
    assert not any(tmp_path.iterdir())


def test_a_name_that_cannot_be_loaded_exits_2(capsys):
    for command in (["check"], ["replay", CASE], ["record", "-o", "x"], ["faults"]):
        code, out, err = bptt_oracle(capsys, *command, "--implementation", "no.such:thing")
        assert (code, out) == (2, "") and err.count("\n") == 1
        assert "no.such:thing cannot be loaded: ModuleNotFoundError" in err


def test_replay_prints_the_numbers_and_a_program_for_a_report(capsys, tmp_path):
    name = ["--implementation", f"{MODULE}:doubling"]
    code, out, _ = bptt_oracle(capsys, "replay", CASE, *name)
    assert code == 1 and "d_weight_hh_l0" in out and out.splitlines()[-1] == "verdict: fault"
    code, program, _ = bptt_oracle(capsys, "replay", CASE, *name, "--script")
    assert code == 0
    (tmp_path / "report.py").write_text(program)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "report.py")],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": ""},
        capture_output=True,
        text=True,
    )
    ratios = {line.split()[0]: float(line.split()[-1]) for line in done.stdout.splitlines()}
    assert done.returncode == 0 and len(ratios) == 10, done.stderr
    assert ratios["output"] < 16 < ratios["d_x"]


@pytest.mark.parametrize("name", ["q\\new/kern.py:a", 'kern.py\'""":a', 'a"b:a', "Käfer.py:a"])
def test_any_name_of_an_implementation_makes_a_program(name):
    case = parse(CASE)
    problem = draw(case)
    program = implementation_script(case, name, "float32", expect(problem, "float32"))
    (assigned,) = [line for line in program.splitlines() if line.startswith("implementation = ")]
    assert ast.literal_eval(assigned.removeprefix("implementation = ")) == name
    assert "load(implementation)" in program and compile(program, "report.py", "exec")


@pytest.mark.parametrize(
    "name, status, verdict",
    [
        ("doubling", 1, "verdict: fault"),
        ("doubling_as_expected", 0, "verdict: known deviation tensor=d_*"),
    ],
)
def test_replay_of_a_known_deviation_exits_0(capsys, name, status, verdict):
    code, out, _ = bptt_oracle(capsys, "replay", CASE, "--implementation", f"{MODULE}:{name}")
    assert code == status and out.rstrip().endswith(verdict)


def test_replay_of_an_option_that_it_lacks_exits_2(capsys):
    name = ["--implementation", f"{MODULE}:numpy_lstm"]
    code, _, err = bptt_oracle(capsys, "replay", CASE.replace("L1", "L1.P2"), *name)
    assert code == 2 and "the case has an option that it lacks: projection" in err
    code, _, err = bptt_oracle(capsys, "replay", CASE.replace("LSTM", "GRU"), *name)
    assert code == 2 and "it computes LSTM, and the case is GRU" in err


def test_recorded_runs_of_one_implementation_are_compared(capsys, tmp_path):
    for file in ("before", "after"):
        code, _, err = bptt_oracle(
            capsys,
            *("record", "-o", str(tmp_path / file), "--cases", "8", "--workers", "1"),
            *("--implementation", f"{MODULE}:run_lstm"),
        )
        assert code == 0 and "16 results written" in err
    code, out, _ = bptt_oracle(capsys, "compare", *(str(tmp_path / f) for f in ("before", "after")))
    assert code == 0 and "bitwise equal" in out


def record(capsys, file, *names):
    options = [f"--implementation={MODULE}:{name}" for name in names]
    arguments = ["record", "-o", str(file), "--cases", "8", "--workers", "1", *options]
    assert bptt_oracle(capsys, *arguments)[0] == 0


def test_an_implementation_named_twice_is_judged_once(capsys, tmp_path):
    name = ["--implementation", f"{MODULE}:run_lstm"]
    arguments = [*name, *name, "--cases", "1", "--dtype", "float32"]
    run, report = str(tmp_path / "run"), str(tmp_path / "c.json")
    code, out, err = bptt_oracle(capsys, "record", *arguments, "-o", run, "--workers", "1", "-q")
    assert (code, out) == (0, "") and "1 result written" in err
    code, out, _ = bptt_oracle(
        capsys, "check", *arguments, "--json", report, "--workers", "1", "-q"
    )
    assert (code, out.count("\n")) == (0, 1)


@pytest.mark.slow
def test_two_versions_of_a_kernel_with_names_of_their_own_are_compared(capsys, tmp_path):
    one, two, both = (str(tmp_path / name) for name in ("one", "two", "both"))
    record(capsys, one, "numpy_lstm")
    record(capsys, two, "doubling")
    pair = f"{MODULE}:numpy_lstm", f"{MODULE}:doubling"
    code, out, _ = bptt_oracle(capsys, "compare", one, two)
    last = out.splitlines()[-1]
    assert code == 1 and last.startswith(f"{pair[0]} → {pair[1]}: 16 results: 16 fault. Bits moved")
    assert re.search(r"; median R 0\.\d\d → \de\+14\.$", last)
    assert f"--implementation {pair[1]} --dtype float32" in out, "what replays it"
    record(capsys, both, "numpy_lstm", "doubling", "run_lstm")
    given = ["--pair", "=".join(pair), "--pair", f"{MODULE}:run_lstm={MODULE}:run_lstm"]
    code, out, _ = bptt_oracle(capsys, "compare", both, both, *given)
    assert code == 1 and ": 32 results: 16 fault, 16 bitwise equal." in out.splitlines()[-1]
    code, _, err = bptt_oracle(capsys, "compare", one, two, "--pair", "one=two")
    assert code == 2 and "has no results of 'one'" in err


def test_a_run_is_compared_with_what_an_implementation_computes_now(capsys, tmp_path):
    run = str(tmp_path / "run")
    record(capsys, run, "numpy_lstm", "doubling")
    now = ["compare", run, "--implementation"]
    code, out, _ = bptt_oracle(capsys, *now, f"{MODULE}:numpy_lstm", "-q")
    assert (code, out) == (0, "16 results: 16 bitwise equal.\n")
    pair = f"{MODULE}:doubling={MODULE}:run_lstm"
    code, out, _ = bptt_oracle(capsys, *now, f"{MODULE}:run_lstm", "-q", "--pair", pair)
    assert code == 0 and "run_lstm: 16 results: 16 fixed. " in out
    assert [*tmp_path.iterdir()] == [tmp_path / "run"]
    code, _, err = bptt_oracle(capsys, "compare", run)
    assert code == 2 and "name either a run file NEW or an --implementation" in err
    code, _, err = bptt_oracle(capsys, *now, f"{MODULE}:run_lstm", run)
    assert code == 2 and "name either a run file NEW or an --implementation" in err


def test_an_expected_deviation_is_recorded_as_known_with_its_R(capsys, tmp_path):
    right, expected = str(tmp_path / "right"), str(tmp_path / "expected")
    record(capsys, right, "numpy_lstm")
    name = f"{MODULE}:doubling_as_expected"
    arguments = ["record", "-o", expected, "--implementation", name, "--cases", "8"]
    code, _, err = bptt_oracle(capsys, *arguments, "--workers", "1")
    assert code == 0 and "16 results written to" in err
    assert err.rstrip().endswith(", 0 faults, 16 known deviations")
    rows = read(tmp_path / "expected").rows
    assert {r.verdict for r in rows} == {"known deviation"} and min(r.R for r in rows) > 1000
    assert {r.note for r in rows} == {"tensor=d_*"}
    code, out, _ = bptt_oracle(capsys, "compare", right, expected)
    assert code == 0 and ": 16 results: 16 known deviation. " in out.splitlines()[-1]
    code, out, _ = bptt_oracle(capsys, "compare", expected, right)
    assert code == 0 and ": 16 results: 16 fixed. " in out.splitlines()[-1]


def test_mistakes_are_planted_in_its_answers(capsys):
    arguments = ["faults", "--implementation", f"{MODULE}:numpy_lstm", "--cases", "16"]
    code, out, _ = bptt_oracle(capsys, *arguments)
    assert code == 0 and "SURVIVES" not in out
    assert "14 mistakes planted in answers of" in out.splitlines()[-1]
    assert out.splitlines()[-1].endswith("28 combinations with cell and dtype; detected: 28")
    code, _, err = bptt_oracle(capsys, *arguments[:2], f"{MODULE}:raising", "--cases", "2")
    assert code == 2 and "no answer of" in err
    code, _, err = bptt_oracle(capsys, *arguments, "--fault", "bias_hh_zeroed")
    assert code == 2 and "leave --fault and --markdown out" in err


def test_judging_needs_no_torch(tmp_path):
    """The NumPy implementation of the page, where importing torch raises."""
    (tmp_path / "torch.py").write_text("raise ImportError('there is no torch')")
    page = (ROOT / "docs/implementations/your_implementation.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"Write to `(\w+\.py)`:\n\n```python\n(.*?)```", page, re.DOTALL):
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = ["check", "--implementation", "my_lstm:lstm", "--cases", "20", "--workers"]
    for workers in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "bptt_oracle", *command, workers],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "my_lstm:lstm agrees with the derivations: 40 results" in done.stdout
        assert "torch" not in done.stdout
