"""Record versions of a package, in environments that use the packages of this one."""

import signal
import subprocess
import sys
import time
import tomllib
from collections import namedtuple
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from bptt_oracle.__main__ import main
from bptt_oracle.processes.failures import CommandError
from bptt_oracle.runs import versions
from bptt_oracle.runs.opening import open_runs
from bptt_oracle.runs.releases import Release, full_version, parse_releases
from bptt_oracle.runs.versions import CannotRun, compare_versions, ensure_environment, summarize
from support.runs import made_up, row

ROOT = Path(__file__).parents[3]
HERE = torch.__version__.partition("+")[0]
ABSENT = Release("torch", "2.99.0")


def install(release, cache, python, requirements=()):
    """The interpreter of an environment, without a report of progress."""
    return ensure_environment(release, requirements, cache, python, print)


def borrow(cache, release):
    """Make an environment that imports the packages of this one."""
    home = cache / release.folder
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
    monkeypatch.setattr(versions, "_has", lambda interpreter, *_: interpreter.exists())
    for version in two:
        borrow(cache, Release("torch", version))
    options = ["--cases", 2, "--workers", 1, "--dtype", "float32", "--path", "cpu-native"]
    code, out, err = bptt_oracle(capfd, "versions", *two, "--cache", cache, *options)
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if "→" in line]
    assert [cell.strip() for cell in line.split("│")[1:-1]] == [
        f"{two[0]} → {two[1]}",
        "2",
        "2",
        "none moved",
    ]
    assert sorted(f.name for f in (tmp_path / "versions").iterdir()) == sorted(
        f"{version}.sqlite" for version in two
    )


MODEL = """
import os
import torch


def make():
    torch.manual_seed(int.from_bytes(os.urandom(4)))
    return torch.nn.GRU(3, 2), torch.randn(4, 2, 3), lambda model, x: model(x)[0].square().sum()
"""


@pytest.mark.slow
def test_a_model_gets_the_numbers_of_the_first_version(tmp_path, capfd, monkeypatch):
    """Its weights and its batch are others in each call of the user's function."""
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    monkeypatch.setattr(versions, "_has", lambda interpreter, *_: interpreter.exists())
    (tmp_path / "tagger.py").write_text(MODEL)
    three = [f"{HERE}+{local}" for local in "abc"]
    for version in three:
        borrow(cache, Release("torch", version))
    options = ["--model", "tagger.py:make", "--cache", cache]
    code, out, err = bptt_oracle(capfd, "versions", *three, *options)
    assert code == 0, err
    lines = [line for line in out.splitlines() if "→" in line]
    assert [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines] == [
        [f"{old} → {new}", "2", "2", "none moved"] for old, new in pairwise(three)
    ]
    with open_runs(*(tmp_path / "versions" / f"{version}.sqlite" for version in three)) as runs:
        assert len({run.plan["weights"] for run in runs}) == 1


@pytest.mark.parametrize(
    "option", [["--path", "cpu-native"], ["--dtype", "float64"], ["--implementation", "a:b"]]
)
def test_a_model_replaces_paths_dtypes_and_implementations(tmp_path, capfd, option):
    given = ["versions", "2.4.1", "2.13.0", "--model", "a.py:make", "--cache", tmp_path]
    code, _, err = bptt_oracle(capfd, *given, *option)
    assert code == 2 and "--model replaces --path, --dtype and --implementation" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options, words",
    [
        (["--path", "bogus"], "there is no path 'bogus'; choose from all, roads, cpu-onednn"),
        (["--model", "absent.py:make"], "there is no file absent.py; name one that exists"),
        (["--implementation", "absent.py:net"], "there is no file absent.py; name one that exists"),
    ],
)
def test_what_no_environment_can_change_is_rejected_before_one_is_made(
    tmp_path, capfd, monkeypatch, options, words
):
    monkeypatch.setattr(versions, "record_versions", lambda *_: pytest.fail("installed first"))
    command = ["versions", "2.4.1", "2.13.0", "--cache", tmp_path, *options]
    code, out, err = bptt_oracle(capfd, *command)
    assert (code, out, err.count("\n")) == (2, "", 1) and words in err


@pytest.mark.slow
def test_an_environment_that_has_the_version_is_not_made_again(tmp_path, monkeypatch):
    release = Release("torch", HERE)
    borrow(tmp_path, release)
    monkeypatch.setattr(versions, "_call", lambda *_: pytest.fail("installed again"))
    assert install(release, tmp_path, sys.executable).exists()


@pytest.mark.parametrize("version, space", [("2.4.1", 6), ("2.13.0+cpu", 2)])
def test_nothing_is_installed_without_disk_space(tmp_path, monkeypatch, version, space):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(versions.shutil, "disk_usage", lambda _: usage((space - 0.1) * 1e9))
    monkeypatch.setattr(versions, "_call", lambda *_: pytest.fail("installed anyway"))
    with pytest.raises(CannotRun, match=f"may take {space} GB and .* has {space - 0.1} left"):
        install(Release("torch", version), tmp_path, sys.executable)


def test_the_error_message_has_the_last_line_of_pip(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(versions.shutil, "disk_usage", lambda _: usage(9e9))
    python = fake_python(
        tmp_path / "python", "echo nothing; echo 'ERROR: no such version' >&2; exit 1"
    )
    cache = tmp_path / "cache"
    cache.mkdir()
    with pytest.raises(CannotRun, match=r"torch 2\.99\.0: ERROR: no such version$"):
        install(ABSENT, cache, python)
    assert [file.name for file in cache.iterdir()] == ["torch-2.99.0.lock"]


def fake_python(file, pip):
    """A program that makes environments whose Python runs the shell commands `pip` for pip, and
    has every package once a file `installed` is there."""
    inner = file.with_name("inner")
    inner.write_text(
        '#!/bin/sh\nhere=$(dirname "$0")\ncase "$*" in\n*"-m pip"*) ' + pip + ";;\n"
        '*) test -e "$here/installed";;\nesac\n'
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
    found = install(ABSENT, cache, python)
    assert found == cache / "torch-2.99.0" / "bin" / "python"
    assert {file.name for file in cache.iterdir()} == {"torch-2.99.0", "torch-2.99.0.lock"}
    monkeypatch.setattr(versions, "_call", lambda *_: pytest.fail("installed again"))
    assert install(ABSENT, cache, python) == found


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
        "from bptt_oracle.runs import releases, versions\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "clean_up_on_termination()\n"
        "versions.DISK_SPACE = 0\n"
        "release = releases.Release('torch', '2.99.0')\n"
        f"versions.ensure_environment(release, [], Path({str(cache)!r}), {python!r}, print)\n"
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
    assert install(ABSENT, cache, python).exists()


def test_a_folder_that_is_not_an_environment_is_not_removed(tmp_path):
    thesis = tmp_path / "torch-2.99.0" / "thesis.md"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    with pytest.raises(CannotRun, match=r"2\.99\.0 is not an environment: it holds thesis\.md"):
        install(ABSENT, tmp_path, sys.executable)
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
    with pytest.raises(CommandError, match=words):
        parse_releases(versions)
    code, out, err = bptt_oracle(capfd, "versions", *versions, "--cache", tmp_path)
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1


@pytest.mark.parametrize("option", ["--output", "--cache"])
def test_a_file_in_place_of_a_folder_is_reported_in_one_sentence(tmp_path, capfd, option):
    (tmp_path / "file").write_text("")
    folders = ["--output", tmp_path / "runs", "--cache", tmp_path / "cache"]
    code, out, err = bptt_oracle(
        capfd, "versions", "2.12.0", "2.13.0", *folders, option, tmp_path / "file"
    )
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert f"{tmp_path / 'file'} cannot be a folder: File exists; name another" in err


def test_a_missing_python_is_reported_in_one_sentence(tmp_path):
    with pytest.raises(CannotRun, match=r": /no/python cannot be run: No such file or directory$"):
        install(Release("torch", "2.12.0+cpu"), tmp_path, "/no/python")


def test_each_version_is_compared_with_the_one_before():
    runs = [
        made_up(row(0), row(1)),
        made_up(row(0, R=0.25, bits="b"), row(1)),
        made_up(row(0, R=20, bits="c", verdict="fault"), row(1)),
    ]
    releases = [Release("torch", version) for version in "abc"]
    head, rows = summarize("torch", compare_versions(releases, runs))
    assert head[:2] + head[-1:] == ["torch", "results", "tensors closer to the truth"]
    assert rows[0] == ["a → b", "2", "0", "1", "1", "new 1, old 0 of 1"]
    assert rows[1] == ["b → c", "2", "1", "0", "1", "new 0, old 1 of 1"]


LSTM = """
import numpy as np
from importlib.metadata import version
from bptt_oracle import Implementation

def layer(mode, p, x, state, lengths, reverse):
    h, c = state or [np.zeros((x.shape[1], p["weight_hh"].shape[1]), x.dtype)] * 2
    ys = []
    for x_t in x:
        u = x_t @ p["weight_ih"].T + p["bias_ih"] + h @ p["weight_hh"].T + p["bias_hh"]
        i, f, g, o = np.split(u, 4, axis=1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        ys.append(h)
    return np.stack(ys), [h, c]

lstm = Implementation("mine", layer, engine="none", cells=("LSTM",), lengths=False,
                      bidirectional=False, no_biases=False, version=lambda: version("fast"))
"""


def release_of_fast(cache, number, written=""):
    """Make an environment that has the package `fast` in that version, which its metadata may write
    otherwise, and no torch, and that borrows every other package of this one."""
    release = Release("fast", number)
    borrow(cache, release)
    (packages,) = (cache / release.folder).glob("lib/python*/site-packages")
    (packages / "torch.py").write_text("raise ImportError('there is no torch')")
    information = packages / f"fast-{number}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Name: fast\nVersion: {written or number}\n")
    return release


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mine:lstm", "mine.py:lstm"])
def test_an_implementation_of_ones_own_is_recorded_with_each_version_of_a_package(
    tmp_path, capfd, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(LSTM)
    releases = [release_of_fast(tmp_path / "cache", number) for number in ("1.0.0", "1.1.0")]
    monkeypatch.setattr(versions, "_call", lambda *_: pytest.fail("installed again"))
    options = ["--implementation", name, "--with", "numpy", "--cases", 3, "--workers", 2]
    code, out, err = bptt_oracle(
        capfd, "versions", *(r.requirement for r in releases), "--cache", "cache", *options
    )
    assert code == 0, err
    head, line = (line for line in out.splitlines() if line[0] in "┃│")
    assert head.split("┃")[1].strip() == "fast"
    assert [cell.strip() for cell in line.split("│")[1:-1]] == [
        "1.0.0 → 1.1.0",
        "6",
        "6",
        "none moved",
    ]
    verdict = "fast 1.0.0, 1.1.0: 6 results compared, 0 faults, 0 drifted"
    assert out.splitlines()[-1] == verdict
    for release in releases:
        with open_runs(tmp_path / "versions" / f"{release.folder}.sqlite") as (run,):
            facts = run.environment
        assert facts[name] == release.version and "torch" not in facts


@pytest.mark.slow
@pytest.mark.parametrize(
    "requirements, has", [([], True), (["numpy>=2"], True), (["numpy<2"], False), (["no-p"], False)]
)
def test_an_environment_without_the_packages_to_install_with_it_is_made_anew(
    tmp_path, monkeypatch, requirements, has
):
    cache = tmp_path / "cache"
    release = release_of_fast(cache, "1.0.0", written="1.0")
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(versions.shutil, "disk_usage", lambda _: usage(2.1e9))
    python = fake_python(tmp_path / "python", 'echo "$@" > "$here/installed"')
    made = install(release, cache, python, requirements)
    assert made.with_name("installed").exists() is not has


def test_pip_installs_the_package_what_it_needs_and_no_torch(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(versions.shutil, "disk_usage", lambda _: usage(2.1e9))
    python = fake_python(tmp_path / "python", 'echo "$@" > "$here/installed"')
    made = install(Release("fast", "1.0.0"), tmp_path, python, ["onnx", "slow>=2"])
    installed = made.with_name("installed").read_text().split()
    assert installed[installed.index("fast==1.0.0") :] == [
        "fast==1.0.0",
        *versions.REQUIREMENTS,
        "onnx",
        "slow>=2",
    ]


def test_a_module_of_the_current_directory_does_not_hide_this_code(tmp_path, monkeypatch):
    (tmp_path / "reference.py").write_text("")
    monkeypatch.chdir(tmp_path)
    seen = tmp_path / "seen"
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport os, reference, sys\n"
        f"print(reference.__file__, *sys.path[:2], sep='\\n', file=open({str(seen)!r}, 'w'))\n"
    )
    python.chmod(0o755)
    versions._record(python, tmp_path / "run.json", ["--implementation=mine:lstm"], [])
    file, code, current = seen.read_text().splitlines()
    assert file == f"{code}/reference/__init__.py" and current == str(tmp_path)


def test_an_environment_in_a_folder_of_the_current_directory_is_found(tmp_path, monkeypatch):
    """A relative --cache: the interpreter starts in another folder."""
    monkeypatch.chdir(tmp_path)
    python = Path("cache", "python")
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/seen\n')
    python.chmod(0o755)
    versions._record(python, tmp_path / "a.run", [], ["--quiet"])
    assert (tmp_path / "seen").read_text() == f"-m bptt_oracle record -o {tmp_path}/a.run --quiet\n"
