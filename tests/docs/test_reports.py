"""The page of public reports: every block prints what stands below it, but for the numbers."""

import contextlib
import io
import re

import pytest
import torch

from bptt_oracle.ledger.claims import ROOT

TEXT = (ROOT / "docs" / "checklist" / "reports.md").read_text()
BEGINNING, *REPORTS = re.split(r"^### (?=\d+\n)", TEXT, flags=re.MULTILINE)
(PREAMBLE,) = re.findall(r"```python\n(.*?)```", BEGINNING, re.DOTALL)
MOST_LINES = 10


def parts(report):
    """The code of a report, and what the page says that it prints."""
    (code,), (printed,) = (
        re.findall(rf"```{kind}\n(.*?)```", report, re.DOTALL) for kind in ("python", "text")
    )
    return code, printed


def without_numbers(text):
    """The words of a text, with the same mark for every number."""
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", " ".join(text.split()))


def run(code):
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(PREAMBLE + code, "docs/checklist/reports.md", "exec"), {"__name__": "report"})
    return printed.getvalue()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.split("\n")[0])
def test_a_report_is_answered_as_the_page_says(report):
    code, printed = parts(report)
    assert without_numbers(run(code)) == without_numbers(printed)
    own = code.rpartition("# ported\n")[2]
    assert sum(bool(line.strip()) for line in own.splitlines()) <= MOST_LINES


def test_the_table_lists_every_report_with_its_link_and_its_lines():
    rows = re.findall(r"^\| \[(\d+)\]\(#\d+\) \| (\[.*?\]\(.*?\)) \| .* \| (\d+) \|$", TEXT, re.M)
    assert len(rows) == len(REPORTS) >= 30
    for (number, link, lines), report in zip(rows, REPORTS, strict=True):
        assert report.startswith(f"{number}\n\n{link}: ")
        own = parts(report)[0].rpartition("# ported\n")[2]
        assert int(lines) == sum(bool(line.strip()) for line in own.splitlines())
    assert len({link for _, link, _ in rows}) == len(rows)
