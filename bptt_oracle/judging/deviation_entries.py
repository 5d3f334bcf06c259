"""An entry of a list of known deviations, read from a file or from words, and checked: an entry
that can match no result is rejected, because nobody would notice it.
"""

import operator
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from reference.cells.table import CELL_TABLE
from torch_impl.execution.precision import UNIT_ROUNDOFF

from ..cases.case import LAYOUTS, REGIMES, Case
from ..processes.failures import CommandError

FILE = Path(__file__).with_name("deviations.toml")
OF_RESULTS = ("path", "dtype", "tensor")
COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}
RANGE = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*(\d+(?:\.\d+)*)\s*")
_KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_BOOLS = {"true": True, "false": False}


class BadDeviation(CommandError, ValueError):
    """A list of deviations, or an entry of one, that cannot be used."""


class Deviation(NamedTuple):
    """One of deviations.toml."""

    id: str
    symptom: str
    issue: str
    versions: str
    when: dict[str, Any] = {}
    demonstrates: str = ""


def load(file: Path = FILE, case: Any = Case) -> list[Deviation]:
    """The deviations of a file; conditions are on fields of results and of `case`, a class of named
    tuples. Raises OSError; BadDeviation, with one sentence, for an invalid entry."""
    try:
        listed = tomllib.loads(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise BadDeviation(f"{file.name} is not text in UTF-8; save it in that encoding") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError
        raise BadDeviation(f"{file.name} is not valid TOML: {error}") from None
    entries = listed.get("deviation")
    if (
        listed.keys() != {"deviation"}
        or not isinstance(entries, list)
        or not all(isinstance(entry, dict) for entry in entries)
    ):
        raise BadDeviation(f"{file.name} must hold entries [[deviation]] and nothing else")
    found: dict[str, Deviation] = {}
    for entry in entries:
        deviation = _deviation(entry)
        require_possible(deviation, case)
        if deviation.id in found:
            raise BadDeviation(f"deviation {deviation.id} is listed twice")
        found[deviation.id] = deviation
    return list(found.values())


def _deviation(entry: dict[str, Any]) -> Deviation:
    """One entry. Raises BadDeviation for a missing or unknown field."""
    kinds = {name: dict if name == "when" else str for name in Deviation._fields}
    missing = [name for name in Deviation._fields[:4] if name not in entry]
    wrong = [name for name in entry if not isinstance(entry[name], kinds.get(name, ()))]
    if missing or wrong:
        reasons = [f"it lacks {', '.join(missing)}"] * bool(missing)
        reasons += [f"{', '.join(wrong)} is unknown or of a wrong type"] * bool(wrong)
        raise BadDeviation(f"deviation {entry.get('id', 'without an id')}: {'; '.join(reasons)}")
    return Deviation(**entry)


def require_possible(deviation: Deviation, case: Any = Case) -> None:
    """Raise BadDeviation, with one sentence, for an entry that can match no result of `case`."""
    if reason := _contradiction(deviation, case):
        raise BadDeviation(f"deviation {deviation.id}: {reason}")


def _contradiction(deviation: Deviation, case: Any) -> str:
    """Why an entry can match no result; empty if it can match one."""
    if bool(deviation.when) == bool(deviation.demonstrates):
        return "give either when or demonstrates"
    fields = _fields_of(case)
    for field, wanted in deviation.when.items():
        if field not in fields:
            return f"results have no field {field!r} of one value; choose from {', '.join(fields)}"
        if reason := _mismatch(field, fields[field], wanted):
            return reason
    if not all(map(RANGE.fullmatch, deviation.versions.split(","))):
        return f"{deviation.versions!r} is not a range of versions such as >=2.4,<2.14"
    return ""


def _fields_of(case: Any) -> dict[str, type]:
    """The fields that can have a condition, those of one value, and their types."""
    kinds = get_type_hints(case) | dict.fromkeys(OF_RESULTS, str)
    return {name: kind for name, kind in kinds.items() if kind in _KINDS}


def _mismatch(field: str, kind: type, wanted: Any) -> str:
    """Why a condition holds for no value of a field of that type; empty if it can hold."""
    if isinstance(wanted, dict):
        numbers = all(type(bound) in (int, float) for bound in wanted.values())
        if wanted.keys() <= COMPARISONS.keys() and numbers and kind in (int, float):
            return ""
        return f"compare a number with numbers by {', '.join(COMPARISONS)}, not {field}"
    values = wanted if isinstance(wanted, list) else [wanted]
    kinds = (int, float) if kind is float else (kind,)
    if values and all(type(value) in kinds for value in values):
        return ""
    return f"{field} is {_KINDS[kind]}, or a list of such, not {wanted!r}"


def expected_deviations_of(reasons: Mapping[str, str]) -> tuple[Deviation, ...]:
    """Deviations from {"words": reason}: a word is a tensor, dtype, cell, layout or regime, or
    field=value; all words of a key must hold. Raises BadDeviation for a word that names nothing."""
    return tuple(
        Deviation(words, reason, "none known", ">=0", _conditions(words))
        for words, reason in reasons.items()
    )


def _conditions(words: str) -> dict[str, Any]:
    conditions: dict[str, Any] = {}
    fields = _fields_of(Case)
    for word in map(str.strip, words.split(",")):
        field, sign, value = word.rpartition("=")
        field = field if sign else _field_of(word)
        if field not in fields:
            raise BadDeviation(
                f"{word!r} names no tensor, dtype, cell, layout or regime; expected one, or "
                f"field=value with a field of {', '.join(fields)}"
            )
        kind = fields[field]
        try:
            conditions[field] = _BOOLS[value.lower()] if kind is bool else kind(value)
        except (KeyError, ValueError):
            raise BadDeviation(f"{word!r}: {field} must be {_KINDS[kind]}") from None
    return conditions


def _field_of(word: str) -> str:
    """The field of which a word is a value; empty if there is none."""
    kinds = {
        "dtype": word in UNIT_ROUNDOFF,
        "cell": word in CELL_TABLE,
        "layout": word in LAYOUTS,
        "regime": word in REGIMES,
        "tensor": word in ("output", "h_n", "c_n") or word.startswith("d_"),
    }
    return next((name for name, holds in kinds.items() if holds), "")
