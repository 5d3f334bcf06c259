"""Tables on the terminal and in a page."""

from typing import Any

from rich.console import Console
from rich.table import Table

FACTS = (
    "torch",
    "numpy",
    "blas (numpy)",
    "blas (torch)",
    "cpu",
    "cpu capability",
    "cores",
    "clock",
)


def show(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    """One table, the columns named by the rows' keys."""
    if not rows:
        return
    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        table.add_column(name, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*map(text, row.values()))
    console.print(table)


def page(header: dict[str, Any], tables: list[tuple[str, list[dict[str, Any]]]]) -> str:
    """The same tables in Markdown, under what the package says of itself."""
    from . import __doc__ as told

    facts = ", ".join(f"{name} {header[name]}" for name in FACTS)
    parts = ["# Benchmarks", str(told).strip(), f"Measured with {facts}."]
    for title, rows in tables:
        if rows:
            lines = [list(rows[0]), ["---"] * len(rows[0]), *(map(text, r.values()) for r in rows)]
            body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            parts.append(f"## {title}\n\n{body}")
    return "\n\n".join(parts) + "\n"


def text(value: Any) -> str:
    """A cell: two decimals of a small number, none of a large one."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
