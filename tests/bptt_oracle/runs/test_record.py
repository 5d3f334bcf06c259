"""A run is recorded whole, goes on after a kill, and is refused in one sentence once damaged."""

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import bptt_oracle
import reference
import torch_impl
from bptt_oracle.__main__ import main
from bptt_oracle.cases.case import draw, parse
from bptt_oracle.runs import record as recording
from bptt_oracle.runs import run_file
from bptt_oracle.runs.environment import environment
from bptt_oracle.runs.examine import answers
from bptt_oracle.runs.record import cases_of, oracle, record
from bptt_oracle.runs.run_file import (
    FORMAT,
    BadRun,
    beside,
    bits,
    digest,
    name_of,
    read,
    read_values,
    row_as_json,
    row_from_json,
    write,
)
from support.drawn_cases import pinned
from support.runs import PLAN, made_up, row, untimed
from torch_impl.execution.catalogue import PATHS
from torch_impl.execution.run import run

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def same_code(monkeypatch):
    """Whoever works on the code while its tests run has not made another oracle of it."""
    monkeypatch.setattr(recording, "oracle", lambda: "0123456789abcdef")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    file = tmp_path_factory.mktemp("recorded") / "run.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "oracle", lambda: "0123456789abcdef")
        record(file, PLAN, environment())
    return file


def test_a_run_is_read_back_as_it_was_recorded(recorded, record_cases):
    found = read(recorded)
    record_cases("cpu-native", sum(r.path == "cpu-native" for r in found.rows))
    assert found.environment["torch"] and found.plan == PLAN._asdict() and found.limit == 16
    assert len(found.rows) > PLAN.cases and {r.verdict for r in found.rows} == {"agree"}
    assert [r.case for r in found.rows] == sorted(
        (r.case for r in found.rows), key=[c.id for c in cases_of(PLAN)].index
    )
    for r in found.rows:
        assert bool(r.drawn) == bool(parse(r.case).dropout)
        assert (
            r.kernel == "native"
            and r.seconds > 0
            and max(t.R or 0 for t in r.tensors.values()) == r.R
        )
    assert list(recorded.parent.iterdir()) == [recorded]


def test_two_runs_on_one_machine_have_every_bit_in_common(recorded, tmp_path):
    other = tmp_path / "run.json"
    record(other, PLAN, environment())
    assert untimed(read(other)) == untimed(read(recorded))


class Killed(BaseException):
    """What ends a run in the middle, as a signal would."""


def stop_after(number):
    def tell(done, of):
        if done == number:
            raise Killed

    return tell


def counted(monkeypatch):
    """The cases that are examined from now on."""
    seen, examined = [], recording.examined
    monkeypatch.setattr(
        recording, "examined", lambda case, **given: seen.append(case.id) or examined(case, **given)
    )
    return seen


@pytest.mark.parametrize(
    "damage, lost",
    [
        (lambda b: b, 0),
        (lambda b: b + b'0123456789abcdef {"case": "GRU', 0),
        (lambda b: b[:-1], 1),
        (lambda b: b[:-40], 1),
        (lambda b: b.replace(b'"agree"', b'"fault"', 1), 3),
        (lambda b: b[:20] + b"x" + b[20:], 3),
        (lambda b: b[:9], 3),
        (lambda b: b"", 3),
    ],
    ids=["whole", "half a line", "no end", "cut", "altered", "head altered", "head cut", "empty"],
)
def test_a_run_goes_on_where_it_stopped_and_a_damaged_line_is_done_again(
    recorded, tmp_path, monkeypatch, damage, lost
):
    file, journal = tmp_path / "run.json", tmp_path / "run.json.journal"
    with pytest.raises(Killed):
        record(file, PLAN, environment(), tell=stop_after(3))
    assert not file.exists()
    journal.write_bytes(damage(journal.read_bytes()))
    seen = counted(monkeypatch)
    record(file, PLAN, environment())
    assert len(seen) == len(set(seen)) == PLAN.cases - 3 + lost
    assert untimed(read(file)) == untimed(read(recorded))
    assert not journal.exists()


def test_a_journal_of_other_code_is_not_gone_on_with(tmp_path, monkeypatch):
    file = tmp_path / "run.json"
    with pytest.raises(Killed):
        record(file, PLAN, environment(), tell=stop_after(3))
    seen = counted(monkeypatch)
    monkeypatch.setattr(recording, "oracle", lambda: "another")
    record(file, PLAN, environment())
    assert len(seen) == PLAN.cases and read(file).oracle == "another"


OTHERS = [
    (PLAN._replace(seed=4, dtypes=["float64"]), {}, "plan (seed 3, not 4; dtypes float32, not flo"),
    (PLAN, {"torch": "2.4.1"}, f"environment (torch {environment()['torch']}, not 2.4.1)"),
]


@pytest.mark.parametrize("plan, around, words", OTHERS, ids=["plan", "environment"])
def test_neither_a_run_nor_a_journal_of_another_plan_or_environment_is_written_over(
    recorded, tmp_path, plan, around, words
):
    file = Path(shutil.copy(recorded, tmp_path))
    unfinished, journal = tmp_path / "other.json", tmp_path / "other.json.journal"
    with pytest.raises(Killed):
        record(unfinished, PLAN, environment(), tell=stop_after(1))
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    for one, kind in ((file, f"{file} is a run"), (unfinished, f"{journal} is of an unf")):
        with pytest.raises(BadRun) as refusal:
            record(one, plan, environment() | around)
        assert str(refusal.value).startswith(kind) and words in str(refusal.value)
        assert "\n" not in str(refusal.value) and "remove" in str(refusal.value)
    assert before == {f.name: f.read_bytes() for f in tmp_path.iterdir()}


def test_the_same_plan_is_recorded_again_over_its_run_and_over_a_damaged_one(
    recorded, tmp_path, monkeypatch
):
    file = Path(shutil.copy(recorded, tmp_path))
    for damage in (lambda b: b, lambda b: b[:-9], lambda b: b""):
        file.write_bytes(damage(recorded.read_bytes()))
        monkeypatch.setattr(recording, "oracle", lambda: "another")
        assert record(file, PLAN, environment()) and read(file).oracle == "another"
        assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "content", [b"years of work\n", b"2024", bytes(range(256)) * 9, b'{"case": "GRU"}\n']
)
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_journal_is_not_written_over(tmp_path, content, linked):
    file, journal = tmp_path / "run.json", tmp_path / "run.json.journal"
    kept = tmp_path / "kept" if linked else journal
    if linked:
        journal.symlink_to(kept)
    kept.write_bytes(content)
    with pytest.raises(BadRun, match="is no journal of a run; remove it, or name another"):
        record(file, PLAN, environment())
    assert kept.read_bytes() == content and not file.exists() and journal.exists()


def test_two_records_into_one_file_at_a_time_are_one_too_many(recorded, tmp_path):
    file, told = tmp_path / "run.json", []

    def second(done, of):
        with pytest.raises(BadRun) as refusal:
            record(file, PLAN._replace(seed=done), environment())
        told.append(str(refusal.value))

    record(file, PLAN, environment(), tell=second)
    assert len(told) == PLAN.cases + 1 and "\n" not in told[0]
    assert all("is being written by another record; wait for its end" in words for words in told)
    assert untimed(read(file)) == untimed(read(recorded)) and list(tmp_path.iterdir()) == [file]


def test_a_run_of_a_later_version_is_not_written_over(good):
    good.write_bytes(sealed({}, 2))
    with pytest.raises(BadRun, match="follows schema 2"):
        record(good, PLAN, environment())
    assert good.read_bytes() == sealed({}, 2)


@pytest.mark.parametrize("package", [reference, torch_impl, bptt_oracle], ids=lambda p: p.__name__)
def test_the_oracle_of_a_run_is_the_code_of_every_package(package, tmp_path, monkeypatch):
    before = oracle()
    copy = Path(shutil.copytree(package.__path__[0], tmp_path / "copy"))
    monkeypatch.setattr(package, "__path__", [str(copy)])
    assert oracle() == before
    (copy / "__init__.py").write_text("LIMIT = 1e9\n")
    assert oracle() != before


@pytest.mark.slow
def test_a_killed_process_leaves_no_workers_and_nothing_is_lost_or_doubled(tmp_path, monkeypatch):
    file, journal = tmp_path / "run.json", tmp_path / "run.json.journal"
    command = [sys.executable, "-m", "bptt_oracle", "record", "-o", str(file), "--seed=5"]
    command += ["--cases=24", "--dtype=float32", "--path=cpu-native", "--workers=2"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while not journal.exists() or journal.read_bytes().count(b"\n") < 4:
        assert process.poll() is None
        time.sleep(0.02)
    started = descendants(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not file.exists()
    done = journal.read_bytes().count(b"\n")
    plan = PLAN._replace(cases=24, seed=5, paths=["cpu-native"])
    told = []
    head = json.loads(journal.read_bytes().split(b"\n")[0].partition(b" ")[2])
    monkeypatch.setattr(recording, "oracle", lambda: head["oracle"])
    around = head["environment"]  # the threads and variables of that process, not of this
    record(file, plan, around, tell=lambda n, of: told.append(n))
    assert told[0] >= done - 2 > 0  # the head, and a line cut in the middle, are not cases
    whole = tmp_path / "whole.json"
    record(whole, plan, around)
    assert untimed(read(file)) == untimed(read(whole)) and len(read(whole).rows) == 24
    assert len(started) >= 3 or sys.platform != "linux"
    patience = time.monotonic() + 10
    while any(map(alive, started)):
        assert time.monotonic() < patience
        time.sleep(0.02)


def descendants(pid):
    """The processes that a process has started, and those that they have."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    children = file.read_text().split() if file.exists() else []
    return children + [one for child in children for one in descendants(child)]


def alive(pid):
    """Whether a process runs; one that has ended but was not yet fetched does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] not in "ZX"
    except OSError:
        return False


def test_the_tensors_of_a_case_asked_for_are_kept_to_the_bit(tmp_path):
    file, case = tmp_path / "run.json", pinned(seed=11)
    plan = PLAN._replace(cases=1, values=[case.id])
    with pytest.raises(Killed):
        record(file, plan, environment(), tell=stop_after(2))  # so that they pass by the journal
    record(file, plan, environment())
    found = read(file)
    values = read_values(file, found)
    (native,) = [r for r in found.rows if (r.case, r.path) == (case.id, "cpu-native")]
    meant = run(PATHS["cpu-native"], draw(case), "float32").results
    for name, value in meant.items():
        kept = values[name_of(native, name)]
        assert kept.tobytes() == value.tobytes() and native.tensors[name].bits == bits(kept)
    assert len(values) == 2 * len(meant)


def test_the_digest_tells_type_shape_and_every_bit():
    x = np.array([[0.0, 1.0, np.nan]], np.float32)
    others = [-x, x.T, x.astype(np.float64), np.array([[-0.0, 1.0, np.nan]], np.float32)]
    assert len({bits(x), *map(bits, others)}) == 5
    assert bits(x) == bits(x.copy()) == bits(np.stack([x, x], -1)[..., 0])


def test_infinities_and_what_cannot_tell_are_written_and_read():
    for r in (row(R=np.inf, verdict="fault", note="RuntimeError: no"), row(R=3.25, R_h_n=None)):
        assert row_from_json(json.loads(json.dumps(row_as_json(r)))) == r
    assert np.inf == row_from_json(row_as_json(row(R=np.nan))).R


def refused(file, place=1):
    """The sentence with which the command line refuses a file, old or new beside a good one."""
    pair = [str(file.parent / "good.json")] * 2
    pair[place] = str(file)
    with pytest.raises(SystemExit) as stop:
        main(["compare", *pair])
    assert stop.value.code == 2
    with pytest.raises(BadRun) as refusal:
        read(file)
    return str(refusal.value)


@pytest.fixture
def good(tmp_path):
    file = tmp_path / "good.json"
    write(file, made_up(*(row(n) for n in range(8))), {})
    return file


def mutations(whole):
    """140 files that are not as they were written: flips, cuts, insertions, repetitions."""
    rng = np.random.default_rng(17)
    for _ in range(80):
        at, bit = int(rng.integers(len(whole))), int(rng.integers(8))
        yield whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :]
    for at in rng.integers(len(whole), size=30):
        yield whole[:at]
    for at in rng.integers(len(whole), size=20):
        yield whole[:at] + rng.bytes(int(rng.integers(1, 9))) + whole[at:]
    for at in rng.integers(len(whole), size=10):
        yield whole[:at] + whole[at // 2 :]


def sealed(body, schema=1):
    """A file with a checksum that fits, whatever is in it."""
    rest = body if isinstance(body, bytes) else json.dumps(body)[1:].encode()
    head = f'{{"format": "{FORMAT}", "schema": {schema}, "checksum": "{digest(rest)}",\n'
    return head.encode() + rest


def wrong_types(whole):
    """60 files whose checksum fits, and that hold what cannot stand in its place."""
    body = json.loads(whole)
    del body["format"], body["schema"], body["checksum"]
    wrong = [None, True, -1, 1.5, "word", [], {}, [[]], {"a": 1}, -float("inf"), float("nan")]
    strings = ("case", "path", "dtype", "verdict", "tensor", "place", "kernel", "note", "drawn")
    for name in (*strings, "R", "seconds", "tensors"):
        for value in (wrong[int(i)] for i in (0, 1, 2, 7)):
            yield sealed(with_row(body, name, value))
    for name in ("oracle", "environment", "plan", "results", "values", "limit"):
        yield sealed(body | {name: None})
        yield sealed({key: value for key, value in body.items() if key != name})
    yield sealed(body | {"results": body["results"] * 2})
    yield sealed(with_row(body, "note", "\x1b[2J"))
    for tensors in ({"output": 1}, {"output": [1]}, {"output": [1, 2]}, {"\x07": [1, "a"]}):
        yield sealed(with_row(body, "tensors", tensors))
    for value in (10**400, float("nan")):
        yield sealed(with_row(body, "R", value)) if value != value else b"[" * 100_000
    yield sealed(b'"results": ' + b"[" * 100_000 + b"}")


def with_row(body, name, value):
    return body | {"results": [body["results"][0] | {name: value}, *body["results"][1:]]}


def test_200_damaged_files_are_refused_with_a_sentence_and_exit_2(good, tmp_path, capsys):
    whole, file = good.read_bytes(), tmp_path / "bad.json"
    damaged = [*mutations(whole), *wrong_types(whole)]
    assert len(damaged) >= 200
    for i, content in enumerate(content for content in damaged if content != whole):
        file.write_bytes(content)
        sentence = refused(file, i % 2)
        out, err = capsys.readouterr()
        assert sentence and "\n" not in sentence and str(file) in sentence
        assert out == "" and err == f"bptt-oracle: {sentence}\n"


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda f: f.unlink(), "no file"),
        (lambda f: f.unlink() or f.mkdir(), "no file"),
        (lambda f: f.write_bytes(b""), "not a run"),
        (lambda f: f.write_text('{"results": []}'), "not a run"),
        (lambda f: f.write_bytes(sealed({}, 2)), "follows schema 2, and this"),
        (lambda f: f.write_bytes(sealed({}, 0)), "not a run"),
        (lambda f: f.write_text(json.dumps(json.loads(f.read_text()))), "changed since"),
        (lambda f: os.truncate(f, 10 * 2**30), "10240 MB"),
    ],
)
def test_what_is_no_run_is_told_for_what_it_is(good, tmp_path, change, words):
    file = tmp_path / "bad.json"
    file.write_bytes(good.read_bytes())
    change(file)
    assert words in refused(file)


@pytest.mark.slow
def test_a_file_made_to_fill_the_memory_does_not(tmp_path):
    file, used = tmp_path / "large.json", []
    for filling, size in (b"", 0), (b'{"a":[]},', run_file.LARGEST), (b"0.1,", run_file.LARGEST):
        many = filling * ((size - 10_000) // max(len(filling), 1))
        file.write_bytes(sealed(b'"results": [' + many + b"0]}"))
        with open(tmp_path / "said", "w+") as out, open(tmp_path / "told", "w+") as error:
            command = [sys.executable, "-m", "bptt_oracle", "compare", file, file]
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=error)
            _, status, usage = os.wait4(process.pid, 0)  # of this one alone
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0), error.seek(0)
            assert (process.returncode, out.read(), error.read().count("\n")) == (2, "", 1)
        used.append(usage.ru_maxrss)
    assert max(used) - used[0] < 400_000, "kB, above what the same takes for a file of no size"


def test_values_that_are_not_those_of_the_run_are_refused(tmp_path):
    file = tmp_path / "run.json"
    r = row()
    write(file, made_up(r), {name_of(r, "output"): np.arange(6.0)})
    found = read(file)
    assert read_values(file, found)[name_of(r, "output")].tolist() == list(range(6))
    whole = beside(file).read_bytes()
    for content in (whole[:-1], whole[:40] + b"x" + whole[41:], b"", b"no archive"):
        beside(file).write_bytes(content)
        with pytest.raises(BadRun, match="does not hold the values"):
            read_values(file, found)
    np.savez(beside(file), **{"output": np.array([print], object)})
    pickled = found._replace(values=digest(beside(file).read_bytes()))
    with pytest.raises(BadRun, match="does not hold arrays"):
        read_values(file, pickled)
    beside(file).write_bytes(b"no archive")
    with pytest.raises(BadRun, match="does not hold arrays"):
        read_values(file, found._replace(values=digest(b"no archive")))


def bomb():
    """An archive of 300 MB of zeros in 300 kB."""
    archive = io.BytesIO()
    np.savez_compressed(archive, x=np.zeros(300 * 2**20, np.int8))
    return archive.getvalue()


def absurd(shape):
    """An archive of one array that says it has that shape."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"shape": shape, "fortran_order": False, "descr": "<f8"}
        )
        members.writestr("x.npy", header.getvalue() + b"12345678")
    return archive.getvalue()


SHAPES = [(2**62,), (2**40, 2**40), (-1,), (2**28,), (10**400,), ("a",)]


@pytest.mark.parametrize(
    "content",
    [bomb, *(partial(absurd, shape) for shape in SHAPES)],
    ids=["bomb", *map("x".join, (map(str, s) for s in SHAPES[:-2])), "10^400", "word"],
)
def test_values_of_absurd_sizes_are_refused_in_little_memory(tmp_path, content):
    file = tmp_path / "run.json"
    write(file, made_up(row()), {name_of(row(), "output"): np.arange(6.0)})
    beside(file).write_bytes(content())
    made = read(file)._replace(values=digest(beside(file).read_bytes()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadRun) as refusal:
        read_values(file, made)
    assert "\n" not in str(refusal.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["-o", "/no/such/folder/run.json"], "does not exist"),
        (["-o", "."], "is a folder"),
        (["-o", ""], ". cannot be written: it is a folder, and no name; name a file"),
        (["-o", "run.json", "--values", "LSTM"], "is not a case id"),
        (["-o", "run.json", "--cases", "100000"], "do not fit into one file"),
        (["-o", "run.json", "--path", "cpu-fast"], "there is no path"),
        (
            ["-o", "run.json", "--cases=1", "--path=cpu-onednn", "--dtype=float64", "--workers=1"],
            "no case of this corpus exists on cpu-onednn in float64",
        ),
    ],
)
def test_what_cannot_be_recorded_is_refused(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["record", *arguments])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "") and words in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_run_is_not_written_over(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.md").write_text("years of work")
    (tmp_path / "run.npz").write_text("years of data")
    case = pinned().id
    for arguments in (["-o", "thesis.md"], ["-o", "run.json", "--values", case]):
        with pytest.raises(SystemExit) as stop:
            main(["record", *arguments])
        out, err = capsys.readouterr()
        assert (stop.value.code, out) == (2, "") and "name another file" in err
    assert {file.name for file in tmp_path.iterdir()} == {"thesis.md", "run.npz"}
    assert (tmp_path / "thesis.md").read_text() == "years of work"


def test_what_the_system_says_of_a_file_is_told_in_a_sentence(capsys, tmp_path, monkeypatch):
    folder, full = tmp_path / "run.json.journal", tmp_path / "full.json.journal"
    folder.mkdir()
    full.symlink_to(tmp_path / "none" / "file")
    for output, words in (
        (tmp_path / "run.json", f"{folder}, for the cases that are done, is no file; name another"),
        (tmp_path / "full.json", f"{full} cannot be written: No such file or directory; make room"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["record", "-o", str(output), "--cases=1", "--workers=1", "--path=cpu-native"])
        out, err = capsys.readouterr()
        assert (stop.value.code, out) == (2, "") and err.count("\n") == 1
        assert words in err and "Errno" not in err

    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording, "write", no_room)
    with pytest.raises(
        BadRun, match=r"^/.*other\.json cannot be written: No space left on device;"
    ):
        record(tmp_path / "other.json", PLAN._replace(cases=1), environment())
    assert (tmp_path / "other.json.journal").exists()  # the same command goes on


@pytest.mark.parametrize("room", [100, 6000], ids=["the head", "the cases"])
def test_a_journal_that_has_no_room_is_named(tmp_path, room):
    """Closing it fails as well, which must not be what is told."""
    file, before = tmp_path / "run.json", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(BadRun, match=r"run\.json\.journal cannot be written: File too large;"):
            record(file, PLAN, environment())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert record(file, PLAN, environment()) and list(tmp_path.iterdir()) == [file]


def test_a_name_too_long_for_its_journal_is_told_in_a_sentence(capsys, tmp_path):
    file = tmp_path / ("x" * 250)
    with pytest.raises(SystemExit) as stop:
        main(["record", "-o", str(file), "--cases=1", "--workers=1", "--path=cpu-native"])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "") and err.count("\n") == 1
    assert f"{file}.journal cannot be written: File name too long;" in err


def test_a_file_that_speaks_of_runs_is_none(capsys, tmp_path):
    file = tmp_path / "notes"
    file.write_text(f"how to read a {FORMAT}: years of work")
    with pytest.raises(SystemExit):
        main(["record", "-o", str(file), "--cases=1", "--workers=1", "--path=cpu-native"])
    assert "is not a run file and was left unchanged" in capsys.readouterr().err
    assert file.read_text().endswith("years of work")


@pytest.mark.parametrize("kept", ["run.json", "run.npz", "other.json.journal"])
@pytest.mark.parametrize(
    "command",
    [
        ["check", "--cases=1", "--path=cpu-native", "--workers=1", "--json"],
        ["claims", "--markdown"],
        ["compare", "good.json", "good.json", "--json"],
        ["compare", "good.json", "good.json", "--junit"],
        ["compare", "good.json", "good.json", "--html"],
        ["compare", "good.json", "good.json", "--json=new.json", "--junit"],
    ],
    ids=lambda command: " ".join(word for word in command if word != "good.json"),
)
def test_no_page_is_written_over_what_was_recorded(
    good, tmp_path, monkeypatch, capsys, kept, command
):
    monkeypatch.chdir(tmp_path)
    case = pinned()
    record(Path("run.json"), PLAN._replace(cases=1, values=[case.id]), environment())
    with pytest.raises(Killed):
        record(Path("other.json"), PLAN, environment(), tell=stop_after(1))
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    with pytest.raises(SystemExit) as stop:
        main([*command, kept])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "") and err.count("\n") == 1
    assert (
        err.startswith(f"bptt-oracle: {kept} is ")
        and "was left unchanged; choose another name" in err
    )
    assert before == {f.name: f.read_bytes() for f in tmp_path.iterdir()}


def test_values_beside_a_run_are_written_over_by_its_own_alone(tmp_path):
    file, plan = tmp_path / "run.json", PLAN._replace(cases=1, values=[pinned().id])
    record(file, plan, environment())
    record(file, plan, environment())
    beside(file).write_text("years of data")
    with pytest.raises(BadRun, match="does not hold values of .*; remove it, or name another"):
        record(file, plan, environment())
    assert beside(file).read_text() == "years of data" and read(file).values


def test_a_run_killed_twice_loses_nothing_though_the_first_kill_left_half_a_line(
    recorded, tmp_path, monkeypatch
):
    file, journal = tmp_path / "run.json", tmp_path / "run.json.journal"
    with pytest.raises(Killed):
        record(file, PLAN, environment(), tell=stop_after(3))
    journal.write_bytes(journal.read_bytes() + b'0123456789abcdef {"case": "GRU')
    with pytest.raises(Killed):
        record(file, PLAN, environment(), tell=stop_after(5))
    seen = counted(monkeypatch)
    record(file, PLAN, environment())
    assert len(seen) == PLAN.cases - 5
    assert untimed(read(file)) == untimed(read(recorded))


def test_a_case_of_the_corpus_asked_for_by_name_is_recorded_once(tmp_path):
    file = tmp_path / "run.json"
    plan = PLAN._replace(cases=2, seed=3)
    plan = plan._replace(values=[cases_of(plan)[1].id])
    record(file, plan, environment())
    found = read(file)
    assert len({r.case for r in found.rows}) == 2 and read_values(file, found)


def test_the_masks_of_every_layer_are_in_the_digest_of_what_was_drawn():
    case = pinned(cell="GRU", layers=3, dropout=0.5, cotangents=("output",))
    (answer,) = answers(case, "float32", [PATHS["cpu-native"]])
    first, second = answer.masks
    others = [[first, 1 - second], [1 - first, second], [second, first]]
    drawn = {recording._row(answer._replace(masks=m)).drawn for m in [answer.masks, *others]}
    assert len(drawn) == 4


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
def test_the_oracle_of_a_run_covers_files_in_every_room(package, file, tmp_path, monkeypatch):
    before = oracle()
    copy = Path(shutil.copytree(package.__path__[0], tmp_path / "copy"))
    monkeypatch.setattr(package, "__path__", [str(copy)])
    (copy / file).write_text("[]")
    assert oracle() != before


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda body: with_row(body, "verdict", "known deviation"), "verdict is none of agree"),
        (lambda body: body | {"environment": {"torch": "\x1b[2J"}}, "control characters"),
        (lambda body: body | {"plan": {"paths": ["\x1b[2J"]}}, "plan holds control characters"),
    ],
)
def test_a_sealed_file_of_other_words_is_refused(good, tmp_path, change, words):
    body = json.loads(good.read_bytes())
    del body["format"], body["schema"], body["checksum"]
    file = tmp_path / "bad.json"
    file.write_bytes(sealed(change(body)))
    assert words in refused(file)


def test_a_run_that_may_not_be_read_is_told_in_a_sentence(capsys, tmp_path, monkeypatch):
    file = tmp_path / "run.json"
    file.write_text("")

    def closed(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("bptt_oracle.runs.run_file.is_run", closed)
    with pytest.raises(SystemExit) as left:
        main(["record", "-o", str(file)])
    told = capsys.readouterr().err
    assert left.value.code == 2 and told.count("\n") == 1
    assert "cannot be read: Permission denied; name another file" in told
