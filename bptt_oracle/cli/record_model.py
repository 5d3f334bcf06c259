"""`bptt-oracle record --model`: one step of the user's own model."""

from pathlib import Path

import typer

from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import limit_threads
from ..reports.console import AGREE, plural, progress_bar, write_summary
from .exits import stop, stop_interrupted
from .output_files import require_report_file, save_pieces


def record_model(
    output: Path, model: str, inputs: Path | None, script: Path | None, quiet: bool
) -> None:
    """Record the model that the function `model` returns, and write the program of its worst call.
    Exits with status 0 if the run was written, otherwise 2."""
    with terminate_on_interrupt():
        from ..inspection.record_model import record_model as record
        from ..reports.model_script import model_script
        from ..runs.environment import environment

    if script is not None:
        require_report_file(script)
    limit_threads()
    try:
        with progress_bar(quiet) as progress:
            task = progress.add_task("calls judged")

            def show_progress(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            recorded = record(output, model, environment(), inputs, show_progress)
    except KeyboardInterrupt:
        stop_interrupted()
    verdicts, worst = recorded.summary.verdicts, recorded.worst
    sentence = f"{plural(verdicts.total(), 'result')} written to {output}, "
    sentence += plural(verdicts["fault"], "fault")
    if worst is not None:
        row = worst.row
        sentence += f"; the worst is {row.case}, R {row.R:.3g} in {row.tensor} {row.place}".rstrip()
    if script is not None and worst is None:
        stop(f"{sentence}; no call was judged now, so there is no program: record anew")
    if script is not None and worst is not None:
        save_pieces(script, [model_script(worst)])
    for name in recorded.overriding:
        sentence += (
            f"; {name} overrides forward, and only torch's call inside of it was judged: judge the "
            "whole with bptt_oracle.judge"
        )
    write_summary(sentence)
    raise typer.Exit(AGREE)
