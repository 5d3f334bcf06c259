"""`bptt-oracle check --path optimizers`: judge torch's optimisers in all their forms."""

import time
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

import typer

from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import limit_threads
from ..reports.console import AGREE, COULD_NOT_RUN, FAULT, new_console, progress_bar
from .check_common import Options, report_verdict, require_demonstrations, with_own_deviations
from .exits import stop
from .output_files import require_report_files

GROUP = "optimizers"
LIST = "bptt_oracle/optimizers/deviations.toml"
MANY = 500  # tensors, if none of them shows a deviation, make it stale: not every one does


def names_optimizers(paths: Sequence[str]) -> bool:
    """Whether these paths are of optimisers. Stops if some are and others are not."""
    from torch_impl.optimizers.table import OPTIMIZERS

    kinds = {name.lower() for name in OPTIMIZERS}
    own = [p for p in paths if p == GROUP or (p.split("-") + [""])[1] in kinds]
    others = [p for p in paths if p not in own]
    if own and others:
        stop(
            f"{own[0]} is a path of optimizers and {others[0]} is one of nets; check them in two "
            "commands"
        )
    return bool(own)


def check_optimizers(names: Sequence[str], options: Options, list_deviations: bool) -> NoReturn:
    """Judge the optimisers of these paths. The exit status is that of `check`."""
    with terminate_on_interrupt():
        import torch

        from ..judging.deviations import mark_known, tally
        from ..optimizers.cases import OptimizerCase, optimizer_cases, parse
        from ..optimizers.demonstrations import check_demonstration, demonstrate
        from ..optimizers.examine import check_optimizers as run_all
        from ..optimizers.examine import known_deviations, optimizer_paths
        from ..reports.check_report import CheckReport
        from ..reports.check_tables import print_deviations, print_environment
        from ..reports.optimizer_tables import print_optimizers
        from ..reports.verdicts import NOT_FINISHED, UNTRUSTED, check_verdict, numbers_judged
        from ..runs.environment import environment
        from ..runs.results import UNFINISHED, Result

    paths = optimizer_paths(compiled=True)
    for name in names:
        if name not in paths and name != GROUP:
            stop(f"there is no path {name!r}; choose from {GROUP}, {', '.join(paths)}")
    reports = options.reports
    require_report_files(reports.json, reports.junit)
    listed, own = known_deviations(), reports.deviations
    known = with_own_deviations(listed, own, torch.__version__, OptimizerCase)
    require_demonstrations(known, check_demonstration)
    chosen = dict.fromkeys(
        path for name in names for path in (optimizer_paths() if name == GROUP else (name,))
    )
    optimizers = tuple(dict.fromkeys(paths[path][0] for path in chosen))
    limit_threads()
    quiet = options.quiet or reports.markdown
    console, header = new_console(quiet=quiet), environment()
    print_environment(console, header, options.verbose)
    results: list[Result] = []
    start = time.perf_counter()
    todo = optimizer_cases(options.cases, options.seed, optimizers)
    with progress_bar(options.quiet) as progress:
        finished = run_all(todo, options.dtypes or (), tuple(chosen), options.workers)
        for some in progress.track(finished, len(todo), description="cases checked"):
            results.extend(mark_known(r, parse(r.case), known) for r in some)
    results.sort(key=lambda r: (r.case, r.path, r.dtype))
    print_optimizers(console, results, time.perf_counter() - start, options.verbose)
    finished_results = [r for r in results if r.verdict not in UNFINISHED]
    tallies = tally(finished_results, known, partial(demonstrate, paths=chosen), parse)
    tallies = [t for t in tallies if t.met or t.deviation.demonstrates or t.concerned >= MANY]
    files = {d.id: str(own) for d in known} | {d.id: LIST for d in listed}
    print_deviations(console, tallies, list_deviations, files)
    is_stale = reports.stale_fails and any(t.stale for t in tallies)
    status = AGREE
    if any(r.verdict == "fault" for r in results) or is_stale:
        status = FAULT
    elif not numbers_judged(results) or any(r.verdict in UNFINISHED for r in results):
        status = COULD_NOT_RUN
    sentence = check_verdict(torch.__version__, results, tallies)
    plan = {"cases": len(todo), "seed": options.seed, "dtypes": options.dtypes}
    plan["paths"] = list(chosen)
    title = f"torch {torch.__version__}, optimizers"
    report = CheckReport(
        title, sentence, status, plan, header, results, tallies, (), reports.stale_fails
    )
    report_verdict(report, reports, options.quiet)
    if status == COULD_NOT_RUN:
        stop(NOT_FINISHED if any(r.verdict in UNFINISHED for r in results) else UNTRUSTED)
    raise typer.Exit(status)
