"""Finds as text: what failed, under which conditions, and the smallest program."""

from collections.abc import Iterable
from typing import Any

from ..reports.console import format_R, plural
from .programs.fields import Choice, Fields
from .store import Find, Progress
from .subjects.table import subject_named


def describe_cause(find: Find) -> str:
    """The conditions of a find, such as `form fused, parameter columns, rows ≥ 2`."""
    fields = subject_named(find.subject).fields
    parts = [_condition(name, wanted, fields) for name, wanted in find.cause.items()]
    return ", ".join(parts) or "always"


def _condition(name: str, wanted: Any, fields: Fields) -> str:
    field = fields.get(name)
    if not isinstance(wanted, list):
        return f"{name} ≥ {wanted}"
    if isinstance(field, Choice) and len(wanted) == len(field.values) - 1 > 1:
        return f"{name} not {field.plain}"
    return f"{name} {' or '.join(map(str, wanted))}"


def headline(find: Find) -> str:
    """A find in one line."""
    tensor = f" in {find.outcome.tensor}" if find.outcome.tensor else ""
    R = f", R = {format_R(find.outcome.R)}" if find.outcome.R < 1e99 else ""
    return f"{find.outcome.symptom}{tensor}: {find.subject}: {describe_cause(find)}{R}"


def by_severity(finds: Iterable[Find]) -> list[Find]:
    """The finds, the worst first."""
    return sorted(finds, key=lambda find: (find.severity, -find.outcome.R))


def program_of(find: Find) -> str:
    """A headline as comments, and the program."""
    comments = [headline(find), find.outcome.detail, f"seed {find.seed}, trial {find.trial}"]
    return "".join(f"# {line}\n" for line in comments) + find.source


def counts_by_subject(progress: Progress) -> str:
    """Programs drawn, explained, run and failed, in one line for each subject."""
    names = sorted({key.partition(":")[0] for key in progress.counts})
    words = ("drawn", "explained", "ran", "unsupported", "failed")
    lines = [
        f"{name}: " + ", ".join(f"{progress.counts[f'{name}: {word}']} {word}" for word in words)
        for name in names
    ]
    return "\n".join(lines)


def summary(new: int, old: int, progress: Progress, seed: int) -> str:
    """The last line."""
    before = f", {plural(old, 'find')} known before" if old else ""
    ran = sum(n for key, n in progress.counts.items() if key.endswith(": ran"))
    return (
        f"{plural(new, 'new find')}{before}; seed {seed}: {plural(ran, 'program')} run in "
        f"{progress.seconds / 60:.0f} minutes"
    )
