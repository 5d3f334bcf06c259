"""The pytest door: one test a case, a control, expected deviations that are strict, and counts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import bptt_oracle
from bptt_oracle.judging.judge import Verdict
from support import written_implementations as written

SUPPORT = Path(__file__).parents[2]


@pytest.fixture
def pytest_on(tmp_path):
    """A function that runs pytest on a test of an implementation; its status and output."""

    def run(decorator, *options):
        (tmp_path / "test_it.py").write_text(
            "import bptt_oracle\nfrom support.written_implementations import *\n"
            f"@bptt_oracle.parametrize_with_cases({decorator})\n"
            "def test_it(implementation, case):\n"
            "    bptt_oracle.assert_agrees(implementation, case)\n",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "pytest", "-q", "-rxX", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, "-c", "/dev/null", "--rootdir", str(tmp_path), *options, "test_it.py"],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{SUPPORT}:{SUPPORT.parent}", "PATH": ""},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_a_right_implementation_passes_and_is_counted(pytest_on):
    code, out = pytest_on('numpy_lstm, cases=20, dtypes=["float32"]')
    assert code == 0 and "21 passed" in out
    assert re.search(
        r"bptt-oracle: 20 cases, 20 results, \d{3} tensors judged, 0 not returned", out
    )


@pytest.mark.slow
def test_counts_come_together_from_several_processes(pytest_on):
    code, out = pytest_on('values_only, cases=16, dtypes=["float64"]', "-n", "2")
    assert code == 0 and "17 passed" in out
    assert re.search(r"bptt-oracle: 16 cases, 16 results, 48 tensors judged, \d+ not returned", out)


@pytest.mark.slow
def test_a_wrong_implementation_fails_case_by_case(pytest_on):
    code, out = pytest_on('doubling, cases=10, dtypes=["float64"]')
    assert code == 1 and "11 failed" in out
    assert re.search(r"LSTM\.T1\.\S+ --dtype float64: R \S+, above 16, in d_", out)
    assert "no case agrees, so no mistake could be planted" in out
    assert "Traceback" not in out and "bptt_oracle/doors" not in out


@pytest.mark.slow
def test_a_case_can_be_chosen_by_its_id(pytest_on):
    code, out = pytest_on("numpy_lstm, cases=20", "-k", "T2 and c_n")
    assert code == 0 and "1 passed" in out


@pytest.mark.slow
def test_an_expected_deviation_is_an_xfail_with_its_reason(pytest_on):
    expected = '{"d_*": "doubles, issue 12"}'
    code, out = pytest_on(f'doubling, cases=10, expected_deviations={expected}, dtypes=["float32"]')
    assert "10 xfailed" in out and "doubles, issue 12" in out
    assert "1 failed" in out and code == 1, "the control has no agreeing answer"


@pytest.mark.slow
def test_an_expected_deviation_that_does_not_occur_fails(pytest_on):
    expected = '{"d_h_0, float64": "drops it"}'
    code, out = pytest_on(f"numpy_lstm, cases=6, expected_deviations={expected}")
    assert code == 1 and "an expected deviation does not occur in this case; narrow it" in out


@pytest.mark.parametrize("word", ["d h_0", "float63", "H=", "colour=red"])
def test_a_word_that_names_nothing_is_rejected(word):
    with pytest.raises(ValueError):
        bptt_oracle.parametrize_with_cases(
            written.numpy_lstm, cases=1, expected_deviations={word: "x"}
        )


def test_a_case_is_given_by_its_id_or_itself():
    bptt_oracle.assert_agrees(written.numpy_lstm, "LSTM.T2.B2.I3.H4.L1.time.h0.output.wide.s0")
    case = bptt_oracle.Case("LSTM", 2, 2, 3, 4)
    bptt_oracle.assert_agrees(written.run_lstm, case, dtypes=["float32"])
    with pytest.raises(pytest.fail.Exception, match="above 16"):
        bptt_oracle.assert_agrees(written.doubling, case)


@pytest.mark.parametrize(
    "case, dtypes, lacks",
    [
        ("LSTM.T3.B2.I3.H4.L1.batch.output.generic.s0", None, "an option that it lacks: layout"),
        ("GRU.T3.B2.I3.H4.L1.time.output.generic.s0", None, "it computes LSTM"),
        ("LSTM.T3.B2.I3.H4.L1.time.output.generic.s0", ["bfloat16"], "it has no bfloat16"),
        ("LSTM.T3.B2.I3.H4.L1.time.output.generic.s0", ["float32", "float16"], "it has no float16"),
    ],
)
def test_a_case_that_is_not_judged_fails(case, dtypes, lacks):
    with pytest.raises(pytest.fail.Exception, match=f"numpy was not judged: .*{lacks}"):
        bptt_oracle.assert_agrees(written.numpy_lstm, case, dtypes)


@pytest.mark.slow
def test_a_case_that_is_excluded_is_skipped_with_the_reason(pytest_on):
    rejecting = 'numpy_lstm._replace(exclusion_reason=lambda problem, dtype: "its licence ended")'
    code, out = pytest_on(f"{rejecting}, cases=3", "-rs")
    assert "3 skipped" in out and "not judged: its licence ended" in out
    assert code == 1 and "1 failed" in out, "no case agrees, so nothing can be planted"


def test_a_dtype_that_the_implementation_lacks_is_rejected():
    with pytest.raises(ValueError, match="numpy has no bfloat16; it has float32, float64"):
        bptt_oracle.parametrize_with_cases(written.numpy_lstm, cases=1, dtypes=["bfloat16"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_implementation_of_a_half_type_alone_is_judged_in_it(dtype):
    described = written.torch_nets._replace(dtypes=(dtype,))
    mark = bptt_oracle.parametrize_with_cases(described, cases=24)
    *cases, (tested, last) = mark.args[1]
    for implementation, case in cases:
        bptt_oracle.assert_agrees(implementation, case)
    bptt_oracle.assert_agrees(tested, last)
    assert {r.dtype for r in tested.results} == {dtype} and len(tested.results) == 24


def test_the_control_fails_if_the_judge_sees_nothing(monkeypatch):
    verdict = Verdict("agree", None, ())
    monkeypatch.setattr("bptt_oracle.runs.control.judge", lambda *results: verdict)
    monkeypatch.setattr("bptt_oracle.runs.control.clear_tensors", lambda verdict: {"h_n"})
    with pytest.raises(
        pytest.fail.Exception, match="planted mistakes were not detected: h_n_zeroed"
    ):
        bptt_oracle.assert_agrees(written.numpy_lstm, "control", dtypes=["float32"])


def test_a_class_of_modules_is_an_implementation():
    bptt_oracle.assert_agrees(written.PlainLSTM, bptt_oracle.Case("LSTM", 2, 2, 3, 4))


def test_the_plugin_imports_nothing_of_the_project(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import sys\ndef test_it():\n    assert not {'bptt_oracle', 'torch'} & sys.modules.keys()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_bptt_oracle", "-c", "/dev/null"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "test_it.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(SUPPORT.parent), "PATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "bptt-oracle" not in done.stdout, done.stdout
