"""Implementations by name: what is found, and one sentence for everything else."""

import pickle
from functools import partial
from pathlib import Path

import pytest
import torch

from bptt_oracle.implementations.loading import as_implementation, implementation_named, load
from bptt_oracle.judging.deviation_entries import Deviation
from bptt_oracle.processes.failures import CommandError
from bptt_oracle.processes.workers import run_isolated
from support import written_implementations as written


def test_an_implementation_is_called_by_the_name_it_was_loaded_by():
    name = "support.written_implementations:numpy_lstm"
    assert load(name).name == name and load(name).layer is written.numpy_layer
    assert implementation_named("cpu-native").run is not None


def test_a_file_and_a_module_in_the_current_directory_are_found(tmp_path, monkeypatch):
    text = (
        "from bptt_oracle import Implementation\nclass here:\n    a = Implementation('a', run=len)"
    )
    (tmp_path / "some_kernel.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert load("some_kernel:here.a").run is len
    assert load(f"{tmp_path}/some_kernel.py:here.a").run is len


ADAPTER = """
from bptt_oracle import Implementation
class Kernel:
    def __call__(self): return {!r}
a = Implementation('a', run=Kernel())
"""


def result_of(name, _):
    """What the kernel of that name returns, in a process that loads it again; and its pickle."""
    kernel = load(name).run
    return kernel(), pickle.loads(pickle.dumps(kernel))()


@pytest.mark.parametrize(
    "first, second",
    [
        ("old/namesake.py", "new/namesake.py"),
        ("new/random.py", "old/random.py"),  # of the standard library
        ("old/time.py", "new/time.py"),  # has no file there
        ("old/namesake.v2.py", "old/namesake.v3.py"),
    ],
)
def test_a_file_is_loaded_whatever_else_has_its_name(tmp_path, first, second):
    for text in (first, second):
        (tmp_path / text).parent.mkdir(exist_ok=True)
        (tmp_path / text).write_text(ADAPTER.format(text))
    for text in (first, second, first):
        name = f"{tmp_path / text}:a"
        assert result_of(name, None) == (text, text)
        assert run_isolated(partial(result_of, name), None) == (text, text)


def test_a_file_keeps_its_name_if_that_is_free_and_imports_what_is_beside_it(tmp_path):
    (tmp_path / "free_beside.py").write_text("from free_kernel import this\nfound = this")
    text = "this = len\nfrom free_beside import found\n" + ADAPTER.format("")
    (tmp_path / "free_kernel.py").write_text(text.replace("Kernel()", "found"))
    assert load(f"{tmp_path}/free_kernel.py:a").run is len
    assert load("free_kernel:a").run is len


@pytest.mark.parametrize("beside", ["ops_file.py", "ops_package/__init__.py"])
def test_a_file_that_would_import_what_is_beside_another_is_rejected(tmp_path, beside):
    for folder in ("old", "new"):
        (tmp_path / folder / beside).parent.mkdir(parents=True)
        (tmp_path / folder / beside).write_text("")
        text = f"import {Path(beside).parts[0].removesuffix('.py')}\n" + ADAPTER.format(folder)
        (tmp_path / folder / "kernel_with_ops.py").write_text(text)
    assert load(f"{tmp_path}/old/kernel_with_ops.py:a").run() == "old"
    with pytest.raises(CommandError, match="new/kernel_with_ops.py would import .*old/ops_"):
        load(f"{tmp_path}/new/kernel_with_ops.py:a")


def test_a_class_of_modules_gets_its_cell_from_its_name():
    assert as_implementation(written.PlainLSTM, "x").cells == ("LSTM",)
    with pytest.raises(CommandError, match="the cell of x is unknown; write Implementation"):
        as_implementation(written.OtherNames, "x")
    with pytest.raises(CommandError, match="x is an optimiser; judge it with bptt_oracle.judge_o"):
        as_implementation(torch.optim.Adam, "x")


@pytest.mark.parametrize(
    "name, words",
    [
        ("nothing", "'nothing' does not name an implementation; expected module:object"),
        (":a", "does not name an implementation"),
        ("a:", "does not name an implementation"),
        ("no_such_module:a", "cannot be loaded: ModuleNotFoundError: No module named 'no_such"),
        ("no_such_file.py:a", "there is no file no_such_file.py"),
        ("support.written_implementations:nope", "has no 'nope'; name an implementation in it"),
        ("support.written_implementations:not_an_implementation", "is a int; expected a bptt"),
        ("support.written_implementations:numpy_layer", "is a function; expected a bptt_oracle"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(name, words):
    with pytest.raises(CommandError) as raised:
        load(name)
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("x = 1\nimport\n", "SyntaxError: invalid syntax (broken.py, line 2)"),
        ("x = 1\n\ny = x / 0\n", "ZeroDivisionError: division by zero (broken.py, line 3)"),
        ("def f():\n    return x.y\nf()\n", "NameError: name 'x' is not defined (broken.py, line"),
        ("import math\nmath.nothing\n", "AttributeError: module 'math' has no attribute 'nothing'"),
        (
            "import sys\nsys.exit(0)\n",
            "it ends the program: SystemExit: 0 (broken.py, line 2); let",
        ),
    ],
)
def test_an_error_in_the_adapter_is_told_with_its_line(tmp_path, monkeypatch, text, words):
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.setattr("sys.modules", {**__import__("sys").modules})
    with pytest.raises(CommandError) as raised:
        load(f"{tmp_path}/broken.py:adapter")
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"run": None}, "gives no function; give one of layer, net, run, module"),
        ({"layer": len}, "gives layer and run; give one of"),
        ({"engine": "tinygrad"}, "there is no engine 'tinygrad'; numpy, torch, jax"),
        ({"deviations": "list.toml"}, "x has deviations 'list.toml'; expected a Path, or a tuple"),
        (
            {"deviations": (Deviation("a", "b", "c", ">=0", {"colour": "red"}),)},
            "deviation a: results have no field 'colour'",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_rejected(fields, words):
    with pytest.raises(CommandError) as raised:
        as_implementation(written.run_lstm._replace(**fields), "x")
    assert words in str(raised.value)
