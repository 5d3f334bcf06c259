"""`check --path optimizers`: rows, verdict, exit status, and what is rejected."""

import json
import re
from pathlib import Path

import pytest

from bptt_oracle.cli import check_optimizers
from bptt_oracle.optimizers import examine
from bptt_oracle.optimizers.cases import optimizer_cases
from bptt_oracle.optimizers.examine import optimizer_paths
from support.command_line import bptt_oracle

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "optimizers" / "optimizers.md"


def check(capsys, *arguments):
    return bptt_oracle(capsys, "check", "--workers", "1", *arguments)


def test_every_path_has_rows_and_the_verdict_is_agreement(capsys, tmp_path):
    file = tmp_path / "results.json"
    status, out, _ = check(capsys, "--path", "optimizers", "--cases", "11", "--dtype", "float32",
                           "--json", str(file), "--list-deviations")  # fmt: skip
    assert status == 0, out
    assert "agrees with the derivations" in out.splitlines()[-1]
    assert "torch rejects capturable on the CPU" in out
    results = json.loads(file.read_text())["results"]
    assert {r["path"] for r in results} == optimizer_paths().keys()
    for path in optimizer_paths():
        assert path.endswith("-capturable") or re.search(rf"{path} +│", out), path


def test_one_path_is_judged_by_its_name(capsys):
    status, out, _ = check(capsys, "--path", "cpu-sgd-fused", "--cases", "3", "-q")
    assert status == 0
    assert "6 results" in out


def test_a_fault_has_status_1(capsys, monkeypatch):
    monkeypatch.setattr(examine, "known_deviations", lambda: ())
    status, out, _ = check(capsys, "--path", "cpu-asgd-loop", "--cases", "3", "--dtype", "float64")
    assert status == 1
    assert "cpu-asgd-loop" in out.splitlines()[-1]
    assert "ASGD." in out, "the worst cases are named"


def own_list(folder, when):
    file = folder / "ours.toml"
    file.write_text(f"""[[deviation]]
id = "ours"
symptom = "a patched torch"
issue = "none known"
versions = ">=0"
when = {when}
""")
    return "--deviations", str(file)


def test_own_deviations_are_on_fields_of_optimizers(capsys, tmp_path, monkeypatch):
    arguments = ("--path", "cpu-sgd-loop", "--cases", "3", "--dtype", "float32")
    status, out, _ = check(capsys, *arguments, *own_list(tmp_path, '{optimizer = "SGD"}'))
    assert status == 0, out
    monkeypatch.setattr(check_optimizers, "MANY", 1)
    status, out, _ = check(capsys, *arguments, *own_list(tmp_path, '{optimizer = "SGD"}'))
    assert status == 1 and f"in {tmp_path}/ours.toml and no longer occurs" in out
    status, out, err = check(capsys, *arguments, *own_list(tmp_path, '{cell = "LSTM"}'))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "results have no field 'cell' of one value; choose from optimizer, options" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--path", "optimizers", "--path", "cpu-native"], "check them in two commands"),
        (["--path", "cpu-adam-flat"], "there is no path 'cpu-adam-flat'; choose from optimizers"),
        (["--path", "optimizers", "--device", "cuda"], "judged on the CPU"),
    ],
)
def test_what_cannot_be_checked_is_rejected_in_one_sentence(capsys, arguments, message):
    status, out, err = check(capsys, *arguments)
    assert (status, out) == (2, "")
    assert message in err and "Traceback" not in err


def test_a_case_of_an_optimizer_is_not_replayed_but_says_what_to_do(capsys):
    case = optimizer_cases(1)[0].id
    status, out, err = bptt_oracle(capsys, "replay", case, "--path", "cpu-sgd-loop")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"{case!r} is a case of an optimizer, which replay does not show; " in err
    assert "`bptt-oracle check` computes it again with the same --path, --dtype, --cases" in err


def test_the_commands_of_the_page_run(capsys):
    commands = re.findall(r"^bptt-oracle (check .*)$", PAGE.read_text(), re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        words = command.split()
        words[words.index("--cases") + 1] = "2"
        status, _, err = bptt_oracle(capsys, *words, "--workers", "1")
        assert status in (0, 2), err
