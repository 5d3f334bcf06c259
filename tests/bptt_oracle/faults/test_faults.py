"""The harness convicts whatever is planted, within 64 cases, and acquits what is right."""

import functools
import re

import numpy as np
import pytest

from bptt_oracle.cases.case import CELLS
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.faults import FAULTS, KINDS, Fault
from bptt_oracle.faults.detect import Conviction, Court, trials
from bptt_oracle.faults.fault import results
from bptt_oracle.faults.kill_matrix import markdown, rows, summary
from bptt_oracle.ledger.claims import ROOT
from support.command_line import bptt_oracle
from torch_impl.execution.catalogue import exclusion_reason, path_named
from torch_impl.execution.run import dropout_masks, run

PAGE = ROOT / "docs" / "faults" / "faults.md"

# The threads that the re-created bugs are known from: what a reader looks for first.
THREADS = (
    *(f"pytorch/pytorch#{n}" for n in (95137, 94889, 90421, 95563, 95118, 190056, 190059, 619)),
    *(f"pytorch/pytorch#{n}" for n in (620, 3751, 40737, 193949, 3259, 3789, 6178, 114874)),
    *(f"pytorch/pytorch#{n}" for n in (173946, 193911, 65688, 120234, 11368, 89357, 118279)),
    *("apache/mxnet#17479", "apache/mxnet#17086", "microsoft/onnxruntime#3893"),
    *("tracel-ai/burn#2701", "root-project/root#5367", "mlverse/torch#499"),
    *("microsoft/onnxscript#2674", "uxlfoundation/oneDNN#5913"),
)


@functools.cache
def court() -> Court:
    """One for all tests of a worker: the truth is most of the work."""
    return Court(corpus(64))


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_convicted_in_every_cell_and_type(name):
    survivors = [c for c in trials(court(), [name]) if not c.cases]
    assert survivors == []


def test_there_are_faults_of_every_kind_and_of_every_known_thread():
    assert len(FAULTS) >= 60
    assert {fault.kind for fault in FAULTS.values()} == set(KINDS)
    sources = {t.strip() for fault in FAULTS.values() for t in fault.source.split(",")}
    assert set(THREADS) <= sources
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", thread) for thread in sources - {""})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["O", "S", "N"])
def test_what_changes_nothing_is_acquitted(kind):
    def nothing(call, way, memory=None):
        return way(call)

    path = "cpu-native-again" if kind == "S" else "cpu-native"
    dtypes = ("float32",) if kind == "N" else ("float32", "float64")
    harmless = Fault("nothing", kind, "", "", nothing, CELLS, lambda case: True, dtypes, path)
    for cell in CELLS:
        for dtype in dtypes:
            assert court().try_(harmless, cell, dtype).cases == 0


def test_a_fault_changes_nothing_where_it_is_not_made():
    tried = 0
    for fault in FAULTS.values():
        path = path_named(fault.path)
        for index, case in enumerate(court().cases[:16]):
            problem = court().problem(index)
            touched = case.cell not in fault.cells or fault.where(case)
            if touched or exclusion_reason(path, problem, "float32"):
                continue
            masks = dropout_masks(problem, "float32")
            right = run(path, problem, "float32", masks).results
            found = results(fault, case, problem, "float32", masks)
            assert all(np.array_equal(found[name], right[name], equal_nan=True) for name in right)
            tried += 1
            break
    assert tried > 60


def test_a_mistake_that_raises_is_no_conviction():
    def raises(call, way):
        raise RuntimeError("convicts itself")

    broken = Fault("raises", "O", "", "", raises, CELLS, lambda c: True, ("float32",), "cpu-native")
    with pytest.raises(RuntimeError, match="convicts itself"):
        court().try_(broken, "GRU", "float32")
    refuses = broken._replace(kind="N")
    assert court().try_(refuses, "GRU", "float32").cases == 0


def test_the_page_lists_the_faults_that_there_are_and_no_survivor():
    page = PAGE.read_text()
    told = re.findall(r"^\| (\w+) \| ([^|]*) \| [^|]* \|$", page, re.MULTILINE)
    listed = [(fault.id, fault.symptom) for kind in KINDS for fault in of_kind(kind)]
    assert [row for row in told if row[0] != "fault"] == listed
    assert "SURVIVES" not in page and f"**{len(FAULTS)} faults," in page


def of_kind(kind):
    return [fault for fault in FAULTS.values() if fault.kind == kind]


def test_a_survivor_is_told_and_exits_1(capsys, tmp_path):
    code, out, _ = bptt_oracle(capsys, "faults", "--fault", "c_0_ignored", "--cases", "2")
    assert code == 1 and "SURVIVES" in out and "convicted: 0" in out
    page = tmp_path / "page.md"
    arguments = ["--fault", "c_0_ignored", "--cases", "8", "--markdown", str(page)]
    code, out, _ = bptt_oracle(capsys, "faults", *arguments)
    assert code == 0 and "convicted: 2" in out
    assert "c_0_ignored" in page.read_text() and "d_c_0 7" in page.read_text()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--fault", "no_such_fault"], "there is no fault 'no_such_fault'"),
        (["--markdown", "/no/such/folder/page.md"], "does not exist"),
    ],
)
def test_what_cannot_be_tried_exits_2_with_one_sentence(capsys, arguments, words):
    code, out, err = bptt_oracle(capsys, "faults", *arguments)
    assert (code, out) == (2, "")
    assert words in err and err.count("\n") == 1


def test_the_matrix_names_tensor_check_and_number_of_cases():
    found = [
        Conviction("c_0_ignored", "LSTM", "float32", 7, "an id", "c_n", "value", 99.0, 0.25),
        Conviction("c_0_ignored", "LSTM", "float64", 9, "an id", "c_n", "value", 99.0, 0.5),
    ]
    assert rows(found) == [("c_0_ignored", "", "", "", "c_n 7 9", "value", "0.50")]
    lost = found[1]._replace(cases=0)
    assert rows([found[0], lost])[0][4] == "SURVIVES"
    assert "1 fault, 2 in cells and types; convicted: 1," in summary([found[0], lost])
    assert "| c_0_ignored | c_0 is ignored |" in markdown(found, "a command")
