"""Attacks on the command line, and what holds: docs/reliability.md lists them.

Status 1 means that torch is wrong. Everything else that ends a command is one sentence on standard
error and status 2, and what was recorded is kept.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from bptt_oracle.__main__ import main
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.implementations.torch_paths import torch_path
from bptt_oracle.runs import finish, store
from bptt_oracle.runs.checking import examine_dtypes
from bptt_oracle.runs.environment import environment
from bptt_oracle.runs.examine import judge_implementations
from bptt_oracle.runs.export import row_to_json
from bptt_oracle.runs.files import write_text
from bptt_oracle.runs.read_json import FORMAT, LARGEST, SCHEMA, values_path
from bptt_oracle.runs.record import UnfinishedRun, record, select_cases
from bptt_oracle.runs.row import BadRun, digest
from support.command_line import bptt_oracle
from support.drawn_cases import pinned
from support.runs import PLAN, read, row, untimed, write_run

ROOT = Path(__file__).parents[3]
LARGE = "LSTM.T64.B256.I64.H512.L2.time.h0.output.generic.s7"
SMALL = ["--cases=2", "--path=cpu-native", "--dtype=float32"]


def shell(folder, limits, *command, **variables):
    """Status, standard output and error of a command under the limits of `ulimit`."""
    line = f'{limits} "$@"' if limits else '"$@"'
    words = [sys.executable, "-m", "bptt_oracle", *command]
    ran = subprocess.run(
        ["bash", "-c", line, "bash", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        timeout=300,
    )
    out, err = (text.decode(errors="replace") for text in (ran.stdout, ran.stderr))
    assert "Traceback" not in out + err
    return ran.returncode, out, err


linux = pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")


@linux
@pytest.mark.slow
def test_memory_that_runs_out_in_a_case_is_no_fault_and_the_case_is_tried_again(tmp_path):
    command = ["record", "-o", "run", "--values", LARGE, *SMALL, "--workers=1"]
    code, out, err = shell(tmp_path, "ulimit -v 1300000;", *command)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert f"not finished: {LARGE} (" in err and "the same command tries these again" in err
    with closing(sqlite3.connect(tmp_path / "run.unfinished")) as connection:
        verdicts = connection.execute("SELECT verdict FROM results").fetchall()
    assert verdicts == [("agree",)] * 2


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried")])
def test_the_verdict_of_a_path_without_memory_is_no_fault(monkeypatch, error):
    def run(path, *_):
        raise error

    monkeypatch.setattr("bptt_oracle.implementations.torch_paths.run_path", run)
    paths = [torch_path("cpu-native"), torch_path("cpu-cells")]
    outcomes = list(judge_implementations(pinned(), "float32", paths))
    assert [o.result.verdict for o in outcomes] == ["out of resources"] * 2
    monkeypatch.setattr("bptt_oracle.runs.examine.draw", run)
    assert [o.result.verdict for o in judge_implementations(pinned(), "float32", paths)] == [
        "out of resources"
    ] * 2


def test_check_exits_2_if_memory_ran_out(capsys, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("bptt_oracle.implementations.torch_paths.run_path", fail)
    code, out, err = bptt_oracle(capsys, "check", *SMALL, "--workers=1")
    assert code == 2 and "could not be judged completely: 2 × out of resources" in out
    assert "some cases were not judged" in err


def test_a_case_without_memory_is_recorded_by_the_next_command(tmp_path, monkeypatch):
    file, work = tmp_path / "run.json", finish.judge_implementations
    victim = list(select_cases(PLAN))[2].id

    def judge_or_fail(case, dtype, paths):
        for outcome in work(case, dtype, paths):
            changed = outcome.result._replace(verdict="out of resources", note="MemoryError")
            yield outcome._replace(result=changed) if case.id == victim else outcome

    monkeypatch.setattr(finish, "judge_implementations", judge_or_fail)
    with pytest.raises(UnfinishedRun, match=rf"not finished: {re.escape(victim)} \(MemoryError"):
        record(file, PLAN, environment())
    assert not file.exists()
    monkeypatch.setattr(finish, "judge_implementations", work)
    progress = []
    record(file, PLAN, environment(), report_progress=lambda n, total: progress.append(n))
    assert progress == [5, 6] and {r.verdict for r in read(file).rows} == {"agree"}


CRASHING = """
import os, signal
from pathlib import Path
from bptt_oracle.runs import checking, finish, record

VICTIM = "{victim}"
work, judge = finish.finish_case, checking.examine
judge_all, judge_named = checking.examine_dtypes, checking.examine_named

def finish_case(case, dtypes, paths, values):
    end(case, paths)
    return work(case, dtypes, paths, values)

def examine_or_end(case, dtype, paths):
    end(case, [path.name for path in paths])
    return judge(case, dtype, paths)

def examine_named(case, dtype, names):
    end(case, names)
    return judge_named(case, dtype, names)

def examine_dtypes(case, dtypes, paths):
    return judge_all(case, dtypes, paths)

def end(case, names):
    if case.id == VICTIM and "cpu-cells" in names:
        os.kill(os.getpid(), signal.{signal})

record.finish_case = finish.finish_case = finish_case
checking.examine = examine_or_end
checking.examine_dtypes, checking.examine_named = examine_dtypes, examine_named
"""


def run_crashing(folder, name, *command):
    """A command under which a case of the corpus ends its process on cpu-cells."""
    victim = next(c.id for c in corpus(6) if not c.P)
    program = CRASHING.format(victim=victim, signal=name)
    (folder / "crashing.py").write_text(program)
    ran = subprocess.run(
        [sys.executable, "-c", "import crashing; from bptt_oracle.__main__ import main; main()"]
        + [*command, "--cases=6", "--path=cpu-native", "--path=cpu-cells", "--workers=2"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{folder}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "Traceback" not in ran.stderr
    return victim, ran.returncode, ran.stdout, ran.stderr


@linux
@pytest.mark.slow
def test_a_case_that_kills_its_worker_is_recorded_as_a_crash_and_compare_exits_2(tmp_path, capsys):
    options = ["record", "-o", "run", "--dtype=float32"]
    victim, code, _, err = run_crashing(tmp_path, "SIGSEGV", *options)
    assert code == 0 and f"1 × crash ({victim} --path cpu-cells --dtype float32: its process" in err
    rows = read(tmp_path / "run").rows
    (crash,) = [r for r in rows if r.verdict == "crash"]
    assert (crash.case, crash.path) == (victim, "cpu-cells") and "SIGSEGV" in crash.note
    assert {r.verdict for r in rows if r is not crash} == {"agree"}
    assert any(r.case == victim and r.path == "cpu-native" for r in rows)
    code, out, _ = bptt_oracle(capsys, "compare", *[str(tmp_path / "run")] * 2)
    assert code == 2 and "1 crash" in out and victim in out


@linux
@pytest.mark.slow
def test_a_case_whose_worker_is_killed_by_the_system_is_not_recorded(tmp_path):
    options = ["record", "-o", "run", "--dtype=float32"]
    victim, code, out, err = run_crashing(tmp_path, "SIGKILL", *options)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert f"not finished: {victim} (cpu-cells float32: its process was ended by SIGKILL)" in err
    with closing(sqlite3.connect(tmp_path / "run.unfinished")) as connection:
        assert connection.execute("SELECT count(*) FROM cases").fetchone() == (5,)


@linux
@pytest.mark.slow
def test_check_names_a_crash_and_exits_2(tmp_path):
    victim, code, out, err = run_crashing(tmp_path, "SIGABRT", "check", "--json", "all.json")
    assert code == 2 and "could not be judged completely: 2 × crash in" in out
    assert f"crash  {victim} --path cpu-cells --dtype float32" in out and "SIGABRT" in out
    results = json.loads((tmp_path / "all.json").read_text())["results"]
    assert [r["path"] for r in results if r["verdict"] == "crash"] == ["cpu-cells"] * 2


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["check", *SMALL, "--workers=2"],
        ["record", "-o", "run", *SMALL, "--workers=2"],
        ["selftest", "--comparisons=1000", "--workers=2"],
    ],
    ids=lambda c: c[0],
)
def test_too_few_open_files_are_one_sentence(tmp_path, command):
    code, out, err = shell(tmp_path, "ulimit -n 12;", *command)
    assert (code, err.count("\n")) == (2, 1) and "Too many open files" in err


@linux
@pytest.mark.slow
@pytest.mark.parametrize("command", [["compare", "a", "b"], ["claims"], ["check", *SMALL]])
@pytest.mark.parametrize("kilobytes", [70_000, 100_000, 150_000])
def test_an_import_without_memory_exits_2_even_if_openblas_exits_with_1(
    tmp_path, command, kilobytes
):
    code, out, err = shell(tmp_path, f"ulimit -v {kilobytes};", *command)
    assert (code, out) == (2, "") and err.count("\n") == 1


@pytest.mark.parametrize(
    "error, words",
    [
        (MemoryError(), "ran out of memory"),
        (RuntimeError("CUDA out of memory. Tried\nto"), "ran out of memory, files or processes"),
        (EOFError(), "a process that this command started has ended"),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
        (PermissionError(13, "Permission denied", "x.json"), "x.json: Permission denied"),
        (RecursionError("too deep"), "an unexpected error ended this command (RecursionError: too"),
        (BadRun("x is not a run"), "bptt-oracle: x is not a run\n"),
        (ImportError("no y"), "cannot be imported (ImportError: no y)"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_what_nobody_foresaw_is_one_sentence_and_status_2(capsys, monkeypatch, error, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("bptt_oracle.ledger.claims.claims", fail)
    code, out, err = bptt_oracle(capsys, "claims")
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1


def test_the_traceback_can_be_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("BPTT_ORACLE_TRACEBACK", "1")
    monkeypatch.setattr("bptt_oracle.ledger.claims.claims", lambda: 1 / 0)
    code, _, err = bptt_oracle(capsys, "claims")
    assert code == 2 and "Traceback" in err and "ZeroDivisionError" in err.splitlines()[-1]


@pytest.mark.parametrize("pair", [["run.json", "."], [".", "run.json"], ["", "run.json"]])
def test_a_folder_is_not_a_run(capsys, tmp_path, monkeypatch, pair):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run.json", row())
    code, out, err = bptt_oracle(capsys, "compare", *pair)
    assert (code, out, err) == (2, "", "bptt-oracle: . is not a file\n")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file of Linux")
@pytest.mark.parametrize("command", ["compare", "cohort"])
@pytest.mark.parametrize("unreadable", [0, 1])
def test_the_file_that_cannot_be_read_is_the_one_that_is_named(
    capsys, tmp_path, monkeypatch, command, unreadable
):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "good.run", row())
    pair = ["good.run"]
    pair.insert(unreadable, "/proc/self/mem")
    code, out, err = bptt_oracle(capsys, command, *pair)
    assert (code, out) == (2, "")
    assert err == "bptt-oracle: /proc/self/mem cannot be read: Input/output error\n"


@pytest.mark.parametrize("value", ["[/x]", "[bold]a", ":4096:8\n", "\x1b[2J", "\udcff", "a\tb"])
def test_a_variable_with_markup_or_control_characters_is_printed_recorded_and_read(
    capsys, tmp_path, monkeypatch, value
):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", value)
    code, out, _ = bptt_oracle(capsys, "check", *SMALL, "--workers=1", "--verbose")
    cleaned = "".join(c if c.isprintable() else " " for c in value)
    assert code == 0 and cleaned.strip() in out
    file = str(tmp_path / "run.json")
    with pytest.raises(SystemExit) as end:
        main(["record", "-o", file, *SMALL, "--workers=1"])
    assert end.value.code == 0
    assert read(Path(file)).environment["CUBLAS_WORKSPACE_CONFIG"] == cleaned
    assert bptt_oracle(capsys, "compare", file, file)[0] == 0


def test_the_unfinished_run_is_kept_if_the_run_cannot_be_read_back(tmp_path, monkeypatch):
    file, seal = tmp_path / "run", store.seal

    def cut_off(path):
        seal(path)
        os.truncate(path, path.stat().st_size - 1)

    monkeypatch.setattr(store, "seal", cut_off)
    words = rf"^{file} was cut off .*run\.unfinished keeps all cases$"
    with pytest.raises(BadRun, match=words):
        record(file, PLAN, environment())
    monkeypatch.setattr(store, "seal", seal)
    progress = []
    record(file, PLAN, environment(), report_progress=lambda n, total: progress.append(n))
    assert progress == [6] and list(tmp_path.iterdir()) == [file]


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_command_leaves_no_temporary_file(tmp_path, number):
    program = (
        "import time, pathlib\n"
        "from bptt_oracle.processes.interrupt import clean_up_on_termination, temporary\n"
        "clean_up_on_termination()\n"
        "with temporary(pathlib.Path('file')) as f, temporary(pathlib.Path('folder')) as d:\n"
        "    f.touch(), d.mkdir(), (d / 'inner').touch(), print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    ran = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup has it ignored
    )
    assert ran.stdout.readline() == "ready\n"
    ran.send_signal(number)
    assert ran.wait(60) == -number and ran.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []


@linux
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_record_with_workers_prints_nothing(tmp_path, number):
    words = [sys.executable, "-m", "bptt_oracle", "record", "-o", "run", "--workers=2"]
    ran = subprocess.Popen(
        words,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup has it ignored
    )
    while not (tmp_path / "run.unfinished").exists():
        assert ran.poll() is None
        time.sleep(0.1)
    time.sleep(1)  # the pool is open
    ran.send_signal(number)
    assert ran.communicate(timeout=60)[1] == "" and ran.returncode == -number


@pytest.mark.skipif(not hasattr(os, "umask") or os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_has_the_permissions_that_the_umask_leaves_or_those_it_had(tmp_path, mask, mode):
    file, before = tmp_path / "file", os.umask(mask)
    try:
        write_text(file, "word")
        assert file.stat().st_mode & 0o777 == mode
        file.chmod(0o640)
        write_text(file, "another")
        assert file.stat().st_mode & 0o777 == 0o640 and file.read_text() == "another"
    finally:
        os.umask(before)


NOT_WRITTEN = [
    "DELETE FROM run WHERE name = 'plan'",
    "UPDATE run SET value = '[' WHERE name = 'plan'",
    "UPDATE run SET value = '[1]' WHERE name = 'plan'",
    "UPDATE environments SET facts = zeroblob(9)",
    """UPDATE environments SET facts = '{"a": "\\u001b[2J"}'""",
    "UPDATE environments SET number = 7",
    "UPDATE run SET value = '-1' WHERE name = 'limit'",
    "CREATE VIEW secret AS SELECT * FROM run",
    "CREATE TRIGGER harm AFTER INSERT ON results BEGIN DELETE FROM cases; END",
    "CREATE TABLE other (x)",
    "DROP TABLE kept",
    "ALTER TABLE results ADD COLUMN more TEXT",
    "PRAGMA application_id = 7",
]


@pytest.mark.parametrize("statement", NOT_WRITTEN)
def test_a_crafted_unfinished_run_is_rejected_in_one_sentence(tmp_path, statement):
    class Killed(BaseException):
        pass

    def stop(finished, total):
        if finished == 2:
            raise Killed

    file, unfinished = tmp_path / "run", tmp_path / "run.unfinished"
    with pytest.raises(Killed):
        record(file, PLAN, environment(), report_progress=stop)
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
        connection.execute(statement)
    content = unfinished.read_bytes()
    with pytest.raises(BadRun, match="is not an unfinished run.*; remove it, or name") as rejection:
        record(file, PLAN, environment())
    assert unfinished.read_bytes() == content and "\n" not in str(rejection.value)


def compare_limited(folder, old, new, kilobytes):
    code, _, err = shell(folder, f"ulimit -v {kilobytes};", "compare", old, new, "-q")
    return code, err


@linux
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_compressed_values_are_compared_in_bounded_memory(tmp_path, dtype):
    """255 kB on each side took 10 GB."""
    array = np.zeros(250 * 2**20 // np.dtype(dtype).itemsize, dtype)
    for name in ("a", "b"):
        file = tmp_path / f"{name}.json"
        np.savez_compressed(values_path(file), **{" ".join([*row().key, "output"]): array})
        checksum = digest(values_path(file).read_bytes())
        rows = json.dumps([row_to_json(row())])
        write_json(file, f'"values": "{checksum}", "results": {rows}}}')
    assert compare_limited(tmp_path, "a.json", "b.json", 1_100_000) == (0, "")


def write_json(file, end):
    """A JSON run of an earlier version, whose content ends with this text."""
    rest = '"code_digest": "x", "limit": 16, "environment": {}, "plan": {}, ' + end
    checksum = digest(rest.encode())
    file.write_text(
        f'{{"format": "{FORMAT}", "schema": {SCHEMA}, "checksum": "{checksum}",\n{rest}'
    )


@linux
@pytest.mark.slow
def test_the_largest_run_of_an_earlier_version_is_compared_in_bounded_memory(tmp_path):
    """Many tensors of different names in few bytes take the most memory for each byte."""
    texts = '"path":"","dtype":"","verdict":"agree","tensor":"","place":"","kernel":"","note":""'
    rows, size, n = [], 0, 0
    while size < LARGEST - 2**17:
        tensors = ",".join(f'"{n + k:x}":[1.5,"{n + k:016x}"]' for k in range(1900))
        rows.append(
            f'{{"case":"{n}",{texts},"masks":"","R":2,"seconds":0,"tensors":{{{tensors}}}}}'
        )
        size, n = size + len(rows[-1]) + 2, n + 1900
    write_json(
        tmp_path / "run.json",
        f'"values": "", "results": [{",".join(rows)}]}}'.replace("},{", "},\n{"),
    )
    assert compare_limited(tmp_path, "run.json", "run.json", 1_100_000) == (0, "")


@linux
@pytest.mark.slow
def test_record_killed_at_random_moments_gives_the_same_bits(tmp_path):
    rng = np.random.default_rng(5)
    command = [sys.executable, "-m", "bptt_oracle", "record", "--cases=16", "--workers=2"]
    command += ["--dtype=float32", "--path=cpu-native", "-o"]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    for _ in range(4):
        ran = subprocess.Popen([*command, "run"], cwd=tmp_path, env=environ)
        time.sleep(float(rng.uniform(0.5, 4)))
        ran.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        ran.wait()
    for name in ("run", "whole"):
        subprocess.run([*command, name], cwd=tmp_path, env=environ, check=True)
    assert untimed(read(tmp_path / "run")) == untimed(read(tmp_path / "whole"))


@linux
@pytest.mark.parametrize("device", ["/dev/full"])
def test_a_report_on_a_full_disk_is_one_sentence(capsys, tmp_path, monkeypatch, device):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run.json", row())
    for option in ("--json", "--junit", "--html"):
        code, out, err = bptt_oracle(capsys, "compare", "run.json", "run.json", option, device)
        assert (code, err.count("\n")) == (2, 1) and "No space left on device" in err


def test_an_invalid_call_that_lacks_memory_is_not_a_rejection(monkeypatch):
    from bptt_oracle.judging.invalid_calls import has_invalid_calls

    case = next(c for c in corpus(40) if has_invalid_calls(c))

    def fail(call):
        raise MemoryError

    monkeypatch.setattr("bptt_oracle.implementations.responses.forward_of", lambda name: fail)
    (result,) = examine_dtypes(case, [], ["cpu-native"])
    assert (result.path, result.verdict) == ("cpu-invalid-calls", "out of resources")
