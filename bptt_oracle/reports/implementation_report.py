"""What `check --implementation` prints after the table: counts, the control, the smallest failing
case, the diagnosis, and the verdict."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from ..implementations.implementation import Implementation
from ..judging import judge
from ..judging.deviation_entries import Deviation
from ..judging.deviations import Tally
from ..judging.offsets import Offset
from ..runs.control import Control, Detection
from ..runs.results import UNFINISHED, Result
from ..runs.study import Study
from .check_tables import print_diagnosis
from .console import AGREE, COULD_NOT_RUN, FAULT, format_R, plural

LEAST_CASES = 16  # that must be judged, unless fewer were asked for


class Counts(NamedTuple):
    """How much a run judged."""

    judged: int  # cases with a verdict on numbers in at least one dtype
    cases: int  # that the implementation can compute, of those that were asked for
    stopped: bool  # after many faults
    tensors: int  # judged, over all dtypes
    not_returned: int  # tensors
    raised: int  # results that are an exception
    too_little: str  # why the run judged too little; empty if it did not


def count_run(
    results: Sequence[Result],
    cases: int,
    asked: int,
    stopped: bool,
    control: Control,
    dtypes: int,
) -> Counts:
    """The counts of a run of an implementation on `cases` cases, of `asked` that were wanted, in so
    many dtypes."""
    judged = [r for r in results if r.verdict in ("agree", "fault", "known deviation")]
    with_numbers = {r.case for r in judged if r.tensors}
    raised = [r for r in judged if not r.tensors]
    tensors = sum(len(r.tensors) for r in judged)
    reason = ""
    if len(with_numbers) < min(asked, LEAST_CASES) and not (stopped and with_numbers):
        reason = (
            f"only {plural(len(with_numbers), 'case')} could be judged, and at least "
            f"{min(asked, LEAST_CASES)} must be"
        )
        if raised:
            reason += f"; {plural(len(raised), 'result')} raised, the first {raised[0].note}"
        elif unfinished := [r for r in results if r.verdict in UNFINISHED]:
            reason += f"; {plural(len(unfinished), 'result')} did not come, of the first "
            reason += unfinished[0].note
    elif not stopped and len(results) < cases * dtypes:
        reason = f"{plural(cases * dtypes - len(results), 'result')} did not come"
    elif not control.planted and not any(r.verdict == "fault" for r in results):
        reason = "no mistake could be planted in an agreeing answer, so the run has no control"
    return Counts(
        len(with_numbers),
        cases,
        stopped,
        tensors,
        sum(len(r.not_returned) for r in results),
        len(raised),
        reason,
    )


def counts_sentence(counts: Counts, control: Control) -> str:
    """Cases, tensors and the control of a run, in one line."""
    checked = (
        f"control: {plural(control.planted, 'mistake')} planted in its answers, "
        f"{control.detected} detected"
    )
    if not control.planted:
        checked = "control: no answer agrees, so that no mistake could be planted"
    return (
        f"ran {counts.judged} of {plural(counts.cases, 'case')}"
        f"{' and stopped after many faults' * counts.stopped}, "
        f"{plural(counts.tensors, 'tensor')} judged, {counts.not_returned} not returned; "
        f"{checked}"
    )


def print_study(
    console: Console,
    counts: Counts,
    study: Study,
    tallies: Sequence[Tally],
    known: Sequence[Deviation],
) -> None:
    """Print what was found out about a run, the counts last."""

    def line(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    if study.smallest:
        line(f"\nsmallest failing case: {study.smallest} --dtype {study.dtype}")
    print_diagnosis(console, study.diagnosis)
    symptoms = {d.id: d.symptom for d in known}
    for tally in tallies:
        state = "no longer occurs" if tally.stale else f"{tally.met} of {tally.concerned} tensors"
        line(f"expected deviation {tally.deviation.id}: {symptoms[tally.deviation.id]}: {state}")
    for missed in study.control.missed:
        line(f"control: not detected: {missed}")
    line(counts_sentence(counts, study.control))


def status_of(
    results: Sequence[Result],
    counts: Counts,
    study: Study,
    tallies: Sequence[Tally],
    offsets: Sequence[Offset],
    stale_fails: bool = True,
) -> int:
    """The exit status of a run: 1 if the implementation is wrong or, if `stale_fails`, an expected
    deviation no longer occurs, 2 if too little was judged, or if nothing is wrong and the control
    failed."""
    if counts.too_little:
        return COULD_NOT_RUN
    if any(r.verdict == "fault" for r in results):  # also if the control failed
        return FAULT
    if study.control.detected < study.control.planted:
        return COULD_NOT_RUN
    if offsets or (stale_fails and any(t.stale for t in tallies)):
        return FAULT
    return COULD_NOT_RUN if any(r.verdict in UNFINISHED for r in results) else AGREE


def verdict_on(
    implementation: Implementation,
    results: Sequence[Result],
    counts: Counts,
    study: Study,
    tallies: Sequence[Tally],
    offsets: Sequence[Offset],
) -> str:
    """The verdict on an implementation in one sentence."""
    name = f"{implementation.name} {implementation.version()}".strip()
    count = Counter(r.verdict for r in results)
    total = plural(count.total() - count["excluded"], "result")
    if counts.too_little:
        return f"{name} was not judged: {counts.too_little}"
    if study.control.detected < study.control.planted and not count["fault"]:
        return f"{name} was not judged: the control did not detect {study.control.missed[0]}"
    if count["fault"]:
        worst = max((r for r in results if r.verdict == "fault"), key=lambda r: r.R)
        size = (
            f"R {format_R(worst.R)} of {judge.LIMIT:g}" if math.isfinite(worst.R) else "not finite"
        )
        mistake = ""
        if study.diagnosis is not None:
            named = study.diagnosis.names
            mistake = study.diagnosis.sentence if named else study.diagnosis.start
        return (
            f"{name} does not agree with the derivations: {plural(count['fault'], 'fault')} in "
            f"{total}, the worst in {worst.cell}, {worst.dtype} ({worst.note or size})"
            + (f"; diagnosis: {mistake}" if mistake else "")
        )
    if offsets:
        tensors = ", ".join(sorted({o.tensor for o in offsets}))
        return f"{name} does not agree with the derivations: errors of one sign in {tensors}"
    stale = [t.deviation.id for t in tallies if t.stale]
    if stale:
        return f"{name} agrees, but expected deviations no longer occur: {', '.join(stale)}"
    unfinished = [f"{count[word]} × {word}" for word in UNFINISHED if count[word]]
    if unfinished:
        return f"{name} could not be judged completely: {', '.join(unfinished)} in {total}"
    worst_R = max((r.R for r in results if r.verdict == "agree"), default=math.nan)
    parts = [total, f"worst R {worst_R:.2f} of {judge.LIMIT:g}"]
    if count["known deviation"]:
        parts.append(f"{count['known deviation']} expected deviations")
    if count["untrusted"]:
        parts.append(f"{count['untrusted']} untrusted")
    return f"{name} agrees with the derivations: {', '.join(parts)}"


def facts_of(counts: Counts, study: Study) -> dict[str, Any]:
    """What is known of a run besides its results, for JSON."""
    return {
        "counts": counts._asdict(),
        "control": study.control._asdict(),
        "smallest": study.smallest,
        "diagnosis": study.diagnosis._asdict() if study.diagnosis else None,
    }


def print_fault_matrix(console: Console, detections: Sequence[Detection]) -> None:
    """Print a row for each mistake and a column for each cell and dtype: in how many answers it was
    planted until it was detected."""
    columns = list(dict.fromkeys((d.cell, d.dtype) for d in detections))
    table = Table("mistake", *(f"{cell} {dtype}" for cell, dtype in columns))
    for fault in dict.fromkeys(d.fault for d in detections):
        row = {(d.cell, d.dtype): d for d in detections if d.fault == fault}
        table.add_row(fault, *(_entry(row[column]) for column in columns))
    console.print(table)


def _entry(detection: Detection) -> str:
    if not detection.planted:
        return ""
    return str(detection.planted) if detection.detected else "SURVIVES"


def fault_summary(name: str, detections: Sequence[Detection]) -> str:
    """One line: how many mistakes were planted in which answers, and how many were detected."""
    planted = [d for d in detections if d.planted]
    faults = plural(len({d.fault for d in planted}), "mistake")
    detected = sum(d.detected for d in planted)
    return (
        f"{faults} planted in answers of {name}, {len(planted)} combinations with cell and dtype; "
        f"detected: {detected}"
    )
