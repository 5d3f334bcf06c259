"""Cases of your own, from a file.

    FILE.toml           [[case]] tables with the fields of a case
    FILE.yaml, FILE.yml the same: a list `case` of mappings; needs PyYAML
    any other name      one id on a line; empty lines and lines that begin with # are skipped

Fields: id, alone; or cell, T, B, I, H and, where they are not those of a plain case, layers,
bidirectional, bias, P, layout, lengths, tied, state, strided, dropout, cotangents, regime, seed.
`lengths` is a list or a rule in words (`lengths`); with it the layout is "packed" unless given.

Page: docs/cases/own_cases.md
"""

import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from reference.cells.table import CELL_TABLE

from .case import COTANGENTS, LAYOUTS, REGIMES, Case, parse, with_rule
from .lengths import EXAMPLES, rule_from_words

FIELDS = tuple(name for name in Case._fields if name != "rule")
_NEEDED = ("cell", "T", "B", "I", "H")
_KINDS = get_type_hints(Case)
_CHOICES = {"cell": tuple(CELL_TABLE), "layout": LAYOUTS, "regime": REGIMES}
_HEADER = re.compile(r"\s*\[\[\s*case\s*\]\]")  # of a table in TOML


def read_cases(file: Path) -> list[Case]:
    """The cases of a file, each once. Raises ValueError, with one sentence that names the file and
    the line; OSError."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not text in UTF-8; save it in that encoding") from None
    readers: dict[str, Callable[[Path, str], list[tuple[str, Any]]]]
    readers = {".toml": _from_toml, ".yaml": _from_yaml, ".yml": _from_yaml}
    entries = readers.get(file.suffix.lower(), _from_lines)(file, text)
    cases = []
    for place, entry in entries:
        try:
            cases.append(parse(entry) if isinstance(entry, str) else from_fields(entry))
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    if not cases:
        raise ValueError(f"{file} holds no case; write an id on each line, or [[case]] in TOML")
    return list(dict.fromkeys(cases))


def from_fields(entry: Any) -> Case:
    """The case that a table describes. Raises ValueError."""
    if not isinstance(entry, dict):
        raise ValueError(f"a case is a table of fields, not {entry!r}")
    if "id" in entry:
        if len(entry) > 1 or not isinstance(entry["id"], str):
            raise ValueError("an id is a text that says everything; leave the other fields out")
        return parse(entry["id"])
    if unknown := [name for name in entry if name not in FIELDS]:
        raise ValueError(f"a case has no field {unknown[0]!r}; choose from {', '.join(FIELDS)}")
    if missing := [name for name in _NEEDED if name not in entry]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    fields, rule = dict(entry), ""
    if "lengths" in fields:
        fields.setdefault("layout", "packed")
        fields["lengths"], rule = _lengths(fields["lengths"])
    if isinstance(fields.get("cotangents"), str):
        fields["cotangents"] = fields["cotangents"].split("+")
    if "cotangents" in fields:
        fields["cotangents"] = _names(fields["cotangents"])
    for name, value in fields.items():
        fields[name] = _value(name, value)
    return with_rule(Case(**fields), rule)


def _lengths(value: Any) -> tuple[tuple[int, ...], str]:
    """Lengths and no rule, or no lengths and the rule."""
    if isinstance(value, str):
        return (), rule_from_words(value)
    if isinstance(value, list) and value and all(type(n) is int for n in value):
        return tuple(value), ""
    raise ValueError(f"lengths must be a list of whole numbers, or a rule: {EXAMPLES}")


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, Sequence) and value and all(name in COTANGENTS for name in value):
        return tuple(value)
    raise ValueError(f"cotangents must be a list of some of {', '.join(COTANGENTS)}")


def _value(name: str, value: Any) -> Any:
    """The value of a field, if it is of its kind. Raises ValueError."""
    kind, choices = _KINDS[name], _CHOICES.get(name)
    if kind is float and type(value) is int:
        value = float(value)
    if kind in (int, float, bool, str) and type(value) is not kind:
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        raise ValueError(f"{name} must be {words[kind]}, not {value!r}")
    if choices and value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    if kind is int and value < 0:
        raise ValueError(f"{name} must not be negative")
    return value


def _from_lines(file: Path, text: str) -> list[tuple[str, Any]]:
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return [(f"{file} line {number}", line) for number, line in lines if line and line[0] != "#"]


def _from_toml(file: Path, text: str) -> list[tuple[str, Any]]:
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is not valid TOML: {error}") from None
    entries = _list_of(file, content)
    lines = [n for n, line in enumerate(text.splitlines(), 1) if _HEADER.match(line)]
    if len(lines) != len(entries):  # written in another way than as [[case]]
        return [(f"{file} case {number}", entry) for number, entry in enumerate(entries, 1)]
    return [(f"{file} line {n}", entry) for n, entry in zip(lines, entries, strict=True)]


def _from_yaml(file: Path, text: str) -> list[tuple[str, Any]]:
    try:
        import yaml
    except ImportError:
        raise ValueError(
            f"{file} is YAML, and PyYAML is not installed; install it, or write TOML"
        ) from None
    try:
        tree = yaml.compose(text, yaml.SafeLoader)
        content = {}
        for key, value in tree.value if isinstance(tree, yaml.MappingNode) else ():
            content[str(key.value)] = value.value if isinstance(value, yaml.SequenceNode) else value
        nodes = _list_of(file, content)
        for node in (tree, *nodes):  # before any is read, because a merge (<<) adds keys
            _require_keys_once(file, node)
        loader = yaml.SafeLoader("")
        return [(_place_of(file, node), _read_node(file, node, loader)) for node in nodes]
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file} is not valid YAML: {reason}") from None


def _place_of(file: Path, node: Any) -> str:
    return f"{file} line {node.start_mark.line + 1}"


def _require_keys_once(file: Path, node: Any) -> None:
    """Raise ValueError for a mapping of YAML that has a key twice: the last one would count."""
    keys: set[str] = set()
    for key, _ in node.value if node.id == "mapping" else ():
        if str(key.value) in keys:
            raise ValueError(f"{_place_of(file, key)}: {key.value} is given twice; leave one out")
        keys.add(str(key.value))


def _read_node(file: Path, node: Any, loader: Any) -> Any:
    """What a node of YAML stands for. Raises ValueError for a value that is not of the type that
    its form or its tag says."""
    try:
        return loader.construct_document(node)
    except (ValueError, LookupError, AttributeError) as error:
        raise ValueError(
            f"{_place_of(file, node)}: a value cannot be read ({error}); write numbers as digits "
            "and put texts in quotes"
        ) from None


def _list_of(file: Path, content: Any) -> list[Any]:
    if not isinstance(content, dict) or content.keys() != {"case"}:
        raise ValueError(f"{file} must hold a list `case` and nothing else")
    if not isinstance(content["case"], list):
        raise ValueError(f"{file} must hold a list `case`; write [[case]] in TOML")
    return content["case"]
