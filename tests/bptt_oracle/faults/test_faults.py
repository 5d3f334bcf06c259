"""The judge detects every planted fault within 64 cases, and accepts a correct module."""

import functools
import re

import numpy as np
import pytest

from bptt_oracle.cases.case import CELLS
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.faults import FAULTS, KINDS, Fault
from bptt_oracle.faults.detect import Detection, PreparedCases, detect, detect_all
from bptt_oracle.faults.fault import run_with_fault
from bptt_oracle.faults.kill_matrix import markdown, rows, summary
from bptt_oracle.ledger.claims import ROOT
from support.command_line import bptt_oracle
from torch_impl.execution.run import dropout_masks
from torch_impl.roads.catalogue import ROADS, exclusion_reason, path_named, run_path

PAGE = ROOT / "docs" / "faults" / "faults.md"

# Threads that report the re-created bugs. A reader looks for these first.
THREADS = (
    *(f"pytorch/pytorch#{n}" for n in (95137, 94889, 90421, 95563, 95118, 190056, 190059, 619)),
    *(f"pytorch/pytorch#{n}" for n in (620, 3751, 40737, 193949, 3259, 3789, 6178, 114874)),
    *(f"pytorch/pytorch#{n}" for n in (173946, 193911, 65688, 120234, 11368, 89357, 118279)),
    *("apache/mxnet#17479", "apache/mxnet#17086", "microsoft/onnxruntime#3893"),
    *("tracel-ai/burn#2701", "root-project/root#5367", "mlverse/torch#499"),
    *("microsoft/onnxscript#2674", "uxlfoundation/oneDNN#5913"),
)


@functools.cache
def prepared() -> PreparedCases:
    """The corpus, shared by all tests of a worker because its expected results are slow."""
    return PreparedCases(corpus(64))


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_detected_in_every_cell_and_dtype(name):
    survivors = [d for d in detect_all(prepared(), [name]) if d.survived]
    assert survivors == []


def test_there_are_faults_of_every_kind_and_of_every_known_thread():
    assert len(FAULTS) >= 60
    assert {fault.kind for fault in FAULTS.values()} == set(KINDS)
    sources = {t.strip() for fault in FAULTS.values() for t in fault.source.split(",")}
    assert set(THREADS) <= sources
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", thread) for thread in sources - {""})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["O", "S", "N"])
def test_a_change_without_effect_is_accepted(kind):
    def nothing(call, forward, memory=None):
        return forward(call)

    path = "cpu-native-again" if kind == "S" else "cpu-native"
    dtypes = ("float32",) if kind == "N" else ("float32", "float64")
    harmless = Fault("nothing", kind, "", "", nothing, CELLS, lambda case: True, dtypes, path)
    for cell in CELLS:
        for dtype in dtypes:
            assert detect(prepared(), harmless, cell, dtype).survived


def test_a_fault_changes_nothing_where_it_does_not_apply():
    compared = 0
    for fault in FAULTS.values():
        path = path_named(fault.path)
        for index, case in enumerate(prepared().cases[:16]):
            constrain = ROADS[path.name].constrain if path.name in ROADS else None
            problem = prepared().problem(index, constrain)
            eligible = case.cell in fault.cells and not fault.applies_to(case)
            if not eligible or exclusion_reason(path, problem, "float32"):
                continue
            masks = dropout_masks(problem, "float32")
            correct = run_path(path, problem, "float32", masks).results
            results = run_with_fault(fault, case, problem, "float32", masks)
            for name, value in correct.items():
                assert np.array_equal(results[name], value, equal_nan=True)
            compared += 1
            break
    assert compared > 60


def test_an_exception_in_a_fault_is_not_a_detection():
    def raises(call, forward):
        raise RuntimeError("raised by the fault")

    broken = Fault("raises", "O", "", "", raises, CELLS, lambda c: True, ("float32",), "cpu-native")
    with pytest.raises(RuntimeError, match="raised by the fault"):
        detect(prepared(), broken, "GRU", "float32")
    rejects = broken._replace(kind="N")
    assert detect(prepared(), rejects, "GRU", "float32").survived


def test_the_page_lists_every_fault_and_no_survivor():
    page = PAGE.read_text()
    listed = re.findall(r"^\| (\w+) \| ([^|]*) \| [^|]* \|$", page, re.MULTILINE)
    expected = [(fault.id, fault.symptom) for kind in KINDS for fault in of_kind(kind)]
    assert [row for row in listed if row[0] != "fault"] == expected
    assert "SURVIVES" not in page and f"**{len(FAULTS)} faults in " in page


def of_kind(kind):
    return [fault for fault in FAULTS.values() if fault.kind == kind]


def test_a_survivor_is_reported_and_exits_1(capsys, tmp_path):
    code, out, _ = bptt_oracle(capsys, "faults", "--fault", "c_0_ignored", "--cases", "2")
    assert code == 1 and "SURVIVES" in out and "killed: 0" in out
    page = tmp_path / "page.md"
    arguments = ["--fault", "c_0_ignored", "--cases", "8", "--markdown", str(page)]
    code, out, _ = bptt_oracle(capsys, "faults", *arguments)
    assert code == 0 and "killed: 2" in out
    assert "c_0_ignored" in page.read_text() and "d_c_0 7" in page.read_text()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--fault", "no_such_fault"], "there is no fault 'no_such_fault'"),
        (["--markdown", "/no/such/folder/page.md"], "does not exist"),
    ],
)
def test_invalid_arguments_exit_2_with_one_sentence(capsys, arguments, words):
    code, out, err = bptt_oracle(capsys, "faults", *arguments)
    assert (code, out) == (2, "")
    assert words in err and err.count("\n") == 1


def test_the_matrix_names_tensor_check_and_number_of_cases():
    detections = [
        Detection("c_0_ignored", "LSTM", "float32", 7, "an id", "c_n", "value", 99.0, 0.25),
        Detection("c_0_ignored", "LSTM", "float64", 9, "an id", "c_n", "value", 99.0, 0.5),
    ]
    assert rows(detections) == [("c_0_ignored", "", "", "", "c_n 7 9", "value", "0.50")]
    survivor = detections[1]._replace(cases=0)
    assert rows([detections[0], survivor])[0][4] == "SURVIVES"
    assert "1 fault in 2 combinations with cell and dtype; killed: 1," in summary(
        [detections[0], survivor]
    )
    assert "| c_0_ignored | c_0 is ignored |" in markdown(detections, "a command")
