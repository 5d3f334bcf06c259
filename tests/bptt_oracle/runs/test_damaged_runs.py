"""Databases that were damaged, altered, or made to do harm, in place of a run: compare gives the
true verdict or one sentence and status 2, whatever the file holds."""

import os
import resource
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from bptt_oracle.__main__ import main
from bptt_oracle.runs.schema import PAGE_SIZE, PART, STATEMENTS, VERSION
from bptt_oracle.runs.seal import LENGTH, seal
from support.runs import made_up, row

ROOT = Path(__file__).parents[3]
TEXTS = ("case_id", "path", "dtype", "verdict", "tensor", "place", "kernel", "note", "masks")
VALUES = ("NULL", "7", "1.5", "-1.0", "9e999", "zeroblob(8)", "'x'", "char(27)", "x'ff'", "''")
SIXTEEN = "'" + "0 " * 15 + "0'"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a run with results of several kinds and kept values."""
    rows = [row(n, R_h_n=None if n == 3 else 0.4) for n in range(40)]
    rows[5] = row(5, R=20, verdict="fault")
    rows[6] = row(6, R=np.inf, verdict="crash", note="ended by SIGSEGV")
    return made_up(*rows, kept={"output": np.linspace(0, 1, PART + 3)}).file.read_bytes()


def altered(file, *statements):
    """Change a run as another program would, and seal it again."""
    os.truncate(file, file.stat().st_size - LENGTH)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)
    seal(file)


def sealed(content):
    """A function that writes these bytes with a right seal."""

    def write(file):
        file.write_bytes(content)
        seal(file)

    return write


def with_statements(*statements):
    """A function that alters a run and seals it."""
    return lambda file: altered(file, *statements)


def damaged(whole):
    """Bits flipped, cuts, insertions, pages repeated; the seal is as it was."""
    rng = np.random.default_rng(17)
    for _ in range(70):
        at, bit = int(rng.integers(len(whole))), int(rng.integers(8))
        yield whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :]
    for at in range(100):  # the header of the file
        yield whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
    for at in rng.integers(len(whole), size=20):
        yield whole[:at]
        yield whole[:at] + rng.bytes(int(rng.integers(1, 9))) + whole[at:]
    for at in rng.integers(1, len(whole) // PAGE_SIZE, size=10):
        yield whole[: at * PAGE_SIZE] + whole[(at - 1) * PAGE_SIZE :]
    yield from (b"", whole[:100], whole[: -LENGTH + 1], whole[:-LENGTH], whole * 2)


def resealed(whole):
    """The same under a right seal: what SQLite makes of damaged pages."""
    rng = np.random.default_rng(18)
    content = whole[:-LENGTH]
    for _ in range(60):
        mutant = bytearray(content)
        for at in rng.integers(len(content), size=int(rng.integers(1, 30))):
            mutant[at] ^= 1 << int(rng.integers(8))
        yield bytes(mutant)
    for page in range(len(content) // PAGE_SIZE):
        for at in range(8):  # the kind of the page, its free blocks, the number of its cells
            start = page * PAGE_SIZE + (100 if page == 0 else 0) + at
            yield content[:start] + b"\xff" + content[start + 1 :]
        zeros = bytes(PAGE_SIZE)
        yield content[: page * PAGE_SIZE] + zeros + content[(page + 1) * PAGE_SIZE :]
    for at in rng.integers(len(content), size=10):
        yield content[:at]
    for at, value in ((16, 512), (28, 0xFFFFFFFF), (28, 1), (56, 2), (56, 3), (44, 9), (36, 99)):
        size = 2 if at == 16 else 4
        yield content[:at] + value.to_bytes(size) + content[at + size :]


def crafted():
    """What another program could write: (statements, whether the verdict may be that of the
    other results)."""
    for name in TEXTS:
        for value in VALUES:
            yield f"UPDATE results SET {name} = {value} WHERE case_id LIKE '%s2'"
    for name in ("R", "seconds", "names", "bits", "ratios"):
        for value in (*VALUES, SIXTEEN, "zeroblob(70000)", "zeroblob(2000000)"):
            yield f"UPDATE results SET {name} = {value} WHERE case_id LIKE '%s2'"
    for value in (*VALUES, "-1", "1", "9e18", "zeroblob(70000)"):
        yield f"UPDATE results SET environment = {value} WHERE case_id LIKE '%s2'"
        yield f"UPDATE environments SET number = {value}"
    for value in (*VALUES, "'[]'", "'{'", "'1e999'", "zeroblob(2000000)", f"'{'[' * 90_000}'"):
        yield f"UPDATE environments SET facts = {value}"
    yield "DELETE FROM environments"
    yield (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
        "INSERT INTO environments SELECT i, '{}' FROM n"
    )
    yield (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) "
        "INSERT INTO environments SELECT i, json_object('x', hex(zeroblob(400000))) FROM n"
    )
    for name in ("code_digest", "limit", "plan"):
        for value in (*VALUES, "'[]'", "'{'", "'0'", "'1e999'", "zeroblob(2000000)"):
            yield f"UPDATE run SET value = {value} WHERE name = '{name}'"
        yield f"DELETE FROM run WHERE name = '{name}'"
    for name in ("tensor", "part", "format", "shape", "content"):
        for value in (*VALUES, "'<f16'", "'|O'", "zeroblob(2000000)"):
            yield f"UPDATE kept SET {name} = {value} WHERE part = 0"
    yield "UPDATE run SET value = '{\"torch\": \"' || char(27) || '\"}' WHERE name = 'plan'"
    yield f"UPDATE run SET value = '{'[' * 90_000}' WHERE name = 'plan'"


def hostile_schemas():
    """Tables that are others."""
    other = "SELECT 1 AS name, 'x' AS value"
    yield ("CREATE VIEW secret AS SELECT 1",)
    yield ("CREATE TRIGGER t AFTER INSERT ON run BEGIN DELETE FROM run; END",)
    yield ("CREATE INDEX i ON results (kernel)",)
    yield ("CREATE TABLE more (x)",)
    yield ("CREATE VIRTUAL TABLE v USING fts5(x)",)
    for name, statement in STATEMENTS.items():
        yield (f"DROP TABLE {name}",)
        yield (f"DROP TABLE {name}", f"CREATE VIEW {name} AS {other}")
        yield (f"DROP TABLE {name}", statement.replace(" NOT NULL", "", 1))
        yield (f"DROP TABLE {name}", statement.removesuffix(" WITHOUT ROWID"))
        yield (f"ALTER TABLE {name} ADD COLUMN x DEFAULT 7",)
        yield (f"UPDATE sqlite_schema SET rootpage = 1 WHERE name = '{name}'",)
        yield (f"UPDATE sqlite_schema SET rootpage = 99999 WHERE name = '{name}'",)
        yield (f"UPDATE sqlite_schema SET sql = NULL WHERE name = '{name}'",)
        yield (f"UPDATE sqlite_schema SET sql = 'CREATE TABLE {name} (' WHERE name = '{name}'",)
        yield (f"UPDATE sqlite_schema SET type = 'view' WHERE name = '{name}'",)
    yield tuple(f"CREATE TABLE t{n} (x)" for n in range(3000))
    yield (f"PRAGMA user_version = {VERSION + 1}",)
    yield (f"PRAGMA user_version = {VERSION - 1}",)
    yield ("PRAGMA application_id = 1",)
    yield ("PRAGMA encoding = 'UTF-16'",)
    yield ("PRAGMA journal_mode = WAL",)
    yield (
        "INSERT INTO results SELECT 'a', path, dtype, 'agree', 0, '', '', '', 0, '', '', "
        "'', '', '', 0 FROM results LIMIT 1",
    )


def writers(whole):
    """A function for each mutant, which turns a copy of the run into it."""
    for content in damaged(whole):
        yield lambda file, content=content: file.write_bytes(content)
    for content in resealed(whole):
        yield sealed(content)
    for statement in crafted():
        yield with_statements(statement)
    for statements in hostile_schemas():
        yield with_statements(*statements)


def compared(capsys, *arguments):
    """Status, standard output and standard error of compare."""
    with pytest.raises(SystemExit) as end:
        main(["compare", *map(str, arguments)])
    return end.value.code, *capsys.readouterr()


def examine(mutants, whole, folder, capsys):
    """Compare each mutant with the run, as OLD or as NEW; the numbers of each status."""
    good, bad, seen = folder / "good", folder / "bad", {0: 0, 1: 0, 2: 0}
    good.write_bytes(whole)
    reports = ["--json", folder / "c", "--junit", folder / "j", "--html", folder / "h"]
    for i, write in enumerate(mutants):
        bad.write_bytes(whole)
        try:
            write(bad)
        except sqlite3.IntegrityError:  # NULL, where the table allows none
            continue
        pair = (good, bad) if i % 2 else (bad, good)
        code, out, err = compared(capsys, *pair, *(reports if i % 3 == 0 else ["-q"]))
        seen[code] += 1
        assert "Traceback" not in out + err and "unexpected" not in err, (i, err)
        if code == 2 and "crash" not in out:
            assert out == "" and err.startswith("bptt-oracle: ") and err.count("\n") == 1, (i, err)
            assert err.isprintable() or err[:-1].isprintable()
            assert str(bad) in err or "no result in common" in err, (i, err)
        else:  # read: it still has the fault, the crash and every other result
            assert err == "" and "1 crash" in out, (i, out)
            assert "40 results" in out or "41 results" in out or "42 results" in out, (i, out)
    return seen


@pytest.mark.slow
def test_1000_mutated_runs_have_the_true_verdict_or_one_sentence(whole, tmp_path, capsys):
    mutants = list(writers(whole))
    assert len(mutants) > 500
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = examine(mutants, whole, tmp_path, capsys)
    assert seen[2] > 400 and seen[1] > 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 700_000  # kB


def test_60_mutated_runs_have_the_true_verdict_or_one_sentence(whole, tmp_path, capsys):
    mutants = list(writers(whole))
    examine(mutants[:: len(mutants) // 60], whole, tmp_path, capsys)


def test_a_damaged_run_is_always_rejected(whole, tmp_path, capsys):
    """Without a new seal there is no verdict."""
    file, good = tmp_path / "bad", tmp_path / "good"
    good.write_bytes(whole)
    for content in list(damaged(whole))[::10]:
        file.write_bytes(content)
        code, out, err = compared(capsys, good, file)
        assert (code, out) == (2, "") and (str(file) in err)


@pytest.mark.parametrize(
    "statement, words",
    [
        ("UPDATE results SET R = 17", "verdict is agree, which its R contradicts"),
        ("UPDATE results SET verdict = 'known'", "verdict is not one of agree"),
        ("UPDATE results SET bits = zeroblob(8)", "one digest and one R for each tensor"),
        ("UPDATE results SET case_id = char(7) || case_id", "not a printable text"),
        ("UPDATE run SET value = '{' WHERE name = 'plan'", "`run` is incomplete"),
        ("CREATE VIEW v AS SELECT 1", "its tables are others"),
        ("PRAGMA user_version = 9", "follows schema 9, and this bptt-oracle reads"),
        ("UPDATE results SET note = zeroblob(2000000)", "is damaged: string or blob too big"),
        ("UPDATE kept SET format = '|O'", "not an array of real numbers"),
        ("UPDATE results SET environment = 1", "a result has the number of no environment"),
        ("UPDATE environments SET facts = '{'", "an environment is not JSON"),
        ("UPDATE environments SET number = 1", "`environments` is incomplete or too long"),
    ],
)
def test_the_message_says_why_a_file_is_not_a_run(whole, tmp_path, capsys, statement, words):
    file = tmp_path / "bad"
    file.write_bytes(whole)
    altered(file, statement)
    code, out, err = compared(capsys, file, file)
    assert (code, out) == (2, "") and words in err and str(file) in err


def test_rows_that_are_not_in_the_order_of_their_keys_are_rejected(tmp_path, capsys):
    """A join over them would miss some."""
    file = tmp_path / "run"
    content = made_up(*(row(n) for n in range(3))).file.read_bytes()
    page = content.index(row(2).case.encode()) // PAGE_SIZE * PAGE_SIZE
    first, last = (struct.unpack_from(">H", content, page + 8 + at)[0] for at in (0, 4))
    swapped = bytearray(content[:-LENGTH])
    struct.pack_into(">H", swapped, page + 8, last)
    struct.pack_into(">H", swapped, page + 8 + 4, first)
    sealed(bytes(swapped))(file)
    code, out, err = compared(capsys, file, file)
    assert (code, out) == (2, "") and "is not a run: its" in err


# The memory of a process begins with that of the one that starts it, which is a small one here.
MEASURED = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(process.returncode, usage.ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the usage is that of Linux")
@pytest.mark.slow
def test_a_run_made_to_fill_the_memory_is_rejected_in_little_memory(whole, tmp_path):
    """A million paths, whose counts would be kept; ten million tables."""
    many = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) "
        "INSERT INTO results SELECT 'x' || i, hex(zeroblob(60)) || i, 'float32', 'agree', 0.0, "
        "'', '', '', 0.0, '', '', '', zeroblob(0), zeroblob(0), 0 FROM n"
    )
    file = tmp_path / "bad"
    file.write_bytes(whole)
    altered(file, many)
    command = [sys.executable, "-m", "bptt_oracle", "compare", "-q", str(file), str(file)]
    ran = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], cwd=ROOT, capture_output=True, text=True
    )
    status, memory = map(int, ran.stdout.split()[-2:])
    assert status == 2 and "more than 10000 paths and dtypes" in ran.stderr
    assert memory < 1_000_000  # kB


def test_a_run_is_read_while_its_folder_cannot_be_written(whole, tmp_path, capsys):
    """No log, lock or other file appears beside it."""
    file = tmp_path / "run"
    file.write_bytes(whole)
    tmp_path.chmod(0o500)
    try:
        code, out, _ = compared(capsys, file, file, "-q")
    finally:
        tmp_path.chmod(0o700)
    assert code == 1 and "40 results" in out and list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == whole


def test_a_program_that_reads_databases_reads_a_run(whole, tmp_path):
    file = tmp_path / "run"
    file.write_bytes(whole)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        query = "SELECT verdict, count(*) FROM results GROUP BY verdict ORDER BY verdict"
        assert connection.execute(query).fetchall() == [("agree", 38), ("crash", 1), ("fault", 1)]
        query = "SELECT json_extract(facts, '$.torch') FROM environments"
        assert connection.execute(query).fetchall() == [("2.13.0",)]
