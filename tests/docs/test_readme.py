"""The README: every command in it is run, here or by .ci/run, and every link has a target."""

import re
import runpy
import shlex
import subprocess
import sys
from html import unescape

import pytest
import torch

from bptt_oracle.__main__ import main
from bptt_oracle.ledger.claims import ROOT
from support.links import local_links

TEXT = (ROOT / "README.md").read_text()
CI = (ROOT / ".ci" / "run").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
LINES = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
COMMANDS = [line.partition("  # ")[0] for line in LINES]  # the comments say how long they take
INSTALLING = [line for line in COMMANDS if line.startswith("python -m pip")]
OWN = [line for line in COMMANDS if line.startswith("bptt-oracle")]
OTHER = [line for line in COMMANDS if line not in INSTALLING + OWN]


def test_ci_runs_the_commands_that_install():
    assert len(INSTALLING) == 3
    assert {*INSTALLING} <= {*CI.splitlines()}
    unconstrained = [line for line in INSTALLING if "-c constraints.txt" not in line]
    assert unconstrained == ["python -m pip install -e ."]  # keeps the torch that is installed


@pytest.mark.slow
def test_every_command_of_bptt_oracle_runs_in_the_order_of_the_page(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(OWN) > 5
    for line in OWN:
        with pytest.raises(SystemExit) as stop:
            main(shlex.split(line)[1:])
        out, err = capsys.readouterr()
        if line != "bptt-oracle claims":  # its status is 1 while claims are open, as during a run
            assert stop.value.code == 0, (line, out[-2000:], err)
        assert out + err and "Traceback" not in err  # before the first run, claims reports on err


@pytest.mark.slow
@pytest.mark.parametrize("line", OTHER)
def test_every_other_command_is_accepted_by_its_program(line):
    words = shlex.split(line)
    if words[0] == "pytest":
        words += ["--collect-only", "-q", "-p", "no:cacheprovider"]
        words[:1] = [sys.executable, "-m", "pytest"]
    else:
        words = [sys.executable, *words[1:], "--help"]
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]


DRAWING = ROOT / "docs" / "check_picture.py"


def text_of(picture):
    """The text of a picture, without the lines of its table."""
    texts = re.findall(r"<text[^>]*>(.*?)</text>", picture)
    text = "".join(map(unescape, texts)).replace("\xa0", " ")
    return " ".join(re.sub("[│┃]", " ", text).split())


@pytest.mark.slow
def test_the_picture_has_the_deviations_and_cases_that_a_check_prints():
    """Of one path, which takes seconds: all others have the same known deviations."""
    shown = text_of((ROOT / "docs" / "check.svg").read_text())
    if f"torch {torch.__version__} agrees" not in shown:
        pytest.skip("the picture is of another torch")
    draw = runpy.run_path(str(DRAWING))["picture"]
    printed = text_of(draw("--path=cpu-onednn", "--dtype=float32"))
    for count in (r"\d+ known deviations met", r"cpu-onednn LSTM float32 \d+"):
        assert re.findall(count, shown) == re.findall(count, printed) != []


@pytest.mark.parametrize("argument, status", [("--help", 0), ("twice", 2)])
def test_the_drawing_of_the_picture_has_no_arguments_but_help(argument, status):
    ran = subprocess.run([sys.executable, DRAWING, argument], capture_output=True, timeout=60)
    assert ran.returncode == status and b"usage: check_picture.py" in ran.stdout + ran.stderr


def test_the_python_of_the_page_runs(capsys):
    study, own_model = [block for kind, block in BLOCKS if kind == "python"]
    exec(study, {})
    assert capsys.readouterr().out == "(5, 3, 4) (24, 6)\n"
    exec(own_model, {"__name__": "readme"})
    *ratios, verdict, adjoint = capsys.readouterr().out.splitlines()
    assert len(ratios) == 20 and all(float(line.split()[1]) < 16 for line in ratios)
    assert verdict.startswith("agree: the worst is ") and adjoint == "True"


# without the pages of packages, because the checkout may contain a virtual environment
PAGES = sorted(page for page in ROOT.glob("**/*.md") if "site-packages" not in page.parts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_has_a_target(page):
    for link, file in local_links(page):
        assert file.exists(), link
        assert ("/tree/main/" in link) <= file.is_dir(), link
        assert ("/blob/main/" in link) <= file.is_file(), link


def test_the_readme_has_only_absolute_links_because_a_package_index_shows_it_without_its_files():
    links = [link for link, _ in local_links(ROOT / "README.md")]
    assert len(links) > 20
    assert [link for link in links if not link.startswith("https://")] == []


def test_every_label_of_a_link_is_defined_and_used():
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    defined = re.findall(r"^\[([^\]]+)\]: http", prose, re.MULTILINE)
    prose = re.sub(r"^\[[^\]]+\]: http.*$", "", prose, flags=re.MULTILINE)
    links = re.findall(r"\[([^\]]+)\](?:\[([^\]]+)\])?(?!\()", prose)
    assert {label or text for text, label in links} == {*defined}
    assert len(defined) == len({*defined})


@pytest.mark.parametrize(
    ("link", "file"),
    [
        ("docs/index.md", "docs/index.md"),
        ("docs/index.md#top", "docs/index.md"),
        ("https://github.com/bptt-oracle/bptt-oracle/blob/main/docs/x.md#top", "docs/x.md"),
        ("https://github.com/bptt-oracle/bptt-oracle/tree/main/reference", "reference"),
        ("https://raw.githubusercontent.com/bptt-oracle/bptt-oracle/main/a.svg", "a.svg"),
        ("https://github.com/bptt-oracle/bptt-oracle/issues", None),
        ("https://example.org/docs/index.md", None),
        ("#top", None),
    ],
)
def test_links_to_the_repository_are_read_as_links_to_files(link, file, tmp_path):
    expected = [] if file is None else [(ROOT if "://" in link else tmp_path) / file]
    for text in (f"[text]({link})", f"[text][label]\n\n[label]: {link}\n"):
        (tmp_path / "page.md").write_text(text)
        assert [file for _, file in local_links(tmp_path / "page.md")] == expected
