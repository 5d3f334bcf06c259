"""Record a run, continue it after a kill, read it back; reject a damaged file in one sentence."""

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import bptt_oracle
import reference
import torch_impl
from bptt_oracle.__main__ import main
from bptt_oracle.cases.case import draw, parse
from bptt_oracle.implementations.torch_paths import torch_implementation
from bptt_oracle.runs import record as recording
from bptt_oracle.runs import store
from bptt_oracle.runs.environment import environment
from bptt_oracle.runs.examine import judge_implementations
from bptt_oracle.runs.finish import code_digest, to_row
from bptt_oracle.runs.read_json import FORMAT
from bptt_oracle.runs.record import record, select_cases
from bptt_oracle.runs.row import BadRun, array_digest
from bptt_oracle.runs.schema import VERSION
from bptt_oracle.runs.seal import LENGTH, seal
from support.drawn_cases import pinned
from support.runs import PLAN, kept_values, read, row, untimed, write_run
from torch_impl.execution.catalogue import PATHS
from torch_impl.execution.run import run

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def same_code(monkeypatch):
    """Runs of one test belong to one code, even if a file is edited while the tests run."""
    monkeypatch.setattr(recording, "code_digest", lambda: "0123456789abcdef")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    file = tmp_path_factory.mktemp("recorded") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "code_digest", lambda: "0123456789abcdef")
        record(file, PLAN, environment())
    return file


def test_a_run_is_read_back_as_it_was_recorded(recorded, record_cases):
    found = read(recorded)
    record_cases("cpu-native", sum(r.path == "cpu-native" for r in found.rows))
    assert found.environment["torch"] and found.plan == PLAN.facts and found.limit == 16
    assert len(found.rows) > PLAN.cases and {r.verdict for r in found.rows} == {"agree"}
    assert [r.key for r in found.rows] == sorted(r.key for r in found.rows)
    assert {r.case for r in found.rows} == {case.id for case in select_cases(PLAN)}
    for r in found.rows:
        assert bool(r.masks) == bool(parse(r.case).dropout)
        assert (
            r.kernel == "native"
            and r.seconds > 0
            and max(t.R or 0 for t in r.tensors.values()) == r.R
        )
    assert list(recorded.parent.iterdir()) == [recorded]


def test_two_runs_on_one_machine_have_every_bit_in_common(recorded, tmp_path):
    other = tmp_path / "run"
    record(other, PLAN, environment())
    assert untimed(read(other)) == untimed(read(recorded))


class Killed(BaseException):
    """Ends a record half-way, as a signal would."""


def stop_after(number):
    def report_progress(finished, total):
        if finished == number:
            raise Killed

    return report_progress


def examined_cases(monkeypatch):
    """A list to which the id of each case is appended when it is examined."""
    seen, work = [], recording.finish_case

    def count_and_work(case, **options):
        seen.append(case.id)
        return work(case, **options)

    monkeypatch.setattr(recording, "finish_case", count_and_work)
    return seen


def stop(file, number, plan=PLAN):
    """Record until that many cases are finished; the unfinished run."""
    with pytest.raises(Killed):
        record(file, plan, environment(), report_progress=stop_after(number))
    assert not file.exists()
    return file.with_name(f"{file.name}.unfinished")


def alter(file, *statements):
    """Change a database as another program would."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


ONE = "(SELECT min(case_id) FROM cases)"
DAMAGES = {
    "whole": ((), 0),
    "a verdict": ((f"UPDATE results SET verdict = 'untrusted' WHERE case_id = {ONE}",), 1),
    "R": ((f"UPDATE results SET R = R + 1 WHERE case_id = {ONE}",), 1),
    "a type": ((f"UPDATE results SET bits = 'x' WHERE case_id = {ONE}",), 1),
    "a result": ((f"DELETE FROM results WHERE case_id = {ONE}",), 1),
    "no case": ((f"DELETE FROM cases WHERE case_id = {ONE}",), 1),
    "checksums": (("UPDATE cases SET checksum = 'x'",), 3),
    "all cases": (("DELETE FROM cases",), 3),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_continues_where_it_stopped_and_a_damaged_case_is_recorded_again(
    recorded, tmp_path, monkeypatch, damage
):
    file = tmp_path / "run"
    statements, lost = DAMAGES[damage]
    alter(stop(file, 3), *statements)
    seen = examined_cases(monkeypatch)
    record(file, PLAN, environment())
    assert len(seen) == len(set(seen)) == PLAN.cases - 3 + lost
    assert untimed(read(file)) == untimed(read(recorded))
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 100, 40_000], ids=["none", "its start", "cut"])
def test_a_log_that_was_cut_off_loses_no_more_than_its_cases(recorded, tmp_path, monkeypatch, left):
    """SQLite's log holds the last cases until they are in the database."""
    file = tmp_path / "run"
    command = [sys.executable, "-c", RECORD_AND_DIE, str(file)]
    assert subprocess.run(command, cwd=ROOT, env=PATH).returncode == -signal.SIGKILL
    log = tmp_path / "run.unfinished-wal"
    assert log.stat().st_size > 40_000
    os.truncate(log, left)
    monkeypatch.setattr(recording, "code_digest", lambda: "0123456789abcdef")
    record(file, PLAN, environment())
    assert untimed(read(file)) == untimed(read(recorded))
    assert list(tmp_path.iterdir()) == [file]


PATH = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
RECORD_AND_DIE = """
import os, signal, sys
from pathlib import Path
from bptt_oracle.runs import record
from bptt_oracle.runs.environment import environment
from support.runs import PLAN

def die(finished, total):
    if finished == 4:
        os.kill(os.getpid(), signal.SIGKILL)

record.code_digest = lambda: "0123456789abcdef"
record.record(Path(sys.argv[1]), PLAN, environment(), report_progress=die)
"""


def test_an_unfinished_run_of_other_code_is_kept_and_not_continued(tmp_path, monkeypatch):
    file = tmp_path / "run"
    unfinished = stop(file, 3)
    before = unfinished.read_bytes()
    seen = examined_cases(monkeypatch)
    monkeypatch.setattr(recording, "code_digest", lambda: "another")
    with pytest.raises(BadRun, match=r"3 cases by other code .*here another\); install .* remove"):
        record(file, PLAN, environment())
    assert seen == [] and unfinished.read_bytes() == before
    unfinished.unlink()
    record(file, PLAN, environment())
    assert len(seen) == PLAN.cases and read(file).code_digest == "another"


def test_an_unfinished_run_is_not_compared(tmp_path, capsys):
    file = tmp_path / "run"
    unfinished = stop(file, 3)
    for name in (file, unfinished):
        with pytest.raises(SystemExit) as end:
            main(["compare", str(name), str(name)])
        sentence = f"bptt-oracle: {name} is not finished; the same record command continues it\n"
        assert (end.value.code, *capsys.readouterr()) == (2, "", sentence)
    record(file, PLAN, environment())
    with pytest.raises(SystemExit) as end:
        main(["compare", str(file), str(file)])
    assert end.value.code == 0


MISMATCHES = [
    (PLAN._replace(seed=4, dtypes=["float64"]), {}, "plan (seed 3, not 4; dtypes float32, not flo"),
    (PLAN, {"torch": "2.4.1"}, f"environment (torch {environment()['torch']}, not 2.4.1)"),
]


@pytest.mark.parametrize("plan, changed, words", MISMATCHES, ids=["plan", "environment"])
def test_neither_a_run_nor_an_unfinished_one_of_another_plan_or_environment_is_overwritten(
    recorded, tmp_path, plan, changed, words
):
    file = Path(shutil.copy(recorded, tmp_path))
    other = tmp_path / "other"
    unfinished = stop(other, 1)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    for one, kind in ((file, f"{file} is a run"), (other, f"{unfinished} belongs to an unf")):
        with pytest.raises(BadRun) as rejection:
            record(one, plan, environment() | changed)
        assert str(rejection.value).startswith(kind) and words in str(rejection.value)
        assert "\n" not in str(rejection.value) and "remove" in str(rejection.value)
    assert before == {f.name: f.read_bytes() for f in tmp_path.iterdir()}


def test_the_same_plan_is_recorded_again_over_its_run_and_over_a_damaged_one(
    recorded, tmp_path, monkeypatch
):
    file = Path(shutil.copy(recorded, tmp_path))
    for damage in (lambda b: b, lambda b: b[:-9], lambda b: b""):
        file.write_bytes(damage(recorded.read_bytes()))
        monkeypatch.setattr(recording, "code_digest", lambda: "another")
        assert record(file, PLAN, environment()) and read(file).code_digest == "another"
        assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("content", [b"years of work\n", b"2024", bytes(range(256)) * 9, "sqlite"])
@pytest.mark.parametrize("linked", [False, True])
def test_a_file_that_is_not_an_unfinished_run_is_not_overwritten(tmp_path, content, linked):
    file, unfinished = tmp_path / "run", tmp_path / "run.unfinished"
    target = tmp_path / "target" if linked else unfinished
    if linked:
        unfinished.symlink_to(target)
    if content == "sqlite":
        alter(target, "CREATE TABLE thesis (page TEXT)", "INSERT INTO thesis VALUES ('work')")
    else:
        target.write_bytes(content)
    before = target.read_bytes()
    with pytest.raises(BadRun, match="no.* unfinished run; remove it, or name another output"):
        record(file, PLAN, environment())
    assert target.read_bytes() == before and not file.exists() and unfinished.exists()


@pytest.mark.parametrize("damage", [lambda b: b[:9000], lambda b: b[:8192] + bytes(16384)])
def test_an_unfinished_run_whose_pages_are_damaged_is_named(tmp_path, damage):
    file = tmp_path / "run"
    unfinished = stop(file, 3)
    content = damage(unfinished.read_bytes())
    unfinished.write_bytes(content)
    with pytest.raises(BadRun, match="is damaged, or is not an unfinished run; remove it, or name"):
        record(file, PLAN, environment())
    assert unfinished.read_bytes() == content


def test_a_second_record_into_the_same_file_is_rejected(recorded, tmp_path):
    file, messages = tmp_path / "run", []

    def second(finished, total):
        with pytest.raises(BadRun) as rejection:
            record(file, PLAN._replace(seed=finished), environment())
        messages.append(str(rejection.value))

    record(file, PLAN, environment(), report_progress=second)
    assert len(messages) == PLAN.cases + 1 and "\n" not in messages[0]
    assert all(
        "is being written by another record, or another program has it open; wait" in words
        for words in messages
    )
    assert untimed(read(file)) == untimed(read(recorded)) and list(tmp_path.iterdir()) == [file]


def test_a_run_of_a_later_schema_is_not_overwritten(recorded, tmp_path):
    file = Path(shutil.copy(recorded, tmp_path))
    os.truncate(file, file.stat().st_size - LENGTH)
    alter(file, f"PRAGMA user_version = {VERSION + 1}")
    seal(file)
    before = file.read_bytes()
    with pytest.raises(BadRun, match=f"follows schema {VERSION + 1}, and this"):
        record(file, PLAN, environment())
    assert file.read_bytes() == before


@pytest.mark.parametrize("package", [reference, torch_impl, bptt_oracle], ids=lambda p: p.__name__)
def test_the_code_digest_covers_every_package(package, tmp_path, monkeypatch):
    before = code_digest()
    copy = Path(shutil.copytree(package.__path__[0], tmp_path / "copy"))
    monkeypatch.setattr(package, "__path__", [str(copy)])
    assert code_digest() == before
    (copy / "__init__.py").write_text("LIMIT = 1e9\n")
    assert code_digest() != before


@pytest.mark.slow
def test_a_killed_process_leaves_no_workers_and_nothing_is_lost_or_doubled(tmp_path, monkeypatch):
    file, unfinished = tmp_path / "run", tmp_path / "run.unfinished-wal"
    command = [sys.executable, "-m", "bptt_oracle", "record", "-o", str(file), "--seed=5"]
    command += ["--cases=24", "--dtype=float32", "--path=cpu-native", "--workers=2"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while not unfinished.exists() or unfinished.stat().st_size < 200_000:
        assert process.poll() is None
        time.sleep(0.02)
    started = descendants(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not file.exists()
    plan = PLAN._replace(cases=24, seed=5, paths=["cpu-native"])
    progress = []
    with closing(sqlite3.connect(tmp_path / "run.unfinished")) as connection:
        head = {n: json.loads(v) for n, v in connection.execute("SELECT * FROM run")}
        done = connection.execute("SELECT count(*) FROM cases").fetchone()[0]
        (facts,) = connection.execute("SELECT facts FROM environments").fetchone()
    monkeypatch.setattr(recording, "code_digest", lambda: head["code_digest"])
    recorded_environment = json.loads(facts)  # threads and variables of that process
    record(file, plan, recorded_environment, report_progress=lambda n, total: progress.append(n))
    assert progress[0] == done > 0
    whole = tmp_path / "whole"
    record(whole, plan, recorded_environment)
    assert untimed(read(file)) == untimed(read(whole)) and len(read(whole).rows) == 24
    assert len(started) >= 3 or sys.platform != "linux"
    patience = time.monotonic() + 10
    while any(map(alive, started)):
        assert time.monotonic() < patience
        time.sleep(0.02)


def descendants(pid):
    """The ids of the processes that a process has started, and of theirs."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    children = file.read_text().split() if file.exists() else []
    return children + [one for child in children for one in descendants(child)]


def alive(pid):
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] not in "ZX"
    except OSError:
        return False


def test_the_tensors_of_a_case_in_values_are_recorded_bit_for_bit(tmp_path):
    file, case = tmp_path / "run", pinned(seed=11)
    plan = PLAN._replace(cases=1, values=[case.id])
    stop(file, 2, plan)  # so that they are continued
    record(file, plan, environment())
    found, values = read(file), kept_values(file)
    (native,) = [r for r in found.rows if (r.case, r.path) == (case.id, "cpu-native")]
    expected = run(PATHS["cpu-native"], draw(case), "float32").results
    for name, value in expected.items():
        kept = values[(*native.key, name)]
        assert kept.tobytes() == value.tobytes() and kept.shape == value.shape
        assert native.tensors[name].bits == array_digest(kept)
    assert len(values) == 2 * len(expected)


def test_a_kept_value_that_was_altered_is_recorded_again(tmp_path, monkeypatch):
    file, case = tmp_path / "run", pinned(seed=11)
    plan = PLAN._replace(cases=1, values=[case.id])
    alter(stop(file, 2, plan), "UPDATE kept SET content = zeroblob(4) WHERE tensor = 'h_n'")
    seen = examined_cases(monkeypatch)
    record(file, plan, environment())
    assert seen == [case.id] and all(value.any() for value in kept_values(file).values())


def test_the_digest_depends_on_dtype_shape_and_every_bit():
    x = np.array([[0.0, 1.0, np.nan]], np.float32)
    variants = [-x, x.T, x.astype(np.float64), np.array([[-0.0, 1.0, np.nan]], np.float32)]
    assert len({array_digest(x), *map(array_digest, variants)}) == 5
    assert array_digest(x) == array_digest(x.copy()) == array_digest(np.stack([x, x], -1)[..., 0])


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["-o", "/no/such/folder/run"], "does not exist"),
        (["-o", "."], "is a folder"),
        (["-o", ""], ". cannot be written: it is a folder; name a file in it"),
        (["-o", "run", "--values", "LSTM"], "is not a case id"),
        (["-o", "run", "--path", "cpu-fast"], "there is no path"),
        (
            ["-o", "run", "--cases=1", "--path=cpu-onednn", "--dtype=float64", "--workers=1"],
            "no case of this corpus exists on cpu-onednn in float64",
        ),
    ],
)
def test_a_run_that_cannot_be_recorded_is_rejected(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["record", *arguments])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "") and words in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_a_run_is_not_overwritten(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("thesis.md").write_text("years of work")
    alter("thesis.sqlite", "CREATE TABLE thesis (page TEXT)")
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    for name in before:
        with pytest.raises(SystemExit) as end:
            main(["record", "-o", name])
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (2, "")
        assert "was left unchanged; choose another name" in err
    assert before == {f.name: f.read_bytes() for f in tmp_path.iterdir()}


def test_an_error_of_the_system_is_reported_in_one_sentence(capsys, tmp_path, monkeypatch):
    folder, full = tmp_path / "run.unfinished", tmp_path / "full.unfinished"
    folder.mkdir()
    full.symlink_to(tmp_path / "none" / "file")
    for output, words in (
        (tmp_path / "run", f"{folder}, the unfinished run, is not a file; name another"),
        (tmp_path / "full", f"{full} cannot be written: No such file or directory; make room"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["record", "-o", str(output), "--cases=1", "--workers=1", "--path=cpu-native"])
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (2, "") and err.count("\n") == 1
        assert words in err and "Errno" not in err

    def no_room(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "finish", no_room)
    with pytest.raises(BadRun, match=r"^/.*other cannot be written: No space left on device;"):
        record(tmp_path / "other", PLAN._replace(cases=1), environment())
    assert (tmp_path / "other.unfinished").exists()  # so that the same command continues
    assert not (tmp_path / "other").exists() and not list(tmp_path.glob(".bptt*"))


@pytest.mark.parametrize("room", [100, 60_000], ids=["the head", "the cases"])
def test_an_unfinished_run_that_cannot_grow_is_named(tmp_path, room):
    """Closing it fails as well; that error must not replace the message."""
    file, before = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(BadRun, match=r"run\.unfinished cannot be written: \w.*; make room"):
            record(file, PLAN, environment())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert record(file, PLAN, environment()) and list(tmp_path.iterdir()) == [file]


def test_a_name_too_long_is_reported_in_one_sentence(capsys, tmp_path):
    for length, words in ((250, "File name too long;"), (243, "unable to open database file;")):
        file = tmp_path / ("x" * length)
        with pytest.raises(SystemExit) as end:
            main(["record", "-o", str(file), "--cases=1", "--workers=1", "--path=cpu-native"])
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (2, "") and err.count("\n") == 1
        assert f"{file}.unfinished cannot be written: {words}" in err
        assert list(tmp_path.iterdir()) == []


def test_a_file_that_mentions_the_format_is_not_a_run(capsys, tmp_path):
    file = tmp_path / "notes"
    file.write_text(f"how to read a {FORMAT}: years of work")
    with pytest.raises(SystemExit):
        main(["record", "-o", str(file), "--cases=1", "--workers=1", "--path=cpu-native"])
    assert "is not a run file and was left unchanged" in capsys.readouterr().err
    assert file.read_text().endswith("years of work")


@pytest.mark.parametrize("output", ["run", "other.unfinished"])
@pytest.mark.parametrize(
    "command",
    [
        ["check", "--cases=1", "--path=cpu-native", "--workers=1", "--json"],
        ["claims", "--markdown"],
        ["compare", "good", "good", "--json"],
        ["compare", "good", "good", "--junit"],
        ["compare", "good", "good", "--html"],
        ["compare", "good", "good", "--json=new", "--junit"],
        ["export", "good", "--json"],
        ["export", "good", "--csv"],
    ],
    ids=lambda command: " ".join(word for word in command if word != "good"),
)
def test_no_page_overwrites_a_recorded_file(tmp_path, monkeypatch, capsys, output, command):
    monkeypatch.chdir(tmp_path)
    for name in ("good", "run"):
        write_run(Path(name), row())
    stop(Path("other"), 1)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    with pytest.raises(SystemExit) as end:
        main([*command, output])
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "") and err.count("\n") == 1
    assert (
        err.startswith(f"bptt-oracle: {output} is ")
        and "was left unchanged; choose another name" in err
    )
    assert before == {f.name: f.read_bytes() for f in tmp_path.iterdir()}


def test_a_run_killed_twice_loses_nothing(recorded, tmp_path, monkeypatch):
    file = tmp_path / "run"
    for number in (3, 5):
        stop(file, number)
    seen = examined_cases(monkeypatch)
    record(file, PLAN, environment())
    assert len(seen) == PLAN.cases - 5
    assert untimed(read(file)) == untimed(read(recorded))


def test_a_case_of_the_corpus_that_values_names_is_recorded_once(tmp_path):
    file = tmp_path / "run"
    plan = PLAN._replace(cases=2, seed=3)
    plan = plan._replace(values=[list(select_cases(plan))[1].id])
    record(file, plan, environment())
    assert len({r.case for r in read(file).rows}) == 2 and kept_values(file)


def test_the_digest_of_the_masks_covers_every_layer():
    case = pinned(cell="GRU", layers=3, dropout=0.5, cotangents=("output",))
    (outcome,) = judge_implementations(case, "float32", [torch_implementation(PATHS["cpu-native"])])
    first, second = outcome.masks
    changed = [[first, 1 - second], [1 - first, second], [second, first]]
    digests = {to_row(outcome._replace(masks=m)).masks for m in [outcome.masks, *changed]}
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("package", "file"),
    [
        (bptt_oracle, "cases/covering.json"),
        (bptt_oracle, "judging/judge.py"),
        (bptt_oracle, "judging/deviations.toml"),
        (bptt_oracle, "reports/templates/script.py.j2"),
        (reference, "cells/lstm.py"),
        (torch_impl, "execution/run.py"),
    ],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_the_code_digest_covers_every_folder(package, file, tmp_path, monkeypatch):
    before = code_digest()
    copy = Path(shutil.copytree(package.__path__[0], tmp_path / "copy"))
    monkeypatch.setattr(package, "__path__", [str(copy)])
    (copy / file).write_text("[]")
    assert code_digest() != before


def test_a_run_without_read_permission_is_reported_in_one_sentence(capsys, tmp_path, monkeypatch):
    file = tmp_path / "run"
    file.write_text("")

    def deny(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("bptt_oracle.runs.file_kinds.is_run", deny)
    with pytest.raises(SystemExit) as left:
        main(["record", "-o", str(file)])
    message = capsys.readouterr().err
    assert left.value.code == 2 and message.count("\n") == 1
    assert "cannot be read: Permission denied; choose another name" in message
