"""Recording with a progress bar, by `record` to a file and by `compare` for a moment."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..reports.console import plural, progress_with_stages

if TYPE_CHECKING:
    from ..implementations.implementation import Implementation
    from ..processes.chunks import Engine
    from ..runs.record import Plan
    from ..runs.store import Summary


def record_with_progress(
    file: Path,
    plan: "Plan",
    loaded: Sequence["Implementation"],
    workers: int,
    quiet: bool,
    engine: "Engine | None" = None,
) -> "Summary":
    """Record a plan, whose implementations are loaded, to a file, by processes of this machine or
    by an engine. Raises what `record` raises."""
    from ..runs.environment import environment
    from ..runs.record import record

    own_here = bool(plan.own) and engine is None
    with progress_with_stages(quiet, own_here) as (progress, stages):
        task = progress.add_task("cases recorded")

        def show_progress(done: int, total: int) -> None:
            on = f" on {plural(engine.workers(), 'worker')}" if engine else ""
            progress.update(task, completed=done, total=total, description=f"cases recorded{on}")

        facts = environment(*loaded)
        return record(file, plan, facts, workers, show_progress, engine, stages)
