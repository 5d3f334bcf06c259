"""The judge judged: what it must never say, and what it must always say.

1. no false alarm        torch's own results over the corpus: no R above the limit
2. a fault of 32 noises  added to one element of one tensor: convicted every time
3. four real mistakes    TF32 products and bfloat16 weights in a float32 run, float32 inside
                         float64, one element off by 1e-6 of its tensor's largest (float64)
4. R is tight            its median over tensors lies between 0.2 and 1
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from torch_impl.execution.catalogue import PATHS, exclusion_reason
from torch_impl.execution.problem import Problem
from torch_impl.execution.run import dropout_masks, run

from ..cases.case import Case, draw
from ..cases.corpus import corpus
from ..judging.judge import LIMIT, judge
from ..judging.truth import Expected, expect
from .workers import ctrl_c_waits, one_thread, pool_of

PLANT_EVERY = 8  # most of the time goes to what must not be convicted
CPU_PATHS = [path for path in PATHS.values() if path.device == "cpu"]


class Trial(NamedTuple):
    """What one case told: every R by dtype, and (mistake, dtype) with whether it was convicted."""

    ratios: dict[str, list[float]]
    alarms: list[str]
    planted: list[tuple[str, bool]]
    ill: int


class Outcome(NamedTuple):
    """All trials together."""

    ratios: dict[str, np.ndarray]
    alarms: list[str]
    planted: dict[str, tuple[int, int]]  # convicted, of how many
    ill: int
    cases: int


def selftest(comparisons: int, seed: int, workers: int, progress: Progress) -> Outcome:
    """Run cases of the corpus until that many tensors have been compared."""
    ratios: dict[str, list[float]] = {"float32": [], "float64": []}
    planted: dict[str, list[bool]] = {}
    alarms: list[str] = []
    ill = cases = 0
    task = progress.add_task("tensors compared", total=comparisons)
    for result in _trials(comparisons, seed, workers):
        for dtype, values in result.ratios.items():
            ratios[dtype] += values
            progress.advance(task, len(values))
        alarms += result.alarms
        ill += result.ill
        cases += 1
        for mistake, convicted in result.planted:
            planted.setdefault(mistake, []).append(convicted)
        if sum(map(len, ratios.values())) >= comparisons:
            break
    return Outcome(
        {dtype: np.array(values) for dtype, values in ratios.items()},
        alarms,
        {mistake: (sum(words), len(words)) for mistake, words in planted.items()},
        ill,
        cases,
    )


def _trials(comparisons: int, seed: int, workers: int) -> Iterator[Trial]:
    """One case after another; a case compares at least eight tensors."""
    cases = corpus(comparisons // 8, seed)
    work = partial(trial, every=PLANT_EVERY)
    if workers <= 1:
        one_thread()
        yield from map(work, cases)
        return
    with pool_of(workers) as pool:
        with ctrl_c_waits():
            trials = pool.map(work, cases, chunksize=8)
        yield from trials


def trial(case: Case, every: int = 1) -> Trial:
    """One case honestly on every path of the CPU, then, in one case of so many, with each mistake
    planted."""
    problem = draw(case)
    ratios: dict[str, list[float]] = {}
    alarms: list[str] = []
    planted: list[tuple[str, bool]] = []
    ill = 0
    for dtype in ("float32", "float64"):
        masks = dropout_masks(problem, dtype)
        measured = expect(problem, dtype, masks=masks)
        exact = case.regime == "exact" and measured.exact
        honest: dict[str, np.ndarray] = {}
        values = ratios.setdefault(dtype, [])
        for path in CPU_PATHS:
            if exclusion_reason(path, problem, dtype):
                continue
            results = run(path, problem, dtype, masks).results
            verdict = judge(results, measured, exact)
            values += [s.R for s in verdict.scores if not s.ill]
            ill += sum(s.ill for s in verdict.scores)
            if verdict.word == "fault":
                alarms.append(f"{case.id} --path {path.name} --dtype {dtype}")
            honest = honest or results
        if case.seed % every == 0:
            planted += _planted(case, problem, dtype, masks, measured, honest)
    return Trial(ratios, alarms, planted, ill)


def _planted(
    case: Case,
    problem: Problem,
    dtype: str,
    masks: list[np.ndarray],
    measured: Expected,
    honest: dict[str, np.ndarray],
) -> Iterator[tuple[str, bool]]:
    """Mistakes put into a case that can tell, and whether each was convicted."""
    rng = np.random.default_rng(case.seed)
    telling = [s.tensor for s in judge(honest, measured).scores if not s.ill and s.at]
    telling = [n for n in telling if 0 < measured.noise[n][0] < np.inf]

    def convicted(results: dict[str, np.ndarray]) -> bool:
        return judge(results, measured).word == "fault"

    def off(name: str, by: float) -> dict[str, np.ndarray]:
        wrong = honest[name].astype(measured.truth[name].dtype)
        wrong[tuple(rng.integers(wrong.shape))] += by * rng.choice([-1, 1])
        return honest | {name: wrong}

    if not telling:  # it overflows in the tested type
        return
    for name in telling:
        wrong = off(name, 32 * measured.noise[name][0])
        yield f"32 noises in one element, {dtype}", convicted(wrong)
    if dtype == "float64":
        for name in telling:
            if measured.noise[name][0] < 1e-9 * np.abs(measured.truth[name]).max():
                largest = float(np.abs(honest[name]).max())
                yield "one element off by 1e-6, float64", convicted(off(name, 1e-6 * largest))
        if case.regime != "exact":
            low = run(PATHS["cpu-native"], problem, "float32", masks).results
            yield "float32 inside float64", convicted(low)
    elif case.regime != "exact":
        for mistake, bits in (("TF32 operands in float32", 10), ("bfloat16 weights in float32", 7)):
            weights = {n: _rounded(p, bits) for n, p in problem.params.items()}
            x = _rounded(problem.x, bits) if bits == 10 else problem.x
            coarse = problem._replace(params=weights, x=x)
            yield mistake, convicted(run(PATHS["cpu-native"], coarse, dtype, masks).results)


def _rounded(value: np.ndarray, bits: int) -> np.ndarray:
    """The value with that many bits after the leading one."""
    mantissa, exponent = np.frexp(value)
    return np.ldexp(np.round(mantissa * 2.0 ** (bits + 1)), exponent - bits - 1)


def print_outcome(console: Console, outcome: Outcome) -> bool:
    """The numbers as tables; True when all of them are as they must be."""
    table = Table("dtype", "tensors", "median R", "99 %", "99.99 %", "largest", "false alarms")
    tight = True
    for dtype, values in outcome.ratios.items():
        median, high, higher = np.percentile(values, [50, 99, 99.99])
        tight &= 0.2 <= median <= 1
        alarms = sum(dtype in alarm for alarm in outcome.alarms)
        row = (median, high, higher, values.max())
        table.add_row(dtype, f"{len(values):,}", *(f"{v:.2f}" for v in row), str(alarms))
    console.print(table)
    console.print(f"{outcome.cases} cases; ill-conditioned and left out: {outcome.ill} tensors")
    console.print(f"a fault is R > {LIMIT:g}")
    mistakes = Table("planted mistake", "convicted", "of")
    for mistake, (convicted, tried) in sorted(outcome.planted.items()):
        mistakes.add_row(mistake, f"{convicted:,}", f"{tried:,}")
    console.print(mistakes)
    for alarm in outcome.alarms[:10]:
        console.print(f"false alarm: {alarm}", soft_wrap=True)
    return (
        tight
        and not outcome.alarms
        and all(convicted == tried for convicted, tried in outcome.planted.values())
    )
