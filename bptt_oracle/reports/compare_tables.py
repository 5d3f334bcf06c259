"""A comparison of two runs on the terminal, and as Markdown for a pull request."""

import re
from collections.abc import Iterable, Sequence
from heapq import nlargest

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ..runs.compare import (
    LISTED,
    WORDS,
    Change,
    Comparison,
    environment_changes,
    name_environments,
)
from ..runs.files import printable
from ..runs.run import Run
from .console import AGREE, FAULT, new_console, plural
from .console import format_R as format_ratio
from .styles import STYLES

GLOSSARY = "https://github.com/bptt-oracle/bptt-oracle/blob/main/docs/glossary.md"
MOST = 10  # of each that are listed


def print_comparison(
    old: Run,
    new: Run,
    comparison: Comparison,
    differences: Sequence[tuple[str, float]],
) -> None:
    """Print the changes of the environment, the table of counts, and the worst changes of each word
    in LISTED.

    `differences` are those of `largest_differences`.
    """
    console = new_console()
    if changed := environment_changes(old, new):
        print_table(["environment", "old", "new"], changed)
    print_table(*count_table(comparison))
    if comparison.environments:
        print_table(*environment_table(old, new, comparison))
    for word in LISTED:
        chosen = comparison.worst[word]
        for c in chosen:
            line = Text.assemble((WORDS[word], STYLES[word]), f"  {describe(c)}")
            console.print(line, soft_wrap=True)
        if more := comparison.total[word] - len(chosen):
            console.print(f"{WORDS[word]}: {more} more")
    for sentence in [*kernel_changes(comparison), *map(describe_difference, differences)]:
        console.print(sentence, soft_wrap=True, highlight=False)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], names: int = 2) -> None:
    """Print a table on standard output, its numbers to the right.

    The first `names` columns name the row. If the table is wider than the console, the other
    columns of counts become one, in words, so that no name is cut.
    """
    rows = list(rows)
    console = new_console()
    table = _table(head, rows)
    unlimited = console.options.update(max_width=10_000)
    if Measurement.get(console, unlimited, table).minimum > console.width:
        counted = [
            [*row[:names], ", ".join(_in_words(*pair) for pair in _counted(head, row, names))]
            for row in rows
        ]
        table = _table([*head[:names], ""], counted)
    console.print(table)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
        for column, cell in zip(table.columns, row, strict=True):
            column.justify = "right" if cell.isdecimal() else column.justify
    for column in table.columns:
        column.no_wrap = column.header in ("path", "dtype")
        column.overflow = "fold"
    return table


def _counted(head: Sequence[str], row: Sequence[str], names: int) -> list[tuple[str, str]]:
    """Head and cell of the columns after the names, without empty cells."""
    pairs = zip(head[names:], row[names:], strict=True)
    return [(name, cell) for name, cell in pairs if cell]


def _in_words(name: str, cell: str) -> str:
    return f"{cell} {name}" if cell.isdecimal() else f"{name}: {cell}"


def markdown(
    old: Run,
    new: Run,
    comparison: Comparison,
    differences: Sequence[tuple[str, float]],
    status: int,
) -> str:
    """The verdict by the exit status, the summary and what print_comparison prints, as Markdown for
    a pull request."""
    title = f"### torch {literal(torch_version(old))} → {literal(torch_version(new))}"
    verdict = f"**{status_word(status)}** – {summary(comparison)}"
    parts = [title, verdict, markdown_table(*count_table(comparison))]
    if changed := environment_changes(old, new):
        parts.append(markdown_table(["environment", "old", "new"], changed))
    if comparison.environments:
        parts.append(markdown_table(*environment_table(old, new, comparison)))
    for word in LISTED:
        if chosen := comparison.worst[word]:
            lines = [f"- **{WORDS[word]}** {code_span(describe(c))}" for c in chosen]
            more = comparison.total[word] - len(chosen)
            parts.append("\n".join([*lines, *([f"- and {more} more"] if more > 0 else [])]))
    parts += map(literal, kernel_changes(comparison))
    parts += map(literal, map(describe_difference, differences))
    parts.append(f"[What the words mean]({GLOSSARY})")
    return "\n\n".join(parts) + "\n"


def status_word(status: int) -> str:
    """An exit status in one word."""
    return {AGREE: "passed", FAULT: "failed"}.get(status, "incomplete")


def torch_version(run: Run) -> str:
    """The version of torch that a run was recorded with."""
    return str(run.environment.get("torch", "unknown"))


def summary(comparison: Comparison) -> str:
    """The verdict of a comparison: a count of each word, and which run is closer to the truth."""
    count = comparison.total
    words = [f"{count[word]} {meaning}" for word, meaning in WORDS.items() if count[word]]
    text = f"{plural(count.total(), 'result')}: {', '.join(words) or 'none'}."
    near = comparison.closeness
    if near.moved:
        text += (
            f" Bits moved in {plural(near.moved, 'tensor')}: the new run is closer to the truth "
            f"in {near.new}, the old one in {near.old}; median R "
            f"{_median(near.median_old)} → {_median(near.median_new)}."
        )
    if pairs := len(comparison.environments):
        text += (
            f" The runs have several environments, {plural(pairs, 'pair')} of which are compared."
        )
    return text


def count_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Head and rows: path and dtype, then a count for each word that occurs."""
    total = comparison.total
    words = [word for word in WORDS if total[word]]
    rows = [
        [path, dtype, str(count.total()), *(str(count[w] or "") for w in words)]
        for (path, dtype), count in sorted(comparison.counts.items())
    ]
    rows.append(["all", "", str(total.total()), *(str(total[w]) for w in words)])
    return ["path", "dtype", "results", *(WORDS[w] for w in words)], rows


def environment_table(
    old: Run, new: Run, comparison: Comparison
) -> tuple[list[str], list[list[str]]]:
    """Head and rows: the old and the new environment, then a count for each word that occurs."""
    words = [word for word in WORDS if any(c[word] for c in comparison.environments.values())]
    before, after = map(name_environments, (old, new))
    rows = [
        [before[a], after[b], str(count.total()), *(str(count[word] or "") for word in words)]
        for (a, b), count in sorted(comparison.environments.items())
    ]
    return ["old environment", "new environment", "results", *(WORDS[w] for w in words)], rows


def describe(c: Change) -> str:
    """One change on one line: R before and after, how to replay it, the tensor, the kernel if it
    changed, and the note."""
    parts = [
        f"R {format_R(c.old)} → {format_R(c.new)}",
        c.replay_arguments,
        c.tensor,
        c.kernel if "→" in c.kernel else "",
        c.note,
    ]
    return "  ".join(part for part in parts if part)


def format_R(R: float | None) -> str:
    """R with three digits; a dash for None."""
    return "–" if R is None else f"{R:.3g}"


def _median(R: float | None) -> str:
    return "–" if R is None else format_ratio(R)


def kernel_changes(comparison: Comparison) -> list[str]:
    """For each path and dtype, which kernel replaced which, and in how many results: in all of
    them, while the word "kernel changed" is only of those that no other word describes."""
    return [
        f"another kernel, whatever the word: {path} {dtype}, {kernel}, {plural(n, 'result')}"
        for (path, dtype, kernel), n in comparison.kernels.most_common(MOST)
    ]


def largest_differences(differences: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """The tensors kept by both runs whose values differ most, without those that are equal."""
    different = (pair for pair in differences if pair[1])
    return nlargest(MOST, different, key=lambda pair: pair[1])


def describe_difference(difference: tuple[str, float]) -> str:
    """One tensor of `largest_differences` on one line."""
    name, size = difference
    return f"values differ by {size:.1e} of the largest: {name}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; a | in a cell becomes ¦."""
    lines = [[literal(cell.replace("|", "¦")) for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_PLAIN = re.compile(r"(?:[\w .,:;+=→–×-](?!ww\.))*")


def literal(text: str) -> str:
    """The text for Markdown that shows every printable character of it: as it is if it has only
    characters without a meaning there, and otherwise as code, in which GitHub shows no image, link,
    mention or HTML."""
    text = printable(text)
    plain = _PLAIN.fullmatch(text) and "__" not in text
    return text if plain else code_span(text)


def code_span(text: str) -> str:
    """The text as code in Markdown, between more backticks than it has in a row."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{pad}{text}{pad}{fence}"
