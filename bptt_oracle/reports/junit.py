"""A comparison as JUnit XML, which continuous integration knows how to show."""

from collections.abc import Sequence
from xml.etree import ElementTree

from ..runs.compare import WORDS, Change, failed
from .compare_report import line_of


def junit(changes: Sequence[Change], fail_on: str) -> str:
    """A test case for each result; failed as the comparison is, skipped where one run lacks it
    or nothing can be said."""
    suite = ElementTree.Element("testsuite", name="bptt-oracle compare")
    failures = skipped = 0
    for c in changes:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{c.path}.{c.dtype}", name=c.case
        )
        said = f"{WORDS[c.word]}: {line_of(c)}"
        if failed([c], fail_on):
            failures += 1
            ElementTree.SubElement(case, "failure", type=c.word, message=said)
        elif c.word in ("new", "removed", "untrusted"):
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=said)
        elif c.word != "equal":
            ElementTree.SubElement(case, "system-out").text = said
    for name, number in (("tests", len(changes)), ("failures", failures), ("skipped", skipped)):
        suite.set(name, str(number))
    suite.set("errors", "0")
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
