"""What a check found, as JSON for programs, JUnit XML for CI services, and Markdown for a pull
request.

The JSON follows schemas/check.json, which is JSON Schema; a comparison's follows
schemas/comparison.json.

Page: docs/runs/ci.md
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

from ..judging.deviations import Tally
from ..judging.offsets import Offset
from ..runs.files import printable, to_json
from ..runs.results import UNFINISHED, Result
from .check_tables import overall_verdict
from .compare_tables import GLOSSARY, code_span, format_R, literal, markdown_table, status_word

FORMAT, SCHEMA = "bptt-oracle check", 1
MOST = 10  # results that Markdown lists
_SKIPPED = ("excluded", "untrusted", "known deviation")


class CheckReport(NamedTuple):
    """A finished check."""

    title: str  # what was judged: torch 2.13.0
    verdict: str  # the last line
    status: int  # the exit status
    plan: Mapping[str, Any]
    environment: Mapping[str, Any]
    results: Sequence[Result]
    tallies: Sequence[Tally]
    offsets: Sequence[Offset]  # the systematic ones
    stale_fails: bool
    more: Mapping[str, Any] = {}  # of an implementation: counts, control, smallest, diagnosis


def check_to_json(report: CheckReport) -> str:
    """All of it as JSON."""
    return to_json(
        {
            "format": FORMAT,
            "schema": SCHEMA,
            "verdict": report.verdict,
            "status": report.status,
            "plan": report.plan,
            "environment": report.environment,
            **report.more,
            "deviations": [
                t.deviation._asdict() | {"concerned": t.concerned, "met": t.met, "stale": t.stale}
                for t in report.tallies
            ],
            "offsets": [o._asdict() for o in report.offsets],
            "results": [r._asdict() for r in report.results],
        }
    )


def check_to_junit(report: CheckReport) -> Iterator[str]:
    """Yield the pieces of JUnit XML with a test case for each result, each systematic offset and
    each stale deviation. A fault is a failure; a result that did not come is an error; what is
    excluded, untrusted or a known deviation is skipped."""
    cases = [*_junit_results(report), *_junit_others(report)]
    kinds = [kind for _, kind, _ in cases]
    numbers = {
        "tests": len(cases),
        "failures": kinds.count("failure"),
        "errors": kinds.count("error"),
        "skipped": kinds.count("skipped"),
    }
    attributes = " ".join(f'{name}="{number}"' for name, number in numbers.items())
    yield "<?xml version='1.0' encoding='utf-8'?>\n"
    yield f'<testsuite name="bptt-oracle check" {attributes}>\n'
    for names, kind, message in cases:  # XML has no control characters
        case = ElementTree.Element("testcase", {n: printable(text) for n, text in names.items()})
        if kind:
            ElementTree.SubElement(case, kind, message=printable(message))
        ElementTree.indent(case)
        yield f"{ElementTree.tostring(case, encoding='unicode')}\n"
    last = ElementTree.Element("system-out")
    last.text = printable(report.verdict)
    yield f"{ElementTree.tostring(last, encoding='unicode')}\n</testsuite>\n"


def _junit_results(report: CheckReport) -> Iterator[tuple[dict[str, str], str, str]]:
    for r in report.results:
        kind = "failure" if r.verdict == "fault" else ""
        kind = "error" if r.verdict in UNFINISHED else kind
        kind = "skipped" if r.verdict in _SKIPPED else kind
        names = {"classname": f"{r.path}.{r.dtype}", "name": r.case, "time": f"{r.seconds:.3f}"}
        yield names, kind, f"{r.verdict}: {describe(r)}"


def _junit_others(report: CheckReport) -> Iterator[tuple[dict[str, str], str, str]]:
    for o in report.offsets:
        names = {"classname": f"{o.path}.{o.dtype}", "name": f"offset of {o.tensor}"}
        yield names, "failure", f"errors of one sign over {o.cases} cases, D {o.D:.2f}"
    for t in report.tallies:
        if t.stale:
            kind = "failure" if report.stale_fails else "skipped"
            names = {"classname": "deviations", "name": t.deviation.id}
            yield names, kind, "it is listed and no longer occurs"


def check_to_markdown(report: CheckReport) -> str:
    """The verdict, a table of path, cell and dtype, and what is not right."""
    parts = [
        f"### bptt-oracle check: {literal(report.title)}",
        f"**{status_word(report.status)}** – {literal(report.verdict)}",
        markdown_table(*_table(report.results)),
    ]
    wrong = [r for r in report.results if r.verdict in ("fault", *UNFINISHED)]
    lines = [f"- **{r.verdict}** {code_span(_on_one_line(r))}" for r in wrong[:MOST]]
    lines += [f"- and {len(wrong) - MOST} more"] * (len(wrong) > MOST)
    lines += [
        f"- **offset** errors of one sign in {literal(f'{o.path} {o.dtype} {o.tensor}')}"
        for o in report.offsets
    ]
    lines += [
        f"- **stale** {literal(t.deviation.id)} is listed and no longer occurs"
        for t in report.tallies
        if t.stale
    ]
    parts += ["\n".join(lines)] * bool(lines)
    parts.append(f"[What the words mean]({GLOSSARY})")
    return "\n\n".join(parts) + "\n"


def _table(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for r in results:
        if r.verdict != "excluded":
            groups.setdefault((r.path, r.cell, r.dtype), []).append(r)
    rows = []
    for key, some in sorted(groups.items()):
        verdict = overall_verdict(some)
        worst = max(r.R for r in some if r.verdict == verdict)
        R = format_R(None if verdict in ("known deviation", *UNFINISHED) else worst)
        rows.append([*key, str(len(some)), R, verdict])
    return ["path", "cell", "dtype", "cases", "worst R", "verdict"], rows


def describe(r: Result) -> str:
    """R, the tensor and its worst place, and the note of a result."""
    parts = [f"R {format_R(r.R)}", r.tensor, r.place, r.note]
    return ", ".join(part for part in parts if part)


def _on_one_line(r: Result) -> str:
    return printable(f"{r.case} {r.path} {r.dtype}: {describe(r)}")
