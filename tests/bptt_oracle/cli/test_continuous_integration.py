"""check in a company's CI: own deviations, stale ones, reports, and results that are lost."""

import json
import re
from xml.etree import ElementTree

import pytest

from bptt_oracle.runs import checking, examine, record
from support.command_line import bptt_oracle

ID = "LSTM.T4.B3.I2.H3.L1.time.h0.output.generic.s0"
OTHER = "GRU.T3.B2.I2.H3.L1.time.h0.output.generic.s2"
SMALL = ("--case", ID, "--path", "cpu-native", "--workers", "1", "--dtype", "float32")
DOUBLING = "support.written_implementations:doubling"
ENTRY = """\
[[deviation]]
id = "ours"
symptom = "gradients are doubled"
issue = "none"
versions = ">=0"
when = {when}
"""


def listed(tmp_path, when='{cell = "LSTM"}', entry=ENTRY):
    file = tmp_path / "ours.toml"
    file.write_text(entry.replace("{when}", when))
    return str(file)


def test_a_stale_deviation_of_a_file_fails_or_warns(capsys, tmp_path):
    options = (*SMALL, "--deviations", listed(tmp_path))
    code, out, _ = bptt_oracle(capsys, "check", *options)
    assert code == 1 and "no longer occur: ours" in out.splitlines()[-1]
    assert "stale: ours is listed for torch >=0 in " in out and "ours.toml and no longer" in out
    assert bptt_oracle(capsys, "check", *options, "--stale", "fail")[0] == 1
    code, out, _ = bptt_oracle(capsys, "check", *options, "--stale", "warn")
    assert code == 0 and "no longer occur: ours" in out.splitlines()[-1]


def test_a_stale_deviation_warns_for_an_implementation_too(capsys, tmp_path):
    name = "support.written_implementations:numpy_lstm"
    options = ("--implementation", name, "--case", ID, "--workers", "1")
    options += ("--deviations", listed(tmp_path))
    assert bptt_oracle(capsys, "check", *options)[0] == 1
    code, out, _ = bptt_oracle(capsys, "check", *options, "--stale", "warn", "-q")
    assert code == 0 and "expected deviations no longer occur: ours" in out


@pytest.mark.slow
def test_a_deviation_of_a_file_excuses_a_fault(capsys, tmp_path):
    options = ("--implementation", DOUBLING, "--case", ID, "--workers", "1", "--dtype", "float64")
    assert bptt_oracle(capsys, "check", *options)[0] == 1
    gradients = listed(tmp_path, '{tensor = "d_*"}')
    code, out, err = bptt_oracle(capsys, "check", *options, "--deviations", gradients)
    assert code == 2 and "no control" in out.splitlines()[-1], (out, err)  # no answer agrees
    assert "expected deviation ours: gradients are doubled: 7 of 7 tensors" in out
    one = listed(tmp_path, '{tensor = "d_x"}')
    assert bptt_oracle(capsys, "check", *options, "--deviations", one)[0] == 1


def test_a_deviation_of_a_file_excuses_a_fault_of_torch(capsys, tmp_path, monkeypatch):
    honest = examine.compute

    def deviations_met(*options):
        code, out, _ = bptt_oracle(capsys, "check", *SMALL, *options)
        return code, int(re.search(r"(\d+) known deviations? met", out)[1])

    def doubled(implementation, problem, dtype):
        answer = honest(implementation, problem, dtype)
        return answer._replace(results={n: 2 * v for n, v in answer.results.items()})

    code, of_torch = deviations_met()
    assert code == 0
    monkeypatch.setattr(examine, "compute", doubled)
    assert bptt_oracle(capsys, "check", *SMALL)[0] == 1
    assert deviations_met("--deviations", listed(tmp_path)) == (0, of_torch + 1)


@pytest.mark.parametrize(
    "text, message",
    [
        ("x = [", "ours.toml is not valid TOML"),
        ("x = 1", "must hold entries [[deviation]] and nothing else"),
        (ENTRY.replace("{when}", '{sell = "LSTM"}'), "results have no field 'sell'"),
        (ENTRY.replace("when = {when}", 'demonstrates = "nothing"'), "nothing"),
        (
            ENTRY.replace('"ours"', '"extra-layers-of-c_0"').replace("{when}", '{cell = "GRU"}'),
            "extra-layers-of-c_0 is already listed; give it another id",
        ),
    ],
)
def test_a_wrong_file_of_deviations_is_one_sentence(capsys, tmp_path, text, message):
    code, out, err = bptt_oracle(
        capsys, "check", *SMALL, "--deviations", listed(tmp_path, entry=text)
    )
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err


@pytest.mark.parametrize(
    "name, message", [("ours", "results have no field 'sell'"), ("absent", "No such file")]
)
def test_a_wrong_file_that_an_implementation_names_is_one_sentence(capsys, tmp_path, name, message):
    listed(tmp_path, '{sell = "LSTM"}')
    file = tmp_path / f"with_{name}.py"
    file.write_text(f"""from pathlib import Path
from support.written_implementations import run_lstm

lstm = run_lstm._replace(deviations=Path({str(tmp_path)!r}, "{name}.toml"))
""")
    arguments = ("--implementation", f"{file}:lstm", "--case", ID, "--workers", "1")
    for command in (("check",), ("record", "-o", str(tmp_path / "run"))):
        code, _, err = bptt_oracle(capsys, *command, *arguments)
        assert (code, err.count("\n")) == (2, 1) and message in err
        assert "unexpected" not in err


def test_a_file_of_deviations_that_is_not_text_is_one_sentence(capsys, tmp_path):
    (tmp_path / "ours.toml").write_bytes(b"\xc8\xff")
    options = ("--deviations", str(tmp_path / "ours.toml"))
    code, out, err = bptt_oracle(capsys, "check", *SMALL, *options)
    sentence = "bptt-oracle: ours.toml is not text in UTF-8; save it in that encoding\n"
    assert (code, out, err) == (2, "", sentence)


def test_an_absent_file_of_deviations_is_one_sentence(capsys):
    for more in ((), ("--implementation", DOUBLING)):
        options = ("--case", ID, "--deviations", "absent.toml", *more)
        code, _, err = bptt_oracle(capsys, "check", *options)
        assert code == 2 and "absent.toml cannot be read: No such file or directory" in err


def test_every_report_has_the_verdict_and_only_markdown_is_printed(capsys, tmp_path):
    files = ("--json", str(tmp_path / "c.json"), "--junit", str(tmp_path / "c.xml"))
    code, out, _ = bptt_oracle(capsys, "check", *SMALL, *files, "--markdown")
    verdict = json.loads((tmp_path / "c.json").read_text())["verdict"]
    assert (
        code == 0 and f"**passed** – {verdict}" in out and out.startswith("### bptt-oracle check")
    )
    assert out.count("agrees with the derivations") == 1 and "worst cases" not in out
    suite = ElementTree.parse(tmp_path / "c.xml").getroot()
    assert suite.find("system-out").text == verdict and suite.attrib["tests"] == "1"
    code, out, _ = bptt_oracle(capsys, "check", *SMALL, "--markdown", "-q")
    assert out == f"{verdict}\n"


def test_one_file_for_two_reports_is_rejected(capsys, tmp_path):
    files = ("--json", str(tmp_path / "c"), "--junit", str(tmp_path / "c"))
    code, _, err = bptt_oracle(capsys, "check", *SMALL, *files)
    assert code == 2 and "would be written twice" in err


def test_a_check_that_loses_results_exits_2(capsys, monkeypatch):
    whole = checking.check

    def losing(cases, *arguments):
        yield from whole(list(cases)[:-1], *arguments)

    monkeypatch.setattr(checking, "check", losing)
    options = (*SMALL, "--case", OTHER)
    code, out, err = bptt_oracle(capsys, "check", *options)
    assert code == 2 and "could not be judged completely: 1 missing" in out
    assert "some cases gave no result" in err


def test_a_check_of_an_implementation_that_loses_results_exits_2(capsys, monkeypatch):
    whole = checking.check

    def losing(cases, *arguments):
        yield from whole(list(cases)[:-3], *arguments)

    monkeypatch.setattr(checking, "check", losing)
    name = "support.written_implementations:numpy_lstm"
    options = ("--implementation", name, "--cases", "20", "--workers", "1", "--dtype", "float64")
    code, out, _ = bptt_oracle(capsys, "check", *options)
    assert code == 2 and "was not judged: 3 results did not come" in out


def test_a_record_that_loses_cases_exits_2_and_goes_on(capsys, tmp_path, monkeypatch):
    whole, run = record.map_unordered, tmp_path / "run"

    def losing(work, cases, *arguments):
        yield from whole(work, list(cases)[:-1], *arguments)

    monkeypatch.setattr(record, "map_unordered", losing)
    options = ("record", "-o", str(run), *SMALL, "--case", OTHER)
    code, _, err = bptt_oracle(capsys, *options)
    assert code == 2 and "1 of 2 cases gave no result" in err and not run.exists()
    monkeypatch.setattr(record, "map_unordered", whole)
    code, _, err = bptt_oracle(capsys, *options)
    assert code == 0 and "2 results written" in err


def test_compare_names_removed_results_and_fails_on_request(capsys, tmp_path):
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    bptt_oracle(capsys, "record", "-o", old, *SMALL, "--case", OTHER)
    bptt_oracle(capsys, "record", "-o", new, *SMALL)
    code, out, _ = bptt_oracle(capsys, "compare", old, new, "-q")
    assert (code, out) == (0, "2 results: 1 removed, 1 bitwise equal.\n")
    code, out, _ = bptt_oracle(capsys, "compare", old, new, "--markdown", "--fail-on", "removed")
    assert code == 1 and "**failed** – 2 results: 1 removed, 1 bitwise equal." in out
