"""Worker processes: the cases are many, small, and independent of each other.

Nothing here imports torch: what workers are forked from imports it, and may do so while the process
that will need them does.
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

from .interrupt import ctrl_c_waits

Given = TypeVar("Given")
Done = TypeVar("Done")


def spread(
    work: Callable[[Given], Done], cases: Iterable[Given], workers: int = 1
) -> Iterator[Done]:
    """What `work` makes of one case after another, in the order they are done."""
    if workers <= 1:
        yield from map(work, cases)
        return
    with pool_of(workers) as pool:
        with ctrl_c_waits():
            futures = [pool.submit(work, case) for case in cases]
        for future in as_completed(futures):
            yield future.result()


@contextmanager
def pool_of(workers: int) -> Iterator[ProcessPoolExecutor]:
    """So many workers; who leaves early, leaves what has not begun undone."""
    pool = ProcessPoolExecutor(workers, processes(), initializer=start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def one_thread() -> None:
    """A worker's share of the processor: the cases are small, and there are several workers."""
    import torch

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def processes() -> BaseContext:
    """How workers come to be: forked from a process that has imported torch and done nothing
    else, where the system can; each started afresh where it cannot. That process starts now."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    from multiprocessing import forkserver, resource_tracker

    context = get_context("forkserver")
    context.set_forkserver_preload(["bptt_oracle.runs.preload"])
    os.environ["OMP_NUM_THREADS"] = "1"  # a BLAS reads it when it is loaded
    resource_tracker.ensure_running()  # before, since it unblocks what is blocked here
    with ctrl_c_waits():
        forkserver.ensure_running()  # it inherits the block: Ctrl-C is for this process alone
    return context


def start_worker() -> None:
    """One thread, and no life after the process that asked for the work: it may be killed, and
    it alone hears Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one_thread()
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
