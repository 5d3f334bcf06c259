"""What a person reads: the environment, a table path × cell × dtype, the worst cases."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ..judging.deviations import Tally
from ..judging.judge import LIMIT
from ..runs.examine import Result
from .console import plural

STYLE = {
    "agree": "green",
    "fault": "bold red",
    "known deviation": "yellow",
    "untrusted": "yellow",
    "drift": "yellow",
}


def print_environment(console: Console, environment: Mapping[str, Any]) -> None:
    """The header, two columns."""
    grid = Table.grid(padding=(0, 2))
    for name, value in environment.items():
        grid.add_row(f"[dim]{name}[/]", str(value))
    console.print(grid)


def print_results(
    console: Console, results: Sequence[Result], devices: Mapping[str, str], seconds: float
) -> None:
    """The table, how long it took, the reasons for what was not run, the worst cases."""
    ran = [r for r in results if r.verdict != "excluded"]
    table = Table("path", "cell", "dtype", "cases", "worst R", "where", "verdict")
    for column in table.columns:
        column.justify = "right" if column.header in ("cases", "worst R") else "left"
        column.no_wrap = column.header in ("path", "cell", "dtype")  # what a row is about
        column.overflow = "fold"
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in ran:
        groups.setdefault((result.path, result.cell, result.dtype), []).append(result)
    for key in sorted(groups):
        rows = groups[key]
        word = overall(rows)
        worst = max((r for r in rows if r.verdict == word), key=lambda r: r.R)
        place = worst.note or f"{worst.tensor}, {worst.place}"
        style = STYLE[word]
        table.add_row(*key, str(len(rows)), f"{worst.R:.2f}", place, f"[{style}]{word}[/]")
    console.print(table)
    rate = len(ran) / max(seconds, 1e-3)
    console.print(
        f"{plural(len(ran), 'result')} in {seconds:.1f} s, {rate:.0f} a second", highlight=False
    )
    for device, reason in devices.items():
        if reason:
            console.print(f"{device}: not run: {reason}")
    untrusted = sum(r.verdict == "untrusted" for r in ran)
    if untrusted:
        console.print(f"untrusted: {plural(untrusted, 'result')} of cases that cannot tell")
    console.print(f"\nworst cases (R is the error over the noise; a fault above {LIMIT:g}):")
    told = [r for r in ran if r.verdict != "known deviation"]
    for r in sorted(told, key=lambda r: (r.verdict == "untrusted", -r.R))[:5]:
        style = STYLE[r.verdict]
        console.print(
            f"  [{style}]{r.R:9.2f}[/]  {r.case}  --path {r.path} --dtype {r.dtype}",
            soft_wrap=True,
            highlight=False,
        )
    console.print("replay one: bptt-oracle replay ID --path PATH --dtype DTYPE", highlight=False)


def print_deviations(console: Console, counted: Sequence[Tally]) -> None:
    """What is known of this torch, and whether it was met."""
    if not counted:
        return
    table = Table("known deviation of this torch", "met", "thread", box=None, title_justify="left")
    for told in counted:
        met = (
            "[bold red]stale: no longer so[/]" if told.stale else f"{told.met} of {told.concerned}"
        )
        table.add_row(told.deviation.id, met, told.deviation.issue)
    console.print(table)
    for told in counted:
        if told.stale:
            console.print(
                f"stale: {told.deviation.id} is listed for torch {told.deviation.torch} in "
                "bptt_oracle/judging/deviations.toml and does not happen; close its range",
                soft_wrap=True,
            )


def overall(results: Sequence[Result]) -> str:
    """The verdict on many results: the worst of theirs."""
    words = {r.verdict for r in results}
    return next(
        word for word in ("fault", "known deviation", "agree", "untrusted") if word in words
    )
