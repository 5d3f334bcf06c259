"""`bptt-oracle claims`: the ledger of claims."""

from pathlib import Path
from typing import Annotated

import typer

from ..reports.console import AGREE, FAULT, new_console, print_verdict
from ..runs.interrupt import terminate_on_interrupt
from .exits import stop
from .options import Quiet
from .output_files import require_report_file, save


def claims(
    markdown: Annotated[
        Path | None, typer.Option(help="Write the table to this Markdown file instead.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """List every claim with its code, its tests and the last verdict; exit 1 while one is open."""
    with terminate_on_interrupt():
        from ..ledger.claims import ROOT, print_claims, to_markdown
        from ..ledger.claims import claims as all_claims
        from ..reports.verdicts import claims_verdict

    if not (ROOT / "pyproject.toml").is_file():
        stop("claims are verified by the tests, which are not installed; run it in a checkout")
    require_report_file(markdown)
    rows = all_claims()
    status = FAULT if any(row.verdict in ("open", "failed") for row in rows) else AGREE
    if markdown is not None:
        save(markdown, to_markdown(rows))
    elif quiet:
        print_verdict(claims_verdict([row.verdict for row in rows]), status)
    else:
        print_claims(new_console(), rows)
    raise typer.Exit(status)
