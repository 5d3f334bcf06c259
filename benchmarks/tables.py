"""Tables on the terminal and in Markdown."""

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
    "jax",
    "autograd",
)


def print_table(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    """Print a table whose columns are the keys of the rows; nothing if there are none."""
    if not rows:
        return
    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        table.add_column(name, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*map(format_cell, row.values()))
    console.print(table)


def to_markdown(header: dict[str, Any], tables: list[tuple[str, list[dict[str, Any]]]]) -> str:
    """The tables as a Markdown page that starts with the docstring of this package."""
    from . import __doc__ as introduction

    facts = ", ".join(f"{name} {header[name]}" for name in FACTS)
    parts = ["# Benchmarks", str(introduction).strip(), f"Measured with {facts}."]
    for title, rows in tables:
        if rows:
            lines = [
                list(rows[0]),
                ["---"] * len(rows[0]),
                *(map(format_cell, r.values()) for r in rows),
            ]
            body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            parts.append(f"## {title}\n\n{body}")
    return "\n\n".join(parts) + "\n"


def format_cell(value: Any) -> str:
    """The text of a cell: a float with two decimals below 100, with none from 100 on."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
