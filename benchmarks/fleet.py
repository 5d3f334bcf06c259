"""`python -m benchmarks.fleet`: a fleet of 1000 simulated workers, one with a flipped bit.

What is real: every flipped run computes the case `steps` with one bit of a weight, of a gate or of
a state flipped at one step, and its line is written, read and compared by the code of `preflight`
and `cohort`. What is simulated: the other 999 workers. Equal devices compute equal bits by
definition of a cohort, so each is the line of one healthy run under another name. In the fleets
without a flip, models and drivers are mixed, workers repeat, and lines are shuffled: what is tested
there is the comparison, not hardware. Page: docs/fleet/fleet.md
"""

import argparse
import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bptt_oracle.fleet.cohort import Fleet, compare, read_records
from bptt_oracle.fleet.fixed_cases import CASES
from bptt_oracle.fleet.flip import flip_bit
from bptt_oracle.fleet.lines import UNWELL, to_text
from bptt_oracle.fleet.preflight import (
    REPEATS,
    Examined,
    Settings,
    add_sketches,
    examine,
    examine_device,
)
from bptt_oracle.fleet.truth_file import Truth, read

WORKERS = 1000
CASE = CASES["steps"]
SHAPES = {  # of one step
    "weight_ih_l0": (4 * CASE.H, CASE.I),
    "weight_hh_l0": (4 * CASE.H, CASE.H),
    "gates": (CASE.B, 4 * CASE.H),
    "c": (CASE.B, CASE.H),
    "output": (CASE.B, CASE.H),
}
MANTISSA = {"float32": 23, "float64": 52}


class Flip(NamedTuple):
    """Which bit is flipped, and where."""

    dtype: str
    tensor: str
    step: int
    element: tuple[int, ...]  # of one step
    bit: int

    @property
    def place(self) -> str:
        """The place as `cohort` prints it."""
        step = [] if self.tensor.startswith("weight") else [self.step]
        digits = 8 if self.dtype == "float32" else 16
        where = f"steps/{self.dtype}/{self.tensor}{[*step, *self.element]}"
        return f"{where}, xor 0x{1 << self.bit:0{digits}x}"


def draw_flip(rng: random.Random) -> Flip:
    """A bit of the mantissa of one element of a weight, a gate or a state, at one step."""
    dtype, tensor = rng.choice(list(MANTISSA)), rng.choice(list(SHAPES))
    element = tuple(rng.randrange(size) for size in SHAPES[tensor])
    return Flip(dtype, tensor, rng.randrange(CASE.T), element, rng.randrange(MANTISSA[dtype]))


def flipped_lines(
    flip: Flip, healthy: dict[str, Any], truth: Truth
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The line of a worker whose bit flips in every run, and of one where it flips in one run."""
    touch = flip_bit(flip.tensor, flip.step, flip.element, flip.bit)
    lines = []
    for touches in ([touch] * REPEATS, [None, touch, None]):
        one = examine(CASE, flip.dtype, "cpu", truth, touches=touches)
        lines.append(_with(healthy, flip.dtype, one))
    return lines[0], lines[1]


def _with(healthy: dict[str, Any], dtype: str, one: Examined) -> dict[str, Any]:
    """A healthy line whose results in one dtype are replaced."""
    line = json.loads(json.dumps(healthy))
    add_sketches(line, CASE, dtype, one.sketches)
    line["findings"] += one.findings
    return line | {"R": one.R, "verdict": UNWELL if one.findings else line["verdict"]}


def fleet_of(odd: dict[str, Any], healthy: dict[str, Any], number: int) -> tuple[str, Fleet]:
    """The name of the odd worker, and what `cohort` finds among it and 999 healthy ones, of which
    ten lines have sketches, as if few had been run with --output."""
    rng, name = random.Random(number), f"node{number % WORKERS:04d}"
    texts = [to_text(odd | {"host": name})]
    for worker in range(WORKERS):
        host = f"node{worker:04d}"
        if host != name:
            texts.append(to_text(healthy | {"host": host}, brief=worker % 100 != 50))
    rng.shuffle(texts)
    return name, _compare(texts)


def _compare(texts: list[str]) -> Fleet:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fleet.jsonl"
        file.write_text("".join(texts))
        return compare(*read_records([file]))


def count_flips(number: int, healthy: dict[str, Any], truth: Truth) -> Counter[str]:
    """How many of `number` flips were named, by kind of tensor and what was named."""
    counts: Counter[str] = Counter()
    rng = random.Random(0)
    for k in range(number):
        flip = draw_flip(rng)
        always, once = flipped_lines(flip, healthy, truth)
        name, fleet = fleet_of(always, healthy, 7 * k)
        odd = [o for group in fleet.groups for o in group.odd]
        kind = "weight" if flip.tensor.startswith("weight") else flip.tensor
        counts[f"{kind} planted"] += 1
        counts[f"{kind} worker"] += [o.worker[0] for o in odd] == [name]
        counts[f"{kind} place"] += [o.place for o in odd] == [f"first in {flip.place}"]
        counts[f"{kind} R"] += not isinstance(always["R"], float) or always["R"] > 16
        found = [
            f"{f['case']}/{f['dtype']}/{f['tensor']}{f['element']}, xor {f['xor']}"
            for f in once["findings"]
        ]
        counts[f"{kind} once"] += found == [flip.place]
    return counts


def honest_fleets(number: int, healthy: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Devices compared and false alarms of fleets without a flip."""
    for k in range(number):
        rng, texts = random.Random(k), []
        kinds = rng.randint(1, 20)
        for worker in range(WORKERS):
            kind = worker % kinds
            line = healthy | {"host": f"node{worker:04d}", "time": f"{rng.random()}"}
            line["cohort"] = healthy["cohort"] | {"driver": f"570.{kind}"}
            line["digests"] = {part: f"{kind:016x}" for part in healthy["digests"]}
            texts += [to_text(line, brief=True)] * (1 + (rng.random() < 0.05))
        rng.shuffle(texts)
        fleet = _compare(texts)
        undecided = sum(bool(group.undecided) for group in fleet.groups)
        odd = sum(len(group.odd) for group in fleet.groups)
        yield WORKERS, odd + undecided + len(fleet.wrong) + len(fleet.rejected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=300)
    parser.add_argument("--fleets", type=int, default=1000, help="of 1000 workers without a flip")
    options = parser.parse_args()
    truth = read()
    healthy = examine_device("cpu", Settings(cases=("steps",)))
    head = ["flipped", "runs", "worker named", "and tensor, element, mask", "if once", "R > 16"]
    print(f"| {' | '.join(head)} |")
    print("|---" * len(head) + "|")
    counts = count_flips(options.flips, healthy, truth)
    for kind in ("weight", "gates", "c", "output"):
        row = [counts[f"{kind} {n}"] for n in ("planted", "worker", "place", "once", "R")]
        print(f"| {kind} | {' | '.join(map(str, row))} |")
    compared = alarms = 0
    for devices, false in honest_fleets(options.fleets, healthy):
        compared, alarms = compared + devices, alarms + false
    print(f"\n{alarms} false alarms in {compared} simulated runs without a flip")


if __name__ == "__main__":
    main()
