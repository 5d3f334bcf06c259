"""The examples of implementations: right as they are, and wrong with one mistake in their text."""

import importlib.util
import os

import pytest

from bptt_oracle.implementations.growing import growing_cases
from bptt_oracle.ledger.claims import ROOT
from bptt_oracle.runs.examine import examine
from bptt_oracle.runs.study import diagnose


def implementation(tmp_path, name, attribute, change=("", "")):
    """The object of an example whose text was changed."""
    text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    assert change[0] in text
    file = tmp_path / f"{name}.py"
    file.write_text(text.replace(*change) if change[0] else text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, attribute)


def verdicts(judged, count, dtypes):
    cases = growing_cases(judged, count)
    return {r.verdict for case in cases for d in dtypes for r in examine(case, d, [judged])}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, attribute, change, mistake",
    [
        ("fused_lstm", "fused", ("f, i, o, g = a", "i, f, o, g = a"), "gate order"),
        ("autograd_function", "lstm", ("d_new * f\n", "d_new\n"), ""),
    ],
)
def test_it_agrees_and_with_a_mistake_it_does_not(tmp_path, name, attribute, change, mistake):
    right = implementation(tmp_path, name, attribute)
    assert verdicts(right, 40, ["float32", "float64"]) <= {"agree", "untrusted"}
    wrong = implementation(tmp_path, name, attribute, change)
    assert "fault" in verdicts(wrong, 20, ["float64"])
    assert mistake in diagnose(wrong, dtypes=("float32", "float64")).sentence


def test_the_kernel_of_triton_agrees_in_its_interpreter_and_a_plain_tanh_is_named(tmp_path):
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    os.environ["TRITON_INTERPRET"] = "1"
    right = implementation(tmp_path, "triton_lstm", "lstm")
    assert verdicts(right, 40, ["float32"]) <= {"agree", "untrusted"}
    change = ("tl.where(tl.abs(a) < 0.25, near, far)", "far")
    wrong = implementation(tmp_path, "triton_lstm", "lstm", change)
    assert "no relative accuracy of tanh near zero" in diagnose(wrong).sentence
