"""`bptt-oracle claims`: the ledger of claims."""

from pathlib import Path
from typing import Annotated

import typer

from ..processes.interrupt import terminate_on_interrupt
from ..reports.console import AGREE, COULD_NOT_RUN, FAULT, new_console, print_verdict
from .exits import stop
from .options import Quiet
from .output_files import require_report_file, save


def claims(
    markdown: Annotated[
        Path | None, typer.Option(help="Write the table to this Markdown file instead.")
    ] = None,
    save_verdicts: Annotated[
        bool,
        typer.Option(
            "--save-verdicts",
            help="Save the verdicts of the tests that ran at this commit, for the page.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """List every claim with its code, its tests and its verdict.

    Exit 0 if all tests of all claims ran and passed, or the page was written; 1 if one failed; 2
    if some did not run here.
    """
    with terminate_on_interrupt():
        from ..ledger import claims as ledger
        from ..ledger.claims import print_claims, to_markdown, verdict_counts
        from ..reports.verdicts import claims_verdict

    if not (ledger.ROOT / "pyproject.toml").is_file():
        stop("claims are verified by the tests, which are not installed; run it in a checkout")
    require_report_file(markdown)
    if save_verdicts:
        try:
            ledger.save_verdicts()
        except ValueError as error:
            stop(str(error))
    rows = ledger.claims()
    if markdown is not None:  # the page shows saved verdicts, not those of this machine
        save(markdown, to_markdown(rows))
        raise typer.Exit(AGREE)
    status = FAULT if ledger.failed(rows) else AGREE if ledger.finished(rows) else COULD_NOT_RUN
    print_claims(new_console(quiet=quiet), rows)
    print_verdict(claims_verdict(verdict_counts(rows)), status)
    if status == COULD_NOT_RUN:
        stop("some tests of these claims did not run here; run `pytest`")
    raise typer.Exit(status)
