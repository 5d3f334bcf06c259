"""Options that every command has: help, version, quiet, verbose; and shell completion."""

import subprocess
import sys
from pathlib import Path

import pytest

import bptt_oracle
from bptt_oracle.__main__ import main
from bptt_oracle.reports.console import progress_bar
from support.drawn_cases import pinned
from support.runs import write_both

COMMANDS = (
    "check",
    "replay",
    "record",
    "compare",
    "export",
    "versions",
    "preflight",
    "cohort",
    "faults",
    "selftest",
    "claims",
)
PROGRAM = [sys.executable, "-m", "bptt_oracle"]


def run(capsys, *arguments):
    """Exit status, standard output and standard error of one command."""
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    return stop.value.code, out, err


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_h_is_help(capsys, command):
    short, long = run(capsys, *command, "-h"), run(capsys, *command, "--help")
    assert short == long and short[0] == 0 and " ".join(["bptt-oracle", *command]) in short[1]


def test_the_help_of_the_program_lists_every_command_and_shell_completion(capsys):
    _, out, _ = run(capsys, "--help")
    for word in (*COMMANDS, "--version", "--install-completion", "--show-completion"):
        assert word in out


def test_version_prints_the_version(capsys):
    assert run(capsys, "--version") == (0, f"bptt-oracle {bptt_oracle.__version__}\n", "")
    assert bptt_oracle.__version__[0].isdecimal()


@pytest.mark.parametrize("command", [["--help"], ["check", "--help"]], ids=" ".join)
@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_help_in_a_pipe_that_is_closed_early_is_no_error(command, reader):
    ran = subprocess.run(
        ["bash", "-c", f'"$@" | {reader}; exit ${{PIPESTATUS[0]}}', "bash", *PROGRAM, *command],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_help_that_cannot_be_written_exits_2():
    ran = subprocess.run(
        ["bash", "-c", '"$@" >/dev/full', "bash", *PROGRAM, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 2
    assert ran.stderr == "bptt-oracle: standard output cannot be written: No space left on device\n"


def test_completion_is_printed_for_a_shell():
    command = " ".join(PROGRAM) + " --show-completion; exit $?"  # typer asks which shell ran it
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0 and "complete" in ran.stdout and "bptt-oracle" in ran.stdout


def test_quiet_prints_only_the_verdict_line(capsys, tmp_path):
    write_both(tmp_path)
    for command, status, start in (
        (["check", "--cases=2", "--workers=1", "--path=cpu-native"], 0, "torch "),
        (["compare", tmp_path / "old", tmp_path / "new"], 1, "10 results: "),
        (["faults", "--fault=bias_hh_zeroed"], 0, "1 fault in "),
    ):
        code, out, err = run(capsys, *command, "--quiet")
        assert (code, out.count("\n"), err) == (status, 1, "") and out.startswith(start)
    _, out, err = run(
        capsys, "record", "-o", tmp_path / "run.json", "--cases=1", "--workers=1", "-q"
    )
    assert out == "" and err.count("\n") == 1 and "written to" in err


@pytest.mark.slow
def test_selftest_ends_with_its_verdict(capsys):
    code, out, err = run(capsys, "selftest", "--comparisons", "1000", "--workers", "1", "-q")
    assert (code, out.count("\n"), err) == (0, 1, "")
    assert out.startswith("the judge passes: 0 false alarms in 1,")
    detected, planted = (
        out.split(" tensors, ")[1].removesuffix(" planted mistakes detected\n").split(" of ")
    )
    assert detected == planted != "0"


def test_verbose_prints_the_whole_environment(capsys):
    command = ["replay", pinned().id]
    assert "blas (torch)" not in run(capsys, *command)[1]
    assert "blas (torch)" in run(capsys, *command, "-v")[1]
    command = ["check", "--cases=2", "--workers=1", "--path=cpu-native"]
    brief, full = run(capsys, *command)[1], run(capsys, *command, "-v")[1]
    assert "blas (torch)" not in brief and "blas (torch)" in full
    assert brief.splitlines()[-1] == full.splitlines()[-1]


def test_list_deviations_prints_the_table_that_check_otherwise_only_counts(capsys):
    command = ["check", "--cases=2", "--workers=1", "--path=cpu-native"]
    brief, full = run(capsys, *command)[1], run(capsys, *command, "--list-deviations")[1]
    assert "known deviation of this torch" not in brief and "--list-deviations" in brief
    assert "known deviation of this torch" in full and "extra-layers-of-c_0" in full


def test_progress_names_what_it_counts_and_is_not_drawn_in_a_pipe():
    folder = Path(bptt_oracle.__file__).parent
    for file, unit in (
        ("cli/check.py", "cases checked"),
        ("cli/recording.py", "cases recorded"),
        ("cli/faults.py", "faults planted"),
        ("runs/selftest.py", "tensors compared"),
    ):
        assert f'"{unit}"' in (folder / file).read_text()
    assert progress_bar().disable and progress_bar(quiet=True).disable
