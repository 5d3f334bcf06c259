"""Imports go one way: no cycle between files or folders, and none between the three packages."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "reference": set(),
    "torch_impl": {"reference"},
    "bptt_oracle": {"reference", "torch_impl"},
}


def modules(root):
    """The files of the packages by dotted module name."""
    found = {}
    for file in sorted(file for package in MAY_IMPORT for file in (root / package).rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = file
    return found


def imports(name, files):
    """The modules among `files` that a module imports, inside of functions too."""
    package = name if files[name].stem == "__init__" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(files[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                base = package.split(".")
                base = base[: len(base) - node.level + 1]
                source = ".".join([*base, *source.split(".")]).rstrip(".")
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add(inner if inner in files else source)
    return {target for target in found if target in files and target != name}


def folder_of(name, files):
    """The folder of a module as a dotted name; None for the facade of a package.

    `__init__` and `__main__` at the top of a package import from its folders, and its folders may
    import from them: the rule for folders does not apply to them.
    """
    file = files[name]
    facade = file.stem in ("__init__", "__main__") and file.parent.name in MAY_IMPORT
    return None if facade else name if file.stem == "__init__" else name.rpartition(".")[0]


def arrows(files):
    """The imports between files, and between folders, as {importer: {imported: why}}."""
    between_files = {n: {to: f"{n} imports {to}" for to in imports(n, files)} for n in files}
    between_folders = {}
    for name, targets in between_files.items():
        for target, why in targets.items():
            ends = [folder_of(end, files) for end in (name, target)]
            if None not in ends and ends[0] != ends[1]:
                between_folders.setdefault(ends[0], {})[ends[1]] = why
    return between_files, between_folders


def cycle(graph):
    """The imports that make a cycle, in order; [] if there is none."""
    for start in graph:
        paths, seen = [[start]], set()
        while paths:
            path = paths.pop(0)  # the shortest first
            for to in graph.get(path[-1], ()):
                if to == start:
                    ends = zip(path, [*path[1:], start], strict=True)
                    return [graph[a][b] for a, b in ends]
                if to not in seen:
                    seen.add(to)
                    paths.append([*path, to])
    return []


FILES = modules(ROOT)


def test_no_files_import_each_other():
    found = cycle(arrows(FILES)[0])
    assert not found, ", ".join(found)


def test_no_folders_import_each_other():
    found = cycle(arrows(FILES)[1])
    assert not found, ", ".join(found)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_from_the_packages_below_it(package):
    upward = [
        f"{name} imports {target}"
        for name in FILES
        for target in imports(name, FILES)
        if name.partition(".")[0] == package
        and target.partition(".")[0] not in MAY_IMPORT[package] | {package}
    ]
    assert upward == []


@pytest.fixture
def written(tmp_path):
    """A function that writes files, and returns the arrows between them."""

    def write(**texts):
        for name, text in texts.items():
            file = tmp_path / "reference" / f"{name.replace('__in__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return arrows(modules(tmp_path))

    return write


def test_a_cycle_of_files_is_found_even_if_an_import_stands_in_a_function(written):
    files, _ = written(a="from . import b", b="from .c import x", c="def f():\n    from . import a")
    assert cycle(files) == [
        "reference.a imports reference.b",
        "reference.b imports reference.c",
        "reference.c imports reference.a",
    ]


def test_a_cycle_of_folders_is_found_without_a_cycle_of_files(written):
    files, folders = written(
        up__in__a="from ..down import a",
        down__in__a="",
        down__in__b="from ..up import b",
        up__in__b="",
    )
    assert cycle(files) == []
    assert cycle(folders) == [
        "reference.down.b imports reference.up.b",
        "reference.up.a imports reference.down.a",
    ]


def test_a_facade_is_exempt_from_the_rule_for_folders_only(written):
    files, folders = written(
        __init__="from .up.a import x", activations="", up__in__a="from .. import activations"
    )
    assert (cycle(files), cycle(folders)) == ([], [])
    files, _ = written(up__in__a="from .. import x")
    assert cycle(files) == [
        "reference imports reference.up.a",
        "reference.up.a imports reference",
    ]
