"""The sum of digits modulo 10, learned by a recurrent classifier: one run, or all recipes.

    python -m examples.sum_mod_10                       the baseline, in NumPy and in torch
    python -m examples.sum_mod_10 --recipe "all, GRU"   another recipe
    python -m examples.sum_mod_10 --recipes --torch     all published recipes, 10 seeds each
    python -m examples.sum_mod_10 --recipes --remedies  also recipes that may prevent failed runs

All recipes take hours on one core. --jobs uses more processes; --seeds, --steps and --only reduce
the work. --keep FILE saves each finished run in a JSON file and skips the runs already in it; with
--show it only prints them.
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
from .recipes import PUBLISHED, REMEDIES, Recipe, TrainingRun


def main(arguments: Sequence[str] | None = None, console: Console | None = None) -> None:
    """Run one recipe, or all of them, and print the tables."""
    options = parser().parse_args(arguments)
    console = console or Console()
    if options.recipes:
        chosen = PUBLISHED + (REMEDIES if options.remedies else [])
        chosen = [r for r in chosen if not options.only or r.name in options.only]
        backends = ["NumPy", "torch"] if options.torch else ["NumPy"]
        runs = run_all(console, chosen, backends, options)
        if options.plot:
            finished = {run.recipe for run in runs}
            plot([r for r in chosen if r.name in finished], backends, runs, options.plot)
        console.print(distributions(chosen, backends, runs, options.steps))
        console.print(reasons(runs))
        console.print(summary(runs))
    else:
        recipe = next(r for r in PUBLISHED + REMEDIES if r.name == options.recipe)
        side_by_side(console, recipe, options.seed, options.steps)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    names = [recipe.name for recipe in PUBLISHED + REMEDIES]
    command = argparse.ArgumentParser(
        prog="python -m examples.sum_mod_10",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--recipe", default="baseline", choices=names, help="the recipe to run once")
    add("--seed", type=int, default=0, help="the seed of that run")
    add("--steps", type=int, default=20_000, help="steps of Adam in every run")
    add("--recipes", action="store_true", help="run every recipe with many seeds")
    add("--seeds", type=int, default=10, help="number of seeds, from 0")
    add("--torch", action="store_true", help="run the same seeds in torch too")
    add(
        "--remedies",
        action="store_true",
        help="also run with clipping, orthogonal initial weights, gated cells",
    )
    add("--only", nargs="+", metavar="NAME", choices=names, help="run only these recipes")
    add("--jobs", type=int, default=1, help="number of processes")
    add("--keep", type=Path, metavar="FILE", help="save runs as JSON; skip those already saved")
    add("--show", action="store_true", help="print the runs saved by --keep; run nothing")
    add("--plot", type=Path, metavar="FILE", help="draw the distributions; needs matplotlib")
    return command


def bar(console: Console) -> Progress:
    """A progress bar with the number done and the time remaining."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def side_by_side(console: Console, recipe: Recipe, seed: int, steps: int) -> None:
    """Run a recipe in NumPy and in torch; print losses, step times and accuracies by length."""
    ids, lengths, labels = recipes.draw_test_data(seed)
    losses, seconds = [], []
    with bar(console) as progress:
        task = progress.add_task(recipe.name, total=steps)
        numpy_training = recipes.train(recipe, seed, steps)
        torch_training = recipes.train_in_torch(recipe, seed, steps)
        for _ in range(steps):
            start = time.perf_counter()
            record, params = next(numpy_training)
            middle = time.perf_counter()
            loss, model = next(torch_training)
            seconds.append((middle - start, time.perf_counter() - middle))
            losses.append((record.loss, loss))
            progress.update(task, advance=1, description=f"{recipe.name}, loss {loss:.3f}")
    gap = np.abs(np.divide(*np.transpose(losses)) - 1)
    curve = Table("step", "loss, NumPy", "loss, torch", "largest gap so far", title="Training")
    for t in np.unique(np.geomspace(1, steps, 8).astype(int)) - 1:
        a, b = losses[t]
        curve.add_row(str(t + 1), f"{a:.6f}", f"{b:.6f}", f"{gap[: t + 1].max():.1e}")
    console.print(curve)
    ms = 1e3 * np.median(seconds, axis=0)
    console.print(f"a step takes {ms[0]:.1f} ms in NumPy, {ms[1]:.1f} ms in torch (medians)")
    errors = {
        "NumPy": recipes.predict(recipe, params, ids, lengths) - labels,
        "torch": recipes.torch_predict(model, ids, lengths) - labels,
    }
    table = Table("digits", *errors, title=f"Accuracy on {len(ids)} unseen sequences")
    for n in range(2, 6):
        table.add_row(str(n), *(f"{(e[lengths == n] == 0).mean():.1%}" for e in errors.values()))
    for name, modulus in ("all", 10), ("all, modulo 5", 5), ("all, modulo 2", 2):
        table.add_row(name, *(f"{(e % modulus == 0).mean():.1%}" for e in errors.values()))
    console.print(table)


def run_all(
    console: Console, chosen: list[Recipe], backends: list[str], options: argparse.Namespace
) -> list[TrainingRun]:
    """Run every recipe with every seed on every backend; print and save each run as it ends."""
    wanted = {
        (recipe.name, backend, seed, options.steps): (recipe, backend, seed, options.steps)
        for recipe in chosen
        for seed in range(options.seeds)
        for backend in backends
    }
    runs = recipes.load(options.keep) if options.keep else []
    done = {run[:4] for run in runs}
    jobs = [job for name, job in wanted.items() if name not in done and not options.show]
    with bar(console) as progress, ProcessPoolExecutor(options.jobs) as pool:
        task = progress.add_task("runs", total=len(jobs))
        for future in as_completed([pool.submit(recipes.run, *job) for job in jobs]):
            run = future.result()
            runs.append(run)
            if options.keep:
                write_json(options.keep, runs)
            progress.advance(task)
            progress.print(f"{run.recipe}, seed {run.seed}, {run.backend}: {run.accuracy:.1%}")
    order = list(wanted)
    return sorted((run for run in runs if run[:4] in wanted), key=lambda run: order.index(run[:4]))


def distributions(
    chosen: list[Recipe], backends: list[str], runs: list[TrainingRun], steps: int
) -> Table:
    """A table with the accuracy of every seed as a mark, and the published one as a ring."""
    table = Table(
        "recipe", "by", "0 %" + " " * 25 + "100 %", "median", "≥ 99 %",
        title=f"Accuracy after {steps} steps: ● a seed", box=None,
    )  # fmt: skip
    for recipe in chosen:
        for backend in backends:
            accuracies = [
                run.accuracy for run in runs if (run.recipe, run.backend) == (recipe.name, backend)
            ]
            if not accuracies:
                continue
            name = recipe.name if backend == backends[0] else ""
            marks = strip(accuracies, recipe.published)
            if "○" in marks:
                table.title = f"Accuracy after {steps} steps: ● a seed, ○ the published run"
            row = name, backend, marks, f"{np.median(accuracies):.0%}"
            table.add_row(*row, f"{sum(a >= 0.99 for a in accuracies)} of {len(accuracies)}")
    return table


def plot(chosen: list[Recipe], backends: list[str], runs: list[TrainingRun], file: Path) -> None:
    """Draw the accuracies to an SVG file: a dot for every seed, a ring for the published run."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.hashsalt": "bptt-oracle", "svg.fonttype": "path"})
    figure, axes = pyplot.subplots(figsize=(6.4, 0.8 + 0.4 * len(chosen)), layout="constrained")
    for row, recipe in enumerate(chosen):
        for backend, color, side in zip(
            backends, ("#2f6db3", "#d9822b"), (-0.12, 0.12), strict=False
        ):
            accuracies = sorted(
                r.accuracy for r in runs if (r.recipe, r.backend) == (recipe.name, backend)
            )
            label = backend if row == 0 else None
            rows = [row + side] * len(accuracies)
            axes.plot(accuracies, rows, "o", color=color, alpha=0.5, label=label)
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
    """Marks on a line from 0 to 1: ● one value, a digit for several, + for more than nine.

    The published value is a ring, unless another mark is in its place.
    """
    counts = np.bincount([round(v * (width - 1)) for v in values], minlength=width)
    marks = ["·" if n == 0 else "●" if n == 1 else str(n) if n < 10 else "+" for n in counts]
    if published is not None and counts[round(published * (width - 1))] == 0:
        marks[round(published * (width - 1))] = "○"
    return "".join(marks)


def reasons(runs: list[TrainingRun]) -> Table:
    """The findings of each run in NumPy."""
    table = Table(
        "recipe", "seed", "accuracy", "h spread", "∂L/∂input", "max ‖g‖", "outcome",
        title="Why: the last tenth of each run relative to its first step", box=None,
    )  # fmt: skip
    for run in runs:
        if run.findings:
            f = run.findings
            values = f"× {f.spread:.2g}", f"× {f.input_norm:.2g}", f"{f.largest_norm:.2g}"
            table.add_row(run.recipe, str(run.seed), f"{run.accuracy:.1%}", *values, f.outcome)
    return table


def summary(runs: list[TrainingRun]) -> str:
    """One sentence about the runs whose accuracy stayed at chance."""
    lost = [r.findings for r in runs if r.findings and r.accuracy < 0.15]
    if not lost:
        return "No run ended at chance."
    collapsed = sum(f.spread < 0.5 for f in lost)
    largest = max(f.largest_norm for f in lost)
    return (
        f"{len(lost)} runs ended at chance. In {collapsed} of them the spread of the state over "
        f"the batch more than halved. The largest gradient norm of these runs was {largest:.2g}."
    )


if __name__ == "__main__":
    main()
