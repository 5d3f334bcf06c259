"""How long `compare` takes for two large runs, and how much memory: made-up results, not recorded.

    python -m benchmarks.runs --rows 10000000 --folder /tmp/runs    # 8 GB, a quarter of an hour

Of a hundred results, one has another kernel, three have other bits, one of these in a thousand
drifts, and the others are equal. A few are faults, new or removed.
"""

import argparse
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bptt_oracle.runs.schema import Head, Record
from bptt_oracle.runs.store import finish, write_database

PATHS = ("cpu-cells", "cpu-manual", "cpu-native", "cpu-native-again", "cpu-onednn")
DTYPES = ("float32", "float64")
NAMES = ("d_bias_hh_l0", "d_bias_ih_l0", "d_h_0", "d_weight_hh_l0", "d_weight_ih_l0", "d_x")
NAMES += ("h_n", "output")
CASE = "LSTM.T5.B3.I4.H7.L2.bi.time.h0.output+h_n+c_n.generic.s{:09}"
OTHER_KERNEL, MOVED, DRIFTED, FAULTY, MISSING = 101, 31, 31_013, 300_007, 500_009
HEAD = Head("0123456789abcdef", 16.0, [{"torch": "2.13.0"}], {"cases": 1, "seed": 0})


def results(number: int, new: bool) -> Iterator[Record]:
    """Results in the order of their keys. Those of a new run differ from the old ones."""
    i = 0
    for case in range(number):
        name = CASE.format(case)
        for path in PATHS:
            for dtype in DTYPES:
                i += 1
                if i > number or i % MISSING == (1 if new else 2):
                    continue
                yield _result(i, name, path, dtype, new)
        if i >= number:
            return


def _result(i: int, case: str, path: str, dtype: str, new: bool) -> Record:
    ratios = [(i * 7 + k * 13) % 150 / 100 for k in range(len(NAMES))]
    bits = [(i * 2_654_435_761 + k) % 2**64 for k in range(len(NAMES))]
    verdict, kernel = "agree", "native"
    if new and i % OTHER_KERNEL == 0:
        kernel = "MkldnnRnnLayerBackward0"
    if new and i % MOVED == 0:
        bits[i % len(NAMES)] += 1
        ratios[i % len(NAMES)] += 0.25
    if new and i % DRIFTED == 0:
        ratios[-1] = 9.0
    if new and i % FAULTY == 0:
        verdict, ratios[-1] = "fault", 99.0
    return (
        *(case, path, dtype, verdict, max(ratios), "output", "time 0 row 0 unit 1", kernel),
        *(0.001234, "", "", " ".join(NAMES), struct.pack("<8Q", *bits)),
        struct.pack("<8d", *ratios),
        0,
    )


def make(file: Path, number: int, new: bool) -> None:
    """Write a finished run with that number of results."""
    head = HEAD._replace(environments=[{"torch": "2.15.0"}]) if new else HEAD
    write_database(file, head, results(number, new))
    finish(file)


def main() -> None:
    """Make two runs, compare them in a process of its own, and print its time and memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    files = [chosen.folder / name for name in ("old", "new")]
    for file in files:
        if not file.exists():
            make(file, chosen.rows, file.name == "new")
        print(f"{file}: {file.stat().st_size / 1e6:.0f} MB", flush=True)
    start = time.perf_counter()
    ran = subprocess.run([sys.executable, "-m", "bptt_oracle", "compare", *files])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{chosen.rows} results: {time.perf_counter() - start:.1f} s, "
        f"{used.ru_utime + used.ru_stime:.1f} s of processor, "
        f"{used.ru_maxrss / 1024:.0f} MB; status {ran.returncode}"
    )


if __name__ == "__main__":
    main()
