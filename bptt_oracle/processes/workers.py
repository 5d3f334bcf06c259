"""Worker processes: the cases are many, small, and independent of each other.

This module does not import torch when it is loaded: the process that workers are forked from
imports torch, and the main process can import it at the same time.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import islice
from multiprocessing import current_process, get_all_start_methods, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.util import Finalize
from threading import Thread
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from .failures import CommandError, Crash
from .interrupt import defer_interrupt

Item = TypeVar("Item")
Output = TypeVar("Output")


def map_unordered(
    work: Callable[[Item], Output],
    items: Iterable[Item],
    workers: int = 1,
    on_crash: Callable[[Item, Crash], Output] | None = None,
    isolate: bool = False,
    open_pool: Callable[[], AbstractContextManager[ProcessPoolExecutor]] | None = None,
) -> Iterator[Output]:
    """Yield `work(item)` of each item as soon as it is finished. With one worker, everything runs
    in this process, in order, unless `isolate` is set: then one process of its own does it all.

    If a worker or the process that workers are forked from dies, each item that was being worked on
    is repeated in a process of its own, and the others go on in a new pool. For an item that ends
    its own process as well, `on_crash(item, crash)` is yielded; without `on_crash`, Crash is
    raised. `open_pool` gives the pool of that many workers; one worker is then a process, too.
    """
    if workers <= 1 and not isolate and open_pool is None:
        yield from map(work, items)
        return
    workers = max(workers, 1)
    source, waiting = iter(items), deque[Item]()
    while _has_next(waiting, source):
        pool = worker_pool(workers) if open_pool is None else open_pool()
        suspects = yield from _work_in_pool(work, waiting, source, workers, pool)
        for item in suspects:
            try:
                output = run_isolated(work, item)
            except Crash as crash:
                if on_crash is None:
                    raise
                output = on_crash(item, crash)
            yield output


def _has_next(waiting: deque[Item], source: Iterator[Item]) -> bool:
    """Whether an item waits. If none does, one is taken from the source, which may hold more than
    memory."""
    if not waiting:
        waiting.extend(islice(source, 1))
    return bool(waiting)


def _work_in_pool(
    work: Callable[[Item], Output],
    waiting: deque[Item],
    source: Iterator[Item],
    workers: int,
    opened: AbstractContextManager[ProcessPoolExecutor],
) -> Generator[Output, None, list[Item]]:
    """Work on the item that waits and those of the source; the next to be started waits. Returns
    the started items without a result: none, unless the pool broke. No more items are started than
    there are workers, and one, so that they are few."""
    running: dict[Future[Output], Item] = {}
    with opened as pool:
        try:
            while running or _has_next(waiting, source):
                with defer_interrupt():
                    while len(running) <= workers and _has_next(waiting, source):
                        running[pool.submit(work, waiting[0])] = waiting[0]
                        waiting.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    output = future.result()
                    del running[future]
                    yield output
        except (BrokenProcessPool, *_NO_PROCESS):
            if not running and waiting:  # not even one could be started
                return [waiting.popleft()]
    return [*running.values()]


_PAUSES = (0.1, 0.2, 0.5, 1, 2, 4)  # seconds, after each failure to start a process
_NO_PROCESS = (EOFError, ConnectionError)  # raised if the process that workers are forked from died


def run_isolated(work: Callable[[Item], Output], item: Item) -> Output:
    """`work(item)` in a new process of its own. Raises what it raises; Crash if the process ends
    before it returns; and CommandError if no process can be started."""
    for pause in _PAUSES:
        context: Any = worker_context()
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work_and_send, args=(sender, work, item), daemon=True)
        try:
            with sender, defer_interrupt():
                process.start()
            break
        except _NO_PROCESS:
            receiver.close()
            time.sleep(pause)  # a killed process takes a while to end, and is replaced only then
    else:
        raise CommandError(
            "no worker process can be started: the process that starts them ended again and again, "
            "as happens when memory runs out; make room, or use --workers 1"
        )
    with receiver:
        try:
            returned, result = receiver.recv()
        except (EOFError, OSError):
            process.join()
            raise crash_of(process.exitcode) from None
        finally:
            process.kill()
            process.join()
    if not returned:
        raise result
    output: Output = result
    return output


def _work_and_send(sender: Connection, work: Callable[[Item], Output], item: Item) -> None:
    """In the process of `run_isolated`: send (True, output), or (False, exception)."""
    initialize_worker()
    with sender:
        try:
            sender.send((True, work(item)))
        except Exception as error:
            sender.send((False, error))


def crash_of(code: int | None) -> Crash:
    """How a process ended, from its exit code: a status, or minus the number of a signal."""
    if code is None or code >= 0:
        return Crash(f"its process ended with status {code}", killed=False)
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return Crash(f"its process was ended by {name}", killed=name == "SIGKILL")


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `workers` processes. Leaving the block early cancels the work not yet started."""
    pool = _new_pool(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _new_pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, worker_context(), initializer=initialize_worker)


_kept: dict[int, list[ProcessPoolExecutor]] = {}  # by process: a fork cannot use those of another


@contextmanager
def kept_process() -> Iterator[ProcessPoolExecutor]:
    """A pool of one process, which a later block uses again unless it has broken: what the process
    has imported and set up on a device is there. Several threads may be in such blocks."""
    if current_process().daemon:  # as a worker of Dask is, and then it could not start a process
        current_process().daemon = False
    own = _kept.setdefault(os.getpid(), [])
    try:
        pool = own.pop()
    except IndexError:
        pool = _new_pool(1)
        # when a process of multiprocessing ends, it waits for its own processes, and that of this
        # pool ends only on request, before the queues (priority 10) are closed
        Finalize(None, pool.shutdown, kwargs={"cancel_futures": True}, exitpriority=100)
    try:
        yield pool
    finally:
        try:
            pool.submit(int).result()
            own.append(pool)
        except (BrokenProcessPool, *_NO_PROCESS):
            pool.shutdown(cancel_futures=True)


def limit_threads() -> None:
    """Run this process on one thread: torch, and the BLAS that NumPy has loaded. The cases are
    small, and each worker has one processor. NumPy's OpenBLAS ignores `torch.set_num_threads`,
    and it reads OMP_NUM_THREADS only when it is loaded. The variable is set for processes that
    this one starts."""
    import numpy  # noqa: F401  loads the BLAS, so that threadpoolctl finds it

    with suppress(ImportError):  # other implementations are judged without it
        import torch

        torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")
    os.environ["OMP_NUM_THREADS"] = "1"


def worker_context() -> BaseContext:
    """How workers start. Where the system can fork: from a server process that has imported torch
    and done nothing else, and that this call starts. Elsewhere: each as a new Python process."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    from multiprocessing import forkserver

    context = get_context("forkserver")
    context.set_forkserver_preload(["bptt_oracle.processes.preload"])
    os.environ["OMP_NUM_THREADS"] = "1"  # a BLAS reads it when it is loaded
    os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)  # Dask sets it: 13 % more time for fresh pages
    _ensure_resource_tracker()  # started first, because starting it unblocks SIGINT
    with defer_interrupt():
        try:
            forkserver.ensure_running()  # inherits the blocked SIGINT: Ctrl-C is for the main one
        except ChildProcessError:  # the server is that of a process that this one was forked from
            return get_context("spawn")
    return context


def _ensure_resource_tracker() -> None:
    """Start the process that removes the semaphores of pools, unless it runs. It need not warn of
    those that a command leaves to it when a signal ends the command."""
    from multiprocessing import resource_tracker

    given = os.environ.get("PYTHONWARNINGS")
    filters = [given] if given else []
    os.environ["PYTHONWARNINGS"] = ",".join([*filters, "ignore:resource_tracker:UserWarning"])
    try:
        resource_tracker.ensure_running()
    finally:
        del os.environ["PYTHONWARNINGS"]
        if given is not None:
            os.environ["PYTHONWARNINGS"] = given


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
