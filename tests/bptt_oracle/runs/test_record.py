"""Record a run, continue it after a kill, read it back; reject a damaged file in one sentence."""

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
from bptt_oracle.implementations.torch_paths import torch_implementation
from bptt_oracle.runs import record as recording
from bptt_oracle.runs import run_file
from bptt_oracle.runs.compare import compare
from bptt_oracle.runs.environment import environment
from bptt_oracle.runs.examine import judge_implementations
from bptt_oracle.runs.record import Plan, code_digest, record, select_cases
from bptt_oracle.runs.run_file import (
    FORMAT,
    BadRun,
    array_digest,
    digest,
    read,
    read_values,
    row_from_json,
    row_to_json,
    tensor_key,
    values_path,
    write,
)
from support.drawn_cases import pinned
from support.runs import PLAN, made_up, row, untimed
from torch_impl.execution.catalogue import PATHS
from torch_impl.execution.run import run

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def same_code(monkeypatch):
    """Runs of one test belong to one code, even if a file is edited while the tests run."""
    monkeypatch.setattr(recording, "code_digest", lambda: "0123456789abcdef")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    file = tmp_path_factory.mktemp("recorded") / "run.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "code_digest", lambda: "0123456789abcdef")
        record(file, PLAN, environment())
    return file


def test_a_run_is_read_back_as_it_was_recorded(recorded, record_cases):
    found = read(recorded)
    record_cases("cpu-native", sum(r.path == "cpu-native" for r in found.rows))
    assert found.environment["torch"] and found.plan == PLAN._asdict() and found.limit == 16
    assert len(found.rows) > PLAN.cases and {r.verdict for r in found.rows} == {"agree"}
    assert [r.case for r in found.rows] == sorted(
        (r.case for r in found.rows), key=[c.id for c in select_cases(PLAN)].index
    )
    for r in found.rows:
        assert bool(r.masks) == bool(parse(r.case).dropout)
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
def test_a_run_continues_where_it_stopped_and_a_damaged_line_is_recorded_again(
    recorded, tmp_path, monkeypatch, damage, lost
):
    file, journal = tmp_path / "run.json", tmp_path / "run.json.journal"
    with pytest.raises(Killed):
        record(file, PLAN, environment(), report_progress=stop_after(3))
    assert not file.exists()
    journal.write_bytes(damage(journal.read_bytes()))
    seen = examined_cases(monkeypatch)
    record(file, PLAN, environment())
    assert len(seen) == len(set(seen)) == PLAN.cases - 3 + lost
    assert untimed(read(file)) == untimed(read(recorded))
    assert not journal.exists()


def test_a_journal_of_other_code_is_not_continued(tmp_path, monkeypatch):
    file = tmp_path / "run.json"
    with pytest.raises(Killed):
        record(file, PLAN, environment(), report_progress=stop_after(3))
    seen = examined_cases(monkeypatch)
    monkeypatch.setattr(recording, "code_digest", lambda: "another")
    record(file, PLAN, environment())
    assert len(seen) == PLAN.cases and read(file).code_digest == "another"


MISMATCHES = [
    (PLAN._replace(seed=4, dtypes=["float64"]), {}, "plan (seed 3, not 4; dtypes float32, not flo"),
    (PLAN, {"torch": "2.4.1"}, f"environment (torch {environment()['torch']}, not 2.4.1)"),
]


@pytest.mark.parametrize("plan, changed, words", MISMATCHES, ids=["plan", "environment"])
def test_neither_a_run_nor_a_journal_of_another_plan_or_environment_is_overwritten(
    recorded, tmp_path, plan, changed, words
):
    file = Path(shutil.copy(recorded, tmp_path))
    unfinished, journal = tmp_path / "other.json", tmp_path / "other.json.journal"
    with pytest.raises(Killed):
        record(unfinished, PLAN, environment(), report_progress=stop_after(1))
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    for one, kind in ((file, f"{file} is a run"), (unfinished, f"{journal} belongs to an unf")):
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


@pytest.mark.parametrize(
    "content", [b"years of work\n", b"2024", bytes(range(256)) * 9, b'{"case": "GRU"}\n']
)
@pytest.mark.parametrize("linked", [False, True])
def test_a_file_that_is_not_a_journal_is_not_overwritten(tmp_path, content, linked):
    file, journal = tmp_path / "run.json", tmp_path / "run.json.journal"
    target = tmp_path / "target" if linked else journal
    if linked:
        journal.symlink_to(target)
    target.write_bytes(content)
    with pytest.raises(BadRun, match="is not the journal of a run; remove it, or name another"):
        record(file, PLAN, environment())
    assert target.read_bytes() == content and not file.exists() and journal.exists()


def test_a_second_record_into_the_same_file_is_rejected(recorded, tmp_path):
    file, messages = tmp_path / "run.json", []

    def second(finished, total):
        with pytest.raises(BadRun) as rejection:
            record(file, PLAN._replace(seed=finished), environment())
        messages.append(str(rejection.value))

    record(file, PLAN, environment(), report_progress=second)
    assert len(messages) == PLAN.cases + 1 and "\n" not in messages[0]
    assert all(
        "is being written by another record; wait for its end" in words for words in messages
    )
    assert untimed(read(file)) == untimed(read(recorded)) and list(tmp_path.iterdir()) == [file]


def test_a_run_of_a_later_schema_is_not_overwritten(good):
    good.write_bytes(sealed({}, 3))
    with pytest.raises(BadRun, match="follows schema 3"):
        record(good, PLAN, environment())
    assert good.read_bytes() == sealed({}, 3)


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
    progress = []
    head = json.loads(journal.read_bytes().split(b"\n")[0].partition(b" ")[2])
    monkeypatch.setattr(recording, "code_digest", lambda: head["code_digest"])
    recorded_environment = head["environment"]  # threads and variables of that process
    record(file, plan, recorded_environment, report_progress=lambda n, total: progress.append(n))
    assert progress[0] >= done - 2 > 0  # the head, and a line cut in the middle, are not cases
    whole = tmp_path / "whole.json"
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
    file, case = tmp_path / "run.json", pinned(seed=11)
    plan = PLAN._replace(cases=1, values=[case.id])
    with pytest.raises(Killed):
        record(
            file, plan, environment(), report_progress=stop_after(2)
        )  # so that they go through the journal
    record(file, plan, environment())
    found = read(file)
    values = read_values(file, found)
    (native,) = [r for r in found.rows if (r.case, r.path) == (case.id, "cpu-native")]
    expected = run(PATHS["cpu-native"], draw(case), "float32").results
    for name, value in expected.items():
        recorded = values[tensor_key(native, name)]
        assert recorded.tobytes() == value.tobytes()
        assert native.tensors[name].bits == array_digest(recorded)
    assert len(values) == 2 * len(expected)


def test_the_digest_depends_on_dtype_shape_and_every_bit():
    x = np.array([[0.0, 1.0, np.nan]], np.float32)
    variants = [-x, x.T, x.astype(np.float64), np.array([[-0.0, 1.0, np.nan]], np.float32)]
    assert len({array_digest(x), *map(array_digest, variants)}) == 5
    assert array_digest(x) == array_digest(x.copy()) == array_digest(np.stack([x, x], -1)[..., 0])


def test_infinities_and_missing_ratios_are_written_and_read():
    for r in (row(R=np.inf, verdict="fault", note="RuntimeError: no"), row(R=3.25, R_h_n=None)):
        assert row_from_json(json.loads(json.dumps(row_to_json(r)))) == r
    assert np.inf == row_from_json(row_to_json(row(R=np.nan))).R


def rejection_of(file, place=1):
    """The message with which compare rejects a file, as OLD or as NEW, next to a good one."""
    pair = [str(file.parent / "good.json")] * 2
    pair[place] = str(file)
    with pytest.raises(SystemExit) as stop:
        main(["compare", *pair])
    assert stop.value.code == 2
    with pytest.raises(BadRun) as rejection:
        read(file)
    return str(rejection.value)


@pytest.fixture
def good(tmp_path):
    file = tmp_path / "good.json"
    write(file, made_up(*(row(n) for n in range(8))), {})
    return file


def mutations(whole):
    """140 damaged files: flipped bits, cuts, insertions, repetitions."""
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


def sealed(body, schema=2):
    """A file with the right checksum, whatever its content."""
    rest = body if isinstance(body, bytes) else json.dumps(body)[1:].encode()
    head = f'{{"format": "{FORMAT}", "schema": {schema}, "checksum": "{digest(rest)}",\n'
    return head.encode() + rest


def wrong_types(whole):
    """60 files with the right checksum and a value of a wrong type."""
    body = json.loads(whole)
    del body["format"], body["schema"], body["checksum"]
    wrong = [None, True, -1, 1.5, "word", [], {}, [[]], {"a": 1}, -float("inf"), float("nan")]
    strings = ("case", "path", "dtype", "verdict", "tensor", "place", "kernel", "note", "masks")
    for name in (*strings, "R", "seconds", "tensors"):
        for value in (wrong[int(i)] for i in (0, 1, 2, 7)):
            yield sealed(with_row(body, name, value))
    for name in ("code_digest", "environment", "plan", "results", "values", "limit"):
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


def test_200_damaged_files_are_rejected_with_one_sentence_and_exit_2(good, tmp_path, capsys):
    whole, file = good.read_bytes(), tmp_path / "bad.json"
    damaged = [*mutations(whole), *wrong_types(whole)]
    assert len(damaged) >= 200
    for i, content in enumerate(content for content in damaged if content != whole):
        file.write_bytes(content)
        sentence = rejection_of(file, i % 2)
        out, err = capsys.readouterr()
        assert sentence and "\n" not in sentence and str(file) in sentence
        assert out == "" and err == f"bptt-oracle: {sentence}\n"


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda f: f.unlink(), "is not a file"),
        (lambda f: f.unlink() or f.mkdir(), "is not a file"),
        (lambda f: f.write_bytes(b""), "not a run"),
        (lambda f: f.write_text('{"results": []}'), "not a run"),
        (lambda f: f.write_bytes(sealed({}, 3)), "follows schema 3, and this"),
        (lambda f: f.write_bytes(sealed({}, 0)), "not a run"),
        (lambda f: f.write_text(json.dumps(json.loads(f.read_text()))), "changed since"),
        (lambda f: os.truncate(f, 10 * 2**30), "10240 MB"),
    ],
)
def test_the_message_says_why_a_file_is_not_a_run(good, tmp_path, change, words):
    file = tmp_path / "bad.json"
    file.write_bytes(good.read_bytes())
    change(file)
    assert words in rejection_of(file)


@pytest.mark.slow
def test_a_file_made_to_fill_the_memory_is_rejected_in_little_memory(tmp_path):
    file, used = tmp_path / "large.json", []
    for filling, size in (b"", 0), (b'{"a":[]},', run_file.LARGEST), (b"0.1,", run_file.LARGEST):
        many = filling * ((size - 10_000) // max(len(filling), 1))
        file.write_bytes(sealed(b'"results": [' + many + b"0]}"))
        with open(tmp_path / "out", "w+") as out, open(tmp_path / "error", "w+") as error:
            command = [sys.executable, "-m", "bptt_oracle", "compare", file, file]
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=error)
            _, status, usage = os.wait4(process.pid, 0)  # the usage of this process only
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0), error.seek(0)
            assert (process.returncode, out.read(), error.read().count("\n")) == (2, "", 1)
        used.append(usage.ru_maxrss)
    assert max(used) - used[0] < 400_000, "kB more than an empty file takes"


def test_values_of_another_run_are_rejected(tmp_path):
    file = tmp_path / "run.json"
    r = row()
    write(file, made_up(r), {tensor_key(r, "output"): np.arange(6.0)})
    found = read(file)
    assert read_values(file, found)[tensor_key(r, "output")].tolist() == list(range(6))
    whole = values_path(file).read_bytes()
    for content in (whole[:-1], whole[:40] + b"x" + whole[41:], b"", b"no archive"):
        values_path(file).write_bytes(content)
        with pytest.raises(BadRun, match="does not hold the values"):
            read_values(file, found)
    np.savez(values_path(file), **{"output": np.array([print], object)})
    pickled = found._replace(values=digest(values_path(file).read_bytes()))
    with pytest.raises(BadRun, match="does not hold arrays"):
        read_values(file, pickled)
    values_path(file).write_bytes(b"no archive")
    with pytest.raises(BadRun, match="does not hold arrays"):
        read_values(file, found._replace(values=digest(b"no archive")))


def bomb():
    """An archive of 300 MB of zeros in 300 kB."""
    archive = io.BytesIO()
    np.savez_compressed(archive, x=np.zeros(300 * 2**20, np.int8))
    return archive.getvalue()


def absurd(shape):
    """An archive of one array whose header has that shape."""
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
def test_values_of_absurd_sizes_are_rejected_in_little_memory(tmp_path, content):
    file = tmp_path / "run.json"
    write(file, made_up(row()), {tensor_key(row(), "output"): np.arange(6.0)})
    values_path(file).write_bytes(content())
    made = read(file)._replace(values=digest(values_path(file).read_bytes()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadRun) as rejection:
        read_values(file, made)
    assert "\n" not in str(rejection.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["-o", "/no/such/folder/run.json"], "does not exist"),
        (["-o", "."], "is a folder"),
        (["-o", ""], ". cannot be written: it is a folder; name a file in it"),
        (["-o", "run.json", "--values", "LSTM"], "is not a case id"),
        (["-o", "run.json", "--cases", "100000"], "do not fit into one file"),
        (["-o", "run.json", "--path", "cpu-fast"], "there is no path"),
        (
            ["-o", "run.json", "--cases=1", "--path=cpu-onednn", "--dtype=float64", "--workers=1"],
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
    (tmp_path / "thesis.md").write_text("years of work")
    (tmp_path / "run.npz").write_text("years of data")
    case = pinned().id
    for arguments, words in (
        (["-o", "thesis.md"], "was left unchanged; choose another name"),
        (["-o", "run.json", "--values", case], "remove it, or name another file"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["record", *arguments])
        out, err = capsys.readouterr()
        assert (stop.value.code, out) == (2, "") and words in err
    assert {file.name for file in tmp_path.iterdir()} == {"thesis.md", "run.npz"}
    assert (tmp_path / "thesis.md").read_text() == "years of work"


def test_an_error_of_the_system_is_reported_in_one_sentence(capsys, tmp_path, monkeypatch):
    folder, full = tmp_path / "run.json.journal", tmp_path / "full.json.journal"
    folder.mkdir()
    full.symlink_to(tmp_path / "none" / "file")
    for output, words in (
        (
            tmp_path / "run.json",
            f"{folder}, the journal of finished cases, is not a file; name another",
        ),
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
    assert (tmp_path / "other.json.journal").exists()  # so that the same command continues


@pytest.mark.parametrize("room", [100, 6000], ids=["the head", "the cases"])
def test_a_journal_that_cannot_grow_is_named(tmp_path, room):
    """Closing it fails as well; that error must not replace the message."""
    file, before = tmp_path / "run.json", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(BadRun, match=r"run\.json\.journal cannot be written: File too large;"):
            record(file, PLAN, environment())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert record(file, PLAN, environment()) and list(tmp_path.iterdir()) == [file]


def test_a_name_too_long_for_its_journal_is_reported_in_one_sentence(capsys, tmp_path):
    file = tmp_path / ("x" * 250)
    with pytest.raises(SystemExit) as stop:
        main(["record", "-o", str(file), "--cases=1", "--workers=1", "--path=cpu-native"])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "") and err.count("\n") == 1
    assert f"{file}.journal cannot be written: File name too long;" in err


def test_a_file_that_mentions_the_format_is_not_a_run(capsys, tmp_path):
    file = tmp_path / "notes"
    file.write_text(f"how to read a {FORMAT}: years of work")
    with pytest.raises(SystemExit):
        main(["record", "-o", str(file), "--cases=1", "--workers=1", "--path=cpu-native"])
    assert "is not a run file and was left unchanged" in capsys.readouterr().err
    assert file.read_text().endswith("years of work")


@pytest.mark.parametrize("output", ["run.json", "run.npz", "other.json.journal"])
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
def test_no_page_overwrites_a_recorded_file(good, tmp_path, monkeypatch, capsys, output, command):
    monkeypatch.chdir(tmp_path)
    case = pinned()
    record(Path("run.json"), PLAN._replace(cases=1, values=[case.id]), environment())
    with pytest.raises(Killed):
        record(Path("other.json"), PLAN, environment(), report_progress=stop_after(1))
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    with pytest.raises(SystemExit) as stop:
        main([*command, output])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "") and err.count("\n") == 1
    assert (
        err.startswith(f"bptt-oracle: {output} is ")
        and "was left unchanged; choose another name" in err
    )
    assert before == {f.name: f.read_bytes() for f in tmp_path.iterdir()}


def test_a_values_file_is_overwritten_only_by_the_run_it_belongs_to(tmp_path):
    file, plan = tmp_path / "run.json", PLAN._replace(cases=1, values=[pinned().id])
    record(file, plan, environment())
    record(file, plan, environment())
    values_path(file).write_text("years of data")
    with pytest.raises(BadRun, match="does not hold values of .*; remove it, or name another"):
        record(file, plan, environment())
    assert values_path(file).read_text() == "years of data" and read(file).values


def test_a_run_killed_twice_loses_nothing_though_the_first_kill_left_half_a_line(
    recorded, tmp_path, monkeypatch
):
    file, journal = tmp_path / "run.json", tmp_path / "run.json.journal"
    with pytest.raises(Killed):
        record(file, PLAN, environment(), report_progress=stop_after(3))
    journal.write_bytes(journal.read_bytes() + b'0123456789abcdef {"case": "GRU')
    with pytest.raises(Killed):
        record(file, PLAN, environment(), report_progress=stop_after(5))
    seen = examined_cases(monkeypatch)
    record(file, PLAN, environment())
    assert len(seen) == PLAN.cases - 5
    assert untimed(read(file)) == untimed(read(recorded))


def test_a_case_of_the_corpus_that_values_names_is_recorded_once(tmp_path):
    file = tmp_path / "run.json"
    plan = PLAN._replace(cases=2, seed=3)
    plan = plan._replace(values=[select_cases(plan)[1].id])
    record(file, plan, environment())
    found = read(file)
    assert len({r.case for r in found.rows}) == 2 and read_values(file, found)


def test_the_digest_of_the_masks_covers_every_layer():
    case = pinned(cell="GRU", layers=3, dropout=0.5, cotangents=("output",))
    (outcome,) = judge_implementations(case, "float32", [torch_implementation(PATHS["cpu-native"])])
    first, second = outcome.masks
    changed = [[first, 1 - second], [1 - first, second], [second, first]]
    digests = {recording.to_row(outcome._replace(masks=m)).masks for m in [outcome.masks, *changed]}
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


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda body: with_row(body, "verdict", "known deviation"), "verdict is not one of agree"),
        (lambda body: body | {"environment": {"torch": "\x1b[2J"}}, "control characters"),
        (lambda body: body | {"plan": {"paths": ["\x1b[2J"]}}, "plan holds control characters"),
    ],
)
def test_an_invalid_value_under_the_right_checksum_is_rejected(good, tmp_path, change, words):
    body = json.loads(good.read_bytes())
    del body["format"], body["schema"], body["checksum"]
    file = tmp_path / "bad.json"
    file.write_bytes(sealed(change(body)))
    assert words in rejection_of(file)


def test_a_run_without_read_permission_is_reported_in_one_sentence(capsys, tmp_path, monkeypatch):
    file = tmp_path / "run.json"
    file.write_text("")

    def deny(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("bptt_oracle.runs.run_file.is_run", deny)
    with pytest.raises(SystemExit) as left:
        main(["record", "-o", str(file)])
    message = capsys.readouterr().err
    assert left.value.code == 2 and message.count("\n") == 1
    assert "cannot be read: Permission denied; choose another name" in message


SCHEMA_1 = Path(__file__).with_name("schema_1.json")


def test_a_run_of_schema_1_is_read_with_the_names_of_schema_2(tmp_path):
    old = read(SCHEMA_1)
    assert [r.kernel for r in old.rows] == ["native", "MkldnnRnnLayerBackward0"]
    assert [r.masks for r in old.rows] == ["", "89abcdef01234567"]
    assert old.code_digest == "0123456789abcdef" and old.rows[0].tensors["h_n"].R is None
    file = tmp_path / "run.json"
    write(file, old, {})
    assert read(file) == old
    written = json.loads(file.read_text())
    assert written["schema"] == 2 and written["code_digest"] == old.code_digest
    assert {"kernel", "masks"} < written["results"][0].keys()
    assert not {"oracle"} & written.keys() and not {"road", "drawn"} & written["results"][0].keys()


def test_a_run_of_schema_1_is_compared_with_one_of_schema_2():
    new = read(SCHEMA_1)
    new = new._replace(rows=[new.rows[0]._replace(kernel="MkldnnRnnLayerBackward0"), new.rows[1]])
    assert [c.word for c in compare(read(SCHEMA_1), new)] == ["kernel", "fault"]


def test_the_names_of_schema_1_are_rejected_in_schema_2(tmp_path):
    body = json.loads(SCHEMA_1.read_text())
    del body["format"], body["schema"], body["checksum"]
    file = tmp_path / "run.json"
    file.write_bytes(sealed(body, 1))
    assert read(file) == read(SCHEMA_1)
    file.write_bytes(sealed(body, 2))
    with pytest.raises(BadRun, match="kernel is not a printable string"):
        read(file)
    renamed = [{("kernel" if n == "road" else n): v for n, v in r.items()} for r in body["results"]]
    file.write_bytes(sealed(body | {"results": renamed}, 2))
    with pytest.raises(BadRun, match="masks is not a printable string"):
        read(file)


def journal_of_schema_1(plan):
    """A journal as versions with schema 1 wrote it: a head and one case."""
    head = {"oracle": "fedcba9876543210", "environment": environment(), "plan": plan._asdict()}
    (old, _) = json.loads(SCHEMA_1.read_text())["results"]
    case = {"case": select_cases(plan)[0].id, "rows": [old], "values": {}}
    texts = [json.dumps(one).encode() for one in (head, case)]
    return b"".join(f"{digest(text)} ".encode() + text + b"\n" for text in texts)


def test_a_journal_of_schema_1_is_recorded_anew_by_its_plan_and_kept_from_another(
    recorded, tmp_path, monkeypatch
):
    """Other code wrote it, so its cases cannot be continued."""
    file, journal = tmp_path / "run.json", tmp_path / "run.json.journal"
    journal.write_bytes(journal_of_schema_1(PLAN))
    with pytest.raises(BadRun, match="belongs to an unfinished run of another plan .seed 3, not 4"):
        record(file, PLAN._replace(seed=4), environment())
    assert journal.read_bytes() == journal_of_schema_1(PLAN)
    seen = examined_cases(monkeypatch)
    record(file, PLAN, environment())
    assert len(seen) == PLAN.cases and untimed(read(file)) == untimed(read(recorded))


def test_a_run_of_schema_1_is_recorded_again_by_its_plan_and_kept_from_another(tmp_path):
    old = read(SCHEMA_1)
    file, plan = Path(shutil.copy(SCHEMA_1, tmp_path)), Plan(**old.plan)
    with pytest.raises(BadRun, match="is a run of another plan .seed 3, not 4"):
        record(file, plan._replace(seed=4), old.environment)
    assert file.read_bytes() == SCHEMA_1.read_bytes()
    record(file, plan, old.environment)
    assert json.loads(file.read_text())["schema"] == 2
