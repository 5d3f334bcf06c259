"""Each mistake planted in a copy of the reference is caught by the test named for it."""

import importlib
import shutil
import sys
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import hypothesis
import pytest

from bptt_oracle.ledger.margins import stated
from support.mutants import MUTANTS as CORE
from support.mutants_dynamics import DYNAMICS
from support.mutants_losses import LOSSES
from support.planting import SOURCE, broken_equation, compiling_once, plant

MUTANTS = CORE + DYNAMICS + LOSSES

NO_MISTAKE = ImportError, SyntaxError, NameError, AttributeError, TypeError

TESTS = Path(__file__).parents[1]


@contextmanager
def fresh_modules(folder, examples):
    """Import the reference from `folder`, and the tests anew on top of it."""
    stale = ["reference", "support", *(path.stem for path in TESTS.rglob("*.py"))]
    kept = {name: m for name, m in sys.modules.items() if name.partition(".")[0] in stale}
    profile = hypothesis.settings.default
    hypothesis.settings.register_profile(
        "mutants",
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],  # the first counterexample will do
    )
    hypothesis.settings.load_profile("mutants")
    for name in kept:
        del sys.modules[name]
    path = sys.path[:]
    sys.path[:0] = [str(folder), *sorted({str(file.parent) for file in TESTS.rglob("test_*.py")})]
    try:
        with compiling_once():
            yield
    finally:
        sys.path[:] = path
        for name in [name for name in sys.modules if name.partition(".")[0] in stale]:
            del sys.modules[name]
        sys.modules.update(kept)
        hypothesis.settings.register_profile("before mutants", profile)
        hypothesis.settings.load_profile("before mutants")


def run(law):
    """Run "file::test" with every combination of its parameters."""
    file, _, name = law.partition("::")
    test = getattr(importlib.import_module(file), name)
    marks = [m for m in getattr(test, "pytestmark", []) if m.name == "parametrize"]
    for values in product(*[m.args[1] for m in marks]):
        arguments = {}
        for mark, value in zip(marks, values, strict=True):
            names = mark.args[0]
            arguments |= (
                {names: value} if isinstance(names, str) else dict(zip(names, value, strict=True))
            )
        test(**arguments)


@pytest.mark.parametrize("law", sorted({mutant.law for mutant in MUTANTS}))
def test_the_law_holds_for_an_unchanged_copy(law, tmp_path):
    shutil.copytree(SOURCE, tmp_path / "reference")
    with fresh_modules(tmp_path, examples=3):
        assert Path(importlib.import_module("reference").__file__).is_relative_to(tmp_path)
        run(law)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_a_planted_mistake_is_caught_by_the_test_named_for_it(mutant, tmp_path):
    plant(mutant, tmp_path)
    with fresh_modules(tmp_path, examples=60), pytest.raises(Exception) as caught:
        run(mutant.law)
    assert not isinstance(caught.value, NO_MISTAKE), f"it does not even run: {caught.value}"


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda file: file.stem)
def test_every_numbered_equation_has_a_wrong_variant_that_is_caught(file):
    caught = {broken_equation(mutant) for mutant in MUTANTS if SOURCE / mutant.file == file}
    assert [f"({number})" for number in stated(file) if number not in caught] == []


def test_no_mistake_is_listed_twice():
    assert len({(m.file, m.equation, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)
