"""Following a recipe of CONTRIBUTING.md in a copy of the repository.

A recipe is a section of the page. Its steps are blocks of code: one that follows "Append to
`FILE`:", "Create `FILE`:" or "In `FILE`, above `START OF A LINE`:" changes the file, and a block of
sh is run.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from typing import NamedTuple

from bptt_oracle.ledger.claims import ROOT

PAGE = ROOT / "CONTRIBUTING.md"
COPIED = ("reference", "torch_impl", "bptt_oracle", "tests", "docs", "examples", "benchmarks")
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
CHANGE = re.compile(r"(Append to|Create|In) `([^`]+)`(?:,\s+above `([^`]+)`)?:\s*\Z")


class Step(NamedTuple):
    """`text` goes to `file`, or is run if there is no file."""

    text: str
    file: str = ""
    action: str = ""  # Append to, Create, In
    above: str = ""  # how the line begins above which the text is inserted


def recipes():
    """The steps of each section of the page that begins with "Add"."""
    sections = re.findall(
        r"^## (Add .*?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    return {title: steps(body) for title, body in sections}


def steps(body):
    """The steps of a section. Raises ValueError for a block that is neither change nor command."""
    found, end = [], 0
    for block in BLOCK.finditer(body):
        text = textwrap.dedent(block[3]) if block[1] else block[3]
        change = CHANGE.search(body[end : block.start()])
        end = block.end()
        if change:
            # dedent would remove the indentation of the code itself
            lines = [line.removeprefix(block[1]) for line in block[3].splitlines(keepends=True)]
            found.append(Step("".join(lines), change[2], change[1], change[3] or ""))
        elif block[2] == "sh":
            found.append(Step(text))
        else:
            raise ValueError(f"a block that no step explains: {text}")
    return found


def copy_of_the_repository(folder):
    """A copy of the files that recipes change or run."""
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    return folder


def follow(step, folder):
    """Make the change of a step, or run its commands, which must exit with status 0."""
    if not step.file:
        for line in step.text.splitlines():
            run(line, folder)
        return
    file = folder / step.file
    if step.action == "Create":
        assert not file.exists(), f"{step.file} exists"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(step.text)
        return
    text = file.read_text()
    if step.action == "Append to":
        file.write_text(text + step.text)
        return
    places = [m.start() for m in re.finditer(f"^{re.escape(step.above)}", text, re.MULTILINE)]
    assert len(places) == 1, f"{len(places)} lines of {step.file} begin with {step.above!r}"
    file.write_text(text[: places[0]] + step.text + text[places[0] :])


def run(line, folder):
    """Run a command of the page in the copy."""
    program, *arguments = shlex.split(line)
    if program == "pytest":
        arguments += ["-n", "0", "-p", "no:cacheprovider"]
    if program != "python":
        module = {"bptt-oracle": "bptt_oracle", "pytest": "pytest", "ruff": "ruff"}[program]
        arguments = ["-m", module, *arguments]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ran.returncode == 0, f"{line}\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}"
