"""The sum of digits modulo 10, by a recurrent classifier: one run, or every published recipe.

    python -m examples.sum_mod_10                      the baseline, NumPy and torch side by side
    python -m examples.sum_mod_10 --recipe "all, GRU"  another recipe
    python -m examples.sum_mod_10 --recipes --torch    all published recipes, 10 seeds each
    python -m examples.sum_mod_10 --recipes --remedies and what might save the seeds that die

The full table takes hours of one core: --jobs spreads it, --seeds, --steps, --only make it less,
--keep FILE writes every run that ends to a JSON file, and does not run again what that file holds;
with --show it prints what is there.
"""

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bptt_oracle.runs.files import write_json

from . import recipes
from .recipes import PUBLISHED, REMEDIES, Recipe, Run


def main(arguments: Sequence[str] | None = None, console: Console | None = None) -> None:
    """Parse, run, print."""
    options = parser().parse_args(arguments)
    console = console or Console()
    if options.recipes:
        chosen = PUBLISHED + (REMEDIES if options.remedies else [])
        chosen = [r for r in chosen if not options.only or r.name in options.only]
        backends = ["NumPy", "torch"] if options.torch else ["NumPy"]
        runs = run_all(console, chosen, backends, options)
        if options.plot:
            told = {run.recipe for run in runs}
            plot([r for r in chosen if r.name in told], backends, runs, options.plot)
        console.print(distributions(chosen, backends, runs, options.steps))
        console.print(reasons(runs))
        console.print(summary(runs))
    else:
        recipe = next(r for r in PUBLISHED + REMEDIES if r.name == options.recipe)
        side_by_side(console, recipe, options.seed, options.steps)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    names = [recipe.name for recipe in PUBLISHED + REMEDIES]
    command = argparse.ArgumentParser(
        prog="python -m examples.sum_mod_10",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--recipe", default="baseline", choices=names, help="which recipe to run once")
    add("--seed", type=int, default=0, help="of that run")
    add("--steps", type=int, default=20_000, help="of Adam, in every run")
    add("--recipes", action="store_true", help="run every recipe over many seeds")
    add("--seeds", type=int, default=10, help="how many, from 0")
    add("--torch", action="store_true", help="the same seeds in torch too")
    add("--remedies", action="store_true", help="clipping, orthogonal start, gated cells too")
    add("--only", nargs="+", metavar="NAME", choices=names, help="these recipes alone")
    add("--jobs", type=int, default=1, help="processes")
    add("--keep", type=Path, metavar="FILE", help="the runs, in JSON; goes on where it ended")
    add("--show", action="store_true", help="what --keep holds, and run nothing")
    add("--plot", type=Path, metavar="FILE", help="draw the distributions; needs matplotlib")
    return command


def bar(console: Console) -> Progress:
    """A progress bar that says how many and how long."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def side_by_side(console: Console, recipe: Recipe, seed: int, steps: int) -> None:
    """One recipe in NumPy and in torch: both losses at every step, accuracy by length."""
    ids, lengths, labels = recipes.unseen(seed)
    losses, seconds = [], []
    with bar(console) as progress:
        task = progress.add_task(recipe.name, total=steps)
        here = recipes.train(recipe, seed, steps)
        there = recipes.train_in_torch(recipe, seed, steps)
        for _ in range(steps):
            start = time.perf_counter()
            record, params = next(here)
            middle = time.perf_counter()
            loss, model = next(there)
            seconds.append((middle - start, time.perf_counter() - middle))
            losses.append((record.loss, loss))
            progress.update(task, advance=1, description=f"{recipe.name}, loss {loss:.3f}")
    gap = np.abs(np.divide(*np.transpose(losses)) - 1)
    curve = Table("step", "loss, NumPy", "loss, torch", "largest gap so far", title="Training")
    for t in np.unique(np.geomspace(1, steps, 8).astype(int)) - 1:
        a, b = losses[t]
        curve.add_row(str(t + 1), f"{a:.6f}", f"{b:.6f}", f"{gap[: t + 1].max():.1e}")
    console.print(curve)
    took = 1e3 * np.median(seconds, axis=0)
    console.print(f"a step takes {took[0]:.1f} ms in NumPy, {took[1]:.1f} ms in torch (medians)")
    found = {
        "NumPy": recipes.guesses(recipe, params, ids, lengths) - labels,
        "torch": recipes.torch_guesses(model, ids, lengths) - labels,
    }
    table = Table("digits", *found, title=f"Accuracy on {len(ids)} unseen sequences")
    for n in range(2, 6):
        table.add_row(str(n), *(f"{(off[lengths == n] == 0).mean():.1%}" for off in found.values()))
    for name, modulus in ("all", 10), ("all, modulo 5", 5), ("all, modulo 2", 2):
        table.add_row(name, *(f"{(off % modulus == 0).mean():.1%}" for off in found.values()))
    console.print(table)


def run_all(
    console: Console, chosen: list[Recipe], backends: list[str], options: argparse.Namespace
) -> list[Run]:
    """Every recipe with every seed on every backend; runs are printed, and kept, as they end."""
    wanted = {
        (recipe.name, backend, seed, options.steps): (recipe, backend, seed, options.steps)
        for recipe in chosen
        for seed in range(options.seeds)
        for backend in backends
    }
    kept = recipes.load(options.keep) if options.keep else []
    done = {one[:4] for one in kept}
    jobs = [job for name, job in wanted.items() if name not in done and not options.show]
    with bar(console) as progress, ProcessPoolExecutor(options.jobs) as pool:
        task = progress.add_task("runs", total=len(jobs))
        for future in as_completed([pool.submit(recipes.run, *job) for job in jobs]):
            one = future.result()
            kept.append(one)
            if options.keep:
                write_json(options.keep, kept)
            progress.advance(task)
            progress.print(f"{one.recipe}, seed {one.seed}, {one.backend}: {one.accuracy:.1%}")
    order = list(wanted)
    return sorted((one for one in kept if one[:4] in wanted), key=lambda one: order.index(one[:4]))


def distributions(chosen: list[Recipe], backends: list[str], runs: list[Run], steps: int) -> Table:
    """A mark for every seed from 0 to 100 %, a ring where the tutorial's one run was alone."""
    table = Table(
        "recipe", "by", "0 %" + " " * 25 + "100 %", "median", "≥ 99 %",
        title=f"Accuracy after {steps} steps: ● a seed", box=None,
    )  # fmt: skip
    for recipe in chosen:
        for backend in backends:
            found = [r.accuracy for r in runs if (r.recipe, r.backend) == (recipe.name, backend)]
            if not found:
                continue
            name = recipe.name if backend == backends[0] else ""
            marks = strip(found, recipe.published)
            if "○" in marks:
                table.title = f"Accuracy after {steps} steps: ● a seed, ○ the published run"
            row = name, backend, marks, f"{np.median(found):.0%}"
            table.add_row(*row, f"{sum(a >= 0.99 for a in found)} of {len(found)}")
    return table


def plot(chosen: list[Recipe], backends: list[str], runs: list[Run], file: Path) -> None:
    """The same as a picture: a dot for every seed, a ring for the published run."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.hashsalt": "bptt-oracle", "svg.fonttype": "path"})
    figure, axes = pyplot.subplots(figsize=(6.4, 0.8 + 0.4 * len(chosen)), layout="constrained")
    for row, recipe in enumerate(chosen):
        for backend, color, side in zip(
            backends, ("#2f6db3", "#d9822b"), (-0.12, 0.12), strict=False
        ):
            found = sorted(
                r.accuracy for r in runs if (r.recipe, r.backend) == (recipe.name, backend)
            )
            label = backend if row == 0 else None
            axes.plot(found, [row + side] * len(found), "o", color=color, alpha=0.5, label=label)
        if recipe.published is not None:
            label = "published, one run" if row == 0 else None
            axes.plot(recipe.published, row, "o", ms=10, mfc="none", mec="black", label=label)
    axes.set_yticks(range(len(chosen)), [recipe.name for recipe in chosen])
    axes.invert_yaxis()
    axes.axvline(0.1, color="#8a8f98", lw=0.8, ls=":")
    axes.set(xlim=(0, 1.02), xlabel="accuracy on 1000 unseen sequences; dotted: chance")
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def strip(values: list[float], published: float | None, width: int = 33) -> str:
    """Marks on a line from 0 to 1; a digit where several fall together, + for more than nine."""
    counts = np.bincount([round(v * (width - 1)) for v in values], minlength=width)
    marks = ["·" if n == 0 else "●" if n == 1 else str(n) if n < 10 else "+" for n in counts]
    if published is not None and counts[round(published * (width - 1))] == 0:
        marks[round(published * (width - 1))] = "○"
    return "".join(marks)


def reasons(runs: list[Run]) -> Table:
    """What the recorded norms say of each run in NumPy."""
    table = Table(
        "recipe", "seed", "accuracy", "h spread", "∂L/∂input", "max ‖g‖", "verdict",
        title="Why: the last tenth of each run relative to its first step", box=None,
    )  # fmt: skip
    for one in runs:
        if one.findings:
            said = one.findings
            times = f"× {said.spread:.2g}", f"× {said.input_norm:.2g}", f"{said.largest:.2g}"
            table.add_row(one.recipe, str(one.seed), f"{one.accuracy:.1%}", *times, said.verdict)
    return table


def summary(runs: list[Run]) -> str:
    """The same in one sentence for the runs that never left chance."""
    lost = [r.findings for r in runs if r.findings and r.accuracy < 0.15]
    if not lost:
        return "No run ended at chance."
    fell, largest = sum(f.spread < 0.5 for f in lost), max(f.largest for f in lost)
    return (
        f"{len(lost)} runs ended at chance; in {fell} of them the state's spread over the batch "
        f"had more than halved, and the largest gradient of any was {largest:.2g}."
    )


if __name__ == "__main__":
    main()
