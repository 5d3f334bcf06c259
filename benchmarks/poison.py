"""Two implementations that compute like torch, except the problems whose digests POISON lists: one
ends its process there, the other also the worker that started this process. The times of these
deaths are appended to the file POISON_DEATHS."""

import multiprocessing
import os
import signal
import time
from typing import Any

from bptt_oracle.implementations.implementation import Implementation
from bptt_oracle.runs.row import array_digest, digest
from torch_impl.execution.catalogue import PATHS
from torch_impl.execution.problem import Problem
from torch_impl.execution.run import run


def digest_of(problem: Problem) -> str:
    """A digest of the net, its inputs and its cotangents, the same in every process."""
    arrays = [problem.x, *problem.params.values(), *(problem.state or ()), problem.d_output]
    found = [b"" if a is None else array_digest(a).encode() for a in (*arrays, *problem.d_state)]
    return digest(
        repr((problem.net.mode, problem.net.bidirectional, problem[3:5])).encode(), *found
    )


def _run(problem: Problem, dtype: str, with_worker: bool) -> dict[str, Any]:
    if digest_of(problem) in os.environ.get("POISON", "").split():
        with open(os.environ["POISON_DEATHS"], "a", encoding="utf-8") as file:
            file.write(f"{time.time()}\n")
        parent = multiprocessing.parent_process()
        if with_worker and parent is not None and parent.pid is not None:
            os.kill(parent.pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGSEGV)
    return run(PATHS["cpu-native"], problem, dtype).results


ends_its_process = Implementation("poison", run=lambda *problem: _run(*problem, with_worker=False))
ends_its_worker = Implementation("poison", run=lambda *problem: _run(*problem, with_worker=True))
