"""Workers on many machines: the workers of a Dask scheduler, as an engine for chunks.

Dask (`distributed`) is imported only here and only when a scheduler is named. A worker that dies
is replaced by its nanny, or not at all; its chunk goes to another one, and KilledWorker is raised
when that has happened too often (`distributed.scheduler.allowed-failures`). The metadata of the
scheduler, which outlive a worker, hold the items that it works on.
"""

import json
import logging
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import floor
from pathlib import Path
from typing import Any

from .chunks import Engine
from .failures import CommandError, first_line

_ANSWER = 20.0  # seconds in which a scheduler must answer
_TRIAL = 2.0  # seconds of one call to it
_LOOK = 1.0  # seconds between two counts of the workers
_PLACE = "bptt-oracle"  # in the metadata: by address and thread, what a worker works on
RETRIES = 2  # of a chunk that raised an exception, which may be due to its worker


@contextmanager
def connect(
    address: str = "",
    scheduler_file: Path | None = None,
    resources: Mapping[str, float] | None = None,
    patience: float = 60.0,
) -> Iterator[Engine]:
    """The workers of the scheduler at an address, or of that in a file, which have the resources.
    Waits `patience` seconds for the first of them, also later if none is left. Raises CommandError
    if Dask is not installed, if there is no scheduler, and if there are no workers in time."""
    try:
        import distributed
    except ImportError as error:
        raise CommandError(
            f"Dask cannot be imported ({first_line(error)}); install it: pip install "
            "'bptt-oracle[cluster]'"
        ) from None
    named = address or _address_in(scheduler_file)
    for name in ("distributed", "distributed.client", "distributed.core", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what ends is reported below
    try:
        with warnings.catch_warnings():  # of other versions of Python or Dask
            warnings.simplefilter("ignore")
            client = distributed.Client(named, timeout=_ANSWER, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:
        raise CommandError(
            f"no Dask scheduler answers at {named} ({first_line(error)[:200]}); start one: dask "
            "scheduler"
        ) from None
    fleet = _Fleet(client, named, dict(resources or {}), patience)
    try:
        fleet.wait()
        executor = client.get_executor(pure=False, retries=RETRIES, resources=resources or None)
        yield Engine(
            executor.submit,
            fleet.workers,
            fleet.require_alive,
            (distributed.KilledWorker,),
            mark,
            fleet.marked,
        )
    finally:
        with suppress(Exception):  # the scheduler may be gone
            client.close(timeout=2)


def mark(names: Sequence[str]) -> None:
    """In a thread of a worker: let the scheduler know the items that it works on, before it does.
    Nothing is marked if the scheduler does not answer."""
    from distributed import get_worker
    from distributed.utils import sync

    worker = get_worker()
    with suppress(Exception):  # of many types; if the scheduler has ended, so does the worker
        sync(
            worker.loop,
            worker.scheduler.set_metadata,
            keys=[_PLACE, worker.address, str(threading.get_ident())],
            value=list(names),
            callback_timeout=_TRIAL,
        )


def _address_in(file: Path | None) -> str:
    """The address in the file that `dask scheduler --scheduler-file` wrote. Raises CommandError."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["address"] if file else ""
    except OSError as error:
        raise CommandError(
            f"{file} cannot be read: {error.strerror}; `dask scheduler --scheduler-file` writes it"
        ) from None
    except (ValueError, KeyError, TypeError):
        found = ""
    if not found or not isinstance(found, str):
        raise CommandError(f"{file} does not name a scheduler; `dask scheduler` writes such a file")
    return found


class _Fleet:
    """The workers that a client sees."""

    def __init__(
        self, client: Any, address: str, resources: dict[str, float], patience: float
    ) -> None:
        self._client = client
        self._address = address
        self._resources = resources
        self._patience = patience
        self._number = 0
        self._looked = self._seen = time.monotonic()  # at the workers; some worker

    def workers(self) -> int:
        """How many tasks with the resources can run at the same time."""
        now = time.monotonic()
        if now - self._looked >= _LOOK or not self._number:
            self._number = self._count()
            self._looked = now
            self._seen = now if self._number else self._seen
        return self._number

    def _count(self) -> int:
        found = self._describe()
        return sum(
            min(
                worker["nthreads"],
                *(floor(worker["resources"].get(n, 0) / v) for n, v in self._resources.items()),
            )
            if self._resources
            else worker["nthreads"]
            for worker in found["workers"].values()
        )

    def _describe(self) -> Any:
        """What the scheduler says of its workers."""
        return self._ask(self._client.scheduler.identity, n_workers=-1)

    def marked(self, death: Exception) -> list[str]:
        """The items that a worker worked on when it died, on all its threads."""
        worker = death.last_worker  # type: ignore[attr-defined]  # of KilledWorker
        keys, ask = [_PLACE, worker.address], self._client.scheduler.get_metadata
        threads: dict[str, list[str]] = self._ask(ask, keys=keys, default={})
        return [name for names in threads.values() for name in names]

    def _ask(self, ask: Any, **arguments: Any) -> Any:
        """The answer of the scheduler. It may be busy, and a call to one that has ended does not
        return, which only the status of the client shows."""
        start = time.monotonic()
        while True:
            self._require_running()
            try:
                return self._client.sync(ask, callback_timeout=_TRIAL, **arguments)
            except Exception as error:  # of many types
                late = time.monotonic() - start > _ANSWER
                if late or not isinstance(error, TimeoutError):
                    raise self._ended(first_line(error)) from None

    def _require_running(self) -> None:
        if self._client.status != "running":
            raise self._ended(f"the client is {self._client.status}")

    def wait(self) -> None:
        """Wait for the first worker. Raises CommandError."""
        while not self.workers():
            self.require_alive()
            time.sleep(0.1)

    def require_alive(self) -> None:
        """Raise CommandError if the scheduler has ended, or if there have been no workers for too
        long."""
        self._require_running()
        if not self._number and time.monotonic() - self._seen > self._patience:
            which = ",".join(f"{n}={v:g}" for n, v in self._resources.items())
            option = f" --resources {which}" if which else ""
            raise CommandError(
                f"the scheduler at {self._address} has had no worker{option} for "
                f"{self._patience:g} s; start some: dask worker {self._address}{option}"
            )

    def _ended(self, reason: str) -> CommandError:
        return CommandError(
            f"the scheduler at {self._address} has ended ({reason}); start it and its workers "
            "again, and the same command continues"
        )
