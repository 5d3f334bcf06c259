"""The application: its commands, --version, and help that can be piped into `head`."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from .. import __version__
from ..reports.console import AGREE, COULD_NOT_RUN, notify, write_output, writing_output
from .check import check
from .claims import claims
from .cohort import cohort
from .compare import compare
from .export import export
from .failures import failures_as_sentences
from .faults import faults
from .hunt import hunt
from .preflight import preflight
from .record import record
from .replay import replay
from .selftest import selftest
from .usage import usage_sentence
from .versions import versions


class _Help:
    """Help whose reader may close the pipe: the status is then 0, where rich would exit with 1."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with writing_output():
            try:
                super().format_help(ctx, formatter)  # type: ignore[misc]
            except (BrokenPipeError, SystemExit) as error:
                if isinstance(error.__context__ or error, BrokenPipeError):
                    raise typer.Exit(AGREE) from None
                raise


_UsageError: Any = typer.BadParameter.__mro__[2]  # of typer, or of click in its earlier versions
# What `main` handles, and exits, which carry their status.
_OF_TYPER = (typer.Exit, typer.Abort, _UsageError)


class _Command(_Help, TyperCommand):
    pass


class _Group(_Help, TyperGroup):
    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line and exit with its status. A usage error, about which typer prints a
        page, is one sentence."""
        try:
            status = super().main(*args, **{**options, "standalone_mode": False})
        except _UsageError as error:
            if error.format_message():  # empty if nothing was typed, and so the help was printed
                notify(usage_sentence(error))
            status = COULD_NOT_RUN
        sys.exit(status)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Its exceptions do not reach typer, which exits with 1 for some."""
        with failures_as_sentences(passing=_OF_TYPER):
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS = (
    *(check, replay, record, compare, export, versions),
    *(preflight, cohort),
    *(faults, selftest, claims, hunt),
)
for command in _COMMANDS:
    app.command(cls=_Command)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        write_output(f"bptt-oracle {__version__}\n")
        raise typer.Exit(AGREE)


@app.callback()
def describe(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Judge the recurrent nets of this PyTorch against derivations that do not come from PyTorch.

    Exit status: 0 agree, 1 fault, 2 could not run.
    """
