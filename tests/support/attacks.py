"""Attacks on the command line and on the files that it reads, by kind.

A kind is a command, in which {} is replaced by each input. Each attack must end with status 2 and
one sentence. `files` are written as they are to the folder of the attack; {} is then the name of
one.
"""

from typing import NamedTuple

CASE = "LSTM.T5.B3.I4.H6.L2.time.h0.output.generic.s7"


class Kind(NamedTuple):
    """A kind of attack."""

    name: str
    command: list[str]
    inputs: list[str] = []
    files: list[bytes] = []

    @property
    def number(self):
        return len(self.inputs) + len(self.files)


def _changed(old, *news):
    """The case with one part replaced by each of some others."""
    return [CASE.replace(old, new) for new in news]


IDS = [
    "",
    ".",
    "LSTM",
    "LSTM.",
    "lstm" + CASE[4:],
    "QRNN" + CASE[4:],
    "/etc/passwd",
    "../" + CASE,
    CASE + "\n",
    CASE + "\0",
    CASE + " ",
    " " + CASE,
    CASE + ".s8",
    CASE.upper(),
    CASE * 50,
    "[bold]" + CASE,
    "\x1b[2J" + CASE,
    "\u202e" + CASE,
    *_changed("T5", "T0", "T-5", "T5.5", "T٥", "T", "T5e3", "T0x5", "T99999999999999999999", "5"),
    *_changed("B3", "B0", "B-1", "B³", "BNaN", "B3 "),
    *_changed("I4", "I0", "I-4", "Iinf"),
    *_changed("H6", "H0", "H00", "H6_0"),
    *_changed("L2", "L0", "L-2", "L2.L2"),
    *_changed("time", "times", "packed", "packed-5-5", "packed-0-3-5", "packed-5-3-6", "packed--1"),
    *_changed("time", "packed-uniform9", "packed-rest0", "sorted-1-2-5", "unbatched", "time.time"),
    *_changed("h0", "h0.h0", "h1", "h0.drop1_5", "h0.drop-1", "h0.P0", "h0.P6"),
    *_changed("output", "", "outputs", "output+output", "h_n+output", "+", "c_n.c_n"),
    *_changed("generic", "specific", "Generic", "generic.exact"),
    *_changed("s7", "s", "s-7", "s7.0", "s18446744073709551616", "s7a", "seed7"),
]
VERSIONS = [
    "",
    "2",
    "2.13.x",
    "v2.13.0",
    "2.13.0;rm -rf /",
    "2.13.0 --index-url=http://example.org",
    "-r requirements.txt",
    "--help-me",
    "file:///etc/passwd",
    "git+https://example.org/x.git",
    "../torch",
    "torch",
    "torch==",
    "==2.13.0",
    "torch>=2.13.0",
    "torch==2.13.0,!=2.4",
    "2.13.0\n2.4.1",
    "2.13.0\0",
    "٢.13.0",
    "1e3",
    "NaN",
    "[red]2.13.0[/]",
    "$(id)",
    "`id`",
]
IMPLEMENTATIONS = [
    "",
    ":",
    "os",
    "os:",
    ":lstm",
    "os:no_such_name",
    "os:path",
    "os:getcwd",
    "json:loads:more",
    "no_module:lstm",
    "no.such.module:lstm",
    "../my_lstm:lstm",
    "my_lstm.py:lstm",
    "os.path:sep",
    "builtins:None",
    "builtins:int",
    "math:pi",
    "\0:x",
    "os:\n",
    "[bold]:[/bold]",
    "os:__doc__",
    "..:x",
    "bptt_oracle.implementations.adapters:NOTHING",
]
NAMES = [".", "..", "/", "/no/such/folder/run", "x" * 300, "/dev/full", "\udcff\udcfe/x", "\0"]
NUMBERS = ["-1", "0", "1.5", "NaN", "inf", "1e3", "0x10", "", " ", "1000001", "9" * 40]
WORDS = ["", "all", "Float32", "float31", "cpu", "--", "[/]", "\x1b[2J", "a" * 5000]
PATHS = ["", "cpu", "cpu-fast", "CPU-NATIVE", "cpu-native,cpu-cells", "cuda cudnn", "../x", "\n"]
CASES_FILES = [
    b"",
    b"\n\n",
    b"\xff\xfe\x00",
    b"\0" * 100,
    b"LSTM\n",
    b"[" * 10000,
    b"<xml/>",
    b"{}",
    CASE.encode() + b"\nnonsense\n",
    CASE.encode() * 100000,
]
TOML_FILES = [
    b"",
    b"case = 1\n",
    b"[case]\n",
    b"[[case]]\n",
    b'[[case]]\nid = "LSTM"\n',
    b'[[case]]\ncell = "LSTM"\nT = "5"\n',
    b'[[case]]\ncell = "LSTM"\nT = -5\nB = 3\n',
    b'[[case]]\ncell = "LSTM"\nT = 5\nB = 3\nlengths = "uniform 1..9"\n',
    b'[[case]]\ncell = "LSTM"\nT = 5\nB = 3\nlengths = [1, 2]\n',
    b'[[case]]\ncell = "LSTM"\nT = 5\nB = 3\nunknown = 1\n',
    b'[[case]]\ncell = ["LSTM"]\nT = 5\n',
    b'[[case]]\ncell = "LSTM"\nT = nan\n',
    b"[[case]]\nT = 9999999999999999999999\n",
    b"x = [" * 5000,
    b"\xff = 1",
]
RUNS = [
    b"",
    b"\0",
    b"SQLite format 3\0",
    b"SQLite format 3\0" + b"\0" * 5000,
    b"{}",
    b"[]",
    b"null",
    b'{"format": "bptt-oracle run"}',
    b"\x80\x04\x95",
    b"PK\x03\x04",
    b"GIF89a",
    b"[" * 100000,
    b'{"a": ' * 50000,
    b"1e999",
    b"\xef\xbb\xbf{}",
    b"#!/bin/sh\nid\n",
]
LINES = [
    b"",
    b"\n",
    b"{}",
    b"[]",
    b"null\n",
    b"{" * 10000,
    b"\xff\xff",
    b'{"format": 1}\n',
    b'{"host": "[bold]"}\n',
    b"a" * 100000,
]

KINDS = [
    Kind("ids of cases, to replay", ["replay", "--", "{}"], IDS),
    Kind("ids of cases, to check", ["check", "--workers", "1", "--case={}"], IDS[1:40]),
    Kind("versions of packages", ["versions", "--", "{}"], VERSIONS),
    Kind("names of implementations", ["check", "--implementation={}"], IMPLEMENTATIONS),
    Kind("numbers of cases", ["check", "--cases={}"], NUMBERS),
    Kind("dtypes", ["check", "--dtype={}"], WORDS),
    Kind("paths", ["check", "--path={}"], PATHS),
    Kind("names of outputs", ["record", "--cases", "1", "--output={}"], NAMES),
    Kind("files of cases, a line for each", ["check", "--cases-file={}.txt"], files=CASES_FILES),
    Kind("files of cases, TOML", ["check", "--cases-file={}.toml"], files=TOML_FILES),
    Kind("files in place of runs", ["compare", "{}", "{}"], files=RUNS),
    Kind("files in place of lines of preflight", ["cohort", "{}"], files=LINES),
]
