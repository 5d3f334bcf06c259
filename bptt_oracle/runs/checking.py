"""Check many cases in worker processes, which get implementations by name; a case that ends its
worker is repeated piece by piece.
"""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ..cases.case import Case, draw
from ..implementations.loading import implementation_named, is_torch_path
from ..judging.deviations import mark_known
from ..judging.invalid_calls import has_invalid_calls
from ..processes.failures import Crash, first_line, lacks_resources
from ..processes.stages import work_in_stages
from ..processes.workers import map_unordered, run_isolated
from .examine import examine
from .results import INVALID_CALLS_PATH, OUT_OF_RESOURCES, Result, blank_result, crashed


def check(
    cases: Iterable[Case],
    dtypes: Sequence[str],
    paths: Sequence[str],
    workers: int = 1,
    stages: Path | None = None,
) -> Generator[list[Result], None, None]:
    """Yield the results of each case as soon as it is finished. A case that ends its worker is
    repeated piece by piece, and what ends its process again has the verdict CRASH. One worker is
    this process, if all paths are torch's; a GPU is then used by one process only. What each worker
    is doing is written to the folder `stages`, if any."""
    examine_one = partial(examine_dtypes, dtypes=dtypes, paths=paths)
    work: Callable[[Case], list[Result]] = partial(work_in_stages, stages, examine_one)
    in_pieces = partial(_examine_pieces, dtypes=dtypes, paths=paths)
    isolate = not all(map(is_torch_path, paths))
    yield from map_unordered(work, cases, workers, in_pieces, isolate)


def _examine_pieces(
    case: Case, crash: Crash, dtypes: Sequence[str], paths: Sequence[str]
) -> list[Result]:
    """The results of a case that ends its process; each path and dtype in a process of its own."""
    results: list[Result] = []
    for dtype in dtypes:
        for name in paths:
            try:
                results += run_isolated(partial(examine_named, dtype=dtype, names=[name]), case)
            except Crash as again:
                results.append(crashed(blank_result(case, name, dtype), again))
    try:
        results += run_isolated(partial(examine_dtypes, dtypes=[], paths=paths), case)
    except Crash as again:
        results.append(crashed(blank_result(case, INVALID_CALLS_PATH, "float32"), again))
    return results


def examine_named(case: Case, dtype: str, names: Sequence[str]) -> list[Result]:
    """`examine` for implementations given by name."""
    return examine(case, dtype, [implementation_named(name) for name in names])


def examine_dtypes(case: Case, dtypes: Sequence[str], paths: Sequence[str]) -> list[Result]:
    """`examine` in every dtype; for some cases, if a module runs on the CPU, also the invalid
    calls."""
    chosen = [implementation_named(name) for name in paths]
    results = [result for dtype in dtypes for result in examine(case, dtype, chosen)]
    if has_invalid_calls(case) and any(map(_is_cpu_module, paths)):
        results.append(examine_invalid_calls(case))
    return results


def _is_cpu_module(name: str) -> bool:
    """Whether a name is that of a path on which a module of torch runs on the CPU."""
    if not is_torch_path(name):
        return False
    from torch_impl.roads.catalogue import ROADS, path_named

    path = path_named(name)
    return path.device == "cpu" and path.implementation == "module" and name not in ROADS


def examine_invalid_calls(case: Case) -> Result:
    """Judge whether torch rejects the invalid calls made from a case. R is 0 for a call that is
    rejected and infinite for one that is accepted."""
    from ..implementations.responses import respond

    start = time.perf_counter()
    blank = blank_result(case, INVALID_CALLS_PATH, "float32")
    try:
        responses = respond(draw(case))
    except Exception as error:
        if not lacks_resources(error):
            raise
        return blank._replace(
            verdict=OUT_OF_RESOURCES,
            R=float("inf"),
            note=first_line(error),
        )
    ratios = {name: 0.0 if exception else np.inf for name, exception in responses}
    name, R = max(ratios.items(), key=lambda item: item[1])
    result = Result(
        case.id,
        INVALID_CALLS_PATH,
        "float32",
        case.cell,
        verdict="fault" if R else "agree",
        R=R,
        tensor=name,
        place="accepted" if R else "rejected",
        kernel="native",
        seconds=time.perf_counter() - start,
        note="",
        tensors=ratios,
    )
    judged: Result = mark_known(result, case)
    return judged


def no_case_message(paths: Sequence[str], dtypes: Sequence[str], own: Sequence[Case] = ()) -> str:
    """The error message when every path is excluded for every case. It also suggests another
    dtype, because more cases do not help where a path does not have the dtype."""
    combination = f"{', '.join(paths)} in {', '.join(dtypes)}"
    if own:
        return (
            f"{own[0].id} does not exist on {combination}{', nor do the others' * (len(own) > 1)}; "
            "choose another --path or --dtype, or another case"
        )
    return (
        f"no case of this corpus exists on {combination}; ask for more --cases, or another --dtype"
    )
