"""Every execution path and road of the catalogue, on random nets: the cases that `check` judges.

A failing one is printed as the program of `replay --script`; a road that has none is printed as the
command that repeats it.
"""

from typing import Any

import numpy as np

from ...cases.case import COTANGENTS, Case, contradiction
from ...judging import judge
from ..programs.fields import SEED, Choice, Program, Size
from ..programs.subject import RIGHT, UNSUPPORTED, Outcome, Subject

COMPILED = "-compiled"  # minutes for each case


def _names() -> tuple[str, ...]:
    from torch_impl.execution.catalogue import OPTIONAL_PATHS, PATHS
    from torch_impl.roads.catalogue import ROADS

    known = [p.name for p in (PATHS | OPTIONAL_PATHS).values() if p.device == "cpu"]
    names = dict.fromkeys(["cpu-native", *known, *ROADS])  # the plainest first
    return tuple(name for name in names if not name.endswith(COMPILED))


FIELDS: dict[str, Any] = {
    "path": Choice(_names()),
    "cell": Choice(("RNN_TANH", "RNN_RELU", "GRU", "LSTM")),
    "dtype": Choice(("float32", "float64", "bfloat16", "float16"), (4, 4, 1, 1)),
    "layout": Choice(("time", "batch", "unbatched", "sorted", "packed"), (3, 2, 1, 2, 3)),
    "layers": Choice((1, 2, 3), (3, 2, 1)),
    "bidirectional": Choice((False, True)),
    "bias": Choice((True, False), (3, 1)),
    "projection": Choice((False, True), (3, 1)),
    "tied": Choice((False, True), (4, 1)),
    "state": Choice((False, True)),
    "strided": Choice((False, True), (3, 1)),
    "dropout": Choice((0.0, 0.5, 1.0), (5, 1, 1)),
    "cotangents": Choice(("output", "output+h_n", "h_n", "c_n", "output+h_n+c_n")),
    "regime": Choice(("generic", "saturated", "cancelling", "wide", "tiny"), (4, 1, 1, 1, 1)),
    "T": Size(1, 12),
    "B": Size(1, 9),
    "I": Size(1, 18),
    "H": Size(1, 18),
}


def _tidy(program: Program) -> Program | None:
    if program["layers"] == 1:
        program = program | {"dropout": 0.0}
    if program["layout"] == "unbatched":
        program = program | {"B": 1}
    if program["projection"] and program["H"] < 2:
        return None
    return None if contradiction(case_of(program)) else program


def case_of(program: Program) -> Case:
    """The case of a program."""
    rng = np.random.default_rng(program[SEED])
    lengths: tuple[int, ...] = ()
    if program["layout"] in ("sorted", "packed"):
        drawn = rng.integers(1, program["T"] + 1, program["B"])
        drawn[0] = program["T"]
        ordered = np.sort(drawn)[::-1] if program["layout"] == "sorted" else rng.permutation(drawn)
        lengths = tuple(map(int, ordered))
    plain = ("cell", "layout", "layers", "bidirectional", "bias", "tied", "state", "strided")
    wanted = program["cotangents"].split("+")
    return Case(
        **{name: program[name] for name in (*plain, "dropout", "regime", "T", "B", "I", "H")},
        P=program["H"] // 2 if program["projection"] else 0,
        lengths=lengths,
        cotangents=tuple(name for name in COTANGENTS if name in wanted),
        seed=program[SEED],
    )


def _attempt(program: Program) -> Outcome:
    from torch_impl.execution.path import WrongKernel

    from ...implementations.loading import implementation_named
    from ...runs.examine import examine

    implementation = implementation_named(program["path"])
    try:
        (result,) = examine(case_of(program), program["dtype"], [implementation])
    except WrongKernel as error:
        return Outcome(UNSUPPORTED, detail=str(error))
    if result.verdict != "fault":
        return Outcome(RIGHT if result.verdict == "agree" else UNSUPPORTED, detail=result.note)
    if not result.tensor:
        return Outcome("rejected valid input", "", float("inf"), result.note)
    gradients = {name: R for name, R in result.tensors.items() if name.startswith("d_")}
    tensor = max(gradients, key=lambda name: gradients[name], default="")
    if not tensor or gradients[tensor] <= judge.LIMIT:
        return Outcome("silent wrong value", result.tensor, result.R, result.place)
    values = [R for name, R in result.tensors.items() if name not in gradients]
    if max(values, default=0) > judge.LIMIT:  # the gradients are wrong because the values are
        return Outcome("silent wrong value", result.tensor, result.R, result.place)
    return Outcome("silent wrong gradient", tensor, gradients[tensor], result.place)


def _text(program: Program, outcome: Outcome) -> str:
    from torch_impl.execution.catalogue import OPTIONAL_PATHS, PATHS

    from ...implementations.loading import implementation_named
    from ...reports.replay_tables import run_case
    from ...reports.script import script

    name, case, dtype = program["path"], case_of(program), program["dtype"]
    paths = PATHS | OPTIONAL_PATHS
    if name in paths and not name.endswith("-subsets"):
        expected = run_case(case, implementation_named(name), dtype).expected
        return script(case, paths[name], dtype, expected)
    return f"# bptt-oracle replay {case.id} --path {name} --dtype {dtype}\n"


SUBJECT = Subject("paths", FIELDS, _tidy, _attempt, _text)
