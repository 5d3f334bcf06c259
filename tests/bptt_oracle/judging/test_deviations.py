"""Known deviations: each still happens, none hides a fault, and a stale one fails the check."""

import inspect
import json

import pytest

from bptt_oracle.cases.case import Case, draw
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.implementations import demonstrations, demonstrations_of_roads
from bptt_oracle.implementations.responses import respond
from bptt_oracle.judging import deviations
from bptt_oracle.judging.deviation_entries import Deviation, expected_deviations_of, load
from bptt_oracle.judging.deviations import (
    concerns,
    in_range,
    installed_torch,
    mark_known,
    tally,
)
from bptt_oracle.judging.invalid_calls import INVALID_CALLS, has_invalid_calls
from bptt_oracle.ledger.claims import ROOT
from bptt_oracle.runs.checking import examine_dtypes, examine_invalid_calls
from bptt_oracle.runs.results import Result
from support.command_line import bptt_oracle
from support.drawn_cases import pinned

KNOWN = load()
HERE = [d for d in KNOWN if in_range(d)]
PACKED = [
    Case(cell, T=4, B=3, I=5, H=6, layout=layout, lengths=(4, 3, 1), state=state, layers=2)
    for cell in ("RNN_TANH", "GRU", "LSTM")
    for layout in ("sorted", "packed")
    for state in (True, False)
]
MADE_UP = Deviation("made-up", "torch adds one", "none known", ">=2.4", {"path": "cpu-native"})


@pytest.fixture
def listed(monkeypatch):
    """listed(…): the list is these deviations, for everyone."""
    return lambda *some: monkeypatch.setattr(deviations, "installed_deviations", lambda: some)


COMPILES = ("onnx-keeps-the-traced-steps", "package-of-another-length")  # tens of seconds


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(d.id, marks=pytest.mark.slow if d.id in COMPILES else ())
        for d in HERE
        if d.demonstrates
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_a_function_shows_still_happens_without_a_warning(name):
    (deviation,) = (d for d in HERE if d.id == name)
    occurs = demonstrations.demonstrate(deviation.demonstrates)
    assert occurs in (True, None), f"mended in torch {installed_torch()}: close the range of {name}"


def test_what_cases_show_still_happens_and_in_all_of_them():
    of_calls = [d for d in HERE if d.when.get("path") == "cpu-invalid-calls"]
    counted = tally(map(examine_invalid_calls, PACKED), of_calls)
    assert [t.deviation.id for t in counted if t.met == 0 or t.met < t.concerned] == []


def test_every_deviation_is_of_some_version_of_this_torch_or_of_none():
    assert len(KNOWN) > 12
    assert all(d.issue == "none known" or d.issue.startswith("https://github.com/") for d in KNOWN)


@pytest.mark.parametrize(
    "bounds, version, expects",
    [
        (">=2.4", "2.13.0+cpu", True),
        (">=2.4", "2.3.1", False),
        (">=2.4,<2.14", "2.13.0", True),
        (">=2.4,<2.14", "2.14.0+cu132", False),
        ("==2.13.0", "2.13.0+cpu", True),
        ("!=2.13.0", "2.13.0", False),
    ],
)
def test_a_range_holds_versions_whatever_their_build(bounds, version, expects):
    assert in_range(MADE_UP._replace(versions=bounds), version) is expects


def result_of(case, **changes):
    blank = Result(
        case.id,
        "cpu-native",
        "float32",
        case.cell,
        "fault",
        99.0,
        "d_x",
        "",
        "",
        0,
        "",
        {"d_x": 99.0, "output": 1.0},
    )
    return blank._replace(**changes)


def test_a_deviation_is_reported_and_not_hidden():
    case = pinned()
    known = [MADE_UP._replace(when={"path": "cpu-native", "tensor": "d_x", "H": {">=": 2}})]
    marked = mark_known(result_of(case), case, known)
    assert (marked.verdict, marked.note, marked.R) == ("known deviation", "made-up", 99.0)
    agreeing = result_of(case, verdict="agree", R=1.0)
    assert mark_known(agreeing, case, known) == agreeing


def test_a_deviation_excuses_no_other_tensor_case_path_or_type():
    case = pinned()
    known = [MADE_UP._replace(when={"path": "cpu-native", "tensor": "d_x", "dtype": "float32"})]
    for other in ({"path": "cpu-cells"}, {"dtype": "float64"}):
        assert mark_known(result_of(case, **other), case, known).verdict == "fault"
    both = result_of(case)._replace(tensors={"d_x": 99.0, "h_n": 40.0})
    marked = mark_known(both, case, known)
    assert (marked.verdict, marked.tensor, marked.R) == ("fault", "h_n", 40.0)
    raised = result_of(case, R=float("inf"), tensor="", note="RuntimeError: no")
    assert mark_known(raised._replace(tensors={}), case, known).verdict == "fault"


def test_a_stale_deviation_fails_the_check_and_is_named(capsys, listed, tmp_path, monkeypatch):
    listed(MADE_UP)
    file = tmp_path / "run.json"
    arguments = ["--cases", "2", "--workers", "1", "--path", "cpu-native", "--json", str(file)]
    code, out, _ = bptt_oracle(capsys, "check", *arguments)
    assert code == 1
    assert "stale: made-up is listed for torch >=2.4" in out
    (marked,) = json.loads(file.read_text())["deviations"]
    assert (marked["id"], marked["met"]) == ("made-up", 0)


def test_a_demonstration_that_no_longer_succeeds_is_stale_and_one_without_its_device_is_not():
    known = MADE_UP._replace(when={}, demonstrates="ties_in_any_order")
    for happens, stale in ((True, False), (False, True), (None, False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(demonstrations, "ties_in_any_order", lambda h=happens: h)
            (counted,) = tally([], [known], demonstrations.demonstrate)
        assert counted.stale is stale


def test_an_answer_that_no_deviation_excuses_is_a_fault(listed):
    case = PACKED[-2]
    assert examine_invalid_calls(case).verdict == "known deviation"
    listed()
    marked = examine_invalid_calls(case)
    assert (marked.verdict, marked.R, marked.place) == ("fault", float("inf"), "accepted")


def test_a_replay_shows_what_torch_says_to_every_spoiled_call(capsys):
    code, out, _ = bptt_oracle(capsys, "replay", PACKED[-2].id, "--path", "cpu-invalid-calls")
    assert code == 0
    for words in ("a feature too many: module", "accepted", "RuntimeError", "known deviation"):
        assert words in out


def test_invalid_calls_are_made_for_every_second_case_and_for_sorted_packs_on_the_cpu_alone():
    cases = corpus(20)
    assert [has_invalid_calls(c) for c in cases] == [
        c.seed % 2 == 1 or c.layout == "sorted" for c in cases
    ]
    assert any(c.layout == "sorted" and c.seed % 2 == 0 for c in cases)
    with_invalid_calls = examine_dtypes(cases[1], ["float32"], ["cpu-native"])
    assert [r.path for r in with_invalid_calls] == ["cpu-native", "cpu-invalid-calls"]
    assert [r.path for r in examine_dtypes(cases[1], ["float32"], ["cpu-cells"])] == ["cpu-cells"]


def test_what_is_known_to_be_answered_is_asked_for_by_a_default_check():
    asked_for = [
        case._asdict() | {"path": "cpu-invalid-calls", "tensor": name}
        for case in corpus(200)
        if has_invalid_calls(case)
        for name, _ in respond(draw(case))
    ]
    invalid_calls = [d for d in KNOWN if d.when.get("path") == "cpu-invalid-calls"]
    assert invalid_calls and all(
        any(concerns(d, facts) for facts in asked_for) for d in invalid_calls
    )


def test_every_invalid_call_is_made_within_64_cases():
    asked_for = [
        name for case in corpus(64) if has_invalid_calls(case) for name, _ in respond(draw(case))
    ]
    assert {name.rpartition(":")[0] for name in asked_for} == set(INVALID_CALLS)


@pytest.mark.parametrize(
    "text, words",
    [
        ("[[deviation]\n", "is not valid TOML"),
        ('deviation = "none"\n', "entries [[deviation]] and nothing else"),
        ("[[deviations]]\n", "entries [[deviation]] and nothing else"),
        ("", "entries [[deviation]] and nothing else"),
        ("[[deviation]]\nid = 'a'\n", "it lacks symptom, issue, versions"),
        ("{}surprise = 1\n", "surprise is unknown or of a wrong type"),
        ("{}when = 'always'\n", "when is unknown or of a wrong type"),
        ("{}", "give either when or demonstrates"),
        ("{}demonstrates = 'nothing_here'\n", "no demonstration 'nothing_here'"),
        ("{}when = {{ colour = 'red' }}\n", "results have no field 'colour'"),
        ("{}when = {{ H = {{ '=>' = 2 }} }}\n", "compare a number with numbers by"),
        ("{}when = {{ cell = {{ '>' = 2 }} }}\n", "compare a number with numbers by"),
        ("{}when = {{ H = {{ '>' = 'two' }} }}\n", "compare a number with numbers by"),
        ("{}when = {{ H = {{ '>' = true }} }}\n", "compare a number with numbers by"),
        ("x = " + "[" * 9999, "is not valid TOML"),
        ("deviation = ['x']\n", "entries [[deviation]] and nothing else"),
        ("{}when = {{ T = '1*' }}\n", "T is a whole number, or a list of such, not '1*'"),
        ("{}when = {{ T = 2.0 }}\n", "T is a whole number, or a list of such, not 2.0"),
        ("{}when = {{ bias = 'True' }}\n", "bias is true or false, or a list of such"),
        ("{}when = {{ dropout = true }}\n", "dropout is a number, or a list of such, not True"),
        ("{}when = {{ cell = [] }}\n", "cell is a text, or a list of such, not []"),
        ("{}when = {{ cell = ['GRU', 1] }}\n", "cell is a text, or a list of such"),
        ("{}when = {{ lengths = [[2, 1]] }}\n", "results have no field 'lengths' of one value"),
        ("{}demonstrates = 'runs_with'\n", "no demonstration 'runs_with'"),
        ("{}demonstrates = 'find_spec'\n", "no demonstration 'find_spec'"),
        ("{}when = {{ H = 2 }}\n{}when = {{ H = 2 }}\n", "deviation a is listed twice"),
    ],
)
def test_a_malformed_list_gives_one_sentence_and_exits_2(
    capsys, tmp_path, monkeypatch, text, words
):
    entry = "[[deviation]]\nid = 'a'\nsymptom = 'b'\nissue = 'c'\nversions = '>=2.4'\n"
    rejects(capsys, tmp_path, monkeypatch, text.format(*[entry] * text.count("{}")), words)


def test_a_range_that_is_none_is_rejected(capsys, tmp_path, monkeypatch):
    head = "[[deviation]]\nid = 'a'\nsymptom = 'b'\nissue = 'c'\n"
    text = f"{head}versions = 'old'\nwhen = {{ H = 2 }}\n"
    rejects(capsys, tmp_path, monkeypatch, text, "'old' is not a range of versions")


def rejects(capsys, tmp_path, monkeypatch, text, words):
    file = tmp_path / "deviations.toml"
    file.write_text(text)
    _, *others = load.__defaults__
    monkeypatch.setattr(load, "__defaults__", (file, *others))
    deviations.installed_deviations.cache_clear()
    try:
        code, out, err = bptt_oracle(capsys, "check", "--cases", "1", "--workers", "1")
    finally:
        deviations.installed_deviations.cache_clear()
    assert (code, out) == (2, "")
    assert words in err and err.count("\n") == 1


def own_functions(module):
    """The names of the functions that a module defines without an underscore."""
    return {
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    }


def test_every_function_that_shows_a_deviation_is_listed_and_has_an_entry():
    of_nets, of_roads = {*demonstrations.NAMES}, demonstrations_of_roads.RUNS_WITH.keys()
    others = {"demonstrate", "check_demonstration", "is_of_roads", "runs_with"}
    assert own_functions(demonstrations) - others == of_nets
    assert own_functions(demonstrations_of_roads) == of_roads
    assert {d.demonstrates for d in KNOWN if d.demonstrates} == of_nets | of_roads


def test_every_name_of_a_list_may_be_a_pattern():
    facts = pinned()._asdict() | {"path": "cpu-native", "dtype": "float32"}
    known = MADE_UP._replace(when={"tensor": ["h_n", "d_*"]})
    of = [name for name in ("h_n", "d_x", "output") if concerns(known, facts | {"tensor": name})]
    assert of == ["h_n", "d_x"]


FIELD_VALUES = {
    "cell": "GRU", "T": 4, "layers": 2, "bidirectional": True, "bias": False, "P": 2, "tied": True,
    "layout": "batch", "rule": "", "state": False, "strided": True, "dropout": 0.5, "seed": 7,
    "path": "numpy", "dtype": "float64", "tensor": "d_*", "regime": "wide", "B": 3, "I": 5, "H": 6,
}  # fmt: skip


def test_words_are_conditions_on_every_field_that_has_one_value():
    key = ", ".join(f"{name}={value}" for name, value in FIELD_VALUES.items())
    (deviation,) = expected_deviations_of({key: "a reason"})
    assert deviation.when == FIELD_VALUES
    assert {name: type(value) for name, value in deviation.when.items()} == {
        name: type(value) for name, value in FIELD_VALUES.items()
    }
    fields = {*Case._fields, "path", "dtype", "tensor"} - {"lengths", "cotangents"}
    assert FIELD_VALUES.keys() == fields
    assert expected_deviations_of({"bias=false": ""})[0].when == {"bias": False}


@pytest.mark.parametrize(
    "word, message",
    [
        ("T=x", "'T=x': T must be a whole number"),
        ("dropout=half", "'dropout=half': dropout must be a number"),
        ("bias=yes", "'bias=yes': bias must be true or false"),
        ("lengths=3", "'lengths=3' names no tensor, dtype, cell, layout or regime; expected one"),
        ("T>=3", "'T>=3' names no tensor"),
        ("gradient", "'gradient' names no tensor"),
        ("", "'' names no tensor"),
    ],
)
def test_words_that_name_nothing_are_rejected(word, message):
    with pytest.raises(ValueError) as raised:
        expected_deviations_of({f"d_x, {word}": "a reason"})
    assert str(raised.value).startswith(message)


def test_the_page_is_the_list():
    assert (ROOT / "docs" / "judging" / "deviations.md").read_text() == deviations.page(KNOWN)


def test_what_is_left_of_a_fault_is_its_worst_tensor_and_the_place_of_another_is_not_told():
    case = pinned()
    known = [MADE_UP._replace(when={"tensor": "d_x"})]
    three = result_of(case, place="time 0 row 0 input 1")
    marked = mark_known(
        three._replace(tensors={"d_x": 99.0, "h_n": 40.0, "c_n": 60.0, "output": 50.0}), case, known
    )
    assert (marked.verdict, marked.tensor, marked.R, marked.place) == ("fault", "c_n", 60.0, "")


def test_a_deviation_is_met_by_the_tensor_it_names_and_not_sought_where_no_path_was():
    case = pinned()
    known = [MADE_UP._replace(when={"tensor": name}) for name in ("d_x", "output", "")]
    known = [d._replace(id=f"of {d.when['tensor']}") for d in known]
    excluded = result_of(case, verdict="excluded", R=0, tensor="", tensors={})
    counted = tally([result_of(case), excluded], known)
    assert [t[1:] for t in counted] == [(1, 1), (1, 0), (1, 0)]  # it did not raise, or was mended


def test_only_a_deviation_that_names_it_explains_an_exception():
    case = pinned()
    raised = result_of(case, R=float("inf"), tensor="", tensors={})
    wrong = result_of(case, R=99.0, tensor="d_x", tensors={"d_x": 99.0})
    explained = {}
    for when in ({"cell": case.cell}, {"tensor": ""}, {"tensor": "*"}, {"tensor": "d_x"}):
        known = [MADE_UP._replace(when=when)]
        explained[str(when)] = [mark_known(r, case, known).verdict for r in (raised, wrong)]
    assert list(explained.values()) == [
        ["fault", "known deviation"],
        ["known deviation", "fault"],
        ["known deviation", "known deviation"],
        ["fault", "known deviation"],
    ]
