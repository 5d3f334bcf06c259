"""Test the judge: it must report no false alarm, and it must detect every planted mistake.

1. no false alarm        torch's own results over the corpus: no R above the limit
2. a fault of 32 noises  added to one element of one tensor: always detected
3. four real mistakes    TF32 products and bfloat16 weights in a float32 run, float32 inside
                         float64, one element off by 1e-6 of its tensor's largest (float64)
4. small slices          the smallest time step, row or gate of a tensor off by a thousandth
5. offsets               one noise of one sign in all elements of one tensor
6. R is tight            its median over tensors lies between 0.2 and 1

It also counts the elements that could be 0 unnoticed. Of those, "inherent" are elements of which
careful evaluations in the tested type are off by more than 1/16 (root mean square): no judge can
tell them from 0.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from torch_impl.execution.catalogue import PATHS, exclusion_reason
from torch_impl.execution.problem import Problem
from torch_impl.execution.run import dropout_masks, run

from ..cases.case import Case, draw
from ..cases.corpus import corpus
from ..judging.confirmation import judge_and_confirm
from ..judging.judge import LIMIT, judge
from ..judging.offsets import Offset, collect_offsets
from ..judging.truth import Expected, expect
from ..judging.wide import narrow
from ..processes.failures import Crash, first_line, lacks_resources
from ..processes.workers import limit_threads, map_unordered
from .results import OUT_OF_RESOURCES

PLANT_EVERY = 8  # mistakes are planted in one case of 8: most time goes to the false alarms
HIDDEN = ("elements", "by the tensor's noise", "by their own noise", "inherent")
CPU_PATHS = [path for path in PATHS.values() if path.device == "cpu"]


class Trial(NamedTuple):
    """What one case showed."""

    ratios: dict[str, list[float]]  # every R, by dtype
    alarms: list[str]  # false alarms, as arguments of replay
    planted: list[tuple[str, bool]]  # mistake and dtype, whether it was detected
    ill: int  # ill-conditioned tensors
    hidden: dict[tuple[str, str], np.ndarray]  # by regime and dtype, see HIDDEN
    results: list["Honest"]
    unfinished: str = ""  # the case and the reason, if it crashed or resources ran out


class Honest(NamedTuple):
    """What the offsets over all cases are made of: one honest result."""

    path: str
    dtype: str
    verdict: str
    offsets: dict[str, float]


class Summary(NamedTuple):
    """All trials together."""

    ratios: dict[str, np.ndarray]
    alarms: list[str]
    planted: dict[str, tuple[int, int]]  # detected, planted
    ill: int
    cases: int
    hidden: dict[tuple[str, str], np.ndarray]
    offsets: list[Offset]
    unfinished: list[str]  # cases, with the reason


def selftest(comparisons: int, seed: int, workers: int, progress: Progress) -> Summary:
    """Run cases of the corpus until `comparisons` tensors have been compared."""
    ratios: dict[str, list[float]] = {"float32": [], "float64": []}
    planted: dict[str, list[bool]] = {}
    alarms: list[str] = []
    unfinished: list[str] = []
    ill = cases = 0
    hidden: dict[tuple[str, str], np.ndarray] = {}
    offsets: list[Any] = []
    task = progress.add_task("tensors compared", total=comparisons)
    for trial in _trials(comparisons, seed, workers):
        for dtype, values in trial.ratios.items():
            ratios[dtype] += values
            progress.advance(task, len(values))
        alarms += trial.alarms
        ill += trial.ill
        offsets += trial.results
        for key, counts in trial.hidden.items():
            hidden[key] = hidden.get(key, 0) + counts
        cases += 1
        unfinished += filter(None, [trial.unfinished])
        for mistake, detected in trial.planted:
            planted.setdefault(mistake, []).append(detected)
        if sum(map(len, ratios.values())) >= comparisons:
            break
    return Summary(
        {dtype: np.array(values) for dtype, values in ratios.items()},
        alarms,
        {mistake: (sum(detected), len(detected)) for mistake, detected in planted.items()},
        ill,
        cases,
        hidden,
        collect_offsets(offsets),
        unfinished,
    )


def _trials(comparisons: int, seed: int, workers: int) -> Iterator[Trial]:
    """The trials of a corpus that is long enough: a case compares at least eight tensors."""
    cases = corpus(comparisons // 8, seed)
    if workers <= 1:
        limit_threads()
    waiting: dict[int, Trial] = {}
    due = 0
    # A fixed order: `selftest` uses the first trials, and their number depends on their content.
    for number, trial in map_unordered(_numbered_trial, enumerate(cases), workers, _crashed_trial):
        waiting[number] = trial
        while due in waiting:
            yield waiting.pop(due)
            due += 1


def _numbered_trial(numbered: tuple[int, Case]) -> tuple[int, Trial]:
    return numbered[0], run_trial(numbered[1], every=PLANT_EVERY)


def _crashed_trial(numbered: tuple[int, Case], crash: Crash) -> tuple[int, Trial]:
    number, case = numbered
    return number, Trial({}, [], [], 0, {}, [], f"crash: {case.id}: {crash}")


def run_trial(case: Case, every: int = 1) -> Trial:
    """Judge torch's own results of a case on every CPU path; then, in one case of `every`, plant
    each mistake."""
    try:
        return _run_trial(case, every)
    except Exception as error:
        if not lacks_resources(error):
            raise
        return Trial({}, [], [], 0, {}, [], f"{OUT_OF_RESOURCES}: {case.id}: {first_line(error)}")


def _run_trial(case: Case, every: int) -> Trial:
    problem = draw(case)
    ratios: dict[str, list[float]] = {}
    alarms: list[str] = []
    planted: list[tuple[str, bool]] = []
    ill = 0
    hidden: dict[tuple[str, str], np.ndarray] = {}
    results_of_paths: list[Honest] = []
    for dtype in ("float32", "float64"):
        masks = dropout_masks(problem, dtype)
        expected = expect(problem, dtype, masks=masks)
        exact = case.regime == "exact" and expected.exact
        correct: dict[str, np.ndarray] = {}
        values = ratios.setdefault(dtype, [])
        for path in CPU_PATHS:
            if exclusion_reason(path, problem, dtype):
                continue
            results = run(path, problem, dtype, masks).results
            expect_with = partial(expect, problem, dtype, None, masks, "")
            verdict, _ = judge_and_confirm(results, expected, exact, expect_with)
            values += [s.R for s in verdict.scores if not s.ill]
            ill += sum(s.ill for s in verdict.scores)
            offsets = {s.tensor: s.offset for s in verdict.scores if not s.ill}
            results_of_paths.append(Honest(path.name, dtype, verdict.word, offsets))
            if verdict.word == "fault":
                alarms.append(f"{case.id} --path {path.name} --dtype {dtype}")
            correct = correct or results
        hidden[case.regime, dtype] = _count_hidden(problem, dtype, masks, expected, exact)
        if case.seed % every == 0:
            planted += _plant(case, problem, dtype, masks, expected, correct)
    return Trial(ratios, alarms, planted, ill, hidden, results_of_paths)


def _count_hidden(
    problem: Problem, dtype: str, masks: list[np.ndarray], expected: Expected, exact: bool
) -> np.ndarray:
    """How many elements there are, and how many could be 0 unnoticed; see HIDDEN."""
    counts = np.zeros(len(HIDDEN))
    if exact:  # the last bit decides
        counts[0] = sum(np.count_nonzero(value) for value in expected.truth.values())
        return counts
    for name, elements in expected.elements.items():
        true = expected.truth[name]
        truth = np.abs(narrow(true))
        nonzero = truth > 0
        own = nonzero & (truth <= LIMIT * elements.sizes)
        inherent = own & (truth <= LIMIT * elements.deviation)
        by_tensor = nonzero & (truth <= LIMIT * expected.noise[name][0])
        counts += [part.sum() for part in (nonzero, by_tensor, own, inherent)]
    return counts


def _smallest_slice(name: str, value: np.ndarray) -> tuple[slice | int, ...]:
    """The time step and row, or the gate and unit, whose largest element is the smallest."""
    if value.ndim == 1 or "_weight" in name or "_bias" in name:
        rows = np.abs(value).reshape(len(value), -1).max(axis=1)
        return (int(rows.argmin()),)
    sizes = np.abs(value).max(axis=-1)
    return tuple(map(int, np.unravel_index(int(sizes.argmin()), sizes.shape)))


def _plant(
    case: Case,
    problem: Problem,
    dtype: str,
    masks: list[np.ndarray],
    expected: Expected,
    correct: dict[str, np.ndarray],
) -> Iterator[tuple[str, bool]]:
    """Plant each mistake in a case, and yield its name and whether the judge detects it. Only
    tensors that are not ill-conditioned and whose noise is finite and positive are changed."""
    rng = np.random.default_rng(case.seed)
    names = [s.tensor for s in judge(correct, expected).scores if not s.ill and s.at]
    names = [n for n in names if 0 < expected.noise[n][0] < np.inf]

    def is_detected(results: dict[str, np.ndarray]) -> bool:
        return judge(results, expected).word == "fault"

    def shift(name: str, by: float) -> dict[str, np.ndarray]:
        wrong = correct[name].astype(expected.truth[name].dtype)
        wrong[tuple(rng.integers(wrong.shape))] += by * rng.choice([-1, 1])
        return correct | {name: wrong}

    if not names:  # the case overflows in the tested dtype
        return
    for name in names:
        wrong = shift(name, 32 * expected.noise[name][0])
        yield f"32 noises in one element, {dtype}", is_detected(wrong)
    for name in names:
        elements, value = expected.elements[name], correct[name]
        place = _smallest_slice(name, value)
        trusted = 1e-3 * np.abs(value[place]) > 2 * LIMIT * elements.sizes[place]
        if trusted.any():
            scaled = value.copy()
            scaled[place] *= 1 + 1e-3
            mistake = f"the smallest slice of a tensor off by a thousandth, {dtype}"
            yield mistake, is_detected(correct | {name: scaled})
    if dtype == "float64":
        for name in names:
            if expected.noise[name][0] < 1e-9 * np.abs(expected.truth[name]).max():
                largest = float(np.abs(correct[name]).max())
                yield "one element off by 1e-6, float64", is_detected(shift(name, 1e-6 * largest))
        if case.regime != "exact":
            low = run(PATHS["cpu-native"], problem, "float32", masks).results
            yield "float32 inside float64", is_detected(low)
    elif case.regime != "exact":
        for mistake, bits in (("TF32 operands in float32", 10), ("bfloat16 weights in float32", 7)):
            weights = {n: _rounded(p, bits) for n, p in problem.params.items()}
            x = _rounded(problem.x, bits) if bits == 10 else problem.x
            coarse = problem._replace(params=weights, x=x)
            yield mistake, is_detected(run(PATHS["cpu-native"], coarse, dtype, masks).results)


def _rounded(value: np.ndarray, bits: int) -> np.ndarray:
    """The value rounded to that many bits after the leading one."""
    mantissa, exponent = np.frexp(value)
    rounded: np.ndarray = np.ldexp(np.round(mantissa * 2.0 ** (bits + 1)), exponent - bits - 1)
    return rounded


def print_summary(console: Console, summary: Summary) -> bool:
    """Print the numbers as tables; return whether the judge passed."""
    table = Table("dtype", "tensors", "median R", "99 %", "99.99 %", "largest", "false alarms")
    tight = True
    for dtype, values in summary.ratios.items():
        if not values.size:  # no case was finished
            continue
        median, high, higher = np.percentile(values, [50, 99, 99.99])
        tight &= 0.2 <= median <= 1
        alarms = sum(dtype in alarm for alarm in summary.alarms)
        row = (median, high, higher, values.max())
        table.add_row(dtype, f"{len(values):,}", *(f"{v:.2f}" for v in row), str(alarms))
    console.print(table)
    console.print(f"{summary.cases} cases; ill-conditioned and left out: {summary.ill} tensors")
    console.print(f"a fault is R > {LIMIT:g}")
    shares = Table("regime", "dtype", "elements", "hidden: tensor", "element", "inherent", "rest")
    for (regime, dtype), (total, *parts) in sorted(summary.hidden.items()):
        rest = parts[1] - parts[2]
        percent = (f"{100 * n / max(total, 1):.2f} %" for n in (*parts, rest))
        shares.add_row(regime, dtype, f"{int(total):,}", *percent)
    console.print(shares)
    worst_offset = summary.offsets[0] if summary.offsets else None
    if worst_offset:
        console.print(
            f"largest offset over the cases: D {worst_offset.D:.2f} of {LIMIT:g} in "
            f"{worst_offset.tensor} on {worst_offset.path} in {worst_offset.dtype}, "
            f"{worst_offset.cases} cases",
            soft_wrap=True,
        )
    mistakes = Table("planted mistake", "detected", "of")
    for mistake, (detected, total) in sorted(summary.planted.items()):
        mistakes.add_row(mistake, f"{detected:,}", f"{total:,}")
    console.print(mistakes)
    for reason in summary.unfinished[:10]:
        console.print(reason, soft_wrap=True)
    for alarm in summary.alarms[:10]:
        console.print(f"false alarm: {alarm}", soft_wrap=True)
    return (
        tight
        and not summary.alarms
        and not any(offset.is_systematic for offset in summary.offsets)
        and all(detected == total for detected, total in summary.planted.values())
    )
