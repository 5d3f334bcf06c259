"""Read a run of an older version, a JSON file; reject a damaged one in one sentence."""

import io
import json
import os
import resource
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bptt_oracle.__main__ import main
from bptt_oracle.runs import read_json
from bptt_oracle.runs.compare import changes
from bptt_oracle.runs.export import row_to_json, to_json
from bptt_oracle.runs.files import write_pieces
from bptt_oracle.runs.kept import relative_differences
from bptt_oracle.runs.opening import open_runs
from bptt_oracle.runs.read_json import FORMAT, row_from_json, values_path
from bptt_oracle.runs.record import Plan, record
from bptt_oracle.runs.row import BadRun, digest
from support.runs import made_up, read, row

ROOT = Path(__file__).parents[3]
SCHEMA_1 = Path(__file__).with_name("schema_1.json")
OUTPUT = " ".join([*row().key, "output"])


def write(file, *rows):
    """Write a JSON run."""
    write_pieces(file, to_json(made_up(*rows)))


def body_of(file):
    """The content of a JSON run without what seals it."""
    body = json.loads(file.read_text())
    return {n: v for n, v in body.items() if n not in ("format", "schema", "checksum")}


def write_with_values(file, **values):
    """Write a JSON run of one result, with its values."""
    np.savez(values_path(file), **values)
    seal_values(file)


def seal_values(file):
    """Write a JSON run that has the checksum of its values file, whatever that holds."""
    write(file, row())
    checksum = digest(values_path(file).read_bytes())
    file.write_bytes(sealed(body_of(file) | {"values": checksum}))


@pytest.fixture
def good(tmp_path):
    file = tmp_path / "good.json"
    write(file, *(row(n) for n in range(8)))
    return file


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


@pytest.mark.slow
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
    for filling, size in (b"", 0), (b'{"a":[]},', read_json.LARGEST), (b"0.1,", read_json.LARGEST):
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
    write_with_values(file, **{OUTPUT: np.arange(6.0)})
    with open_runs(file, file) as runs:
        assert list(relative_differences(*runs)) == [(OUTPUT, 0.0)]
    whole, sealed_run = values_path(file).read_bytes(), file.read_bytes()
    for content in (whole[:-1], whole[:40] + b"x" + whole[41:], b"", b"no archive"):
        values_path(file).write_bytes(content)
        with pytest.raises(BadRun, match="does not hold the values"):
            read(file)
    values_path(file).unlink()
    with pytest.raises(BadRun, match=r"run\.npz is not a file"):
        read(file)
    write_with_values(file, **{OUTPUT: np.array([print], object)})
    with pytest.raises(BadRun, match="does not hold arrays"):
        read(file)
    values_path(file).write_bytes(b"no archive")
    seal_values(file)
    with pytest.raises(BadRun, match="does not hold arrays"):
        read(file)
    assert sealed_run != file.read_bytes()


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
    values_path(file).write_bytes(content())
    seal_values(file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadRun) as rejection:
        read(file)
    assert "\n" not in str(rejection.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda body: with_row(body, "verdict", "excluded"), "verdict is not one of agree"),
        (lambda body: body | {"environment": {"torch": "\x1b[2J"}}, "control characters"),
        (lambda body: body | {"plan": {"paths": ["\x1b[2J"]}}, "plan holds control characters"),
    ],
)
def test_an_invalid_value_under_the_right_checksum_is_rejected(good, tmp_path, change, words):
    body = body_of(good)
    file = tmp_path / "bad.json"
    file.write_bytes(sealed(change(body)))
    assert words in rejection_of(file)


def test_infinities_and_missing_ratios_are_written_and_read():
    for r in (row(R=np.inf, verdict="fault", note="RuntimeError: no"), row(R=3.25, R_h_n=None)):
        assert row_from_json(json.loads(json.dumps(row_to_json(r)))) == r
    assert np.inf == row_from_json(row_to_json(row(R=np.nan))).R


def test_a_run_of_schema_1_is_read_with_the_names_of_schema_2(tmp_path):
    old = read(SCHEMA_1)
    assert [r.kernel for r in old.rows] == ["native", "MkldnnRnnLayerBackward0"]
    assert [r.masks for r in old.rows] == ["", "89abcdef01234567"]
    assert old.code_digest == "0123456789abcdef" and old.rows[0].tensors["h_n"].R is None
    file = tmp_path / "run.json"
    with open_runs(SCHEMA_1) as (run,):
        write_pieces(file, to_json(run))
    assert read(file) == old
    written = json.loads(file.read_text())
    assert written["schema"] == 2 and written["code_digest"] == old.code_digest
    assert {"kernel", "masks"} < written["results"][0].keys()
    assert not {"oracle"} & written.keys() and not {"road", "drawn"} & written["results"][0].keys()


def test_a_run_of_schema_1_is_compared_with_a_database():
    old = read(SCHEMA_1)
    new = made_up(old.rows[0]._replace(kernel="MkldnnRnnLayerBackward0"), old.rows[1])
    with open_runs(SCHEMA_1, new.file) as runs:
        assert [c.word for c in changes(*runs)] == ["kernel", "fault"]


def test_the_names_of_schema_1_are_rejected_in_schema_2(tmp_path):
    body = body_of(SCHEMA_1)
    file = tmp_path / "run.json"
    file.write_bytes(sealed(body, 1))
    assert read(file) == read(SCHEMA_1)
    file.write_bytes(sealed(body, 2))
    with pytest.raises(BadRun, match="code_digest is not a printable string"):
        read(file)
    body = {"code_digest": body.pop("oracle"), **body}  # the results are the last
    file.write_bytes(sealed(body, 2))
    with pytest.raises(BadRun, match="kernel is not a printable string"):
        read(file)
    renamed = [{("kernel" if n == "road" else n): v for n, v in r.items()} for r in body["results"]]
    file.write_bytes(sealed(body | {"results": renamed}, 2))
    with pytest.raises(BadRun, match="masks is not a printable string"):
        read(file)


def test_a_run_of_schema_1_is_recorded_again_by_its_plan_and_kept_from_another(tmp_path):
    old = read(SCHEMA_1)
    file, plan = Path(shutil.copy(SCHEMA_1, tmp_path)), Plan(**old.plan)
    words = r"is a run of another plan \(seed 3, not 4\); remove it, or name another --output$"
    with pytest.raises(BadRun, match=words):
        record(file, plan._replace(seed=4), old.environment)
    assert file.read_bytes() == SCHEMA_1.read_bytes()
    record(file, plan, old.environment)
    assert file.read_bytes().startswith(b"SQLite format 3")
    assert len(read(file).rows) == 1 and list(tmp_path.iterdir()) == [file]
