"""A plugin of pytest: the summary counts what `bptt_oracle.assert_agrees` judged.

pytest imports it in every project of the environment, so that it imports nothing, and does nothing
where no test judges an implementation.
"""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

PROPERTY = "bptt_oracle"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Keep with each test what it judged; with pytest-xdist it travels with the report."""
    yield
    assertions = sys.modules.get("bptt_oracle.doors.assertions")
    if assertions is not None:
        results, tensors, not_returned = assertions.take_counts()
        if results:
            item.user_properties.append((PROPERTY, [results, tensors, not_returned]))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many results, tensors and missing tensors there were."""
    reports = [r for group in terminalreporter.stats.values() for r in group]
    counts = [
        value
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if counts:
        results, tensors, not_returned = map(sum, zip(*counts, strict=True))
        terminalreporter.write_line(
            f"bptt-oracle: {len(counts)} cases, {results} results, {tensors} tensors judged, "
            f"{not_returned} not returned"
        )
        if terminalreporter.stats.get("failed"):
            terminalreporter.write_line(
                "bptt-oracle check --implementation MODULE:OBJECT names the mistake"
            )
