"""Known deviations of PyTorch: data with a predicate, a range of versions, and a public thread.

A result that departs from the truth just as deviations.toml says is a known deviation: reported,
and no fault. What is listed there and no longer happens is stale, and fails, so that the list
tells no more than is so. Deviations that no case can show bring a function that shows them.

    python -m bptt_oracle.judging.deviations        writes docs/judging/deviations.md anew
"""

import operator
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.torch_version import TorchVersion

from ..cases.case import Case, parse
from . import demonstrations, judge

FILE = Path(__file__).with_name("deviations.toml")
FIELDS = (*Case._fields, "path", "dtype", "tensor")
NUMBERS = [name for name, kind in Case.__annotations__.items() if kind in (int, float)]
COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}
_RANGE = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*(\d+(?:\.\d+)*)\s*")


class Deviation(NamedTuple):
    """One of deviations.toml."""

    id: str
    symptom: str
    issue: str
    torch: str
    when: dict[str, Any] = {}
    demonstrates: str = ""


def load(file: Path = FILE) -> list[Deviation]:
    """The deviations of a file. Raises ValueError, in one sentence, for what cannot be one."""
    try:
        listed = tomllib.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are both
        raise ValueError(f"{file.name} is no TOML: {error}") from None
    entries = listed.get("deviation")
    if listed.keys() != {"deviation"} or not isinstance(entries, list):
        raise ValueError(f"{file.name} must hold entries [[deviation]] and nothing else")
    found: dict[str, Deviation] = {}
    for entry in entries:
        deviation = _deviation(entry)
        if deviation.id in found:
            raise ValueError(f"deviation {deviation.id} is listed twice")
        found[deviation.id] = deviation
    return list(found.values())


def _deviation(entry: Any) -> Deviation:
    """One entry; what says nothing, or says it in other words than there are, is refused."""
    kinds = {name: dict if name == "when" else str for name in Deviation._fields}
    missing = [name for name in Deviation._fields[:4] if name not in entry]
    wrong = [name for name in entry if not isinstance(entry[name], kinds.get(name, ()))]
    if missing or wrong:
        raise ValueError(
            f"deviation {entry.get('id', 'without an id')}: missing {missing}, unexpected {wrong}"
        )
    deviation = Deviation(**entry)
    reason = _contradiction(deviation)
    if reason:
        raise ValueError(f"deviation {deviation.id}: {reason}")
    return deviation


def _contradiction(deviation: Deviation) -> str:
    """Why an entry can concern nothing; empty where it can."""
    if bool(deviation.when) == bool(deviation.demonstrates):
        return "give either when or demonstrates"
    if deviation.demonstrates and not hasattr(demonstrations, deviation.demonstrates):
        return f"there is no demonstration {deviation.demonstrates!r}"
    for field, wanted in deviation.when.items():
        if field not in FIELDS:
            return f"no result has a field {field!r}"
        if not isinstance(wanted, dict):
            continue
        numbers = all(isinstance(bound, (int, float)) for bound in wanted.values())
        if not (wanted.keys() <= COMPARISONS.keys() and numbers and field in NUMBERS):
            return f"compare a number with numbers by {', '.join(COMPARISONS)}, not {field}"
    if not all(map(_RANGE.fullmatch, deviation.torch.split(","))):
        return f"{deviation.torch!r} is no range of versions such as >=2.4,<2.14"
    return ""


def in_range(deviation: Deviation, version: str = torch.__version__) -> bool:
    """Whether the deviation is expected of that torch, its build (+cpu) left out."""
    bare = TorchVersion(version.split("+")[0])
    bounds = (_RANGE.fullmatch(bound) for bound in deviation.torch.split(","))
    return all(COMPARISONS[found[1]](bare, found[2]) for found in bounds if found)


def concerns(deviation: Deviation, facts: Mapping[str, Any]) -> bool:
    """Whether every comparison of `when` holds; false of what has none."""
    return bool(deviation.when) and all(
        _holds(facts[field], wanted) for field, wanted in deviation.when.items()
    )


def _holds(fact: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return all(COMPARISONS[sign](fact, other) for sign, other in wanted.items())
    return fact in wanted if isinstance(wanted, list) else fact == wanted


@cache
def here() -> tuple[Deviation, ...]:
    """The deviations expected of the torch that runs."""
    return tuple(deviation for deviation in load() if in_range(deviation))


def knowing(
    case: Case, path: str, dtype: str, tensor: str, known: Sequence[Deviation] | None = None
) -> list[str]:
    """The ids of the deviations that concern one tensor of one result."""
    facts = case._asdict() | {"path": path, "dtype": dtype, "tensor": tensor}
    return [d.id for d in (here() if known is None else known) if concerns(d, facts)]


def mark_known(result: Any, case: Case, known: Sequence[Deviation] | None = None) -> Any:
    """The result of a check, a `known deviation` if all that is wrong with it is one; else its
    worst tensor is the worst that is none."""
    if result.verdict != "fault":
        return result
    ids: set[str] = set()
    wrong = {}
    for tensor, R in _wrong(result):
        by = knowing(case, result.path, result.dtype, tensor, known)
        ids.update(by)
        if not by:
            wrong[tensor] = R
    if ids and not wrong:
        return result._replace(verdict="known deviation", note=", ".join(sorted(ids)))
    if not ids or result.tensor in wrong:
        return result
    worst = max(wrong, key=lambda tensor: wrong[tensor])
    return result._replace(tensor=worst, R=wrong[worst], place="")


def _wrong(result: Any) -> list[tuple[str, float]]:
    """The tensors that are, and their R."""
    return [(tensor, R) for tensor, R in _measures(result) if R > judge.LIMIT]


def _measures(result: Any) -> Iterable[tuple[str, float]]:
    """R of every tensor; of none, by no name, where torch raised."""
    return result.tensors.items() or [("", result.R)]


class Tally(NamedTuple):
    """How often a deviation could have been met, and was."""

    deviation: Deviation
    concerned: int
    met: int

    @property
    def stale(self) -> bool:
        """Listed, looked for, and gone."""
        return self.concerned > 0 and self.met == 0


def tally(results: Iterable[Any], known: Sequence[Deviation] | None = None) -> list[Tally]:
    """What the results of a check, and the demonstrations, say of each deviation."""
    known = here() if known is None else known
    counted = {d.id: [0, 0] for d in known}
    told = [d for d in known if d.when]
    for result in results:
        if not told or result.verdict == "excluded":
            continue
        facts = parse(result.case)._asdict() | {"path": result.path, "dtype": result.dtype}
        for tensor, R in _measures(result):
            facts["tensor"] = tensor
            for d in told:
                if concerns(d, facts):
                    counted[d.id][0] += 1
                    counted[d.id][1] += R > judge.LIMIT
    for d in known:
        if d.demonstrates:
            happens = getattr(demonstrations, d.demonstrates)()
            counted[d.id] = [int(happens is not None), int(happens or False)]
    return [Tally(d, *counted[d.id]) for d in known]


def page(deviations: Sequence[Deviation]) -> str:
    """The list as a page."""
    head = ("deviation", "symptom", "thread", "torch", "shown by")
    lines = [head, ["---"] * len(head), *map(_line, deviations)]
    return "\n".join([_PROLOGUE, *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def _line(d: Deviation) -> tuple[str, ...]:
    found = re.fullmatch(r"https://github\.com/(.+)/issues/(\d+)", d.issue)
    thread = f"[{found[1]}#{found[2]}]({d.issue})" if found else d.issue
    return d.id, d.symptom, thread, f"`{d.torch}`", d.demonstrates or "cases"


_PROLOGUE = """\
# Known deviations of PyTorch

Generated by `python -m bptt_oracle.judging.deviations` from
[deviations.toml](../../bptt_oracle/judging/deviations.toml).

A deviation is behaviour of PyTorch that contradicts its documentation or common sense. If a result
of `bptt-oracle check` deviates as listed here, the check reports a known deviation instead of a
fault. An entry whose deviation no longer happens in a version of its range is stale, and the check
exits with status 1, so that the list stays true. The last column names what shows the deviation:
"cases" are cases of the corpus, called with one invalid argument that torch must reject; other
entries name a function of [demonstrations.py](../../bptt_oracle/judging/demonstrations.py). The
column "torch" is the range of versions that show the deviation; a range without an upper end means
that no version has fixed it yet.
"""

if __name__ == "__main__":
    FILE.parents[2].joinpath("docs", "judging", "deviations.md").write_text(
        page(load()), encoding="utf-8"
    )
