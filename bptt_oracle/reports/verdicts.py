"""The last line of a command: its verdict in one sentence."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from ..judging import judge
from ..judging.deviations import Tally
from ..judging.offsets import Offset
from ..runs.releases import Release
from ..runs.results import UNFINISHED, Result
from ..runs.selftest import Summary
from .console import format_R, plural

NOT_FINISHED = (
    "some cases were not judged, because a process crashed or because memory or another resource "
    "ran out; they are listed above"
)
MISSING = (
    "some cases gave no result, although no process crashed; run the command again, and report it"
)
UNTRUSTED = "every result is untrusted: nothing could be judged on this machine"


def numbers_judged(results: Sequence[Result]) -> bool:
    """Whether a number was judged; neither an untrusted result nor a rejected call is one."""
    no_number = ("excluded", "untrusted", *UNFINISHED)
    return any(r.verdict not in no_number for r in results if r.path != "cpu-invalid-calls")


def check_verdict(
    version: str,
    results: Sequence[Result],
    tallies: Sequence[Tally],
    offsets: Sequence[Offset] = (),
    missing: int = 0,
) -> str:
    """The verdict of `check` on torch of this version. `missing` results did not come."""
    count = Counter(r.verdict for r in results if r.verdict != "excluded")
    total = plural(count.total(), "result")
    stale = [t.deviation.id for t in tallies if t.stale]
    no_longer = f"listed deviations that no longer occur: {', '.join(stale)}"
    words = [f"{count[word]} × {word}" for word in UNFINISHED if count[word]]
    unfinished = ", ".join([*words, *[f"{missing} missing"] * bool(missing)])
    if count["fault"]:
        worst = max((r for r in results if r.verdict == "fault"), key=lambda r: r.R)
        size = (
            f"R {format_R(worst.R)} of {judge.LIMIT:g}" if math.isfinite(worst.R) else "not finite"
        )
        return (
            f"torch {version} does not agree with the derivations: "
            f"{plural(count['fault'], 'fault')} in {total}, "
            f"the worst on {worst.path}, {worst.cell}, {worst.dtype} ({size})"
            + (f"; {no_longer}" if stale else "")
            + (f"; {unfinished}" if unfinished else "")
        )
    if offsets:
        worst_offset = offsets[0]
        return (
            f"torch {version} does not agree with the derivations: errors of one sign in "
            f"{plural(len(offsets), 'tensor')} over many cases, the worst in "
            f"{worst_offset.tensor} on {worst_offset.path} in {worst_offset.dtype} "
            f"(D {worst_offset.D:.2f} of {judge.LIMIT:g})"
        )
    if unfinished:
        return f"torch {version} could not be judged completely: {unfinished} in {total}"
    if stale:
        return f"torch {version} agrees with the derivations in {total}, but there are {no_longer}"
    if not numbers_judged(results):
        return f"torch {version} could not be judged: {count['untrusted']} of {total} untrusted"
    parts = [total]
    if count["agree"]:
        worst_R = max(r.R for r in results if r.verdict == "agree")
        parts.append(f"worst R {worst_R:.2f} of {judge.LIMIT:g}")
    if met := sum(t.met > 0 for t in tallies):
        parts.append(f"{plural(met, 'known deviation')} met")
    if count["untrusted"]:
        parts.append(f"{count['untrusted']} untrusted")
    return f"torch {version} agrees with the derivations: {', '.join(parts)}"


def selftest_verdict(summary: Summary, passed: bool) -> str:
    """The verdict of `selftest`; `passed` as print_summary returns it."""
    tensors = sum(map(len, summary.ratios.values()))
    detected = sum(n for n, _ in summary.planted.values())
    planted = sum(n for _, n in summary.planted.values())
    return (
        f"the judge {'passes' if passed else 'fails'}: "
        f"{plural(len(summary.alarms), 'false alarm')} in {tensors:,} tensors, "
        f"{detected:,} of {planted:,} planted mistakes detected"
        + (f"; {plural(len(summary.unfinished), 'case')} not finished" * bool(summary.unfinished))
    )


def claims_verdict(counts: Mapping[str, int]) -> str:
    """The verdict of `claims`, from the number of claims with each verdict."""
    words = {"does not hold": "do not hold as written"}
    parts = [f"{n} {words.get(v, v) if n > 1 else v}" for v, n in counts.items() if n]
    return f"{plural(sum(counts.values()), 'claim')}: {', '.join(parts)}"


def versions_verdict(releases: Sequence[Release], count: Counter[str]) -> str:
    """The verdict of `versions`, from the number of changes of each word in all steps from one
    version to the next."""
    versions = ", ".join(release.version for release in releases)
    return (
        f"{releases[0].package} {versions}: {plural(count.total(), 'result')} compared, "
        f"{plural(count['fault'], 'fault')}, {count['drift']} drifted"
    )
