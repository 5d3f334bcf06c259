"""The mistakes found in PyTorch: each still exists where it should, and the hunt finds it."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from bptt_oracle.hunting import published
from bptt_oracle.hunting.programs.fields import SEED
from bptt_oracle.hunting.programs.subject import SYMPTOMS
from bptt_oracle.hunting.subjects.table import subject_named
from bptt_oracle.hunting.trying import new_trier
from torch_impl.execution.backend import compiler

FINDS = {find.id: find for find in published.load()}
SLOW = ("onnx_rnn_steps", "aoti_steps", "compiled_lstm_backward")


def parameters(names):
    return [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in names]


def require(find):
    """Skip where a find needs what this machine lacks."""
    packages = [word for word in find.needs.split() if word.startswith("onnx")]
    if any(find_spec(name) is None for name in packages):
        pytest.skip(f"needs {find.needs}")
    if "compiler" in find.needs and not compiler():
        pytest.skip("needs a C++ compiler")


@pytest.mark.parametrize("name", parameters(FINDS))
def test_its_program_exits_with_1_while_the_mistake_exists(name):
    find = FINDS[name]
    require(find)
    ran = subprocess.run(
        [sys.executable, find.program.name],
        cwd=find.program.parent,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert "Traceback" not in ran.stderr, ran.stderr  # the two evaluations differ, or it is broken
    assert ran.returncode == find.expected(), (
        f"{name} is mended: close its range of versions" if find.expected() else ran.stdout
    )


@pytest.mark.parametrize("name", parameters(n for n in FINDS if FINDS[n].road))
def test_the_hunt_finds_it(name):
    """A program of its road shows it: the fields that it names, and plain ones. Random arrays need
    not show it with every seed."""
    find = FINDS[name]
    require(find)
    subject = subject_named(find.road)
    plain = {field: value.plain for field, value in subject.fields.items()}
    symptoms = set()
    with new_trier() as trier:
        for seed in range(3):
            program = subject.tidy(plain | {SEED: seed} | find.shows)
            assert program is not None, "its fields contradict each other"
            symptoms.add(trier.attempt(find.road, program).symptom)
            if symptoms & {*SYMPTOMS}:
                break
    assert bool(symptoms & {*SYMPTOMS}) == find.expected(), symptoms


def test_every_program_is_listed_once():
    files = {file.stem for file in (published.FOLDER / "programs").glob("*.py")}
    assert files == {*FINDS} and len(published.load()) == len(FINDS)


def test_the_page_is_up_to_date():
    page = (published.FOLDER / "finds.md").read_text(encoding="utf-8")
    assert page == published.page(published.load())


def test_programs_need_torch_and_numpy_alone():
    for find in FINDS.values():
        text = find.program.read_text(encoding="utf-8")
        assert "bptt_oracle" not in text and "reference" not in text.split('"""')[2]
        assert "expected" in text and "actual" in text


def test_a_report_has_the_program_and_its_output():
    text = published.report(FINDS["clip_norm_type_0"])
    assert "expected 4.0 actual" in text and "import torch" in text and "### Versions" in text


def test_every_find_has_a_thread_or_searches():
    for find in FINDS.values():
        assert find.thread and find.queries and find.confirmed and ";" in find.confirmed, find.id
