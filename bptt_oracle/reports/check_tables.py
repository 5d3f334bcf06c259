"""What `check` prints: the environment, a table path × cell × dtype, the worst cases."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..diagnosis.diagnose import Diagnosis
from ..judging import judge
from ..judging.deviations import Tally
from ..judging.offsets import Offset
from ..runs.results import UNFINISHED, Result
from .console import format_R, plural
from .styles import STYLES

HEADER = ("torch", "numpy", "python", "cpu", "cpu capability", "onednn", "gpu", "longdouble")
WORST = 5  # cases listed
WIDE = 110  # columns from which the table also holds the worst place of each row


def print_environment(
    console: Console, environment: Mapping[str, Any], verbose: bool = False
) -> None:
    """Print names and values in two columns: those of HEADER, or all if `verbose`."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in environment.items():
        if verbose or name in HEADER:
            grid.add_row(name, str(value))
    console.print(grid)


def print_results(
    console: Console,
    results: Sequence[Result],
    devices: Mapping[str, str],
    seconds: float,
    verbose: bool = False,
    option: str = "--path",
) -> None:
    """Print the table, the time it took, why devices were left out, and the worst cases.

    `devices` gives for each device the reason why it was not run, or an empty string. `option` is
    the option of `replay` that names what ran.
    """
    ran = [r for r in results if r.verdict != "excluded"]
    console.print(results_table(ran, console.width >= WIDE))
    rate = len(ran) / max(seconds, 1e-3)
    console.print(
        f"{plural(len(ran), 'result')} in {seconds:.1f} s, {rate:.0f} a second", highlight=False
    )
    for device, reason in devices.items():
        if reason:
            console.print(f"{device}: not run: {reason}")
    untrusted = sum(r.verdict == "untrusted" for r in ran)
    if untrusted:
        console.print(f"untrusted: {plural(untrusted, 'result')} of ill-conditioned cases")
    judged = sorted(
        (r for r in ran if r.verdict != "known deviation"),
        key=lambda r: (r.verdict not in UNFINISHED, r.verdict == "untrusted", -r.R),
    )
    if verbose:  # every fault, and the worst of each row
        worst = {id(r) for r in {(r.path, r.cell, r.dtype): r for r in reversed(judged)}.values()}
        always = ("fault", *UNFINISHED)
        judged = [r for r in judged if r.verdict in always or id(r) in worst]
    else:
        judged = judged[: max(WORST, sum(r.verdict == "crash" for r in judged))]
    console.print(
        "\nworst cases (R is the error divided by the noise of rounding; "
        f"above {judge.LIMIT:g} it is a fault):",
        soft_wrap=True,
    )
    for r in judged:
        command = f"{r.case} {option} {r.path} --dtype {r.dtype}"
        line = Text.assemble("  ", (_measure(r), STYLES[r.verdict]), f"  {command}")
        console.print(line, soft_wrap=True)
        console.print(f"             {_place(r)}", soft_wrap=True, highlight=False)
    name = "PATH" if option == "--path" else "MODULE:OBJECT"
    console.print(
        f"replay one: bptt-oracle replay ID {option} {name} --dtype DTYPE", highlight=False
    )


def results_table(results: Sequence[Result], wide: bool, cell: str = "cell") -> Table:
    """A row for each path, cell and dtype; where the worst result lies only if there is room.

    `cell` is the heading of the second column.
    """
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.path, result.cell, result.dtype), []).append(result)
    heads = ["path", cell, "dtype", "cases", "worst R", *(["where"] * wide), "verdict"]
    table = Table(*heads)
    for column in table.columns:
        column.justify = "right" if column.header in ("cases", "worst R") else "left"
        column.no_wrap = column.header in ("path", cell, "dtype")  # what a row is about
        column.overflow = "fold"
    for key, some in sorted(groups.items()):
        verdict = overall_verdict(some)
        worst = max((r for r in some if r.verdict == verdict), key=lambda r: r.R)
        raised = all(map(_raised, (r for r in some if r.verdict == verdict)))
        no_R = raised or verdict in ("known deviation", *UNFINISHED)
        R = "–" if no_R else format_R(worst.R)
        place = [_place(worst)] if wide else []
        word = Text("raised" if raised else verdict, STYLES[verdict])
        table.add_row(*key, str(len(some)), R, *place, word)
    return table


def _raised(result: Result) -> bool:
    """Whether a fault is an exception, so that there are no numbers."""
    return result.verdict == "fault" and not result.tensors and bool(result.note)


def _measure(result: Result) -> str:
    """R in nine columns, or why a result has none."""
    if _raised(result):
        return f"{'raised':>9}"
    return f"{result.verdict:>9}" if result.verdict in UNFINISHED else f"{format_R(result.R):>9}"


def _place(result: Result) -> str:
    """Where the worst element lies; the note where there is one."""
    return result.note or f"{result.tensor}, {result.place}"


def print_offsets(console: Console, offsets: Sequence[Offset]) -> None:
    """Print the tensors whose errors have one sign over many cases."""
    for o in offsets:
        found = (
            f": {o.path} {o.dtype} {o.tensor}: errors of one sign over "
            f"{plural(o.cases, 'case')}, D {o.D:.2f} of {judge.LIMIT:g}"
        )
        console.print(Text.assemble(("offset", STYLES["fault"]), found), soft_wrap=True)


def print_diagnosis(console: Console, diagnosis: Diagnosis | None) -> None:
    """Print the mistake that faults look like, and where the error starts."""
    if diagnosis is not None:
        console.print(f"diagnosis: {diagnosis.sentence}", soft_wrap=True, highlight=False)
        if diagnosis.start:
            console.print(diagnosis.start, soft_wrap=True, highlight=False)


def print_deviations(
    console: Console,
    tallies: Sequence[Tally],
    table: bool = True,
    files: Mapping[str, str] | None = None,
) -> None:
    """Print each stale deviation, and a table of all known deviations of this torch or how to get
    it. `files` names by id the file of each deviation that is not one of this package."""
    if not tallies:
        return
    if table:
        _print_deviation_table(console, tallies)
    else:
        console.print(
            "list the known deviations: bptt-oracle check --list-deviations", highlight=False
        )
    for tally in tallies:
        if tally.stale:
            file = (files or {}).get(tally.deviation.id, "bptt_oracle/judging/deviations.toml")
            console.print(
                f"stale: {tally.deviation.id} is listed for torch {tally.deviation.versions} in "
                f"{file} and no longer occurs; close its range",
                soft_wrap=True,
            )


def _print_deviation_table(console: Console, tallies: Sequence[Tally]) -> None:
    """Print each deviation, how often it was met, and its public thread."""
    table = Table(box=None)
    table.add_column("known deviation of this torch", no_wrap=True)
    table.add_column("met")
    table.add_column("issue", overflow="fold")
    for tally in tallies:
        met = Text(f"{tally.met} of {tally.concerned}")
        if tally.stale:
            met = Text("stale", STYLES["fault"])
        issue = tally.deviation.issue.removeprefix("https://github.com/").replace("/issues/", "#")
        table.add_row(tally.deviation.id, met, issue)
    console.print(table)


def overall_verdict(results: Sequence[Result]) -> str:
    """The worst verdict among several results."""
    verdicts = {r.verdict for r in results}
    return next(
        verdict
        for verdict in ("fault", *UNFINISHED, "known deviation", "agree", "untrusted")
        if verdict in verdicts
    )
