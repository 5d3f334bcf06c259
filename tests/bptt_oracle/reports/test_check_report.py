"""What check writes for programs and for CI: JSON by its schema, JUnit XML, Markdown."""

import copy
import json
from importlib.resources import files
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest

from bptt_oracle.judging.deviation_entries import Deviation
from bptt_oracle.judging.deviations import Tally
from bptt_oracle.judging.offsets import Offset
from bptt_oracle.reports.check_report import (
    CheckReport,
    check_to_json,
    check_to_junit,
    check_to_markdown,
)
from bptt_oracle.runs.compare import WORDS, Change
from bptt_oracle.runs.files import printable
from bptt_oracle.runs.results import UNFINISHED, Result
from support.command_line import bptt_oracle
from support.runs import ONE_OF_EACH, made_up, row, write_both

ID = "LSTM.T4.B3.I2.H3.L1.time.h0.output.generic.s0"
AGREE = Result(
    ID,
    "cpu-native",
    "float32",
    "LSTM",
    "agree",
    0.5,
    "output",
    "time 0",
    "k",
    1.5,
    "",
    {"output": 0.5},
)
FAULT = AGREE._replace(verdict="fault", R=float("inf"), note="a|b <x> \x1b[1m", path="cpu-cells")
CRASH = AGREE._replace(verdict="crash", R=float("inf"), note="its process ended")
KNOWN = AGREE._replace(verdict="known deviation", R=99.0)
EXCLUDED = AGREE._replace(verdict="excluded", R=0, note="no such kernel")
RESULTS = [AGREE, FAULT, CRASH, KNOWN, EXCLUDED, AGREE._replace(verdict="untrusted")]
OFFSET = Offset("cpu-native", "float32", "d_x", 40, 0.5, 20.0)
STALE = Tally(Deviation("gone", "s", "i", ">=2", {"cell": "GRU"}), 3, 0)
MET = Tally(Deviation("here", "s", "i", ">=2", {"cell": "GRU"}), 3, 2)
PLAN = {"cases": 1, "seed": 0, "dtypes": ["float32"], "paths": ["cpu-native", "cpu-cells"]}


def report(**changes):
    whole = CheckReport(
        "torch 2", "the verdict", 1, PLAN, {"torch": "2"}, RESULTS, [STALE, MET], [OFFSET], True
    )
    return whole._replace(**changes)


def validator(name):
    schema = json.loads((files("bptt_oracle.reports") / "schemas" / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_json_follows_its_schema_and_carries_format_plan_verdict_and_status():
    written = json.loads(check_to_json(report()))
    validator("check").validate(written)
    assert written["format"] == "bptt-oracle check" and written["plan"] == PLAN
    assert (written["verdict"], written["status"]) == ("the verdict", 1)
    assert [d["stale"] for d in written["deviations"]] == [True, False]
    assert written["results"][1]["R"] == "inf"


def test_the_schemas_name_every_word_and_verdict():
    change = validator("comparison").schema["properties"]["changes"]["items"]["properties"]
    assert set(change["word"]["enum"]) == set(WORDS) and set(change) == set(Change._fields)
    result = validator("check").schema["properties"]["results"]["items"]["properties"]
    assert set(result["verdict"]["enum"]) >= {*UNFINISHED, "agree", "fault", "excluded"}
    assert set(result) == set(Result._fields)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda w: w.pop("verdict"),
        lambda w: w.update(status=3),
        lambda w: w.update(extra=1),
        lambda w: w["plan"].pop("paths"),
        lambda w: w["results"][0].pop("R"),
        lambda w: w["results"][0].update(verdict="fine"),
        lambda w: w["results"][0].update(R="large"),
        lambda w: w["offsets"][0].update(cases=-1),
    ],
)
def test_the_schema_rejects_what_check_does_not_write(break_it):
    written = json.loads(check_to_json(report()))
    broken = copy.deepcopy(written)
    break_it(broken)
    assert broken != written and not validator("check").is_valid(broken)


@pytest.mark.slow
def test_what_the_commands_write_follows_the_schemas(capsys, tmp_path):
    options = ("--workers", "1", "--json", str(tmp_path / "c.json"))
    for chosen in (
        ("--cases", "4", "--path", "cpu-native"),
        ("--case", ID, "--implementation", "support.written_implementations:doubling"),
    ):
        bptt_oracle(capsys, "check", *chosen, *options)
        written = json.loads((tmp_path / "c.json").read_text())
        validator("check").validate(written)
        assert len(written["results"]) > 1
    assert written["plan"]["own cases"] == [ID] and written["diagnosis"]["sentence"]
    old, new = write_both(tmp_path)
    code, _, _ = bptt_oracle(capsys, "compare", str(old), str(new), "-q", *options[2:])
    written = json.loads((tmp_path / "c.json").read_text())
    validator("comparison").validate(written)
    assert written["status"] == code == 1 and not validator("check").is_valid(written)


A, B = {"torch": "2.4.1"}, {"torch": "2.13.0"}
EQUAL = made_up(row(), row(1), kept={"output": np.array([1.0, 2.0])})
MOVED = made_up(row(), row(1, R=0.25, bits="b"), kept={"output": np.array([1.0, np.inf])})
REPLACED = made_up(row(kernel="onednn"), row(1, masks="m"), torch="2.4.1")
GATHERED = made_up(row(), row(1, bits="b")._replace(environment=1), environments=[A, B])


@pytest.mark.parametrize(
    "pair",
    [
        (EQUAL, EQUAL),
        (EQUAL, MOVED),
        ONE_OF_EACH,
        (REPLACED, EQUAL),
        (EQUAL, GATHERED),
        (GATHERED, GATHERED),
    ],
    ids=["equal", "moved", "one of each", "of two versions", "of workers", "of workers twice"],
)
def test_the_json_of_any_two_runs_follows_the_schema_of_a_comparison(capsys, tmp_path, pair):
    old, new = write_both(tmp_path, pair)
    file = tmp_path / "c.json"
    code, _, _ = bptt_oracle(capsys, "compare", str(old), str(new), "-q", "--json", str(file))
    written = json.loads(file.read_text())
    validator("comparison").validate(written)
    assert written["status"] == code


def test_junit_has_a_test_for_each_result_offset_and_stale_deviation():
    suite = ElementTree.fromstring("".join(check_to_junit(report())))
    expected = {"tests": "8", "failures": "3", "errors": "1", "skipped": "3"}
    assert suite.attrib == expected | {"name": "bptt-oracle check"}
    for kind, number in (("failure", 3), ("error", 1), ("skipped", 3)):
        assert len(suite.findall(f".//{kind}")) == number
    assert "a|b <x>  [1m" in suite.find(".//failure").attrib["message"]
    assert suite.find("testcase").attrib["time"] == "1.500"
    assert suite.find("system-out").text == "the verdict"
    warned = ElementTree.fromstring("".join(check_to_junit(report(stale_fails=False))))
    assert (warned.attrib["failures"], warned.attrib["skipped"]) == ("2", "4")


def test_control_characters_break_no_report():
    hostile = "a\x07\x01\n\ud800b"
    kept = printable(hostile)
    whole = report(
        title=hostile,
        verdict=hostile,
        results=[FAULT._replace(case=hostile, path=hostile, place=hostile, tensor=hostile)],
        tallies=[STALE._replace(deviation=STALE.deviation._replace(id=hostile))],
        offsets=[OFFSET._replace(path=hostile, tensor=hostile)],
    )
    suite = ElementTree.fromstring("".join(check_to_junit(whole)))
    names = [case.attrib["name"] for case in suite.findall("testcase")]
    assert names == [kept, f"offset of {kept}", kept]
    assert suite.find("testcase").attrib["classname"] == f"{kept}.float32"
    page = check_to_markdown(whole)
    assert page.replace("\n", "").isprintable() and f"\n- **stale** {kept} is listed" in page


def test_markdown_has_a_verdict_line_a_table_and_a_link_to_the_words():
    page = check_to_markdown(report(status=2, results=[*RESULTS, *[CRASH] * 20]))
    title, verdict, table, wrong, link = page.strip().split("\n\n")
    assert title == "### bptt-oracle check: torch 2"
    assert verdict == "**incomplete** – the verdict"
    assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "| cpu-cells | LSTM | float32 | 1 | inf | fault |" in table
    assert "| cpu-native | LSTM | float32 | 24 | – | crash |" in table
    assert wrong.count("- **crash**") == 9 and "- and 12 more" in wrong
    assert "- **offset** errors of one sign" in wrong and "- **stale** gone is listed" in wrong
    assert link.endswith("docs/glossary.md)")
    for status, word in ((0, "passed"), (1, "failed")):
        assert f"**{word}** – " in check_to_markdown(report(status=status))
