"""Worker processes: the cases are many, small, and independent of each other.

This module does not import torch when it is loaded: the process that workers are forked from
imports torch, and the main process can import it at the same time.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_all_start_methods, get_context, parent_process
from multiprocessing.context import BaseContext
from threading import Thread
from typing import TypeVar

from threadpoolctl import threadpool_limits

from .interrupt import defer_interrupt

Item = TypeVar("Item")
Output = TypeVar("Output")


def map_unordered(
    work: Callable[[Item], Output], items: Iterable[Item], workers: int = 1
) -> Iterator[Output]:
    """Yield `work(item)` of each item as soon as it is finished. With one worker, everything runs
    in this process, in order."""
    if workers <= 1:
        yield from map(work, items)
        return
    with worker_pool(workers) as pool:
        with defer_interrupt():
            futures = [pool.submit(work, item) for item in items]
        for future in as_completed(futures):
            yield future.result()


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `workers` processes. Leaving the block early cancels the work not yet started."""
    pool = ProcessPoolExecutor(workers, worker_context(), initializer=initialize_worker)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def limit_threads() -> None:
    """Run this process on one thread: torch, and the BLAS that NumPy has loaded. The cases are
    small, and each worker has one processor. NumPy's OpenBLAS ignores `torch.set_num_threads`,
    and it reads OMP_NUM_THREADS only when it is loaded. The variable is set for processes that
    this one starts."""
    import numpy  # noqa: F401  loads the BLAS, so that threadpoolctl finds it
    import torch

    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")
    os.environ["OMP_NUM_THREADS"] = "1"


def worker_context() -> BaseContext:
    """How workers start. Where the system can fork: from a server process that has imported torch
    and done nothing else, and that this call starts. Elsewhere: each as a new Python process."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    from multiprocessing import forkserver, resource_tracker

    context = get_context("forkserver")
    context.set_forkserver_preload(["bptt_oracle.processes.preload"])
    os.environ["OMP_NUM_THREADS"] = "1"  # a BLAS reads it when it is loaded
    resource_tracker.ensure_running()  # started first, because starting it unblocks SIGINT
    with defer_interrupt():
        forkserver.ensure_running()  # inherits the blocked SIGINT: Ctrl-C is for the main process
    return context


def initialize_worker() -> None:
    """Ignore SIGINT, which the main process handles; limit the threads; and end this worker when
    the main process ends, even if that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_threads()
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
