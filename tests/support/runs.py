"""Runs for the tests of record and compare: a small plan, and runs made of invented results."""

from collections import Counter

from bptt_oracle.runs.record import Plan
from bptt_oracle.runs.run_file import Row, Run, TensorDigest, digest

PLAN = Plan(cases=6, seed=3, dtypes=["float32"], paths=["cpu-native", "cpu-cells"], values=[])
CASE = "GRU.T6.B3.I4.H5.L1.time.h0.output+h_n.generic.s"


def row(
    number=0, R=0.5, bits="same", verdict="agree", kernel="native", note="", R_h_n=0.4, masks=""
):
    """A row whose tensor `output` has this R, and the digest of the text `bits`."""
    tensors = {
        "output": TensorDigest(R, digest(bits.encode())),
        "h_n": TensorDigest(R_h_n, digest(b"h_n")),
    }
    return Row(
        case=f"{CASE}{number}",
        path="cpu-native",
        dtype="float32",
        verdict=verdict,
        R=R,
        tensor="output",
        place="time 0 row 0 unit 1",
        kernel=kernel,
        seconds=0.001,
        note=note,
        masks=masks,
        tensors={} if note else tensors,
    )


def made_up(*rows, torch="2.13.0"):
    """A run of these rows."""
    plan = PLAN._asdict()
    return Run("0123456789abcdef", 16.0, {"torch": torch, "threads": 1}, plan, list(rows))


def untimed(run):
    """The run without its times, which differ between two equal runs."""
    return run._replace(rows=[r._replace(seconds=0.0) for r in run.rows])


HOSTILE = "]]> <script>alert(1)</script> | `x` [bold] & \"'"
ONE_OF_EACH = (
    made_up(
        *(row(n) for n in range(4)),
        row(4, R=0.5),
        row(5),
        row(6),
        row(7, R=20, verdict="fault"),
        row(8),
        torch="2.4.1",
    ),
    made_up(
        *(row(n) for n in range(4)),
        row(4, R=3.0, bits="b"),
        row(5, R=20, bits="b", verdict="fault", note=HOSTILE),
        row(6, R=0.25, bits="b"),
        row(7, bits="b"),
        row(9),
    ),
)
EXPECTED = Counter(equal=4, drift=1, fault=1, moved=1, fixed=1, removed=1, new=1)
