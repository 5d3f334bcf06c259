"""The mistakes found in PyTorch: each still exists where it should, and the hunt finds it."""

from importlib.util import find_spec

import pytest

from bptt_oracle.hunting import published
from bptt_oracle.hunting.programs.fields import SEED
from bptt_oracle.hunting.programs.subject import SYMPTOMS
from bptt_oracle.hunting.subjects.table import subject_named
from bptt_oracle.hunting.trying import new_trier
from bptt_oracle.judging import deviations
from bptt_oracle.judging.deviations import installed_torch
from bptt_oracle.optimizers import examine
from bptt_oracle.optimizers.cases import OptimizerCase
from support.programs import imported_by, run_program
from torch_impl.execution.backend import compiler

FINDS = {find.id: find for find in published.load()}
SLOW = {
    "aoti_equal_sizes", "aoti_steps", "aoti_strides", "compiled_lstm_backward", "onnx_lstm_output",
    "onnx_lstm_projection", "onnx_rnn_steps", "while_loop_kept",
}  # fmt: skip


def parameters(names):
    return [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in names]


def require(find):
    """Skip where a find needs what this machine lacks."""
    packages = [word for word in find.needs.split() if word.startswith("onnx")]
    if any(find_spec(name) is None for name in packages):
        pytest.skip(f"needs {find.needs}")
    if "compiler" in find.needs and not compiler():
        pytest.skip("needs a C++ compiler")


@pytest.fixture(scope="module")
def trier():
    with new_trier() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("name", parameters(FINDS))
def test_its_program_exits_with_1_while_the_mistake_exists(name):
    find = FINDS[name]
    require(find)
    status, printed = run_program(find.program)
    assert status in (0, 1), printed
    if find.expected():
        assert status, mended(find)
    assert not status or find.expected(), printed
    assert "expected" in printed or not status


def mended(find):
    """The sentence for the day on which a mistake is mended."""
    entry = f" and {find.deviation} in deviations.toml" if find.deviation else ""
    version = installed_torch()
    return f"mended in torch {version}: close the range of {find.id} in finds.toml{entry}"


def test_the_day_on_which_a_find_is_mended_is_seen(monkeypatch, tmp_path):
    """The program of a find that exits with 0, in the place of one that no check meets."""
    mends = tmp_path / "clip_negative.py"
    mends.write_text("print('expected 1.0 actual 1.0')\n")
    monkeypatch.setattr(published.Published, "program", mends)
    sentence = "mended in torch .*: close the range of clip_negative in finds.toml"
    with pytest.raises(AssertionError, match=sentence):
        test_its_program_exits_with_1_while_the_mistake_exists("clip_negative")


NOT_MET = {  # of functions that no path of a check calls
    "embedding_bag_frequency", "embedding_half_sum", "embedding_jvp_padding",
    "embedding_renorm_half", "ctc_gradient", "ctc_label_outside", "clip_norm_overflow",
    "clip_norm_type_0", "clip_negative",
}  # fmt: skip


def test_every_find_on_a_path_is_a_deviation_of_the_same_versions():
    of_optimizers = deviations.load(examine.FILE, OptimizerCase)
    listed = {d.id: d for d in [*deviations.load(), *of_optimizers]}
    assert {name for name, find in FINDS.items() if not find.deviation} == NOT_MET
    for find in FINDS.values():
        if find.deviation:
            deviation = listed[find.deviation]
            for version in ("2.4.1", "2.13.0", "2.14.1", "2.15.0"):
                expected = deviations.in_range(deviation, version)
                assert expected == find.expected(version), (find.id, version)


@pytest.mark.slow
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
        allowed = {"numpy", "torch", *find.needs.split()}
        assert imported_by(find.program) <= allowed, find.id


def test_a_report_has_the_program_and_its_output():
    text = published.report(FINDS["clip_norm_type_0"])
    assert "expected 4.0 actual" in text and "import torch" in text and "### Versions" in text


def test_every_find_has_a_thread_or_searches():
    for find in FINDS.values():
        assert find.thread and find.queries and find.confirmed and ";" in find.confirmed, find.id
