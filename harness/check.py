"""Cases run over paths and judged: the work behind `bptt-oracle check`."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import NamedTuple

import torch

from torch_impl.paths import PATHS, Path, WrongRoad, dropout_masks, excluded, run, unit_roundoff

from .case import Case, draw
from .judge import judge
from .truth import longdouble_is_wider, yardstick
from .where import where


class Result(NamedTuple):
    """One case on one path in one dtype."""

    case: str
    path: str
    dtype: str
    cell: str
    verdict: str  # agree, fault, untrusted, or excluded where the path does not exist
    R: float
    tensor: str
    place: str
    road: str
    seconds: float
    note: str  # why excluded; torch's message where it raised
    tensors: dict[str, float]  # R of every tensor


def examine(case: Case, dtype: str, paths: Sequence[Path]) -> list[Result]:
    """A case judged on each of the paths, truth computed once for all of one precision."""
    problem = draw(case)
    masks = dropout_masks(problem, dtype)
    yardsticks = {}
    results = []
    for path in paths:
        note = excluded(path, problem, dtype)
        blank = Result(case.id, path.name, dtype, case.cell, "excluded", 0, "", "", "", 0, note, {})
        if note:
            results.append(blank)
            continue
        start = time.perf_counter()
        try:
            outcome = run(path, problem, dtype, masks)
        except WrongRoad:
            raise
        except Exception as error:  # whatever torch raises on a valid case is its answer
            note = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            results.append(blank._replace(verdict="fault", R=float("inf"), note=note))
            continue
        seconds = time.perf_counter() - start
        u = unit_roundoff(path, dtype)
        if u not in yardsticks:
            yardsticks[u] = yardstick(problem, dtype, u, masks)
        exact = case.regime == "exact" and yardsticks[u].exact
        word, worst, scores = judge(outcome.results, yardsticks[u], exact)
        if dtype == "float64" and not longdouble_is_wider():
            word, note = "untrusted", "longdouble is no wider than double on this machine"
        results.append(
            blank._replace(
                verdict=word,
                R=worst.R,
                tensor=worst.tensor,
                place=where(case, worst.tensor, worst.at),
                road=outcome.road,
                seconds=seconds,
                note=note,
                tensors={s.tensor: s.R for s in scores},
            )
        )
    return results


def check(
    cases: Iterable[Case], dtypes: Sequence[str], paths: Sequence[str], workers: int = 1
) -> Iterator[list[Result]]:
    """The results of one case after another, in the order they are done."""
    if workers <= 1:
        for case in cases:
            yield examine_all(case, dtypes, paths)
        return
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=one_thread
    ) as pool:
        futures = [pool.submit(examine_all, case, dtypes, paths) for case in cases]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def examine_all(case: Case, dtypes: Sequence[str], paths: Sequence[str]) -> list[Result]:
    """`examine` in every dtype."""
    chosen = [PATHS[name] for name in paths]
    return [result for dtype in dtypes for result in examine(case, dtype, chosen)]


def one_thread() -> None:
    """A worker's share of the processor: the cases are small, and there are several workers."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
