"""When Ctrl-C is heard, and what it ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread


@contextmanager
def ctrl_c_ends_all() -> Iterator[None]:
    """For imports: nothing is begun that could be left half done, and code of others does not
    expect to be interrupted. The system ends the process, quietly; no exception is raised."""
    hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not hears or current_thread() is not main_thread():  # a job in the background hears none
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Ctrl-C is heard at the end: a process that is being made shall find what it was made for."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
