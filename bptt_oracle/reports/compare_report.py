"""A comparison as a person reads it: on the terminal, and as Markdown for a pull request."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from ..runs.compare import WORDS, Change, closer, counts, surroundings
from ..runs.run_file import Run
from .console import new_console, plural

STYLE = {
    "fault": "bold red",
    "drift": "yellow",
    "untrusted": "yellow",
    "fixed": "green",
    "equal": "green",
}
TOLD = ("fault", "drift", "fixed")  # one by one; of the others the number is enough
MOST = 10


def print_comparison(
    old: Run, new: Run, changes: Sequence[Change], apart: Mapping[str, float]
) -> None:
    """What differs around the runs, the table, what is to be told one by one, the summary."""
    console = new_console()
    if different := surroundings(old, new):
        print_table(["environment", "old", "new"], different)
    print_table(*table(changes))
    for word in TOLD:
        chosen = worst(changes, word)
        for c in chosen[:MOST]:
            style = STYLE[word]
            console.print(f"[{style}]{WORDS[word]}[/]  {escape(line_of(c))}", soft_wrap=True)
        if len(chosen) > MOST:
            console.print(f"{WORDS[word]}: {len(chosen) - MOST} more")
    for line in [*kernels(changes), *kept(apart), summary(old, new, changes)]:
        console.print(escape(line), soft_wrap=True, highlight=False)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output, its numbers to the right."""
    shown = Table(*head)
    for row in rows:
        shown.add_row(*map(escape, row))
        for column, cell in zip(shown.columns, row, strict=True):
            column.justify = "right" if cell.isdecimal() else column.justify
    for column in shown.columns:
        column.no_wrap = column.header in ("path", "dtype")
    new_console().print(shown)


def markdown(old: Run, new: Run, changes: Sequence[Change], apart: Mapping[str, float]) -> str:
    """The same, to be pasted into a pull request."""
    title = f"### torch {version(old)} → {version(new)}"
    parts = [title, summary(old, new, changes), grid(*table(changes))]
    if different := surroundings(old, new):
        parts.append(grid(["environment", "old", "new"], different))
    for word in TOLD:
        if chosen := worst(changes, word):
            lines = [f"- **{WORDS[word]}** `{line_of(c)}`" for c in chosen[:MOST]]
            more = len(chosen) - MOST
            parts.append("\n".join([*lines, *([f"- and {more} more"] if more > 0 else [])]))
    parts += kernels(changes) + kept(apart)
    return "\n\n".join(parts) + "\n"


def version(run: Run) -> str:
    """The version of torch that a run is of."""
    return str(run.environment.get("torch", "unknown"))


def summary(old: Run, new: Run, changes: Iterable[Change]) -> str:
    """The whole in a sentence or two."""
    found = Counter(c.word for c in changes)
    said = [f"{found[word]} {meaning}" for word, meaning in WORDS.items() if found[word]]
    text = f"{plural(found.total(), 'result')}: {', '.join(said) or 'none'}."
    near = closer(old, new)
    if near.moved:
        text += (
            f" Bits moved in {plural(near.moved, 'tensor')}: the new run is closer to the truth "
            f"in {near.new}, the old one in {near.old}; median R "
            f"{near.median_old:.2f} → {near.median_new:.2f}."
        )
    return text


def table(changes: Sequence[Change]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: path and dtype, then a column for each word that occurs."""
    found = counts(changes)
    total: Counter[str] = sum(found.values(), Counter())
    words = [word for word in WORDS if total[word]]
    rows = [
        [path, dtype, str(seen.total()), *(str(seen[w] or "") for w in words)]
        for (path, dtype), seen in sorted(found.items())
    ]
    rows.append(["all", "", str(total.total()), *(str(total[w]) for w in words)])
    return ["path", "dtype", "results", *(WORDS[w] for w in words)], rows


def worst(changes: Iterable[Change], word: str) -> list[Change]:
    """Those of that word, the largest R first."""
    return sorted((c for c in changes if c.word == word), key=lambda c: -(c.new or 0))


def line_of(c: Change) -> str:
    """One change in a line: R before and after, how to replay it, where it shows."""
    parts = [
        f"R {R(c.old)} → {R(c.new)}",
        c.spelled,
        c.tensor,
        "→" in c.kernel and c.kernel,
        c.note,
    ]
    return "  ".join(part for part in parts if part)


def R(value: float | None) -> str:
    """R as it is shown; a dash where there is none."""
    return "–" if value is None else f"{value:.3g}"


def kernels(changes: Iterable[Change]) -> list[str]:
    """Which kernels gave way to which, and how often."""
    found = Counter((c.path, c.dtype, c.kernel) for c in changes if "→" in c.kernel)
    return [
        f"kernel changed: {path} {dtype}, {kernel}, {plural(n, 'result')}"
        for (path, dtype, kernel), n in found.most_common(MOST)
    ]


def kept(apart: Mapping[str, float]) -> list[str]:
    """Of the tensors kept by both runs, those that lie furthest apart."""
    far = sorted(apart.items(), key=lambda item: -item[1])[:MOST]
    return [f"values apart by {size:.1e} of the largest: {name}" for name, size in far if size]


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '¦') for cell in line)} |" for line in lines)
