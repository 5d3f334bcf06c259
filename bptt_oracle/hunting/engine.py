"""The hunt: draw programs, try them, and make those that fail smaller, until the time is over.

Trial i of a seed is always the same program, so that a hunt goes on where it stopped. Programs that
a find explains are drawn and counted, but not run.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence

import numpy as np

from .causes import cause_of, fails_alike, shrink, widened
from .programs.fields import Program, draw_program
from .programs.subject import SYMPTOMS, UNSUPPORTED, Outcome
from .store import (
    Find,
    Progress,
    add_find,
    count_met,
    read_finds,
    read_progress,
    save_progress,
    widen,
)
from .subjects.table import subject_named
from .trying import Trier, new_trier

Report = Callable[[Find], None]
SAVE_SECONDS = 5.0  # between two times that progress is saved


def hunt(
    connection: sqlite3.Connection,
    torch: str,
    roads: Sequence[str],
    seed: int,
    seconds: float,
    report: Report,
) -> Progress:
    """Hunt on some subjects for a time; `report` is called with each new find. Returns how far the
    seed has come, with the trials of earlier hunts."""
    start = saved = time.monotonic()
    earlier = read_progress(connection, torch, seed)
    counts, trial = earlier.counts, earlier.next
    finds = read_finds(connection, torch)

    def so_far() -> Progress:
        return Progress(trial, earlier.seconds + time.monotonic() - start, counts)

    with new_trier() as trier:
        while time.monotonic() < start + seconds:
            rng = np.random.default_rng([seed, trial])
            name = roads[int(rng.integers(len(roads)))]
            subject = subject_named(name)
            program = subject.tidy(draw_program(subject.fields, rng))
            if program is not None:
                counts[f"{name}: drawn"] += 1
                if by := [find for find in finds if find.explains(name, program)]:
                    counts[f"{name}: explained"] += 1
                    count_met(connection, by[0])
                else:
                    found = _try(trier, finds, name, program, counts)
                    if found is not None:
                        found = found._replace(torch=torch, seed=seed, trial=trial)
                        if not _widen_one(connection, finds, found):
                            add_find(connection, found)
                            report(found)
                        finds = read_finds(connection, torch)  # with those of other processes
            trial += 1
            if time.monotonic() > saved + SAVE_SECONDS:
                save_progress(connection, torch, seed, so_far())
                saved = time.monotonic()
    save_progress(connection, torch, seed, so_far())
    return so_far()


def _widen_one(connection: sqlite3.Connection, finds: Sequence[Find], new: Find) -> bool:
    """Whether a find is a case of an earlier one, whose cause is then widened."""
    for find in finds:
        alike = fails_alike(find.outcome, new.outcome) and find.subject == new.subject
        cause = widened(find.cause, new.cause) if alike else None
        if cause is not None:
            widen(connection, find, cause)
            return True
    return False


def _try(
    trier: Trier, finds: Sequence[Find], name: str, program: Program, counts: dict[str, int]
) -> Find | None:
    """Run a program. A find if it fails, and fails again in a process of its own."""
    outcome = trier.attempt(name, program)
    counts[f"{name}: ran"] += 1
    counts[f"{name}: unsupported"] += outcome.symptom == UNSUPPORTED
    if outcome.symptom not in SYMPTOMS:
        return None
    counts[f"{name}: failed"] += 1
    if trier.attempt_alone(name, program).symptom != outcome.symptom:
        counts[f"{name}: not repeated"] += 1
        return None
    subject = subject_named(name)

    def attempt(other: Program) -> Outcome:
        return trier.attempt(name, other)

    def is_known(other: Program) -> bool:
        return any(find.explains(name, other) for find in finds)

    smallest, worst = shrink(subject, program, outcome, attempt, is_known)
    cause = cause_of(subject, smallest, worst, attempt)
    return Find(name, cause, worst, smallest, subject.text(smallest, worst))
