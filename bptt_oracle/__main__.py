"""The command line: `bptt-oracle`, or `python -m bptt_oracle` in a bare checkout."""

import sys
from io import TextIOWrapper
from typing import Any

from .runs.interrupt import ctrl_c_ends_all


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line. A run that is of no use is told in a sentence by every command."""
    with ctrl_c_ends_all():
        from .cli.commands import app
        from .reports.console import COULD_NOT_RUN, say
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what its encoding lacks is shown as ?
    try:
        return app(arguments, prog_name="bptt-oracle")
    except ValueError as error:
        from .runs.run_file import BadRun

        if not isinstance(error, BadRun):
            raise
        say(str(error))
        sys.exit(COULD_NOT_RUN)


if __name__ == "__main__":
    main()
