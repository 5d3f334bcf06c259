"""The mistakes found in PyTorch: each still exists where it should, and the hunt finds it."""

import ast
import io
import runpy
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec

import pytest

from bptt_oracle.hunting import published
from bptt_oracle.hunting.programs.fields import SEED
from bptt_oracle.hunting.programs.subject import SYMPTOMS
from bptt_oracle.hunting.subjects.table import subject_named
from bptt_oracle.hunting.trying import new_trier
from bptt_oracle.processes.workers import run_isolated
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


def run_program(file):
    """In a process of its own, forked from one that has torch: the exit status, and what the
    program printed. An exception, such as that the two evaluations differ, is raised."""
    printed = io.StringIO()
    sys.argv = [file]
    with redirect_stdout(printed):
        try:
            runpy.run_path(file, run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0), printed.getvalue()
    return 0, printed.getvalue()


@pytest.fixture(scope="module")
def trier():
    with new_trier() as made:
        yield made


@pytest.mark.parametrize("name", parameters(FINDS))
def test_its_program_exits_with_1_while_the_mistake_exists(name):
    find = FINDS[name]
    require(find)
    status, printed = run_isolated(run_program, str(find.program))
    assert status == find.expected(), (
        f"{name} is mended: close its range of versions" if find.expected() else printed
    )
    assert "expected" in printed or not status


@pytest.mark.parametrize("name", parameters(n for n in FINDS if FINDS[n].road))
def test_the_hunt_finds_it(name, trier):
    """A program of its road shows it: the fields that it names, and plain ones. Random arrays need
    not show it with every seed."""
    find = FINDS[name]
    require(find)
    subject = subject_named(find.road)
    plain = {field: value.plain for field, value in subject.fields.items()}
    symptoms = set()
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
        tree = ast.parse(find.program.read_text(encoding="utf-8"))
        imported = [
            (getattr(node, "module", None) or alias.name).split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        ]
        allowed = {*sys.stdlib_module_names, "numpy", "torch", *find.needs.split()}
        assert {*imported} <= allowed, find.id


def test_a_report_has_the_program_and_its_output():
    text = published.report(FINDS["clip_norm_type_0"])
    assert "expected 4.0 actual" in text and "import torch" in text and "### Versions" in text


def test_every_find_has_a_thread_or_searches():
    for find in FINDS.values():
        assert find.thread and find.queries and find.confirmed and ";" in find.confirmed, find.id
