"""The place that guarantees the exit statuses: 1 means that torch is wrong, and nothing else does.

Python and typer exit with 1 for an exception that nobody catches. Here it becomes one sentence on
standard error and status 2. OpenBLAS calls C's exit(1) when it gets no memory, after a message of
its own; that becomes status 2 as well. Imports only the standard library, because any other import
may fail.
"""

import atexit
import ctypes
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from ..processes.failures import CommandError, first_line, lacks_resources

COULD_NOT_RUN = 2
INTERRUPTED = 130  # as a shell reports a program that SIGINT ended
SHOW_TRACEBACK = "BPTT_ORACLE_TRACEBACK"  # an environment variable


@contextmanager
def failures_as_sentences(passing: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """Report an exception of the block in one sentence, and exit with status 2. Exceptions of the
    types `passing`, which a caller handles, and SystemExit are raised again; Ctrl-C exits with
    status 130."""
    try:
        yield
    except passing:
        raise
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        with suppress(Exception):  # standard error may be closed or full
            if os.environ.get(SHOW_TRACEBACK):
                traceback.print_exception(error)
            print(f"bptt-oracle: {sentence_of(error)}", file=sys.stderr, flush=True)
        sys.exit(COULD_NOT_RUN)


def sentence_of(error: BaseException) -> str:
    """One sentence for the user about an exception."""
    line = first_line(error)
    if isinstance(error, CommandError):
        return str(error).splitlines()[0]
    if lacks_resources(error):
        return (
            f"the system ran out of memory, files or processes ({line}); free some, raise the "
            "limit (ulimit), or use fewer --workers"
        )
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename!s}: " if error.filename else ""
        return f"{name}{error.strerror}"
    if isinstance(error, (EOFError, ConnectionError)):
        return f"a process that this command started has ended ({line}); run the command again"
    if isinstance(error, ModuleNotFoundError) and error.name == "torch":
        return (
            "torch is not installed; install it to judge it, or name another implementation with "
            "--implementation"
        )
    if isinstance(error, ImportError):
        return f"a module that it needs cannot be imported ({line}); install the requirements again"
    return (
        f"an unexpected error ended this command ({line}); please report it with the traceback "
        f"that {SHOW_TRACEBACK}=1 prints"
    )


def leave(status: object) -> NoReturn:
    """Exit with this status, a number or None for 0. See `only_leave_exits`."""
    global _status
    _status = status if isinstance(status, int) else 0 if status is None else COULD_NOT_RUN
    sys.exit(_status)


_status: int | None = None  # that of `leave`


def only_leave_exits() -> None:
    """Let the process end with a status of `leave`, or else with status 2, also where a library
    calls C's exit: a handler that C calls ends the process with 2, and Python, when it is done,
    ends it before C would call that handler."""
    with suppress(Exception):  # another C library
        libc = ctypes.CDLL(None)
        if libc.__cxa_atexit(libc._exit, ctypes.c_void_p(COULD_NOT_RUN), None) == 0:
            atexit.register(_end)  # what is registered first is called last


def _end() -> None:
    status = COULD_NOT_RUN if _status is None else _status
    with suppress(OSError, ValueError, AttributeError):  # full, closed, or None
        sys.stderr.flush()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        status = status or COULD_NOT_RUN
    os._exit(status)


def silence_threads() -> None:
    """Print no traceback of an exception in another thread or in a destructor, unless
    SHOW_TRACEBACK is set: what it breaks is reported where it is missed."""
    if not os.environ.get(SHOW_TRACEBACK):
        threading.excepthook = lambda args: None
        sys.unraisablehook = lambda args: None
