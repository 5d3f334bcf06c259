"""Commands as a user types them: output, exit status, files."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from rich.console import Console

from bptt_oracle.cases.corpus import corpus
from bptt_oracle.cli.usage import usage_sentence
from bptt_oracle.implementations.implementation import Answer
from bptt_oracle.implementations.torch_paths import torch_implementation
from bptt_oracle.judging.truth import Expected
from bptt_oracle.reports import check_tables
from bptt_oracle.reports.console import new_console
from bptt_oracle.reports.replay_tables import print_replay
from bptt_oracle.runs.checking import check
from bptt_oracle.runs.examine import examine
from bptt_oracle.runs.files import write_text
from support.command_line import bptt_oracle
from support.drawn_cases import pinned
from support.runs import row, write_run
from torch_impl.execution.catalogue import PATHS
from torch_impl.execution.run import Outcome

ROOT = Path(__file__).parents[3]
CASE = pinned(bidirectional=True, layout="packed", lengths=(2, 5, 1), strided=True)
INVALID = ["replay", CASE.id, "--path", "cpu-invalid-calls"]


def test_check_prints_environment_table_and_worst_cases_and_exits_0(capsys, tmp_path):
    file = tmp_path / "run.json"
    code, out, _ = bptt_oracle(
        capsys, "check", "--cases", "12", "--workers", "1", "--json", str(file)
    )
    assert code == 0
    for words in ("torch", "numpy", "cpu-native", "worst cases", "bptt-oracle replay", "agree"):
        assert words in out
    results = json.loads(file.read_text())["results"]
    assert f"\n{sum(r['verdict'] != 'excluded' for r in results)} results in " in out
    assert {r["verdict"] for r in results} <= {"agree", "excluded", "known deviation"}
    assert {r["dtype"] for r in results} == {"float32", "float64"}
    worst = max((r for r in results if r["verdict"] == "agree"), key=lambda r: r["R"])
    assert worst["case"] in out and list(tmp_path.iterdir()) == [file]
    ran = sum(r["verdict"] != "excluded" for r in results)
    met = sum(d["met"] > 0 for d in json.loads(file.read_text())["deviations"])
    assert out.splitlines()[-1] == (
        f"torch {torch.__version__} agrees with the derivations: {ran} results, "
        f"worst R {worst['R']:.2f} of 16, {met} known deviations met"
    )
    assert " inf " not in out


@pytest.mark.slow
def test_check_exits_1_on_a_fault(capsys, monkeypatch):
    monkeypatch.setattr("bptt_oracle.judging.judge.LIMIT", 0.01)
    code, out, _ = bptt_oracle(capsys, "check", "--cases", "2", "--workers", "1")
    assert code == 1 and "fault" in out
    assert re.match(
        r"torch \S+ does not agree with the derivations: \d+ faults in \d+ results, the worst on "
        r"cpu-\S+, (RNN_TANH|RNN_RELU|GRU|LSTM), float\d\d \(R \d+\.\d\d of 0\.01\)$",
        out.splitlines()[-1],
    )


def test_check_exits_2_if_no_number_was_compared(capsys):
    """One of the two cases makes invalid calls, which are not a result of the path."""
    options = ["--cases", "2", "--path", "cpu-onednn", "--dtype", "float64", "--workers", "1"]
    code, _, err = bptt_oracle(capsys, "check", *options)
    assert code == 2 and err.count("\n") == 1
    assert "no case of this corpus exists on cpu-onednn in float64; ask for" in err


def test_check_exits_2_if_every_number_is_untrusted_though_torch_rejects_invalid_calls(
    capsys, monkeypatch
):
    monkeypatch.setattr("bptt_oracle.judging.wide.longdouble_is_wider", lambda: False)
    monkeypatch.setattr("bptt_oracle.judging.truth.LARGEST_MULTIPRECISION", 0)
    options = ["--cases", "2", "--path", "cpu-native", "--dtype", "float64", "--workers", "1"]
    code, out, err = bptt_oracle(capsys, "check", *options)
    assert "cpu-invalid-calls" in out
    assert code == 2 and "every result is untrusted" in err
    assert re.match(
        r"torch \S+ could not be judged: \d+ of \d+ results untrusted$", out.splitlines()[-1]
    )


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["check", "--path", "cpu-fast"], "there is no path 'cpu-fast'"),
        (["check", "--path", "cuda-cudnn", "--device", "cpu"], "runs on cuda"),
        (["check", "--json", "/no/such/folder/run.json"], "does not exist"),
        (["check", "--json", "."], "is a folder"),
        (["faults", "--markdown", "."], "is a folder"),
        (["claims", "--markdown", "/no/such/folder/page.md"], "does not exist"),
        (["replay", CASE.id, "--path", "all"], "one --path at a time"),
        (["replay", CASE.id, "--path", "roads"], "one --path at a time"),
        (
            ["replay", CASE.id, "--path", "cpu-native", "--implementation", "a:b"],
            "--implementation replaces --path; leave it out",
        ),
        (
            ["replay", CASE.id, "--path", "cpu-invalid-calls", "--implementation", "a:b"],
            "--implementation replaces --path; leave it out",
        ),
        (["replay", "LSTM.T5"], "is not a case id"),
        (
            ["replay", CASE.id, "--path", "cpu-invalid-calls", "--script"],
            "has no --script; leave it",
        ),
        (
            ["replay", CASE.id, "--path=cpu-invalid-calls", "--dtype=float64"],
            "runs only in float32",
        ),
        (["replay", pinned(P=2).id, "--path", "cpu-cells"], "nn.LSTMCell has no projection"),
        (["replay", pinned(seed=2**64).id], "a seed must be at most 2**64 - 1"),
    ],
)
def test_what_cannot_be_run_exits_2_with_one_sentence(capsys, arguments, words):
    code, out, err = bptt_oracle(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err and err.count("\n") == 1


def test_an_absent_device_exits_2_with_the_reason(capsys):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    for path in ([], ["--path", "all"]):
        code, out, err = bptt_oracle(capsys, "check", "--device", "cuda", *path)
        assert (code, out) == (2, "")
        assert err.endswith("--device cuda cannot run: no CUDA device on this machine\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--cases", "0"],
        ["check", "--cases", "99999999999999"],
        ["record", "-o", "run.json", "--cases", "99999999999999"],
        ["versions", "2.4.1", "2.13.0", "--cases", "99999999999999"],
        ["compare", "old", "new", "--factor", "inf"],
        ["compare", "old", "new", "--factor", "nan"],
        ["compare", "old", "new", "--factor", "0.5"],
        ["check", "--dtype", "int8"],
        ["check", "--seed", "18446744073709"],
        ["selftest", "--seed", "18446744073709"],
        ["selftest", "--comparisons", "99999999999999"],
    ],
)
def test_a_malformed_option_is_one_sentence_with_what_came_and_exits_2(capsys, arguments):
    code, out, err = bptt_oracle(capsys, *arguments)
    command, *_, option, came = arguments
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert option in err and repr(came) in err
    assert err.endswith(f"; see `bptt-oracle {command} --help`\n")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["check", "--cases", "abc"], "--cases should be a valid integer, not 'abc'"),
        (["check", "--device", "tpu"], "--device: 'tpu' is not one of 'auto', 'cpu'"),
        (["check", "--cases"], "option '--cases' requires an argument"),
        (["check", "--nope"], "no such option: --nope"),
        (["chek"], "no such command 'chek'; perhaps 'check'; see `bptt-oracle --help`"),
        (["replay"], "missing argument 'ID'; see `bptt-oracle replay --help`"),
        (["export", "run", "\x1b[2J"], "unexpected extra argument"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_one_sentence(capsys, arguments, words):
    code, out, err = bptt_oracle(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err and err.removesuffix("\n").isprintable()


def test_the_sentence_of_an_earlier_typer_has_its_words():
    """Its messages state what came."""
    error = typer.BadParameter("'abc' is not a valid integer.", param_hint="'--cases'")
    assert usage_sentence(error) == (
        "--cases: 'abc' is not a valid integer; see `bptt-oracle --help`"
    )


def test_replay_shows_framework_and_truth_side_by_side(capsys):
    code, out, _ = bptt_oracle(capsys, "replay", CASE.id, "--dtype", "float64")
    assert code == 0
    for words in ("framework", "truth", "noise", "d_weight_hh_l1_reverse", "kernel: native"):
        assert words in out


@pytest.mark.slow
def test_a_script_runs_without_bptt_oracle_and_finds_the_same_errors(capsys, tmp_path):
    unbatched = pinned(cell="RNN_RELU", B=1, layout="unbatched", cotangents=("h_n",))
    for number, (path, case) in enumerate(
        [
            ("cpu-native", CASE),
            ("cpu-cells", CASE),
            ("cpu-manual", pinned(layout="batch", dropout=0.25)),
            ("cpu-native", unbatched),
            ("cpu-onednn", pinned()),
            ("cpu-native-again", pinned(tied=True)),
        ]
    ):
        code, program, _ = bptt_oracle(capsys, "replay", case.id, "--path", path, "--script")
        assert code == 0
        assert "bptt_oracle" not in program and "import reference" not in program
        (tmp_path / f"report_{number}.py").write_text(program)
    together = "import runpy; [runpy.run_path(f'report_{k}.py') for k in (4, 5, 3, 2, 1, 0)]"
    ran = subprocess.run(
        [sys.executable, "-c", together], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    measures = [line for line in ran.stdout.splitlines() if "over the noise" in line]
    ratios = [float(line.split()[-1]) for line in measures]
    assert ran.stdout.count("torch ") == 6 and len(ratios) > 75
    assert all(ratio < 8 for ratio in ratios if ratio == ratio)
    assert any(ratio > 0.1 for ratio in ratios)


def test_two_workers_find_what_one_finds():
    names = ["cpu-native"]
    one, two = (
        sorted(
            (r.case, r.dtype, r.R)
            for some in check(corpus(6), ["float32"], names, workers)
            for r in some
        )
        for workers in (1, 2)
    )
    assert one == two


@pytest.mark.slow
def test_the_module_is_the_same_command_and_its_output_can_be_piped():
    ran = subprocess.run(
        [sys.executable, "-m", "bptt_oracle", "check", "--cases", "2", "--workers", "1"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0
    assert "\x1b" not in ran.stdout and "…" not in ran.stdout


@pytest.mark.slow
def test_a_closed_pipe_is_not_reported_and_exits_2():
    command = [sys.executable, "-m", "bptt_oracle", "claims"]
    ran = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ran.stdout.close()
    assert (ran.stderr.read(), ran.wait(60)) == ("", 2)


COMPARE = ["compare", "run.json", "run.json"]
REPLAY = ["replay", CASE.id]


@pytest.fixture
def typed(tmp_path):
    """Run a command in a folder that holds a run file; its status, standard output and error."""
    write_run(tmp_path / "run.json", row())

    def run(shell, command, **variables):
        words = [sys.executable, "-m", "bptt_oracle", *command]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
        ran = subprocess.run(
            ["bash", "-c", f'"$@" {shell}', "bash", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            timeout=120,
        )
        return ran.returncode, ran.stdout.decode(errors="replace"), ran.stderr.decode()

    return run


ASCII = {"PYTHONIOENCODING": "ascii"}
NO_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.slow
@pytest.mark.parametrize("command", [["claims"], [*COMPARE, "--markdown"]])
@pytest.mark.parametrize("variables", [ASCII, NO_LOCALE])
def test_what_an_encoding_lacks_is_a_question_mark(typed, command, variables):
    code, out, err = typed("", command, **variables)
    assert (code < 2 and err == "") or "tests of these claims did not run here" in err
    assert "?" in out and out.isascii()


@pytest.mark.slow
@pytest.mark.parametrize("command", [COMPARE, [*COMPARE, "--markdown"], [*REPLAY, "--script"]])
@pytest.mark.parametrize(
    "shell, message",
    [
        (">/dev/full", "bptt-oracle: standard output cannot be written: No space left on device\n"),
        (">&-", "bptt-oracle: standard output cannot be written: Bad file descriptor\n"),
        ("| true; exit ${PIPESTATUS[0]}", ""),
    ],
)
def test_output_that_cannot_be_written_exits_2(typed, command, shell, message):
    assert typed(shell, command) == (2, "", message)


MODEL = """
import torch


def make():
    torch.manual_seed(1)
    return torch.nn.GRU(3, 2), torch.randn(4, 2, 3), lambda model, x: model(x)[0].square().sum()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["--cases=2", "--path=cpu-native", "--workers=1"], ["--model=tagger.py:make"]]
)
@pytest.mark.parametrize("shell", ["2>/dev/full", "2>&-"])
def test_a_record_whose_summary_cannot_be_written_exits_2_and_keeps_the_run(
    typed, tmp_path, command, shell
):
    (tmp_path / "tagger.py").write_text(MODEL)
    assert typed(shell, ["record", "-o", "new", *command]) == (2, "", "")
    assert typed("", ["compare", "new", "new", "-q"])[0] == 0


@pytest.mark.parametrize("command", [["check", "--cases=2", "--json"], [*COMPARE, "--json"]])
def test_a_name_that_cannot_be_a_file_is_rejected_before_the_work(
    capsys, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run.json", row())
    (tmp_path / "loop").symlink_to("loop")
    for name, why in (("loop", "Too many levels of symbolic links"), ("x" * 999, "File name too")):
        code, out, err = bptt_oracle(capsys, *command, name)
        assert (code, out) == (2, "") and err.count("\n") == 1
        assert f"{name} cannot be written: {why}" in err


def test_a_loop_of_links_is_not_a_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    code, out, err = bptt_oracle(capsys, "compare", "loop", "loop")
    assert (code, out, err) == (2, "", "bptt-oracle: loop is not a file\n")


def test_a_long_name_that_the_system_accepts_is_written(tmp_path):
    file = tmp_path / ("x" * 250)
    write_text(file, "word")
    assert file.read_text() == "word"


@pytest.mark.slow
@pytest.mark.parametrize(
    "option",
    ["--path=cpu-fast", "--path=cpu-invalid-calls", "--dtype=int8", "--hypothesis-profile=x"],
)
def test_pytest_rejects_unknown_names_and_runs_nothing(option):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", option, __file__]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout) == (pytest.ExitCode.USAGE_ERROR, "")
    assert "choose from" in ran.stderr and "Traceback" not in ran.stderr


def test_claims_run_only_in_a_checkout(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("bptt_oracle.ledger.claims.ROOT", tmp_path)
    code, out, err = bptt_oracle(capsys, "claims")
    assert (code, out) == (2, "") and "not installed; run it in a checkout" in err


def test_a_narrow_terminal_shows_what_each_row_is_about(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    console = new_console(file=io.StringIO(), force_terminal=True, color_system=None)
    path = PATHS["cpu-native-again"]
    check_tables.print_results(
        console, examine(pinned(cell="RNN_TANH"), "float32", [torch_implementation(path)]), {}, 1
    )
    out = console.file.getvalue()
    assert "│ cpu-native-again │ RNN_TANH │ float32 │" in out and "…" not in out
    assert "\n1 result in 1.0 s" in out


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="Ctrl-C is sent otherwise on Windows")
@pytest.mark.parametrize(
    "command, seconds", [("check", 1), ("check", 3), ("check", 8), ("selftest", 8)]
)
def test_ctrl_c_ends_workers_and_all_without_a_traceback(command, seconds):
    """Both while the workers import and while they work."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    ran = subprocess.Popen(
        [sys.executable, "-m", "bptt_oracle", command, "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    time.sleep(seconds)
    os.killpg(ran.pid, signal.SIGINT)
    assert ran.communicate(timeout=120)[1] == ""
    assert ran.returncode in (130, -signal.SIGINT)  # a shell reports 130 for both


@pytest.mark.parametrize(
    "command, work",
    [
        (["record", "-o", "run"], "bptt_oracle.cli.record.record_with_progress"),
        (
            ["record", "-o", "run", "--model", "tagger.py:make"],
            "bptt_oracle.inspection.record_model.record_model",
        ),
        (["versions", "2.4.1", "2.13.0"], "bptt_oracle.runs.versions.record_versions"),
    ],
    ids=["record", "record --model", "versions"],
)
def test_ctrl_c_in_a_command_that_continues_is_one_sentence_and_130(
    capsys, tmp_path, monkeypatch, command, work
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, press_ctrl_c)
    expected = (130, "", "bptt-oracle: stopped; the same command continues from here\n")
    assert bptt_oracle(capsys, *command) == expected


def test_ctrl_c_in_a_comparison_with_what_is_computed_now_is_130(capsys, tmp_path, monkeypatch):
    write_run(tmp_path / "run", row())
    monkeypatch.setattr("bptt_oracle.cli.compare.record_with_progress", press_ctrl_c)
    doubling = "support.written_implementations:doubling"
    command = ["compare", str(tmp_path / "run"), "--implementation", doubling]
    expected = (130, "", "bptt-oracle: stopped; nothing was compared\n")
    assert bptt_oracle(capsys, *command) == expected


def press_ctrl_c(*_):
    raise KeyboardInterrupt


def test_a_file_is_written_through_a_link_and_a_device_stays_one(tmp_path):
    write_text(Path("/dev/null"), "word")
    assert Path("/dev/null").is_char_device()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_text(tmp_path / "link", "word")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "word"


def test_importing_the_reference_imports_no_torch():
    program = "import sys, reference; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_replay_prints_each_number_under_its_head_the_worst_tensor_first():
    truth = {n: np.arange(1.0, 1 + np.prod(s)).reshape(s) for n, s in SHAPES.items()}
    values = {name: value.copy() for name, value in truth.items()}
    values["output"][4, 2, 5] += 0.25
    values["h_n"][1, 2, 3] += 0.5
    noise = {"output": (0.25, 0.2), "h_n": (0.1, 0.05)}
    console = Console(file=io.StringIO(), width=200)
    measured = Expected(truth, noise, False)
    assert print_replay(console, pinned(), Answer(values, "native"), measured) == "agree"
    lines = console.file.getvalue().splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if " row " in line]
    assert cells == [
        ["h_n", "[2, 3, 6]", "5.00", "layer 1 row 2 unit 3", "34.5", "34", "1.0e-01", "–"],
        ["output", "[5, 3, 6]", "1.00", "time 4 row 2 unit 5", "90.25", "90", "2.5e-01", "–"],
    ]


SHAPES = {"output": (5, 3, 6), "h_n": (2, 3, 6)}


def test_in_a_replay_of_the_exact_regime_the_last_bit_decides():
    case = pinned(cell="RNN_RELU", cotangents=("output", "h_n"), regime="exact")
    truth = {name: np.arange(1.0, 1 + np.prod(s)).reshape(s) for name, s in SHAPES.items()}
    found = truth | {"h_n": np.nextafter(truth["h_n"], 99)}
    noise = dict.fromkeys(SHAPES, (1.0, 1.0))
    for exact, word in ((True, "fault"), (False, "agree")):
        console, measured = Console(file=io.StringIO()), Expected(truth, noise, exact)
        assert print_replay(console, case, Answer(found, "native"), measured) == word


@pytest.mark.parametrize(
    "case, path",
    [
        (pinned(dropout=0.3), "cpu-cells"),  # with the masks that torch drew
        (pinned(), "cpu-autocast-bfloat16"),  # by the expected of the products' type
    ],
    ids=["masks", "lower type"],
)
def test_a_replay_agrees_where_the_check_agrees(capsys, case, path):
    code, out, _ = bptt_oracle(capsys, "replay", case.id, "--path", path)
    assert (code, "verdict: agree" in out) == (0, True)


def test_a_script_ties_tied_parameters_and_runs_the_kernel_of_its_path(capsys):
    case = pinned(tied=True, bidirectional=True)
    for path in ("cpu-native", "cpu-onednn", "cpu-native-again"):
        _, program, _ = bptt_oracle(capsys, "replay", case.id, "--path", path, "--script")
        assert ("mkldnn.set_flags(False)" in program) is ("native" in path)
        assert ("for keep in (True, False)" in program) is path.endswith("again")
        for suffix in ("_l0", "_l1_reverse"):
            assert f'params["bias_hh{suffix}"] = params["bias_ih{suffix}"]' in program


@pytest.mark.slow
def test_a_failing_check_of_torch_names_the_mistake(capsys, monkeypatch):
    from bptt_oracle.implementations import torch_paths

    right = torch_paths.run_path

    def doubled(*arguments):
        results, kernel = right(*arguments)
        return Outcome({n: v * (1 + n.startswith("d_")) for n, v in results.items()}, kernel)

    monkeypatch.setattr(torch_paths, "run_path", doubled)
    options = ["--cases", "8", "--workers", "1", "--path", "cpu-native", "--dtype", "float64"]
    code, out, _ = bptt_oracle(capsys, "check", *options)
    assert code == 1 and "\ndiagnosis: agrees with every gradient doubled in " in out
