"""From a failing program to the smallest that fails alike, and from that to its cause."""

import re
import time
from collections.abc import Callable

from .programs.fields import Cause, Choice, Program, conditions, simpler_programs
from .programs.subject import Outcome, Subject

SECONDS = 240.0  # for making a program smaller, and as long again for its cause
Attempt = Callable[[Program], Outcome]


def fails_alike(one: Outcome, other: Outcome) -> bool:
    """Whether two programs failed in the same way, in the same tensor, whatever its number."""
    kinds = [re.sub(r"\d", "", outcome.tensor) for outcome in (one, other)]
    return one.symptom == other.symptom and kinds[0] == kinds[1]


def shrink(
    subject: Subject,
    program: Program,
    outcome: Outcome,
    attempt: Attempt,
    is_known: Callable[[Program], bool],
) -> tuple[Program, Outcome]:
    """A smallest program that fails like this one, reached by making one field plainer at a time,
    and its outcome. Programs with a known cause are avoided, because they fail for that."""
    end, smaller = time.monotonic() + SECONDS, True
    tried = [program]
    while smaller:
        smaller = False
        for candidate in simpler_programs(subject.fields, program):
            tidied = subject.tidy(candidate)
            if tidied is None or tidied in tried or is_known(tidied):
                continue
            if time.monotonic() > end:
                return program, outcome
            tried.append(tidied)
            found = attempt(tidied)
            if fails_alike(found, outcome):
                program, outcome, smaller = tidied, found, True
                break
    return program, outcome


def widened(old: Cause, new: Cause) -> Cause | None:
    """The cause of which both are cases: the same choices, with values in common. None if they are
    two causes. Sizes do not tell causes apart, because random arrays need more or fewer elements
    to show one."""
    choices = [{n for n, wanted in c.items() if isinstance(wanted, list)} for c in (old, new)]
    if choices[0] != choices[1] or not all(set(old[n]) & set(new[n]) for n in choices[0]):
        return None
    sizes = {n: min(old[n], new[n]) for n in old.keys() & new.keys() - choices[0]}
    return sizes | {n: old[n] + [v for v in new[n] if v not in old[n]] for n in choices[0]}


def cause_of(subject: Subject, program: Program, outcome: Outcome, attempt: Attempt) -> Cause:
    """What a smallest failing program has that is not plain; for each choice also the other values
    with which it fails alike."""
    cause, end = conditions(subject.fields, program), time.monotonic() + SECONDS
    for name, wanted in cause.items():
        field = subject.fields[name]
        if not isinstance(field, Choice):
            continue
        for value in field.values:
            changed = subject.tidy(program | {name: value})
            if changed is None or changed[name] != value or value in wanted:
                continue
            if time.monotonic() < end and fails_alike(attempt(changed), outcome):
                wanted.append(value)
        wanted.sort(key=field.values.index)
    return cause
