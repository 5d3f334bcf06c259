"""The command line: `bptt-oracle`, or `python -m bptt_oracle` in a bare checkout."""

import sys
from io import TextIOWrapper

from .packages import hidden_package
from .processes.interrupt import terminate_on_interrupt


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status.

    A run file that cannot be used (BadRun), and a module that hides `reference` or `torch_impl`,
    are reported in one sentence with exit status 2.
    """
    if message := hidden_package():
        print(f"bptt-oracle: {message}", file=sys.stderr)
        sys.exit(2)
    with terminate_on_interrupt():
        from .cli.application import app
        from .reports.console import COULD_NOT_RUN, notify
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # characters its encoding lacks become ?
    try:
        app(arguments, prog_name="bptt-oracle")
    except ValueError as error:
        from .runs.run_file import BadRun

        if not isinstance(error, BadRun):
            raise
        notify(str(error))
        sys.exit(COULD_NOT_RUN)


if __name__ == "__main__":
    main()
