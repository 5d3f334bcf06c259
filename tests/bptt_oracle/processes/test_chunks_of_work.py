"""Chunks on an executor: their sizes, what comes back unfinished, and items whose workers die."""

from collections import Counter
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from bptt_oracle.processes import chunks
from bptt_oracle.processes.chunks import Answer, Engine, engine_of, map_chunks
from bptt_oracle.processes.failures import CommandError


class Death(Exception):
    """Raised for a chunk whose worker died."""


class Workers:
    """An engine in this process. `poison` are items that end their worker, and `once` those that do
    so the first time. It knows `marks` items, of which one did so, and the chunk that waits behind
    is then lost as well."""

    def __init__(self, number=2, poison=(), once=(), marks=0):
        self.number, self.poison, self.once, self.marks = number, poison, set(once), marks
        self.sizes, self.deaths, self.waiting, self.most = [], Counter(), [], 0

    def submit(self, work, chunk):
        self.sizes.append(len(chunk))
        future = Future()
        self.waiting.append((future, work, chunk))
        self.most = max(self.most, len(self.waiting))
        return future

    def count(self):
        """The number of workers; they finish what they have been sent."""
        while len(self.waiting) > (
            self.number if self.most < chunks.IN_FLIGHT * self.number else 1
        ):
            self.finish(*self.waiting.pop(0))
        return self.number

    def require_alive(self):
        """Called before waiting: something must then arrive."""
        if self.waiting:
            self.finish(*self.waiting.pop(0))

    def finish(self, future, work, chunk):
        places = [n for n, item in enumerate(chunk) if item in self.poison or item in self.once]
        if not places:
            future.set_result(work(chunk))
            return
        item = chunk[places[0]]
        self.deaths[item] += 1
        self.once.discard(item)
        death = Death(*map(str, chunk[places[0] :][: self.marks]))
        if self.marks and self.waiting:
            self.waiting.pop(0)[0].set_exception(death)
        future.set_exception(death)

    def engine(self):
        marked = {"marked": lambda death: death.args}
        return Engine(self.submit, self.count, self.require_alive, (Death,), **marked)


def square(chunk):
    return Answer([n * n for n in chunk], [], 0.1 * len(chunk), {"worker": 1})


def give_up(item, error):
    return Answer([f"{item} {type(error).__name__}"], [], 0.0, {})


def outputs(workers, number, work=square):
    found = map_chunks(work, range(number), number, workers.engine(), give_up)
    return sorted((one for answer in found for one in answer.outputs), key=str)


def test_every_item_is_worked_on_once_in_chunks_of_the_wanted_time():
    workers = Workers()
    assert outputs(workers, 3000) == sorted((n * n for n in range(3000)), key=str)
    assert workers.sizes[0] == 1 and max(workers.sizes) == chunks.AIM / 0.1
    assert workers.most == 2 * chunks.IN_FLIGHT
    assert workers.sizes[-1] < 10, "the last chunks are small, so that all workers end together"
    assert sum(workers.sizes) == 3000


def test_chunks_do_not_become_shorter_than_half_a_second():
    workers = Workers()
    outputs(workers, 1000)
    assert min(workers.sizes[8:-1]) >= chunks.SHORTEST / 0.1


def test_what_a_worker_has_not_begun_is_sent_again():
    workers = Workers()

    def half(chunk):
        middle = (len(chunk) + 1) // 2
        return square(chunk[:middle])._replace(rest=list(chunk[middle:]))

    assert outputs(workers, 500, half) == sorted((n * n for n in range(500)), key=str)


def test_an_item_that_ends_its_workers_is_found_by_halving():
    workers = Workers(poison=(137, 401))
    expected = [n * n for n in range(500) if n not in (137, 401)]
    assert outputs(workers, 500) == sorted([*expected, "137 Death", "401 Death"], key=str)
    assert 1 < workers.deaths[137] < 10


@pytest.mark.parametrize(
    "poison", [(0,), (1,), (137,), (137, 138), (136, 138, 139, 300), (498, 499), range(100, 120)]
)
@pytest.mark.parametrize("marks", [1, 4])
def test_a_marked_item_is_given_up_at_the_third_death(poison, marks):
    """And no other, and nothing is lost or done twice. Of several marked items, each has died."""
    workers = Workers(poison=poison, marks=marks)
    expected = [n * n for n in range(500) if n not in poison] + [f"{n} Death" for n in poison]
    assert outputs(workers, 500) == sorted(expected, key=str)
    if marks == 1:
        assert workers.deaths == dict.fromkeys(poison, 3)
    assert {*workers.deaths} == {*poison}
    assert {*workers.deaths.values()} <= {2, 3}, "2: marked when the worker of another died"
    assert workers.most <= 2 * chunks.IN_FLIGHT


@pytest.mark.parametrize("marks", [False, True])
def test_an_item_whose_worker_was_killed_once_is_not_given_up(marks):
    workers = Workers(once=(0, 1, 2, 77), marks=marks)
    assert outputs(workers, 100) == sorted((n * n for n in range(100)), key=str)


@pytest.mark.parametrize(("marks", "given_up"), [(True, 0), (False, 1)])
def test_an_item_whose_workers_died_before_they_marked_it_is_not_given_up(marks, given_up):
    """Five deaths one after the other, as of workers that are killed while they start."""
    deaths = iter(range(5))

    def submit(work, chunk):
        future = Future()
        if next(deaths, None) is None:
            future.set_result(work(chunk))
        else:
            future.set_exception(Death())
        return future

    mark = {"mark": lambda name: None} if marks else {}
    engine = Engine(submit, lambda: 1, lambda: None, (Death,), **mark)
    found = [one for a in map_chunks(square, range(9), 9, engine, give_up) for one in a.outputs]
    assert len(found) == 9 and sum(isinstance(one, str) for one in found) == given_up


@pytest.mark.parametrize("error", [CancelledError(), BrokenProcessPool("a process died")])
def test_an_executor_that_ends_is_reported_in_one_sentence(error):
    def submit(work, chunk):
        future = Future()
        if isinstance(error, CancelledError):
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            future.set_exception(error)
        return future

    engine = Engine(submit, lambda: 2, lambda: None)
    with pytest.raises(CommandError, match=r"the executor has ended before the work \(\w+\); the"):
        list(map_chunks(square, range(9), 9, engine, give_up))


def test_an_error_of_the_work_is_raised():
    def fail(chunk):
        raise KeyError(chunk[0])

    with ThreadPoolExecutor(2) as pool, pytest.raises(KeyError):
        list(map_chunks(fail, range(9), 9, engine_of(pool, 2), give_up))


def test_no_more_items_are_taken_than_are_in_flight():
    """The source may have more than memory."""
    taken = []

    def source():
        for n in range(10**9):
            taken.append(n)
            yield n

    with ThreadPoolExecutor(2) as pool:
        found = map_chunks(square, source(), 10**9, engine_of(pool, 2), give_up)
        assert next(found).outputs and len(taken) <= 2 * chunks.IN_FLIGHT
        found.close()
