"""Failures that are not a fault of torch: errors whose message is one sentence, and the lack of
memory, of files or of processes. Imports neither NumPy nor torch, whose import may fail as well."""

import errno

_RESOURCE_ERRORS = {
    getattr(errno, name, None)
    for name in ("ENOMEM", "EMFILE", "ENFILE", "EAGAIN", "ENOSPC", "EDQUOT", "EFBIG", "ENOLCK")
}
_RESOURCE_MESSAGES = (  # of a RuntimeError: torch, CUDA, cuDNN, cuBLAS, MPS, the system
    "out of memory",
    "not enough memory",
    "allocate memory",
    "alloc_failed",
    "bad_alloc",
    "failed to map segment",
    "can't start new thread",
    "thread creation failed",
    "resource temporarily unavailable",
    "too many open files",
    "no space left on device",
)


class CommandError(Exception):
    """An error whose message is one sentence for the user; the command exits with status 2."""


class Crash(CommandError):
    """The process of a work item ended before it returned a result."""

    def __init__(self, ending: str, killed: bool) -> None:
        super().__init__(ending)
        self.killed = killed  # by SIGKILL: by the system for lack of memory, or by a user

    # Exceptions are pickled by their arguments, and this one has more than its message.
    def __reduce__(self) -> tuple[type["Crash"], tuple[str, bool]]:
        return Crash, (str(self), self.killed)


def lacks_resources(error: BaseException) -> bool:
    """Whether an exception reports that memory, open files, processes, threads or disk space ran
    out. Such an exception is not torch's answer to a call. torch and CUDA raise a RuntimeError,
    which only its message distinguishes."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno in _RESOURCE_ERRORS:
        return True
    message = str(error).lower()
    return isinstance(error, (RuntimeError, ImportError)) and any(
        words in message for words in _RESOURCE_MESSAGES
    )


def first_line(error: BaseException) -> str:
    """The type of an exception and the first line of its message."""
    if isinstance(error, ImportError) and isinstance(error.__cause__, ImportError):
        error = error.__cause__  # NumPy's own message is a page of advice
    message = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
