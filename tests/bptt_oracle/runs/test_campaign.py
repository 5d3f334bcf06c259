"""Record on an executor: the same results as in this process, whatever the cases do to the workers;
and the environments of the workers."""

import os
import re
import signal
import sqlite3
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from functools import cache
from multiprocessing import get_all_start_methods, get_context

import pytest

from benchmarks.poison import digest_of
from bptt_oracle.__main__ import main
from bptt_oracle.cases.case import draw
from bptt_oracle.cli.cluster import devices_of
from bptt_oracle.implementations.implementation import Implementation
from bptt_oracle.ledger.claims import ROOT
from bptt_oracle.processes.chunks import Engine, engine_of
from bptt_oracle.processes.failures import CommandError
from bptt_oracle.processes.workers import worker_context
from bptt_oracle.runs import campaign
from bptt_oracle.runs import record as recording
from bptt_oracle.runs.environment import environment
from bptt_oracle.runs.record import Plan, UnfinishedRun, record, select_cases
from bptt_oracle.runs.row import BadRun
from support.runs import PLAN, read, untimed
from torch_impl.execution.catalogue import PATHS, devices
from torch_impl.execution.run import run

pytestmark = pytest.mark.skipif(
    "forkserver" not in get_all_start_methods(), reason="Windows has no signals for processes"
)


def end_by(name, number):
    """An implementation that is right, except that the case with that number ends its process."""

    def compute(problem, dtype):
        if digest_of(problem) == digest_of(draw(cases_of(name)[number])):
            os.kill(os.getpid(), getattr(signal, name))
        return run(PATHS["cpu-native"], problem, dtype).results

    return Implementation(name, run=compute)


def plan_of(name, *paths):
    return Plan(8, 4, ["float32"], [*paths, f"{__name__}:{name}"], [])


@cache
def cases_of(name):
    return list(select_cases(plan_of(name)))


SIGSEGV, SIGKILL = end_by("SIGSEGV", 5), end_by("SIGKILL", 3)


def rows_of(file):
    return [row._replace(environment=0) for row in untimed(read(file)).rows]


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    file = tmp_path_factory.mktemp("serial") / "run"
    record(file, PLAN, environment())
    return rows_of(file)


@pytest.mark.parametrize(
    "kind",
    [ThreadPoolExecutor, pytest.param(ProcessPoolExecutor, marks=pytest.mark.slow)],
    ids=["threads", "processes"],
)
def test_a_run_on_an_executor_has_the_rows_of_a_serial_run(serial, tmp_path, kind):
    file, progress = tmp_path / "run", []
    options = {} if kind is ThreadPoolExecutor else {"mp_context": get_context("spawn")}
    with kind(2, **options) as executor:
        record(file, PLAN, {}, 2, lambda n, _: progress.append(n), executor)
    assert rows_of(file) == serial and read(file).environment["threads"] == 1
    assert progress[0] == 0 and progress[-1] == PLAN.cases and progress == sorted(progress)
    assert list(tmp_path.iterdir()) == [file]


def test_a_case_that_ends_its_process_is_a_crash_and_the_worker_goes_on(tmp_path):
    plan = plan_of("SIGSEGV", "cpu-native")
    with ThreadPoolExecutor(1) as executor:
        summary = record(tmp_path / "run", plan, {}, 1, executor=executor)
    (crash,) = summary.crashes
    assert (crash.case, crash.path) == (cases_of("SIGSEGV")[5].id, plan.paths[1])
    assert "SIGSEGV" in crash.note
    assert summary.verdicts["crash"] == 1 and summary.verdicts["agree"] > 8


def test_a_case_that_memory_ends_is_unfinished_and_the_others_are_kept(tmp_path):
    file, named = tmp_path / "run", cases_of("SIGKILL")[3].id
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(UnfinishedRun, match=f"not finished: {re.escape(named)} .*SIGKILL"),
    ):
        record(file, plan_of("SIGKILL"), {}, 1, executor=executor)
    with closing(sqlite3.connect(tmp_path / "run.unfinished")) as connection:
        done = {case for (case,) in connection.execute("SELECT case_id FROM cases")}
    assert done == {case.id for case in cases_of("SIGKILL")} - {named} and len(done) == 7


def test_workers_with_other_code_are_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "code_digest", lambda: "0123456789abcdef")
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(CommandError, match="has other code of bptt-oracle .*here 0123456789abcdef"),
    ):
        record(tmp_path / "run", PLAN, {}, 1, executor=executor)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_not_recorded_again_by_an_executor(tmp_path):
    file, plan = tmp_path / "run", PLAN._replace(cases=1)
    record(file, plan, environment() | {"gpu": "another"})
    before = file.read_bytes()
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(BadRun, match="is finished; remove it to record it again, or name"):
            record(file, plan, {}, 1, executor=executor)
        with pytest.raises(BadRun, match="is a run of another plan"):
            record(file, plan._replace(seed=9), {}, 1, executor=executor)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


class Killed(BaseException):
    """Ends a record half-way."""


def test_a_run_is_continued_in_another_environment_and_holds_both(serial, tmp_path):
    file = tmp_path / "run"

    def stop(finished, total):
        if finished == 3:
            raise Killed

    other = environment() | {"gpu": "another"}
    with pytest.raises(Killed):
        record(file, PLAN, other, report_progress=stop)
    with ThreadPoolExecutor(1) as executor:
        record(file, PLAN, {}, 1, executor=executor)
    found = read(file)
    assert rows_of(file) == serial and [e["gpu"] for e in found.environments] == ["another", "none"]
    numbers = {row.case: row.environment for row in found.rows}
    assert sorted(numbers.values()) == [0] * 3 + [1] * (len(numbers) - 3)
    with closing(sqlite3.connect(file)) as connection:
        query = (
            "SELECT json_extract(facts, '$.gpu'), count(DISTINCT case_id) FROM results "
            "JOIN environments ON number = environment GROUP BY 1 ORDER BY 1"
        )
        assert connection.execute(query).fetchall() == [("another", 3), ("none", 3)]
    with pytest.raises(BadRun, match="is a run of another environment .*gpu another, none, not no"):
        record(file, PLAN, environment())


def test_workers_without_bptt_oracle_are_reported():
    def submit(work):
        future = Future()
        future.set_exception(ModuleNotFoundError("No module named 'bptt_oracle'"))
        return future

    with pytest.raises(CommandError, match=r"cannot run bptt-oracle \(Mod.*install the same vers"):
        devices_of(Engine(submit, lambda: 1, lambda: None))
    with ThreadPoolExecutor(1) as executor:
        assert devices_of(engine_of(executor, 1)) == devices()


@pytest.mark.parametrize(("deaths", "reported"), [(2, False), (3, True)])
def test_a_worker_that_dies_when_it_is_asked_for_devices_is_no_wrong_installation(deaths, reported):
    left = iter(range(deaths))

    def submit(work):
        future = Future()
        if next(left, None) is None:
            future.set_result({"cuda": "none"})
        else:
            future.set_exception(EOFError("the worker was killed"))
        return future

    engine = Engine(submit, lambda: 1, lambda: None, (EOFError,))
    if not reported:
        assert devices_of(engine) == {"cuda": "none"}
        return
    with pytest.raises(CommandError, match=r"cannot run bptt-oracle \(EOFError: the worker"):
        devices_of(engine)


PAGE = (ROOT / "docs" / "runs" / "campaigns.md").read_text()


@pytest.mark.slow
def test_the_python_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(program, {})
    assert capsys.readouterr().out == "Counter({'agree': 8})\n"


def test_the_commands_of_the_page_have_the_options_of_record(capsys):
    with pytest.raises(SystemExit):
        main(["record", "--help"])
    text, commands = capsys.readouterr().out, re.findall(r"bptt-oracle record (.*)", PAGE)
    assert len(commands) == 3
    for option in re.findall(r"--[\w-]+", " ".join(commands)):
        assert option in text


@pytest.mark.parametrize(
    "options, words",
    [
        (["--scheduler", "x", "--scheduler-file", "y"], "name two schedulers; name one"),
        (["--resources", "GPU=1"], "--resources is for workers of a scheduler"),
        (["--scheduler", "x", "--resources", "GPU"], "expected NAME=NUMBER above 0, such as GPU=1"),
        (["--scheduler", "x", "--resources", "=1"], "expected NAME=NUMBER above 0, such as GPU=1"),
    ],
)
def test_options_that_contradict_each_other_are_rejected(tmp_path, capsys, options, words):
    with pytest.raises(SystemExit) as stopped:
        main(["record", "-o", str(tmp_path / "run"), *options])
    out, err = capsys.readouterr()
    assert (stopped.value.code, out) == (2, "") and words in err and err.count("\n") == 1


@pytest.mark.parametrize(("seconds", "sizes"), [(0.0, [1, 9]), (0.1, [1, 1, 1, 1, 2, 2, 2])])
def test_the_next_cases_are_marked_together_with_the_one_in_work(monkeypatch, seconds, sizes):
    """As many as take a quarter of a second at the rate so far; the clock may stand still."""
    cases, marks = [*select_cases(PLAN._replace(cases=10))], []
    clock = iter(round(seconds * n, 9) for n in range(100))
    monkeypatch.setattr(campaign.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(campaign, "_ask_process", lambda implementations: ("code", {}))
    monkeypatch.setattr(campaign, "map_unordered", lambda work, items, *a, **options: items)
    task = campaign.Task(["float32"], ["cpu-native"], frozenset(), "code", marks.append)
    assert campaign.finish_chunk(cases, task).rest == []
    names = [case.id for case in cases]
    begins = [sum(sizes[:n]) for n in range(len(sizes))]
    expected = [names[max(b - 1, 0) : b + size] for b, size in zip(begins, sizes, strict=True)]
    assert marks == [*expected, []]


def test_the_process_of_the_cases_keeps_freed_memory(monkeypatch):
    """Dask's nanny sets the variable for its workers."""
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    worker_context()
    assert "MALLOC_TRIM_THRESHOLD_" not in os.environ
