"""What a campaign costs and survives: `record` on the workers of a Dask scheduler of this machine.

    python -m benchmarks.campaign efficiency         # against plain processes, in turns; minutes
    python -m benchmarks.campaign efficiency --all   # with every path and dtype, as by default
    python -m benchmarks.campaign efficiency --workers 1   # with a processor for the scheduler
    python -m benchmarks.campaign kills --kills 20   # of workers, schedulers and clients
    python -m benchmarks.campaign poison             # a case that ends its process; one that ends
                                                     # its worker
    python -m benchmarks.campaign large --cases 100000 --folder /tmp/large

`kills` and `large` start a scheduler and workers as a user does, with a scheduler file. After every
kill, what was killed is started again: the scheduler with its workers, or the same record command.
`large` continues what an earlier call has left, and prints how far it has come and how much memory
the client uses.
"""

import argparse
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import dask
import psutil
from distributed import LocalCluster

from bptt_oracle.cases.case import Case, draw
from bptt_oracle.cli.options import Device, dtypes_of, paths_of
from bptt_oracle.processes.chunks import Engine
from bptt_oracle.processes.cluster import connect
from bptt_oracle.processes.workers import initialize_worker, limit_threads, worker_context
from bptt_oracle.runs.environment import environment
from bptt_oracle.runs.opening import open_runs
from bptt_oracle.runs.record import Plan, record, select_cases
from bptt_oracle.runs.row import Row
from bptt_oracle.runs.run import count_rows, read_rows

from .poison import digest_of

ROOT = Path(__file__).parents[1]
WORKERS = 2
POISON = "benchmarks.poison"
HANGING = 90.0  # seconds after the end of the scheduler
DASK = {  # as docs/runs/campaigns.md advises
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
ENVIRONMENT |= {
    "DASK_" + name.upper().replace(".", "__").replace("-", "_"): str(value)
    for name, value in DASK.items()
}


def plan_of(cases: int, seed: int = 0, whole: bool = False) -> Plan:
    """Small cases on one path in one dtype; or `whole`, as `record` has them without options."""
    if not whole:
        return Plan(cases, seed, ["float32"], ["cpu-native"], [])
    (paths, _), dtypes = paths_of(Device.cpu, None), dtypes_of(None)
    return Plan(cases, seed, dtypes, paths, [])


# --- a cluster of processes of this machine ------------------------------------------------------


class Cluster:
    """A scheduler and workers, each of which can be killed and started again."""

    def __init__(self, folder: Path, workers: int = WORKERS) -> None:
        self.file = folder / "scheduler.json"
        self._log = (folder / "dask.log").open("ab")
        self._number = workers
        self.scheduler: subprocess.Popen[bytes]
        self.workers: list[subprocess.Popen[bytes]] = []
        self.start()

    def start(self) -> None:
        """Start the scheduler, and workers for it."""
        self.file.unlink(missing_ok=True)
        self.scheduler = self._run("scheduler", "--port", "0", "--no-dashboard")
        while not self.file.exists():
            time.sleep(0.05)
        self.workers = [self._start_worker() for _ in range(self._number)]

    def _start_worker(self) -> "subprocess.Popen[bytes]":
        return self._run("worker", "--nworkers", "1", "--nthreads", "1", "--no-dashboard")

    def _run(self, kind: str, *arguments: str) -> "subprocess.Popen[bytes]":
        program = [sys.executable, "-m", f"distributed.cli.dask_{kind}"]
        file = ["--scheduler-file", str(self.file)]
        return subprocess.Popen(
            [*program, *file, *arguments],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdout=self._log,
            stderr=self._log,
        )

    def kill_worker(self, one: int, nanny: bool) -> None:
        """Kill a worker: its process, which its nanny replaces, or the nanny with it."""
        process = self.workers[one]
        kill(children(process.pid))
        if nanny:
            kill([process.pid])
            process.wait()
            self.workers[one] = self._start_worker()

    def stop(self) -> None:
        """Kill the scheduler and the workers."""
        for process in (self.scheduler, *self.workers):
            kill([process.pid, *children(process.pid)])
            process.wait()

    def close(self) -> None:
        """The same, for the last time."""
        self.stop()
        self._log.close()


@contextmanager
def open_local(workers: int = WORKERS) -> Iterator[Engine]:
    """The workers of a cluster of this process."""
    with (
        dask.config.set(DASK),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        connect(cluster.scheduler_address) as engine,
    ):
        yield engine


def children(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    try:
        return [one.pid for one in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(pids: Sequence[int]) -> None:
    """End processes by SIGKILL."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def start_client(file: Path, cluster: Cluster, plan: Plan) -> "subprocess.Popen[str]":
    """The command that records the plan."""
    words = ["record", "-q", "-o", str(file), "--cases", str(plan.cases), "--seed", str(plan.seed)]
    words += ["--dtype", *plan.dtypes, "--path", *plan.paths, "--scheduler-file", str(cluster.file)]
    return subprocess.Popen(
        [sys.executable, "-m", "bptt_oracle", *words],
        cwd=ROOT,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )


# --- kills ----------------------------------------------------------------------------------------


class Survived(NamedTuple):
    """What happened to a campaign."""

    kills: Counter[str]
    sentences: Counter[str]  # with which the client ended by itself
    longest: float  # seconds from the end of a scheduler and its restart to that of the client
    seconds: float


def record_under_kills(
    folder: Path, plan: Plan, kills: int, seed: int, pause: tuple[float, float] = (2, 8)
) -> Survived:
    """Record the plan as `folder/run`, while workers, schedulers and clients are killed at random.
    The last kill comes before the end if the plan is large enough."""
    rng, counted, sentences = random.Random(seed), Counter[str](), Counter[str]()
    start, longest, cluster = time.monotonic(), 0.0, Cluster(folder)
    client = start_client(folder / "run", cluster, plan)
    try:
        while (status := _wait(client, rng.uniform(*pause) if counted.total() < kills else 5)) != 0:
            if status is not None:
                assert client.stderr is not None
                sentence = client.stderr.read().strip()
                assert sentence.count("\n") == 0 and sentence.startswith("bptt-oracle: "), sentence
                assert status == 2, (status, sentence)
                sentences[re.sub(r"tcp://[\d.:]+", "…", sentence.replace(str(folder), "…"))] += 1
                client = start_client(folder / "run", cluster, plan)
                continue
            if counted.total() == kills:
                continue
            victim = rng.choice(("worker", "worker and nanny", "scheduler", "client"))
            counted[victim] += 1
            if victim == "client":
                client.kill()
                client.wait()
                client = start_client(folder / "run", cluster, plan)
            elif victim == "scheduler":
                kill([cluster.scheduler.pid])
                cluster.stop()
                cluster.start()
                killed = time.monotonic()
                if _wait(client, HANGING) is not None:
                    longest = max(longest, time.monotonic() - killed)
                else:  # it was still starting, and works on with the new scheduler
                    idle = time.time() - max(f.stat().st_mtime for f in folder.glob("run.*"))
                    assert idle < HANGING / 2, "the client hangs after its scheduler has ended"
            else:
                cluster.kill_worker(rng.randrange(WORKERS), victim == "worker and nanny")
    finally:
        kill([client.pid])
        client.wait()
        cluster.close()
    return Survived(counted, sentences, longest, time.monotonic() - start)


def _wait(process: "subprocess.Popen[str]", seconds: float) -> int | None:
    """The status of a process if it ends in time."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def rows_of(file: Path) -> list[Row]:
    """The results of a run without what differs between two equal ones."""
    with open_runs(file) as (run,):
        return [row._replace(seconds=0.0, environment=0) for row in read_rows(run)]


def measure_kills(chosen: argparse.Namespace) -> None:
    """Kill at random, and compare with a serial run."""
    plan = plan_of(chosen.cases or 4000, chosen.seed)
    with in_folder(chosen.folder) as folder:
        if not (folder / "serial").exists():  # of an earlier call with the same folder
            limit_threads()  # as each worker
            record(folder / "serial", plan, environment())
        survived = record_under_kills(folder, plan, chosen.kills, chosen.seed)
        same = rows_of(folder / "run") == rows_of(folder / "serial")
        print(f"seed {chosen.seed}: {survived.seconds:.0f} s, {load()}")
        for word, number in survived.kills.most_common():
            print(f"  killed: {number} × {word}")
        for sentence, number in survived.sentences.most_common():
            print(f"  {number} × {sentence}")
        print(f"  a client ended at most {survived.longest:.0f} s after its scheduler")
        print(f"  {plan.cases} cases, the same rows as a serial run: {same}")
        assert same


# --- efficiency -----------------------------------------------------------------------------------


def record_share(cases: Sequence[Case], plan: Plan) -> tuple[float, float]:
    """Record cases in this process, as the command does without a scheduler; the seconds."""
    start, used = time.perf_counter(), time.process_time()
    with in_folder(None) as folder:
        record(folder / "share", plan._replace(own=cases), {})
    return time.perf_counter() - start, time.process_time() - used


def measure_efficiency(chosen: argparse.Namespace) -> None:
    """The time of plain processes, each of which records its share of the cases, over that of a
    campaign with as many workers; the two take turns. Other work on the machine slows both, but the
    campaign more: it has more processes, which compete with that work. The other two numbers do not
    have this error: the share of the time in which workers worked on chunks, and the time of the
    processor, of which that of Dask grows with the time on the wall."""
    plan = plan_of(chosen.cases or 3000, chosen.seed, chosen.all)
    cases = list(select_cases(plan))
    share = partial(record_share, plan=plan)
    ratios, busy, others = [], [], []
    workers = chosen.workers
    pool = ProcessPoolExecutor(workers, worker_context(), initializer=initialize_worker)
    with in_folder(chosen.folder) as folder, pool, open_local(workers) as engine:
        warm = plan_of(20, whole=chosen.all)
        record(folder / "warm", warm, {}, executor=engine)
        list(pool.map(share, [list(select_cases(warm))] * workers))
        for turn in range(chosen.rounds):
            start = time.perf_counter()
            shares = list(pool.map(share, [cases[n::workers] for n in range(workers)]))
            plain = sum(wall for wall, _ in shares) / workers
            slowest = time.perf_counter() - start
            used, start, chunks = processor_time(), time.perf_counter(), list[float]()
            record(folder / f"run{turn}", plan, {}, executor=_timed(engine, chunks))
            seconds = time.perf_counter() - start
            used = processor_time() - used
            ratios.append(plain / seconds)
            busy.append(sum(chunks) / workers / seconds)
            others.append(used - sum(cpu for _, cpu in shares))
            print(
                f"plain {plain:.1f} s (slowest {slowest:.1f}), campaign {seconds:.1f} s: "
                f"{ratios[-1]:.3f}; workers busy {busy[-1]:.3f}, {len(chunks)} chunks, the longest "
                f"{max(chunks):.1f} s; processor: plain {sum(cpu for _, cpu in shares):.1f} s, "
                f"campaign {others[-1]:.1f} s more; {load()}",
                flush=True,
            )
    print(
        f"medians of {chosen.rounds}: efficiency {statistics.median(ratios):.3f}, workers busy "
        f"{statistics.median(busy):.3f}"
    )


def _timed(engine: Engine, chunks: list[float]) -> Engine:
    """An engine that notes how long workers worked on each chunk."""

    def note(future: "Future[Any]") -> None:
        if not future.cancelled() and not future.exception():
            chunks.append(future.result().seconds)

    return _with_callback(engine, note)


def processor_time() -> float:
    """Seconds of processor that this process and those it has started have used."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in processes)


# --- a poison case --------------------------------------------------------------------------------


def measure_poison(
    chosen: argparse.Namespace, names: Sequence[str] = ("ends_its_process", "ends_its_worker")
) -> None:
    """How long after its second death a case is named."""
    for name in names:
        with in_folder(chosen.folder and chosen.folder / name) as folder:
            plan = Plan(chosen.cases or 200, chosen.seed, ["float32"], [f"{POISON}:{name}"], [])
            chosen_case = list(select_cases(plan))[plan.cases // 2]
            os.environ |= ENVIRONMENT | {
                "POISON": digest_of(draw(chosen_case)),
                "POISON_DEATHS": str(folder / "deaths"),
            }
            named: list[float] = []
            with open_local() as engine:
                summary = record(folder / "run", plan, {}, executor=_watched(engine, named))
            deaths = [float(line) for line in (folder / "deaths").read_text().split()]
            (crash,) = summary.crashes
            assert crash.case == chosen_case.id
            second, last = (named[-1] - deaths[n] for n in (1, -1))
            print(
                f"{name}: {crash.case} ({crash.note}); {len(deaths)} deaths, named {second:.1f} s "
                f"after the second and {last:.1f} s after the last; "
                f"{summary.verdicts.total()} results; {load()}",
                flush=True,
            )


def _watched(engine: Engine, named: list[float]) -> Engine:
    """An engine that notes when a chunk comes back with a crash, or without its worker."""

    def note(future: "Future[Any]") -> None:
        if future.cancelled():
            return
        if future.exception() or any(
            row.verdict == "crash" for one in future.result().outputs for row in one.rows
        ):
            named.append(time.time())

    return _with_callback(engine, note)


def _with_callback(engine: Engine, note: Callable[["Future[Any]"], None]) -> Engine:
    def submit(*arguments: Any) -> "Future[Any]":
        future = engine.submit(*arguments)
        future.add_done_callback(note)
        return future

    return engine._replace(submit=submit)


# --- many cases -----------------------------------------------------------------------------------


def measure_large(chosen: argparse.Namespace) -> None:
    """Record many cases, and print the progress and the memory of the client."""
    plan = plan_of(chosen.cases or 100_000, chosen.seed)
    with in_folder(chosen.folder) as folder:
        cluster = Cluster(folder)
        client, start = start_client(folder / "run", cluster, plan), time.monotonic()
        try:
            while _wait(client, 60) is None:
                memory = psutil.Process(client.pid).memory_info().rss / 2**20
                print(
                    f"{time.monotonic() - start:.0f} s: client {memory:.0f} MB; {load()}",
                    flush=True,
                )
        finally:
            kill([client.pid])
            cluster.close()
        with open_runs(folder / "run") as (run,):
            print(f"{count_rows(run)} results in {time.monotonic() - start:.0f} s")


def load() -> str:
    """How much other work the machine has."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"


@contextmanager
def in_folder(folder: Path | None) -> Iterator[Path]:
    """A folder, or a temporary one."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="bptt-oracle.") as name:
            yield Path(name)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


MEASURES = {
    "efficiency": measure_efficiency,
    "kills": measure_kills,
    "poison": measure_poison,
    "large": measure_large,
}


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("--cases", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--workers", type=int, default=WORKERS, help="of efficiency")
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    MEASURES[chosen.measure](chosen)


if __name__ == "__main__":
    main()
