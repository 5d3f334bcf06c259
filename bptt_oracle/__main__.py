"""The command line: `bptt-oracle`, or `python -m bptt_oracle` in a bare checkout."""

import sys
from io import TextIOWrapper

from .cli.failures import failures_as_sentences, leave, only_leave_exits, silence_threads
from .packages import hidden_package
from .processes.interrupt import clean_up_on_termination, terminate_on_interrupt


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status.

    Whatever cannot be done, foreseen or not, is reported in one sentence with exit status 2; see
    cli/failures.py.
    """
    if arguments is None:  # the whole process is this command
        only_leave_exits()
        silence_threads()
        clean_up_on_termination()
    try:
        _run(arguments)
    except SystemExit as end:
        leave(end.code)


def _run(arguments: list[str] | None) -> None:
    with failures_as_sentences():
        if message := hidden_package():
            print(f"bptt-oracle: {message}", file=sys.stderr)
            sys.exit(2)
        with terminate_on_interrupt():
            from .cli.application import app
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # characters its encoding lacks become ?
        app(arguments, prog_name="bptt-oracle")


if __name__ == "__main__":
    main()
