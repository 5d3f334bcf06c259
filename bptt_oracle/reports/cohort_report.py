"""The result of a cohort in words: one line for each device that is wrong, and a verdict."""

from collections.abc import Iterable

from ..fleet.cohort import LEAST, Fleet, Group, Worker, status_of
from ..runs.files import printable
from .console import AGREE, FAULT, plural


def report(fleet: Fleet, most: int | None = None) -> str:
    """The lines of the report, without the verdict; at most `most` lines of each kind."""
    kinds = (
        [
            f"{name_of(odd.worker)} differs from {plural(odd.equal, 'equal device')}, "
            f"{_in_parts(odd.parts)}: {odd.place}"
            for group in fleet.groups
            for odd in group.odd
        ],
        [f"{name_of(r.worker)} is wrong by its own preflight: {r.reason}" for r in fleet.wrong],
        [f"{name_of(r.worker)} could not be examined: {r.reason}" for r in fleet.failed],
        [f"not compared: {text}" for text in fleet.rejected],
        [_of_undecided(group) for group in fleet.groups if group.undecided],
        [f"{plural(len(g.workers), 'device')}: {_entries(g)}" for g in fleet.groups],
    )
    return "".join(f"{printable(text)}\n" for kind in kinds for text in _shortened(kind, most))


def _shortened(texts: list[str], most: int | None) -> Iterable[str]:
    yield from texts[:most]
    if most is not None and len(texts) > most:
        yield f"… and {len(texts) - most} more, with --verbose"


def name_of(worker: Worker) -> str:
    """A device in words: host, device, and its UUID or cores."""
    host, device, uuid, cores = worker
    more = uuid or (f"cores {cores}" if cores else "")
    return " ".join(filter(None, (host, device, f"({more})" if more else "")))


def _in_parts(parts: tuple[str, ...]) -> str:
    return f"in {', '.join(parts[:4])}" + (f" and {len(parts) - 4} more" if parts[4:] else "")


def _of_undecided(group: Group) -> str:
    """Why a cohort, or part of it, has no majority."""
    count = len(group.workers)
    if count < LEAST:
        names = " and ".join(name_of(worker) for worker in group.workers)
        return f"a cohort of {count} has no majority, and nothing was compared: {names}"
    parts = ", ".join(group.undecided[:4])
    return f"no result is that of more than half of {count} devices, in {parts}: {_entries(group)}"


def _entries(group: Group) -> str:
    """What a cohort has in common, without what is empty."""
    return ", ".join(f"{name} {value}" for name, value in group.entries if value)


def verdict(fleet: Fleet) -> str:
    """The last line."""
    devices = sum(len(group.workers) for group in fleet.groups)
    text = f"{plural(devices, 'device')} in {plural(len(fleet.groups), 'cohort')}"
    odd = sum(len(group.odd) for group in fleet.groups)
    wrong = len({record.worker for record in fleet.wrong})
    status = status_of(fleet)
    if status == AGREE:
        return f"{text}: all agree in every bit with the majority of their cohort"
    if status == FAULT:
        return f"{text}: {odd} differ from the majority, {wrong} wrong by their own preflight"
    return f"{text}: not every device could be compared"
