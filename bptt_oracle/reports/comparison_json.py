"""A comparison as JSON, for programs; schemas/comparison.json is its JSON Schema."""

import json
from collections.abc import Iterable, Iterator

from ..runs.compare import WORDS, Change, Comparison, environment_changes
from ..runs.files import replace_nonfinite
from ..runs.run import Run

FORMAT, SCHEMA = "bptt-oracle comparison", 3


def comparison_to_json(
    old: Run,
    new: Run,
    comparison: Comparison,
    differences: Iterable[tuple[str, float]],
    changes: Iterable[Change],
    verdict: str,
    status: int,
) -> Iterator[str]:
    """Yield the pieces of the whole comparison, without the changes that are none. `differences`
    are those of `relative_differences`, the verdict is that of `compare_tables.summary`, and
    `status` is the exit status."""
    head = {
        "format": FORMAT,
        "schema": SCHEMA,
        "verdict": verdict,
        "status": status,
        "plan": {"old": old.plan, "new": new.plan},
        "counts": {word: comparison.total[word] for word in WORDS},
        "by path": [
            {"path": path, "dtype": dtype, **counter}
            for (path, dtype), counter in comparison.counts.items()
        ],
        "closer to the truth": comparison.closeness._asdict(),
        "environment": [
            {"name": n, "old": a, "new": b} for n, a, b in environment_changes(old, new)
        ],
        "environments": {"old": old.environments, "new": new.environments},
        "by environments": [
            {"old": before, "new": after, **counter}
            for (before, after), counter in sorted(comparison.environments.items())
        ],
    }
    yield json.dumps(replace_nonfinite(head), indent=1).removesuffix("\n}")
    yield ',\n "relative differences": {'
    yield from _separated(f"{json.dumps(n)}: {_dump(size)}" for n, size in differences)
    yield '\n },\n "changes": ['
    yield from _separated(_dump(one._asdict()) for one in changes if one.word != "equal")
    yield "\n ]\n}\n"


def _dump(value: object) -> str:
    return json.dumps(replace_nonfinite(value))


def _separated(items: Iterable[str]) -> Iterator[str]:
    for i, item in enumerate(items):
        yield f"{',' if i else ''}\n  {item}"
