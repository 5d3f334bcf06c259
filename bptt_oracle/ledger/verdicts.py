"""The committed verdicts: what a full test run found, with its commit, date, torch and devices.

`verdicts.json` lies next to this file. `bptt-oracle claims --save-verdicts` writes it from the
outcomes in pytest's cache, and docs/ledger/claims.md shows it.
"""

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

from .outcomes import Provenance, Records

FILE = Path(__file__).with_name("verdicts.json")
WRITTEN_AFTERWARDS = ("bptt_oracle/ledger/verdicts.json", "docs/ledger/claims.md")


class Verdicts(NamedTuple):
    """The verdict of each claim by id, and the run that found them; None where none is saved."""

    provenance: Provenance | None
    verdicts: dict[str, str]


def load() -> Verdicts:
    """The committed verdicts."""
    saved = json.loads(FILE.read_text(encoding="utf-8"))
    verdicts = saved.pop("verdicts")
    return Verdicts(Provenance(**saved) if saved else None, verdicts)


def at_commit(records: Records, commit: str) -> Records:
    """The records of the tests that last ran at `commit`.

    Raises ValueError if files have been changed since the commit, or if no test ran there.
    """
    if commit.endswith("+"):
        raise ValueError(
            f"files have been changed since commit {commit[:-1]}; commit them, run `pytest`, "
            "then save the verdicts"
        )
    chosen = {test: r for test, r in records.items() if r.provenance.commit == commit}
    if not chosen:
        raise ValueError(
            f"no test has run at commit {commit}; run `pytest`, then save the verdicts"
        )
    return chosen


def save(records: Records, verdicts: dict[str, str]) -> None:
    """Write the verdicts that `records` give, with the provenance of the newest record."""
    newest = max((record.provenance for record in records.values()), key=lambda p: p.date)
    text = json.dumps(newest._asdict() | {"verdicts": verdicts}, indent=1, ensure_ascii=False)
    FILE.write_text(text + "\n", encoding="utf-8")


def commit_of(root: Path) -> str:
    """The short name of the commit checked out at `root`, with "+" if files differ from it.

    The two files that are written after a test run do not count. "unknown" outside of Git.
    """
    exclusions = [f":(exclude){name}" for name in WRITTEN_AFTERWARDS]
    try:
        name = _git(root, "rev-parse", "--short=7", "HEAD")
        changes = _git(
            root, "status", "--porcelain", "--untracked-files=no", "--", ".", *exclusions
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + ("+" if changes else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
