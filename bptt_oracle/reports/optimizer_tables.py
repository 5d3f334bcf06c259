"""What `check --path optimizers` prints."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ..judging import judge
from ..runs.results import UNFINISHED, Result
from .check_tables import WIDE, WORST, results_table
from .console import format_R, plural
from .styles import STYLES


def print_optimizers(
    console: Console, results: Sequence[Result], seconds: float, verbose: bool = False
) -> None:
    """Print a table of paths, why some were left out, and the worst results."""
    ran = [r for r in results if r.verdict != "excluded"]
    console.print(results_table(ran, console.width >= WIDE, "optimizer"))
    console.print(f"{plural(len(ran), 'result')} in {seconds:.1f} s", highlight=False)
    reasons = Counter(r.note for r in results if r.verdict == "excluded")
    for reason, count in reasons.items():
        console.print(f"not run: {plural(count, 'result')}: {reason}")
    untrusted = sum(r.verdict == "untrusted" for r in ran)
    if untrusted:
        console.print(
            f"untrusted: {plural(untrusted, 'result')}, where a careful evaluation overflows or "
            "divides by a number that was rounded to 0",
            soft_wrap=True,
        )
    judged = [r for r in ran if r.verdict in ("fault", "agree", *UNFINISHED)]
    judged.sort(key=lambda r: (r.verdict == "agree", -r.R))
    faults = sum(r.verdict != "agree" for r in judged)
    console.print(
        "\nworst cases (R is the error divided by the noise of rounding; "
        f"above {judge.LIMIT:g} it is a fault):",
        soft_wrap=True,
    )
    for r in judged[: max(WORST, faults if verbose else 0)]:
        command = f"{r.case} --path {r.path} --dtype {r.dtype}"
        line = Text.assemble("  ", (f"{format_R(r.R):>9}", STYLES[r.verdict]), f"  {command}")
        console.print(line, soft_wrap=True)
        place = r.note or f"{r.tensor}, {r.place}"
        console.print(f"             {place}", soft_wrap=True, highlight=False)
