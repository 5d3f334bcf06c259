"""Fuzz the command line and every file that it reads: `python tests/fuzz.py --seconds 900`.

Each attack runs a command in a process of its own, forked from one that has imported torch. It
fails if the process prints a traceback, ends by a signal, has a status other than 0, 1 and 2, has
status 2 without a sentence, or calls the error unexpected. The counts are printed at the end.
"""

import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

import bptt_oracle.cli.application
import bptt_oracle.runs.record
from bptt_oracle.__main__ import main
from bptt_oracle.runs.environment import environment
from bptt_oracle.runs.export import to_json
from bptt_oracle.runs.record import Plan, record
from bptt_oracle.runs.row import digest
from bptt_oracle.runs.run import check_run
from bptt_oracle.runs.seal import LENGTH, seal
from support.fleet_lines import healthy_line, write_lines

CASE = "LSTM.T5.B3.I4.H6.L2.time.h0.output.generic.s7"
COMMANDS = tuple(c.callback.__name__ for c in bptt_oracle.cli.application.app.registered_commands)
WORDS = (
    *(
        "",
        ".",
        "..",
        "/",
        "-",
        "--",
        "-o",
        "-q",
        "-v",
        "--help",
        "--version",
        "run",
        "run.json",
        "a.json",
    ),
    *(
        "run.npz",
        "folder",
        "/dev/null",
        "/dev/full",
        "no/such/file",
        "x" * 300,
        "\udcff\udcfe.json",
    ),
    *("[bold]", "[/x]", "{0}", "%s", "\n", "\x1b[2J", "\u202e", "😀", "NaN", "inf", "-1", "1e9"),
    *("99999999999999999999", "0", "1", "2", CASE, CASE + ".s1", "LSTM", "GRU.T0.B0", "cpu-native"),
    *("cpu-invalid-calls", "all", "float32", "float64", "bfloat16", "cuda", "mps", "cpu", "auto"),
    *("2.13", "2.13.0", "2.4.1+cpu", "1.0", "onnx==1.0", "c_0_ignored", "drift", "fault"),
    *("--json", "--junit", "--html", "--markdown", "--cases", "--seed", "--dtype", "--path"),
    *("--device", "--workers", "--values", "--factor", "--fail-on", "--fault", "--comparisons"),
    *("--script", "--list-deviations", "--quiet", "--verbose", "--output", "--cache", "--python"),
    *("--implementation", "no_module:lstm", "--with", "--with=onnx"),
    *(
        "--json=.",
        "--json=/dev/full",
        "--cases=1",
        "--workers=1",
        "--factor=nan",
        "--save-verdicts",
    ),
)
VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "MKL_CBWR",
    "COLUMNS",
    "TERM",
    "NO_COLOR",
    "OMP_NUM_THREADS",
)
VALUES = ("[/x]", ":4096:8\n", "\x1b[2J", "0", "-1", "x" * 5000, "", "\udcff", "dumb", "[bold", "1")
VALUES_OF_JSON = (
    None,
    True,
    -1,
    0,
    1.5,
    1e308,
    10**30,
    "",
    "x",
    "\x1b",
    "[/x]",
    [],
    {},
    [[]],
    "inf",
)


BRIEF = {  # without it the command takes a minute or more
    "preflight": "--dtype=float16",  # which has no truth
    "hunt": "--minutes=0",
}
NEAR = {  # valid options and arguments of each command
    "check": ["--cases=1", "--workers=1", "--path=cpu-native"],
    "replay": [CASE],
    "record": ["-o", "out.json", "--cases=1", "--workers=1", "--path=cpu-native"],
    "compare": ["run", "run.json"],
    "export": ["run", "--json=e.json", "--csv=e.csv"],
    "versions": ["2.99.98", "2.99.99", "--python=/no/python", "--cache=cache"],
    "faults": ["--fault=c_0_ignored", "--cases=1"],
    "selftest": ["--comparisons=1000", "--workers=1"],
    "claims": [],
    "preflight": [BRIEF["preflight"]],
    "cohort": ["lines"],
    "hunt": [BRIEF["hunt"], "--state=hunt"],
}


def words(rng):
    """A command line of random words, most of them near to a valid one."""
    command = rng.choice(COMMANDS)
    if rng.random() < 0.3:
        return [rng.choice(WORDS) for _ in range(rng.randrange(6))]
    line = [command, *NEAR[command]]
    for _ in range(rng.randrange(1, 4)):
        at, word = rng.randrange(len(line) + 1), rng.choice(WORDS)
        line[at : at + rng.randrange(2)] = [word]
    safe = [
        w for w in line if w not in ("all", "--save-verdicts")
    ]  # minutes; a file of the checkout
    large = ("selftest", "faults", "preflight") if not {"--help", "--version"} & set(safe) else ()
    if command in BRIEF and BRIEF[command] not in safe:
        return [command, "--help"]
    return safe if safe[:1] == [command] or not set(large) & set(safe) else ["claims"]


def mutated(rng, raw):
    """Bytes with a random change."""
    kind, at = rng.randrange(5), rng.randrange(len(raw) + 1)
    if kind == 0:
        return raw[:at]
    if kind == 1:
        return raw[:at] + rng.randbytes(rng.randrange(1, 9)) + raw[at + rng.randrange(9) :]
    if kind == 2:
        return raw[:at] + raw[at // 2 :]
    if kind == 3:
        return raw[:at] + rng.choice([b"[", b"{", b'"', b"\\", b"\0", b"\xff", b","]) + raw[at:]
    return raw[:at] + bytes([raw[at % len(raw)] ^ 1 << rng.randrange(8)]) + raw[at + 1 :]


def altered(rng, value, depth=0):
    """A JSON value with a random part replaced or removed."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.9 and depth < 6:
        copy = value.copy()
        key = rng.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
        if rng.random() < 0.15:
            del copy[key]
        else:
            copy[key] = altered(rng, copy[key], depth + 1)
        return copy
    return rng.choice(VALUES_OF_JSON)


def sealed(body, raw_rest=None):
    """A run file with the right checksum."""
    rest = raw_rest if raw_rest is not None else json.dumps(body)[1:].encode()
    head = f'{{"format": "bptt-oracle run", "schema": 2, "checksum": "{digest(rest)}",\n'
    return head.encode() + rest


def archive(rng, raw):
    """A damaged or crafted values file."""
    if rng.random() < 0.5:
        return mutated(rng, raw)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice([0, 8, 12, 14])) as members:
        for n in range(rng.randrange(4)):
            header = io.BytesIO()
            shape = rng.choice([(3,), (-1,), (2**60,), (2, 3), (), ("a",), (10**30,), 5])
            descr = rng.choice(
                ["<f4", "<f8", "<f16", "|O", "<U9", "|i1", "<c16", "x", "|V8", "<M8"]
            )
            with contextlib.suppress(Exception):
                np.lib.format.write_array_header_1_0(
                    header, {"shape": shape, "fortran_order": rng.random() < 0.5, "descr": descr}
                )
            content = header.getvalue() + rng.randbytes(rng.choice([0, 8, 12, 48]))
            content = mutated(rng, content) if rng.random() < 0.3 and content else content
            members.writestr(rng.choice(["x.npy", "x", f"{n}.npy", "../x.npy"]), content)
    return buffer.getvalue()


def alter_database(rng, file):
    """Change a random value, table or setting of a database."""
    values = ("NULL", "-1", "1e999", "'x'", "zeroblob(9)", "char(27)", "x'ff'", "'[['", "'{}'")
    columns = {
        "run": ("name", "value"),
        "cases": ("case_id", "checksum"),
        "kept": ("case_id", "part", "format", "shape", "content", "tensor"),
        "results": ("case_id", "path", "verdict", "R", "seconds", "names", "bits", "ratios"),
    }
    table = rng.choice(list(columns))
    column = rng.choice(columns[table])
    statement = rng.choice(
        [f"UPDATE {table} SET {column} = {rng.choice(values)}"] * 6
        + [f"DELETE FROM {table}", f"DROP TABLE {table}", f"CREATE VIEW v AS SELECT * FROM {table}"]
    )
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection,
    ):
        connection.execute(statement)


class Attacks:
    """The kinds of attack. Each writes files into the current folder and returns a command."""

    def __init__(self, folder):
        self.database = (folder / "run").read_bytes()
        self.unfinished = (folder / "run.unfinished").read_bytes()
        self.run = (folder / "run.json").read_bytes()
        self.npz = (folder / "run.npz").read_bytes()
        self.lines = (folder / "lines").read_bytes()
        self.body = json.loads(self.run)
        del self.body["format"], self.body["schema"], self.body["checksum"]

    def command_line(self, rng):
        return words(rng)

    def variables(self, rng):
        for name in rng.sample(VARIABLES, 2):
            os.environ[name] = rng.choice(VALUES).replace("\0", "")
        return rng.choice(
            [
                ["replay", CASE, "-v"],
                ["check", "--cases=1", "--workers=1", "--path=cpu-native", "-v"],
            ]
            + [["compare", "run", "run.json"], ["record", "-o", "o.json", "--cases=1"]][:1]
        )

    def _compare(self, rng):
        options = [
            ["--markdown"],
            ["-v"],
            ["--html", "h"],
            ["--junit", "j"],
            ["--json", "c"],
            ["-q"],
        ]
        pair = ["run", "bad.json"]
        rng.shuffle(pair)
        return ["compare", *pair, *rng.choice(options)]

    def raw_run(self, rng):
        Path("bad.json").write_bytes(mutated(rng, self.run))
        return self._compare(rng)

    def sealed_run(self, rng):
        rest = self.run.split(b"\n", 1)[1]
        if rng.random() < 0.3:
            Path("bad.json").write_bytes(sealed(None, mutated(rng, rest)))
        else:
            Path("bad.json").write_bytes(sealed(altered(rng, self.body)))
        return self._compare(rng)

    def values(self, rng):
        raw = archive(rng, self.npz)
        Path("bad.npz").write_bytes(raw)
        Path("bad.json").write_bytes(sealed(self.body | {"values": digest(raw)}))
        return self._compare(rng)

    def raw_database(self, rng):
        Path("bad.json").write_bytes(mutated(rng, self.database))
        return self._compare(rng)

    def sealed_database(self, rng):
        content = self.database[:-LENGTH]
        for _ in range(rng.randrange(1, 9)):
            content = mutated(rng, content) or content
        Path("bad.json").write_bytes(content)
        seal(Path("bad.json"))
        return self._compare(rng)

    def altered_database(self, rng):
        Path("bad.json").write_bytes(self.database[:-LENGTH])
        alter_database(rng, Path("bad.json"))
        seal(Path("bad.json"))
        return self._compare(rng)

    def unfinished_runs(self, rng):
        content = mutated(rng, self.unfinished) if rng.random() < 0.5 else self.unfinished
        Path("j.unfinished").write_bytes(content)
        if content == self.unfinished:
            alter_database(rng, Path("j.unfinished"))
        return ["record", "-o", "j", *PLAN_OPTIONS]

    def preflight_lines(self, rng):
        first, *others = self.lines.splitlines(keepends=True)
        if rng.random() < 0.5:
            first = json.dumps(altered(rng, json.loads(first))).encode() + b"\n"
        else:
            first = mutated(rng, first)
        Path("bad").write_bytes(b"".join([first, *others[rng.randrange(3) :]]))
        return ["cohort", "bad", *rng.choice([[], ["-q"], ["-v"], ["lines"]])]

    def outputs(self, rng):
        raw = rng.choice([self.run, self.npz, self.database, self.unfinished, b"", b"PK"])
        Path("out").write_bytes(mutated(rng, raw) if raw and rng.random() < 0.5 else raw)
        return [
            "compare",
            "run",
            "run.json",
            rng.choice(["--json", "--html", "--junit"]),
            "out",
        ]


PLAN_OPTIONS = ["--cases=1", "--seed=3", "--dtype=float32", "--path=cpu-native", "--workers=1"]
PLAN_OPTIONS += [f"--values={CASE}"]


def prepare(folder):
    """A run with values, its JSON, and an unfinished run that the plan of `unfinished_runs`
    continues."""
    plan = Plan(1, 3, ["float32"], ["cpu-native"], [CASE])

    class Stop(BaseException):
        pass

    def stop(finished, total):
        if finished == total:
            raise Stop

    with contextlib.suppress(Stop):
        record(folder / "run", plan, environment(), 1, stop)
    shutil.copy(folder / "run.unfinished", folder / "unfinished")
    record(folder / "run", plan, environment())
    shutil.move(folder / "unfinished", folder / "run.unfinished")
    (folder / "run.json").write_text("".join(to_json(check_run(folder / "run"))))
    np.savez(folder / "run.npz", x=np.arange(6.0))
    hosts = [healthy_line(host=f"node{i}") for i in range(4)]
    other = hosts[0] | {"host": "odd", "digests": {"steps/float32": "0" * 16}}
    write_lines(folder / "lines", [*hosts, other])


def run(folder, attack, seed, limit=180):
    """Run one attack in a child; its command, status, standard output and error."""
    work = Path(tempfile.mkdtemp(dir=folder))
    for name in ("run", "run.json", "run.npz", "lines"):
        shutil.copy(folder / name, work)
    (work / "folder").mkdir()
    pid = os.fork()
    if pid == 0:
        status = 98  # an exception that main lets through
        try:
            os.chdir(work)
            for number, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
            signal.alarm(limit)
            sys.argv = ["bptt-oracle", *attack(random.Random(seed))]
            Path("command").write_text(ascii(sys.argv[1:]))
            main()
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    texts = [
        (work / name).read_text(errors="replace") if (work / name).exists() else ""
        for name in ("command", "stdout", "stderr")
    ]
    shutil.rmtree(work, ignore_errors=True)
    return texts[0], os.waitstatus_to_exitcode(status), texts[1], texts[2]


def problem(status, out, err):
    """What is wrong with the answer to an attack; empty if nothing is."""
    if "Traceback" in err or "Traceback" in out:
        return "traceback"
    if status == -signal.SIGALRM:
        return "slow"
    if status not in (0, 1, 2):
        return f"status {status}"
    if "unexpected error" in err:
        return "unexpected"
    if status == 2 and not err.strip() and "judged" not in out and "Usage" not in out:
        return "no sentence"
    if status == 1 and not re.search(
        "fault|fail|ran|survive|stale|no longer|open|differ", out + err
    ):
        return "status 1 without a fault"
    return ""


def fuzz(seconds, seed):
    """Attack until the time is over; print the counts. Returns the number of failures."""
    start, counts, failures, statuses = time.monotonic(), Counter(), Counter(), Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        attacks = Attacks(folder)
        kinds = [k for k in dir(attacks) if not k.startswith("_") and callable(getattr(attacks, k))]
        while time.monotonic() - start < seconds:
            kind = kinds[seed % len(kinds)]
            command, status, out, err = run(folder, getattr(attacks, kind), seed)
            counts[kind] += 1
            statuses[status] += 1
            if word := problem(status, out, err):
                failures[kind, word] += 1
                print(f"{word}: seed {seed} {kind} {command} {err[-300:]!r}", flush=True)
            seed += 1
    print(f"{counts.total()} attacks: {dict(counts)}; by status {dict(statuses)}")
    print(f"failures: {dict(failures) or 'none'}")
    return failures.total()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    sys.exit(fuzz(chosen.seconds, chosen.seed) > 0)
