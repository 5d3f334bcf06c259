"""Work on items in chunks on any `concurrent.futures.Executor`, on this machine or on many.

A chunk takes some seconds, so that sending it costs little, and there are at most two for each
worker, so that no worker waits for the next one. A worker that reaches LONGEST seconds returns what
it has finished, and the rest is sent again.

A worker marks the few items that it works on next where the mark outlives it. If it dies, each of
these items is sent again alone, and the rest of the chunk together; an item that was marked when
its workers died, three times, is given up. Twice may be chance where workers are killed every few
seconds. A chunk that waited behind such an item is sent again as it was. Without a mark, the chunk
is halved until a single item is left, and that is given up after three deaths of its workers; after
twelve if workers can mark, because a death without a mark most likely came before the work began.
"""

import queue
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from itertools import islice
from math import ceil
from typing import Any, Generic, NamedTuple, TypeVar

from .failures import CommandError

Item = TypeVar("Item")
Output = TypeVar("Output")

AIM, LONGEST, SHORTEST = 8.0, 15.0, 0.5  # seconds of a chunk
IN_FLIGHT = 2  # chunks for each worker
TRIALS = 3  # of an item whose workers die
BEFORE_WORK = 0.25  # of a trial: a death without a mark of workers that can mark
_FIRST, _MOST = 1, 10_000  # items of a chunk
_GROWTH = 4  # from one chunk to a later one
_PAUSE = 0.5  # seconds between two looks at the engine


class Answer(NamedTuple, Generic[Item, Output]):
    """What a worker returns for a chunk."""

    outputs: list[Output]
    rest: list[Item]  # not begun
    seconds: float
    facts: dict[str, Any]  # of the worker


Mark = Callable[[Sequence[str]], None]  # called by a worker: what it works on, by name


def no_mark(names: Sequence[str]) -> None:
    """The mark where nothing outlives a worker."""


class Engine(NamedTuple):
    """Where chunks are worked on."""

    submit: Callable[..., "Future[Any]"]
    workers: Callable[[], int]  # how many chunks are worked on at the same time
    require_alive: Callable[[], None]  # raises CommandError if no result can arrive any more
    deaths: tuple[type[Exception], ...] = ()  # raised for a chunk whose workers died
    mark: Mark = no_mark  # can be sent to a worker
    marked: Callable[[Exception], Sequence[str]] = lambda death: ()  # by its worker, which died


def engine_of(executor: Executor, workers: int) -> Engine:
    """The engine that an executor with that number of workers is."""
    return Engine(executor.submit, lambda: workers, lambda: None)


def map_chunks(
    work: Callable[[Sequence[Item]], Answer[Item, Output]],
    items: Iterable[Item],
    number: int,
    engine: Engine,
    give_up: Callable[[Item, Exception], Answer[Item, Output]],
    name: Callable[[Item], str] = str,
) -> Iterator[Answer[Item, Output]]:
    """Yield the answer of `work` to each chunk of the items, of which there are about `number`;
    and `give_up(item, error)` for an item whose workers died. `name` is that of an item in a mark.
    Raises CommandError if the engine ends, and what `work` raises."""
    queued: _Queue[Item] = _Queue(iter(items), number)
    running: dict[Future[Answer[Item, Output]], Sequence[Item]] = {}
    done: queue.SimpleQueue[Future[Answer[Item, Output]]] = queue.SimpleQueue()
    deaths: defaultdict[Item, float] = defaultdict(float)  # of items in work, or alone
    while True:
        workers = engine.workers()
        while len(running) < IN_FLIGHT * workers and (chunk := queued.take(workers)):
            future = engine.submit(work, chunk)
            running[future] = chunk
            future.add_done_callback(done.put)
        if not running and queued.is_empty():
            return
        engine.require_alive()
        try:
            future = done.get(timeout=_PAUSE)
        except queue.Empty:
            continue
        chunk = running.pop(future)
        try:
            answer = future.result()
        except engine.deaths as error:
            marked = engine.marked(error)
            suspects, others = _separate(chunk, marked, name)
            for item in suspects:
                deaths[item] += 1 if marked or engine.mark is no_mark else BEFORE_WORK
            given_up = [item for item in suspects if deaths[item] >= TRIALS]
            queued.put_back(*([item] for item in suspects if item not in given_up), *others)
            for item in given_up:
                yield give_up(item, error)
            continue
        except (CancelledError, BrokenExecutor) as error:
            engine.require_alive()  # which may know why
            raise CommandError(
                f"the executor has ended before the work ({type(error).__name__}); the same "
                "command continues"
            ) from None
        queued.learn(len(chunk) - len(answer.rest), answer.seconds)
        if answer.rest:
            queued.put_back(answer.rest)
        yield answer


def _separate(
    chunk: Sequence[Item], marked: Sequence[str], name: Callable[[Item], str]
) -> tuple[Sequence[Item], list[Sequence[Item]]]:
    """The items of a chunk that may have ended their worker, and chunks of the others."""
    if marked:
        others = [item for item in chunk if name(item) not in marked]
        return [item for item in chunk if name(item) in marked], [others] if others else []
    if len(chunk) > 1:
        middle = ceil(len(chunk) / 2)
        return [], [chunk[:middle], chunk[middle:]]
    return chunk, []


class _Queue(Generic[Item]):
    """The items that wait, and how many of them make a chunk."""

    def __init__(self, source: Iterator[Item], number: int) -> None:
        self._source = source
        self._left = number  # about
        self._repeated: deque[Sequence[Item]] = deque()
        self._size = _FIRST
        self._seconds = 0.0  # of an item; 0 until one is finished

    def take(self, workers: int) -> Sequence[Item]:
        """The next chunk; empty if there is none. Towards the end chunks are smaller, so that all
        workers end at about the same time."""
        if self._repeated:
            return self._repeated.popleft()
        size = min(self._size, ceil(self._left / (IN_FLIGHT * workers)))
        if self._seconds:
            size = max(size, min(self._size, int(SHORTEST / self._seconds)))
        chunk = list(islice(self._source, max(1, size)))
        self._left -= len(chunk)
        return chunk

    def is_empty(self) -> bool:
        """Whether no item waits. One that is taken to see this waits then."""
        if not self._repeated and (one := list(islice(self._source, 1))):
            self._repeated.append(one)
        return not self._repeated

    def put_back(self, *chunks: Sequence[Item]) -> None:
        """Let these chunks be the next."""
        self._repeated.extendleft(reversed(chunks))

    def learn(self, items: int, seconds: float) -> None:
        """Fit the size of chunks to the time that one took."""
        if items:
            each = seconds / items
            self._seconds = (self._seconds + each) / 2 if self._seconds else each
            wanted = int(AIM / max(self._seconds, 1e-9))
            self._size = max(1, min(wanted, _GROWTH * self._size, _MOST))
