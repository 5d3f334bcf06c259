"""Record versions of torch, in environments that use the packages of this one."""

import signal
import subprocess
import sys
import time
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from bptt_oracle.__main__ import main
from bptt_oracle.runs import versions
from bptt_oracle.runs.versions import (
    CannotRun,
    compare_versions,
    ensure_environment,
    find_problem,
    full_version,
    summarize,
)
from support.runs import made_up, row

ROOT = Path(__file__).parents[3]
HERE = torch.__version__.partition("+")[0]


def borrow(cache, version):
    """Make an environment that imports the packages of this one."""
    home = cache / f"torch-{version}"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(str(Path(torch.__file__).parents[1]))


def bptt_oracle(capfd, *arguments):
    """Exit status, standard output and standard error, including those of child processes."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code, *capfd.readouterr()


@pytest.mark.slow
def test_two_environments_of_one_torch_give_the_same_bits(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    two = [HERE, torch.__version__ if torch.__version__ != HERE else f"{HERE}+local"]
    monkeypatch.setattr(versions, "_has_torch", lambda interpreter, version: interpreter.exists())
    for version in two:
        borrow(cache, version)
    options = ["--cases", 2, "--workers", 1, "--dtype", "float32", "--path", "cpu-native"]
    code, out, err = bptt_oracle(capfd, "matrix", *two, "--cache", cache, *options)
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if "→" in line]
    assert [cell.strip() for cell in line.split("│")[1:-1]] == [
        f"{two[0]} → {two[1]}",
        "2",
        "2",
        "none moved",
    ]
    assert sorted(f.name for f in (tmp_path / "matrix").iterdir()) == sorted(
        f"{version}.sqlite" for version in two
    )


@pytest.mark.slow
def test_an_environment_that_has_the_version_is_not_made_again(tmp_path, monkeypatch):
    borrow(tmp_path, HERE)
    monkeypatch.setattr(versions, "_call", lambda *_: pytest.fail("installed again"))
    assert ensure_environment(HERE, tmp_path, sys.executable, print).exists()


@pytest.mark.parametrize("version, space", [("2.4.1", 6), ("2.13.0+cpu", 2)])
def test_nothing_is_installed_without_disk_space(tmp_path, monkeypatch, version, space):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(versions.shutil, "disk_usage", lambda _: usage((space - 0.1) * 1e9))
    monkeypatch.setattr(versions, "_call", lambda *_: pytest.fail("installed anyway"))
    with pytest.raises(CannotRun, match=f"may take {space} GB and .* has {space - 0.1} left"):
        ensure_environment(version, tmp_path, sys.executable, print)


def test_the_error_message_has_the_last_line_of_pip(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(versions.shutil, "disk_usage", lambda _: usage(9e9))
    python = fake_python(
        tmp_path / "python", "echo nothing; echo 'ERROR: no such version' >&2; exit 1"
    )
    cache = tmp_path / "cache"
    cache.mkdir()
    with pytest.raises(CannotRun, match=r"torch 2\.99\.0: ERROR: no such version$"):
        ensure_environment("2.99.0", cache, python, print)
    assert [file.name for file in cache.iterdir()] == ["torch-2.99.0.lock"]


def fake_python(file, pip, version="2.99.0"):
    """A program that makes environments whose Python runs the shell commands `pip` for pip, and
    has torch of that version once a file `installed` is there."""
    inner = file.with_name("inner")
    inner.write_text(
        '#!/bin/sh\nhere=$(dirname "$0")\ncase "$*" in\n*"-m pip"*) ' + pip + ";;\n"
        f'*) test -e "$here/installed" && echo {version};;\nesac\n'
    )
    file.write_text(f'#!/bin/sh\nmkdir -p "$3/bin" && cp -p {inner} "$3/bin/python"\n')
    for program in (inner, file):
        program.chmod(0o755)
    return str(file)


def python_in(home):
    """The place of the Python of an environment, in a new folder."""
    (home / "bin").mkdir(parents=True)
    return home / "bin" / "python"


BROKEN = {
    "nothing": lambda home: home.mkdir(),
    "half made": lambda home: (home / "lib").mkdir(parents=True),
    "no pip": lambda home: python_in(home).symlink_to(sys.executable),
    "no program": lambda home: python_in(home).write_text("text"),
    "no Python": lambda home: python_in(home).symlink_to("/no/python"),
}


@pytest.mark.parametrize("place", ["torch-2.99.0", "torch-2.99.0.new", "torch-2.99.0.old"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_environment_is_made_anew(tmp_path, monkeypatch, kind, place):
    usage, cache = namedtuple("usage", "free"), tmp_path / "cache"
    monkeypatch.setattr(versions.shutil, "disk_usage", lambda _: usage(9e9))
    cache.mkdir()
    BROKEN[kind](cache / place)
    python = fake_python(tmp_path / "python", 'touch "$here/installed"')
    found = ensure_environment("2.99.0", cache, python, print)
    assert found == cache / "torch-2.99.0" / "bin" / "python"
    assert {file.name for file in cache.iterdir()} == {"torch-2.99.0", "torch-2.99.0.lock"}
    monkeypatch.setattr(versions, "_call", lambda *_: pytest.fail("installed again"))
    assert ensure_environment("2.99.0", cache, python, print) == found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_installation_leaves_nothing_that_stays_broken(
    tmp_path, monkeypatch, number
):
    cache = tmp_path / "cache"
    cache.mkdir()
    python = fake_python(tmp_path / "python", f'touch {tmp_path}/begun; sleep 5; touch "$here/no"')
    program = (
        "import signal; from pathlib import Path\n"
        "from bptt_oracle.processes.interrupt import clean_up_on_termination\n"
        "from bptt_oracle.runs import versions\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "clean_up_on_termination()\n"
        "versions.DISK_SPACE = 0\n"
        f"versions.ensure_environment('2.99.0', Path({str(cache)!r}), {python!r}, print)\n"
    )
    ran = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    while not (tmp_path / "begun").exists():
        assert ran.poll() is None
        time.sleep(0.02)
    ran.send_signal(number)
    ran.communicate()
    assert not (cache / "torch-2.99.0").exists()
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(versions.shutil, "disk_usage", lambda _: usage(9e9))
    python = fake_python(tmp_path / "python", 'touch "$here/installed"')
    assert ensure_environment("2.99.0", cache, python, print).exists()


def test_a_folder_that_is_not_an_environment_is_not_removed(tmp_path):
    thesis = tmp_path / "torch-2.99.0" / "thesis.md"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    with pytest.raises(CannotRun, match=r"2\.99\.0 is not an environment: it holds thesis\.md"):
        ensure_environment("2.99.0", tmp_path, sys.executable, print)
    assert thesis.read_text() == "years of work"


@pytest.mark.parametrize(
    "version, full",
    [("2.13", "2.13.0"), ("2.13+cpu", "2.13.0+cpu"), ("2.13.1", "2.13.1"), ("2.4.1+cpu",) * 2],
)
def test_two_numbers_are_a_version_as_for_pip(version, full):
    assert full_version(version) == full


def test_environments_have_every_requirement_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {*versions.REQUIREMENTS, "torch>=2.4"} == set(project["dependencies"])


@pytest.mark.parametrize(
    "versions, words",
    [
        (["2.13.0"], "at least two"),
        (["2.13.0", "2.13.0"], "each once"),
        (["2.13", "2.13.0"], "each once"),
        (["2.13.0", "newest"], "is not a version"),
        (["2.13.0", "2.13.0; rm"], "is not a version"),
        (["2.3.1", "2.13.0"], "too old"),
    ],
)
def test_versions_that_cannot_be_compared_are_rejected(tmp_path, capfd, versions, words):
    assert words in find_problem(versions)
    code, out, err = bptt_oracle(capfd, "matrix", *versions, "--cache", tmp_path)
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1


@pytest.mark.parametrize("option", ["--output", "--cache"])
def test_a_file_in_place_of_a_folder_is_reported_in_one_sentence(tmp_path, capfd, option):
    (tmp_path / "file").write_text("")
    folders = ["--output", tmp_path / "runs", "--cache", tmp_path / "cache"]
    code, out, err = bptt_oracle(
        capfd, "matrix", "2.12.0", "2.13.0", *folders, option, tmp_path / "file"
    )
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert f"{tmp_path / 'file'} cannot be a folder: File exists; name another" in err


def test_a_missing_python_is_reported_in_one_sentence(tmp_path):
    with pytest.raises(CannotRun, match=r": /no/python cannot be run: No such file or directory$"):
        ensure_environment("2.12.0+cpu", tmp_path, "/no/python", print)


def test_each_version_is_compared_with_the_one_before():
    runs = [
        made_up(row(0), row(1)),
        made_up(row(0, R=0.25, bits="b"), row(1)),
        made_up(row(0, R=20, bits="c", verdict="fault"), row(1)),
    ]
    head, rows = summarize(compare_versions(["a", "b", "c"], runs))
    assert head[:2] + head[-1:] == ["torch", "results", "tensors closer to the truth"]
    assert rows[0] == ["a → b", "2", "0", "1", "1", "new 1, old 0 of 1"]
    assert rows[1] == ["b → c", "2", "1", "0", "1", "new 0, old 1 of 1"]
