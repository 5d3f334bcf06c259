"""A comparison as JUnit XML, which CI services display."""

from collections.abc import Sequence
from xml.etree import ElementTree

from ..runs.compare import WORDS, Change, is_failure
from .compare_tables import describe


def junit(changes: Sequence[Change], fail_on: str) -> str:
    """JUnit XML with a test case for each result. It fails where the comparison fails (see
    `is_failure`), is an error for a crash, and is skipped if only
    one run has the result or it is untrusted."""
    suite = ElementTree.Element("testsuite", name="bptt-oracle compare")
    failures = skipped = errors = 0
    for c in changes:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{c.path}.{c.dtype}", name=c.case
        )
        message = f"{WORDS[c.word]}: {describe(c)}"
        if is_failure([c], fail_on):
            failures += 1
            ElementTree.SubElement(case, "failure", type=c.word, message=message)
        elif c.word == "crash":
            errors += 1
            ElementTree.SubElement(case, "error", type=c.word, message=message)
        elif c.word in ("new", "removed", "untrusted"):
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=message)
        elif c.word != "equal":
            ElementTree.SubElement(case, "system-out").text = message
    for name, number in (("tests", len(changes)), ("failures", failures), ("skipped", skipped)):
        suite.set(name, str(number))
    suite.set("errors", str(errors))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
