"""The commands; those of who upgrades are in upgrade.py."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from ..reports.console import AGREE, COULD_NOT_RUN, FAULT, new_console, progress_bar, show
from ..runs.interrupt import ctrl_c_ends_all
from ..runs.workers import one_thread, processes
from . import upgrade
from .options import (
    MOST,
    Cases,
    Device,
    Dtype,
    Dtypes,
    Paths,
    Seed,
    Where,
    Workers,
    dtypes_of,
    page,
    paths_of,
    refuse,
    save,
    workers_of,
)

app = typer.Typer(
    help="What this PyTorch's recurrent nets compute, against mathematics PyTorch did not produce.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(upgrade.record)
app.command()(upgrade.compare)
app.command()(upgrade.matrix)


@app.command()
def check(
    device: Where = Device.auto,
    dtype: Dtypes = None,
    path: Paths = None,
    cases: Cases = 200,
    seed: Seed = 0,
    json: Annotated[Path | None, typer.Option(help="Write everything to this file too.")] = None,
    workers: Workers = 0,
) -> None:
    """Hold torch against the derivations; exit 0 agree, 1 fault, 2 could not run."""
    if workers != 1:
        processes()  # it imports torch while this one does
    with ctrl_c_ends_all():
        from torch_impl.execution.backend import WrongKernel

        from ..cases.corpus import cases_for
        from ..judging.deviations import here, tally
        from ..reports import tables
        from ..runs.environment import environment
        from ..runs.examine import check as run_all
        from ..runs.files import as_json
        from ..runs.record import no_case

    chosen, skipped = paths_of(device, path)
    page(json)
    try:
        here()
    except ValueError as error:
        refuse(str(error))
    dtypes = dtypes_of(dtype)
    workers = workers_of(workers, chosen)
    if workers == 1:
        one_thread()
    console, header, results = new_console(), environment(), []
    tables.print_environment(console, header)
    start = time.perf_counter()
    try:
        with progress_bar() as progress:
            todo = cases_for(cases, seed, chosen)
            for some in progress.track(run_all(todo, dtypes, chosen, workers), total=len(todo)):
                results.extend(some)
    except WrongKernel as error:
        refuse(str(error))
    results.sort(key=lambda r: (r.case, r.path, r.dtype))
    words = {r.verdict for r in results if r.path != "cpu-refusals"}  # a refusal is no number
    if words <= {"excluded"}:
        refuse(no_case(chosen, dtypes))
    tables.print_results(console, results, skipped, time.perf_counter() - start)
    counted = tally(results) if any(name.startswith("cpu") for name in chosen) else []
    tables.print_deviations(console, counted)
    if json is not None:
        told = {"environment": header, "results": [r._asdict() for r in results]}
        told["deviations"] = [t.deviation._asdict() | {"met": t.met} for t in counted]
        save(json, as_json(told))
    if any(r.verdict == "fault" for r in results) or any(t.stale for t in counted):
        raise typer.Exit(FAULT)
    if words <= {"excluded", "untrusted"}:
        refuse("every result is untrusted: nothing could be judged on this machine")


@app.command()
def replay(
    case: Annotated[str, typer.Argument(metavar="ID", help="A case id, as check prints it.")],
    path: Annotated[str, typer.Option(help="The path to take.")] = "cpu-native",
    dtype: Annotated[Dtype, typer.Option(help="The tested type.")] = Dtype.float32,
    script: Annotated[
        bool, typer.Option("--script", help="Print a program of torch and numpy alone instead.")
    ] = False,
) -> None:
    """Run one case again, the framework beside the truth; exit as check does."""
    with ctrl_c_ends_all():
        from torch_impl.execution.backend import WrongKernel
        from torch_impl.execution.catalogue import path_named

        from ..cases.case import parse
        from ..reports import replay as replaying
        from ..reports.script import script as program

    one_thread()
    if path == "cpu-refusals" and script:
        refuse(
            "cpu-refusals is many calls and has no --script; leave it out, or name another --path"
        )
    if path == "cpu-refusals" and dtype is not Dtype.float32:
        refuse("cpu-refusals are asked in float32; leave --dtype out, or name another --path")
    if path == "cpu-refusals":
        try:
            word = replaying.print_refusals(new_console(), parse(case))
        except ValueError as error:
            refuse(str(error))
        raise typer.Exit(FAULT if word == "fault" else AGREE)
    if path == "all":
        refuse("a case is replayed along one --path at a time")
    (name,), _ = paths_of(Device.auto, [path])
    if script and path_named(name).variant == "subsets":
        refuse(
            f"{name} asks for gradients in turns and has no --script; leave it out, "
            "or name another --path"
        )
    try:
        described = parse(case)
        outcome, measured = replaying.replay(described, path_named(name), dtype.value)
    except (ValueError, WrongKernel) as error:
        refuse(str(error))
    if script:
        show(program(described, path_named(name), dtype.value, measured))
        return
    console = new_console()
    console.print(f"{described.id}  --path {name} --dtype {dtype.value}", soft_wrap=True)
    if isinstance(outcome, str):
        console.print(f"torch raised {outcome}; verdict: fault", soft_wrap=True, markup=False)
        raise typer.Exit(FAULT)
    word = replaying.print_replay(console, described, outcome, measured)
    raise typer.Exit({"agree": AGREE, "fault": FAULT}.get(word, COULD_NOT_RUN))


@app.command()
def faults(
    fault: Annotated[
        list[str] | None, typer.Option(help="Fault, may be repeated; all by default.")
    ] = None,
    cases: Cases = 64,
    seed: Seed = 0,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the matrix to this file as a page.")
    ] = None,
) -> None:
    """Plant the faults that recurrent nets have had; exit 0 all convicted, 1 one survives."""
    with ctrl_c_ends_all():
        from ..cases.corpus import corpus
        from ..faults import FAULTS
        from ..faults.detect import Court, trials
        from ..faults.kill_matrix import markdown as as_page
        from ..faults.kill_matrix import print_matrix

    for name in fault or ():
        if name not in FAULTS:
            refuse(f"there is no fault {name!r}; the page docs/faults/faults.md lists them")
    page(markdown)
    one_thread()
    chosen = list(dict.fromkeys(fault or FAULTS))
    total = sum(len(FAULTS[n].cells) * len(FAULTS[n].dtypes) for n in chosen)
    with progress_bar() as progress:
        tried = list(progress.track(trials(Court(corpus(cases, seed)), chosen), total=total))
    print_matrix(new_console(), tried)
    if markdown is not None:
        save(markdown, as_page(tried, f"bptt-oracle faults --markdown {markdown}"))
    raise typer.Exit(AGREE if all(c.cases for c in tried) else FAULT)


@app.command()
def selftest(
    comparisons: Annotated[
        int,
        typer.Option(
            min=1000, max=8 * MOST, help="Tensor comparisons to look for false alarms in."
        ),
    ] = 20_000,
    seed: Seed = 0,
    workers: Workers = 0,
) -> None:
    """Judge the judge: no false alarm, and every planted mistake convicted."""
    if workers != 1:
        processes()
    with ctrl_c_ends_all():
        from ..runs.selftest import print_outcome
        from ..runs.selftest import selftest as run_selftest

    with progress_bar() as progress:
        outcome = run_selftest(comparisons, seed, workers or os.cpu_count() or 1, progress)
    raise typer.Exit(AGREE if print_outcome(new_console(), outcome) else FAULT)


@app.command()
def claims(
    markdown: Annotated[
        Path | None, typer.Option(help="Write the table to this Markdown file instead.")
    ] = None,
) -> None:
    """Every claim, its code, its tests and the last verdict; exit 1 while one is open."""
    with ctrl_c_ends_all():
        from ..ledger.claims import ROOT, print_claims, to_markdown
        from ..ledger.claims import claims as all_claims

    if not (ROOT / "pyproject.toml").is_file():
        refuse("claims are held by the tests, which are not installed; run it in a checkout")
    page(markdown)
    rows = all_claims()
    if markdown is None:
        print_claims(new_console(), rows)
    else:
        save(markdown, to_markdown(rows))
    raise typer.Exit(FAULT if any(row.verdict in ("open", "failed") for row in rows) else AGREE)
