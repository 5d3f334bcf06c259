"""Workers of a Dask scheduler: the same run as a serial one, also if workers, scheduler and client
are killed; a case that ends its workers; and what is said if there are no workers."""

import os
import socket
import sys
from pathlib import Path

import pytest

from benchmarks.poison import digest_of
from bptt_oracle.__main__ import main
from bptt_oracle.cases.case import draw
from bptt_oracle.processes import chunks
from bptt_oracle.processes import cluster as clusters
from bptt_oracle.runs import record as recording
from bptt_oracle.runs.environment import environment
from bptt_oracle.runs.record import Plan, record, select_cases
from support.runs import PLAN, read, untimed

distributed = pytest.importorskip("distributed", reason="distributed (Dask) is not installed")
ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow
LOCAL = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}


def rows_of(file):
    return [row._replace(environment=0) for row in untimed(read(file)).rows]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A scheduler with two workers, which returns a chunk at the first death."""
    deaths = tmp_path_factory.mktemp("deaths") / "deaths"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POISON_DEATHS", str(deaths))
        patch.setenv("POISON", " ".join(digest_of(draw(case)) for case in KILLERS))
        import dask

        with (
            dask.config.set({"distributed.scheduler.allowed-failures": 0}),
            distributed.LocalCluster(n_workers=2, **LOCAL) as cluster,
        ):
            yield cluster.scheduler_address


POISONED = Plan(40, 0, ["float32"], ["benchmarks.poison:ends_its_worker"], [])
KILLERS = [list(select_cases(POISONED))[n] for n in (2, 4)]
WORDS = ["--cases", "6", "--seed", "3", "--dtype", "float32", "--path", "cpu-native"]
WORDS += ["--path", "cpu-cells"]


def run_command(capsys, *words):
    """Status and standard error of record."""
    with pytest.raises(SystemExit) as end:
        main(["record", *map(str, words)])
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return end.value.code, err


def test_a_run_equals_the_serial_run_row_for_row(address, tmp_path, capsys):
    record(tmp_path / "serial", PLAN, environment())
    status, said = run_command(capsys, "-o", tmp_path / "run", *WORDS, "--scheduler", address)
    assert status == 0 and "results written to" in said
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "serial")
    assert read(tmp_path / "run").environment["torch"] == environment()["torch"]


def test_cases_that_end_their_workers_are_named_after_three_deaths(address, tmp_path, monkeypatch):
    """Also if both are in one chunk, and at one death both are marked; and the others of the chunk
    are not crashes."""
    monkeypatch.setattr(chunks, "_FIRST", 12)
    file = tmp_path / "run"
    with clusters.connect(address) as engine:
        summary = record(file, POISONED, {}, executor=engine)
    killers = [case.id for case in KILLERS]
    assert sorted(crash.case for crash in summary.crashes) == sorted(killers)
    assert all("its workers died" in crash.note for crash in summary.crashes)
    assert summary.verdicts == {"agree": 38, "crash": 2}
    deaths = len(Path(os.environ["POISON_DEATHS"]).read_text().split())
    assert 5 <= deaths <= 8, "on a busy machine a mark may come late; halving takes 12 or more"
    unknown = [read(file).environments[r.environment] for r in read(file).rows if r.note]
    assert unknown == [{}, {}]


def test_workers_with_other_code_are_reported(address, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(recording, "code_digest", lambda: "0123456789abcdef")
    said = run_command(capsys, "-o", tmp_path / "run", *WORDS, "--scheduler", address)
    assert said[0] == 2 and "has other code of bptt-oracle" in said[1]
    assert "install the same version on both" in said[1]


def test_workers_without_the_resources_are_not_waited_for(address, tmp_path, capsys):
    options = ["--scheduler", address, "--resources", "GPU=1", "--wait", "1"]
    said = run_command(capsys, "-o", tmp_path / "run", *WORDS, *options)
    assert said == (
        2,
        f"bptt-oracle: the scheduler at {address} has had no worker --resources GPU=1 for 1 s; "
        f"start some: dask worker {address} --resources GPU=1\n",
    )


def test_workers_with_the_resources_are_counted_by_them(tmp_path):
    with (
        distributed.LocalCluster(
            n_workers=1, resources={"GPU": 3}, **LOCAL | {"threads_per_worker": 2}
        ) as cluster,
        clusters.connect(cluster.scheduler_address, resources={"GPU": 2}) as engine,
    ):
        assert engine.workers() == 1 and engine.submit(os.getpid).result() > 0


def test_a_scheduler_without_workers_is_reported(tmp_path, capsys):
    with distributed.LocalCluster(n_workers=0, **LOCAL) as cluster:
        options = ["--scheduler", cluster.scheduler_address, "--wait", "1"]
        said = run_command(capsys, "-o", tmp_path / "run", *WORDS, *options)
    assert said[0] == 2 and "has had no worker for 1 s; start some: dask worker" in said[1]


def test_a_missing_scheduler_is_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(clusters, "_ANSWER", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        said = run_command(capsys, "-o", tmp_path / "run", *WORDS, "--scheduler", address)
    assert said[0] == 2 and f"no Dask scheduler answers at {address}" in said[1]
    said = run_command(capsys, "-o", tmp_path / "run", *WORDS, "--scheduler", "no such:address")
    assert said[0] == 2 and "no Dask scheduler answers at no such:address" in said[1]


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "cannot be read: No such file or directory; `dask scheduler --scheduler-file` wri"),
        ("", "does not name a scheduler; `dask scheduler` writes such a file"),
        ("[]", "does not name a scheduler"),
        ('{"address": 7}', "does not name a scheduler"),
    ],
)
def test_a_file_that_names_no_scheduler_is_reported(tmp_path, capsys, content, words):
    file = tmp_path / "s.json"
    if content is not None:
        file.write_text(content)
    said = run_command(capsys, "-o", tmp_path / "run", *WORDS, "--scheduler-file", file)
    assert said[0] == 2 and f"{file} {words}" in said[1]


def test_without_dask_the_message_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    said = run_command(capsys, "-o", tmp_path / "run", *WORDS, "--scheduler", "x")
    assert said[0] == 2 and "install it: pip install 'bptt-oracle[cluster]'" in said[1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("seed", [1, 4])
def test_kills_of_workers_schedulers_and_clients_lose_and_double_nothing(tmp_path, seed):
    """Twenty kills of more cases: python -m benchmarks.campaign kills."""
    from benchmarks.campaign import plan_of, record_under_kills

    plan = plan_of(300, seed)
    record(tmp_path / "serial", plan, environment())
    survived = record_under_kills(tmp_path, plan, 4, seed, pause=(1, 5))
    assert survived.kills.total() > 0
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "serial")
