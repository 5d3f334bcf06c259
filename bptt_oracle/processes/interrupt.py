"""Ctrl-C (SIGINT): end the process at once, or defer the signal until a block ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread


@contextmanager
def terminate_on_interrupt() -> Iterator[None]:
    """Let SIGINT end the process without a traceback while the block runs. For imports: no work
    has started that could be left half done, and third-party modules do not expect a
    KeyboardInterrupt while they are imported. Changes nothing outside the main thread, or where
    another handler is installed (a background job ignores SIGINT)."""
    replaceable = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not replaceable or current_thread() is not main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def defer_interrupt() -> Iterator[None]:
    """Block SIGINT until the block ends, so that starting a worker is never interrupted half-way.
    Windows has no signal mask: there the block runs unprotected."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
