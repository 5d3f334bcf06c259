"""Running programs in a child process: a program may end its process, or never end.

The child lives on from program to program, because loading torch's compiler takes seconds, and is
replaced after some, so that what a program leaves behind does not last.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..processes.interrupt import defer_interrupt, temporary
from ..processes.workers import crash_of, initialize_worker, worker_context
from .programs.fields import Program
from .programs.subject import UNSUPPORTED, Outcome
from .subjects.table import subject_named

LONGEST = 150.0  # seconds that a program may take
PATIENCE = 4  # times as long at the second attempt, because the machine may be busy
TOO_LONG = "it took more than"
MOST = 200  # programs of a child


class Trier:
    """Runs programs in a child, which is started when it is needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: Any = None
        self.pipe: Any = None
        self.count = 0

    def attempt(self, name: str, program: Program) -> Outcome:
        """The outcome of a program of the subject with that name. A crash is repeated in a new
        child, because an earlier program may be to blame for it; and with more time, because a busy
        machine may be."""
        fresh = self.process is None
        outcome = self._attempt_once(name, program)
        if outcome.symptom == "crash" and (not fresh or outcome.detail.startswith(TOO_LONG)):
            outcome = self._attempt_once(name, program, PATIENCE * LONGEST)
        return outcome

    def attempt_alone(self, name: str, program: Program) -> Outcome:
        """The outcome of a program in a child that has run no other."""
        self.close()
        return self._attempt_once(name, program)

    def _attempt_once(self, name: str, program: Program, seconds: float = LONGEST) -> Outcome:
        if self.process is None or self.count == MOST:
            self._restart()
        self.count += 1
        try:
            self.pipe.send((name, program))
            if not self.pipe.poll(seconds):
                self.close()
                return Outcome("crash", "", float("inf"), f"{TOO_LONG} {seconds:.0f} seconds")
            outcome: Outcome | Exception = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            crash = crash_of(self.process.exitcode)
            self.close()
            if crash.killed:  # by the system for lack of memory, or by a user
                return Outcome(UNSUPPORTED, detail=str(crash))
            return Outcome("crash", "", float("inf"), str(crash))
        if isinstance(outcome, Exception):
            self.close()
            raise outcome
        return outcome

    def _restart(self) -> None:
        self.close()
        context: Any = worker_context()
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, str(self.folder)), daemon=True)
        with other, defer_interrupt():
            self.process.start()
        self.count = 0

    def close(self) -> None:
        """End the child."""
        if self.process is not None:
            self.pipe.close()
            self.process.kill()
            self.process.join()
        self.process = None


@contextmanager
def new_trier() -> Iterator[Trier]:
    """A trier; its child and the files of its programs are gone at the end of the block."""
    with temporary(Path(tempfile.mkdtemp(prefix="bptt-oracle-hunt-"))) as folder:
        trier = Trier(folder)
        try:
            yield trier
        finally:
            trier.close()


def _serve(pipe: Connection, folder: str) -> None:
    """In the child: run what comes, print nothing, and write only to the folder."""
    initialize_worker()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # a daemon has no children
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.chdir(folder)
    while True:
        try:
            name, program = pipe.recv()
        except EOFError:
            return
        try:
            outcome: Outcome | Exception = subject_named(name).attempt(program)
        except Exception as error:  # a mistake of the subject, not of torch
            outcome = RuntimeError(f"{name} {program}: {type(error).__name__}: {error}")
        if "torch._dynamo" in sys.modules:
            sys.modules["torch._dynamo"].reset()
        pipe.send(outcome)
