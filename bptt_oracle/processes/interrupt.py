"""Signals that end a command. Ctrl-C (SIGINT): end the process at once, or defer the signal until a
block ends. SIGTERM and SIGHUP: remove temporary files first."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType

_temporary: set[Path] = set()


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


@contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """Remove a file or folder when the block ends, and also when a signal ends the process (see
    `clean_up_on_termination`)."""
    _temporary.add(path)
    try:
        yield path
    finally:
        _remove(path)
        _temporary.discard(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def clean_up_on_termination() -> None:
    """Let SIGTERM and SIGHUP remove the temporary files, and then end the process as they do by
    default. Leaves a signal that is ignored (`nohup`) or has another handler as it is."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _clean_up_and_end)


def _clean_up_and_end(number: int, frame: FrameType | None) -> None:
    for path in list(_temporary):
        _remove(path)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
