"""The wheel has all files of the packages and no other, and works without a checkout."""

import os
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from support.contributing import copy_of_the_repository

ROOT = Path(__file__).parents[1]
PACKAGES = ("reference", "torch_impl", "bptt_oracle")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the repository: setuptools writes next to the sources."""
    copy = copy_of_the_repository(tmp_path_factory.mktemp("sources"))
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, folder], cwd=copy, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder of installed packages that contains only the wheel."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed, cwd, *arguments):
    """Run Python in a folder; its status, standard output and standard error."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return ran.returncode, ran.stdout, ran.stderr


def test_it_contains_every_file_of_the_packages_and_no_other(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    expected = {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    expected.add("pytest_bptt_oracle.py")  # the plugin, which imports none of the packages
    assert {name for name in names if ".dist-info/" not in name} == expected
    metadata = f"bptt_oracle-{PROJECT['version']}.dist-info"
    assert {f"{metadata}/licenses/LICENSE", f"{metadata}/entry_points.txt"} <= set(names)


def test_the_commands_work_without_a_checkout(installed, tmp_path):
    case = "LSTM.T5.B3.I4.H6.L2.time.h0.output.generic.s7"
    for line, status, part in [
        ("--version", 0, f"bptt-oracle {PROJECT['version']}"),
        ("check --cases 4 --workers 1", 0, "agrees with the derivations"),
        ("record -o before --cases 2 --workers 1", 0, "before"),
        ("record -o after --cases 2 --workers 1", 0, "after"),
        ("compare before after --html page.html", 0, "bitwise equal"),
        (f"replay {case} --path cpu-native", 0, "verdict: agree"),
        (f"replay {case} --path cpu-native --script", 0, "import torch"),
        ("faults --fault bias_hh_zeroed", 0, "killed"),
        ("selftest --comparisons 1000 --workers 1", 0, "the judge passes"),
        ("claims", 2, "run it in a checkout"),
    ]:
        code, out, err = run(installed, tmp_path, "-m", "bptt_oracle", *shlex.split(line))
        assert (code, part in out + err) == (status, True), f"{line}\n{out}{err}"
        if "--script" in line:
            (tmp_path / "program.py").write_text(out)
    assert run(tmp_path, tmp_path, "program.py")[0] == 0, "the program needs no bptt_oracle"
    assert (tmp_path / "page.html").exists()


@pytest.mark.parametrize("name", ["reference", "torch_impl"])
def test_a_project_with_a_module_of_the_same_name_gets_one_sentence(name, installed, tmp_path):
    own = tmp_path / f"{name}.py"
    own.write_text("raise RuntimeError('it is never imported')\n")
    sentence = (
        f"bptt_oracle needs its own package {name}, {installed / name / '__init__.py'}, but Python "
        f"finds {own}; rename that file, or start Python in another folder"
    )
    expected = (2, "", f"bptt-oracle: {sentence}\n")
    assert run(installed, tmp_path, "-m", "bptt_oracle", "check") == expected
    code, out, err = run(installed, tmp_path, "-c", "import bptt_oracle")
    assert (code, out, err.splitlines()[-1]) == (1, "", f"ImportError: {sentence}")
