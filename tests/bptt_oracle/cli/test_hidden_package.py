"""A module of the user's that hides one of the packages is reported in one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bptt_oracle

ROOT = Path(bptt_oracle.__file__).parents[1]


def python(folder, *arguments):
    """Run Python in a folder; its status, standard output and standard error."""
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ran.returncode, ran.stdout, ran.stderr


def sentence(folder, name):
    """The message for a file of that name in the folder."""
    return (
        f"bptt_oracle needs its own package {name}, {ROOT / name / '__init__.py'}, but Python "
        f"finds {folder / name}.py; rename that file, or start Python in another folder"
    )


@pytest.mark.parametrize("name", ["reference", "torch_impl"])
def test_the_command_line_exits_2_with_the_sentence_and_no_traceback(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("raise RuntimeError('it is never imported')\n")
    expected = (2, "", f"bptt-oracle: {sentence(tmp_path, name)}\n")
    assert python(tmp_path, "-m", "bptt_oracle", "check") == expected


@pytest.mark.parametrize("name", ["reference", "torch_impl"])
def test_importing_the_package_raises_import_error(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("")
    code, out, err = python(tmp_path, "-c", "import bptt_oracle")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == f"ImportError: {sentence(tmp_path, name)}"


def test_a_module_already_imported_under_the_name_is_reported(tmp_path):
    program = "import sys, types; sys.modules['reference'] = types.ModuleType('reference')\n"
    code, _, err = python(tmp_path, "-c", program + "import bptt_oracle")
    assert code == 1 and "but Python finds no such module" in err


def test_other_modules_of_the_folder_do_not_matter(tmp_path):
    (tmp_path / "references.py").write_text("")
    (tmp_path / "reference").mkdir()  # without __init__.py: a package on a later path comes first
    program = "import bptt_oracle, sys; print('torch' in sys.modules, 'reference' in sys.modules)"
    assert python(tmp_path, "-c", program) == (0, "False False\n", "")
