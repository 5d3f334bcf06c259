"""Tables on the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table


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


def text(value: Any) -> str:
    """A cell: two decimals of a small number, none of a large one."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
