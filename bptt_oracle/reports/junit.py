"""A comparison as JUnit XML, which CI services display."""

from collections.abc import Collection, Iterable, Iterator
from xml.etree import ElementTree

from ..runs.compare import WORDS, Change, Comparison, is_failure
from .compare_tables import describe

_SKIPPED = ("new", "removed", "untrusted")


def junit(
    comparison: Comparison, changes: Iterable[Change], fail_on: Collection[str]
) -> Iterator[str]:
    """Yield the pieces of JUnit XML with a test case for each change. It fails where the comparison
    fails (see `is_failure`), is an error for a crash, and is skipped if only one run has the result
    or it is untrusted."""
    total = comparison.total
    numbers = {
        "tests": total.total(),
        "failures": sum(n for word, n in total.items() if is_failure([word], fail_on)),
        "skipped": sum(n for word, n in total.items() if _kind_of(word, fail_on) == "skipped"),
        "errors": total["crash"],
    }
    attributes = " ".join(f'{name}="{number}"' for name, number in numbers.items())
    yield "<?xml version='1.0' encoding='utf-8'?>\n"
    yield f'<testsuite name="bptt-oracle compare" {attributes}>\n'
    for c in changes:
        case = ElementTree.Element("testcase", classname=f"{c.path}.{c.dtype}", name=c.case)
        message = f"{WORDS[c.word]}: {describe(c)}"
        kind = _kind_of(c.word, fail_on)
        if kind in ("failure", "error"):
            ElementTree.SubElement(case, kind, type=c.word, message=message)
        elif kind == "skipped":
            ElementTree.SubElement(case, kind, message=message)
        elif c.word != "equal":
            ElementTree.SubElement(case, "system-out").text = message
        ElementTree.indent(case)
        yield f"{ElementTree.tostring(case, encoding='unicode')}\n"
    yield "</testsuite>\n"


def _kind_of(word: str, fail_on: Collection[str]) -> str:
    """How a test case ends: "failure", "error", "skipped", or empty."""
    if is_failure([word], fail_on):
        return "failure"
    if word == "crash":
        return "error"
    return "skipped" if word in _SKIPPED else ""
