"""What the workers of a campaign do: finish a chunk of the cases of a run.

A worker works on the cases in a process of its own, which it keeps for the next chunk. A case that
ends this process does not end the worker: it is repeated at once, each path and dtype in a new
process, and what ends its process again is recorded as a crash. The process also says what code and
which environment it has.
"""

import platform
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from functools import cache, partial
from itertools import islice
from typing import Any, NamedTuple

from ..cases.case import Case, draw
from ..implementations.loading import implementation_named, is_torch_path, load
from ..processes.chunks import LONGEST, Answer, Mark, no_mark
from ..processes.failures import CommandError, Crash
from ..processes.workers import kept_process, map_unordered
from .environment import environment
from .examine import JudgedOutcome, exclusion_reason_of
from .finish import UnfinishedCase, code_digest, finish_case, finish_in_pieces, to_row
from .results import blank_result, crashed
from .store import FinishedCase

MARKED = 0.25  # seconds of the cases that are marked together, because a mark takes milliseconds
_TRIALS = 3  # of asking the process what it is


class Task(NamedTuple):
    """What to do with each case, and the code that must do it."""

    dtypes: Sequence[str]
    paths: Sequence[str]
    values: frozenset[str]  # ids of the cases whose tensors are kept
    code: str  # its digest
    mark: Mark = no_mark  # of the cases in work


Finished = FinishedCase | UnfinishedCase


def finish_chunk(cases: Sequence[Case], task: Task) -> Answer[Case, Finished]:
    """Finish cases until LONGEST seconds are over, or until one has ended its process, so that it
    is named soon. Raises CommandError if this worker has other code than the task asks for, or
    cannot load an implementation."""
    code, facts = _ask_process(tuple(name for name in task.paths if not is_torch_path(name)))
    if code != task.code:
        raise CommandError(
            f"the worker on {platform.node()} has other code of bptt-oracle (digest {code}, here "
            f"{task.code}); install the same version on both, and start the worker again"
        )
    options: dict[str, Any] = {"dtypes": task.dtypes, "paths": task.paths, "values": task.values}
    work, rest, start = partial(finish_case, **options), deque(cases), time.monotonic()
    crashes: list[Crash] = []

    def begun() -> Iterator[Case]:
        marked = 0  # how many of the next cases are
        latest: list[str] = []  # the id of the one before, which is still in work
        while rest and not crashes and (seconds := time.monotonic() - start) < LONGEST:
            if not marked:
                marked = max(1, int(MARKED * (len(cases) - len(rest)) / max(seconds, 1e-3)))
                task.mark(latest + [case.id for case in islice(rest, marked)])
            marked, latest = marked - 1, [rest[0].id]
            yield rest.popleft()

    def in_pieces(case: Case, crash: Crash) -> Finished:
        crashes.append(crash)
        return finish_in_pieces(case, crash, **options)

    try:
        outputs = list(map_unordered(work, begun(), 1, in_pieces, open_pool=kept_process))
    finally:
        task.mark([])
    return Answer(outputs, list(rest), time.monotonic() - start, facts)


def _ask_process(implementations: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """`identify` in the process of this worker."""
    for _ in range(_TRIALS):
        try:
            with kept_process() as pool:
                return pool.submit(identify, implementations).result()
        except (BrokenExecutor, EOFError, ConnectionError):
            continue  # it was killed
    raise CommandError(
        f"the processes of the worker on {platform.node()} end before they do anything, as happens "
        "when memory runs out; give it more memory, and run the same command again"
    )


@cache
def identify(implementations: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """The digest of the code of this process, and its environment. Both are those of the first
    call, because modules that are loaded stay as they were."""
    return code_digest(), environment(*map(load, implementations))


def find_devices() -> dict[str, str]:
    """Why a device cannot be used by this worker, by the name of the device; empty if it can."""
    from torch_impl.execution.catalogue import devices

    with kept_process() as pool:  # which has the context of a device, not the worker itself
        return pool.submit(devices).result()


def give_up(case: Case, error: Exception, task: Task) -> Answer[Case, Finished]:
    """The answer that records a crash on every path and dtype, because workers died too often while
    they had this case. Their environment is unknown."""
    whole, drawn = FinishedCase(case.id, [], []), draw(case)
    crash = Crash(f"its workers died, the last of them at {_last_worker(error)}", killed=False)
    for dtype in task.dtypes:
        for name in task.paths:
            one = implementation_named(name)
            problem = drawn if one.constrain is None else one.constrain(drawn)
            if not exclusion_reason_of(one, case, problem, dtype):
                result = crashed(blank_result(case, name, dtype), crash)
                whole.rows.append(to_row(JudgedOutcome(result)))
    return Answer([whole], [], 0.0, {})


def _last_worker(error: Exception) -> str:
    worker = getattr(error, "last_worker", None)
    return str(getattr(worker, "address", "an unknown address"))
