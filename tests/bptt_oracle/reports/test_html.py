"""The page of a comparison, as a browser shows it."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from bptt_oracle.reports import html as pages
from bptt_oracle.reports.html import EDGES, drawings, html
from bptt_oracle.runs.compare import WORDS, changes, compare
from support.runs import EXPECTED, HOSTILE, ONE_OF_EACH, made_up, row

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
browser = pytest.mark.skipif(not CHROMIUM, reason="no chromium: apt-get install chromium")


class Page(HTMLParser):
    """What a document holds: the rows of its tables by id, its bars, what it loads."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.bars, self.loaded, self.scripts = {}, [], [], 0
        self.output, self.table, self.in_output = "", "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.loaded += [given[name] for name in ("src", "href") if name in given]
        self.scripts += tag == "script"
        if tag == "table":
            self.table = given.get("id", "")
        if tag == "tr":
            self.rows.setdefault(self.table, []).append((given, []))
        if tag == "rect":
            self.bars.append(given)
        self.in_output = tag == "output"

    def handle_data(self, data):
        if self.table and self.rows.get(self.table):
            self.rows[self.table][-1][1].append(data.strip())
        if self.in_output:
            self.output, self.in_output = data, False


def page():
    return html(*ONE_OF_EACH, compare(*ONE_OF_EACH), changes(*ONE_OF_EACH))


def opened(tmp_path, text, fragment=""):
    """The document after a browser has run it."""
    file = tmp_path / "page.html"
    file.write_text(text)
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    switches += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [CHROMIUM, *switches, "--dump-dom", f"{file.as_uri()}{fragment}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Page(done.stdout)


def visible_words(page):
    """The words of the rows that are not hidden."""
    rows = [given for given, _ in page.rows["changes"] if "data-word" in given]
    return sorted(given["data-word"] for given in rows if "hidden" not in given)


def test_the_page_needs_no_other_file():
    text = page()
    found = Page(text)
    assert found.loaded == [] and found.scripts == 1
    assert not re.search(r"https?://|url\(|@import|fetch\(", text)
    assert "default-src 'none'" in text


def test_the_page_holds_every_result_and_no_message_becomes_markup():
    text = page()
    rows = [cells for given, cells in Page(text).rows["changes"] if "data-word" in given]
    assert len(rows) == EXPECTED.total()
    assert HOSTILE not in text and HOSTILE in " ".join(cell for cells in rows for cell in cells)


def test_the_drawing_counts_every_tensor_once():
    rs = [0.0, 0.001, 0.3, 0.31, 0.5, 3.0, 17.0, 1e9]
    old, new = made_up(*(row(n, R=R) for n, R in enumerate(rs))), made_up(row(0, R=float("inf")))
    ((dtype, drawn),) = drawings(old, new)
    counted = {run: 0 for run in ("old", "new")}
    for bar in drawn["bars"]:
        counted[bar.run] += int(re.search(r"(\d+) tensors", bar.tooltip)[1])
        assert bar.height > 0 and bar.x >= 0
    assert counted == {"old": 16, "new": 2} == {run: drawn[run] for run in ("old", "new")}
    (last,) = [bar for bar in drawn["bars"] if bar.run == "new" and "above" in bar.tooltip]
    assert f"above {EDGES[-1]:g}" in last.tooltip
    assert dtype == "float32"


def test_a_page_of_many_changes_lists_the_first_words_and_says_what_is_left_out(monkeypatch):
    monkeypatch.setattr(pages, "MOST_CHANGES", 3)
    found = Page(page())
    rows = [given["data-word"] for given, _ in found.rows["changes"] if "data-word" in given]
    assert rows == ["fault", "drift", "fixed"]
    assert "7 more changes are not on this page" in page()
    assert "more changes" not in html(
        *[made_up(row())] * 2, compare(*[made_up(row())] * 2), changes(*[made_up(row())] * 2)
    )


@browser
def test_a_browser_shows_the_table_and_the_drawing(tmp_path):
    found = opened(tmp_path, page())
    assert found.output == "10 of 10 shown" and len(visible_words(found)) == 10
    runs = {bar["class"] for bar in found.bars}
    assert runs == {"old", "new"} and all(float(bar["height"]) > 0 for bar in found.bars)
    assert "results" in found.rows["summary"][0][1]
    text = " ".join(cell for _, cells in found.rows["changes"] for cell in cells)
    assert HOSTILE in text and found.scripts == 1


@browser
@pytest.mark.parametrize(
    "fragment, words",
    [
        ("#word=fault,drift", ["drift", "fault"]),
        ("#text=generic.s4", ["drift"]),
        ("#word=equal&text=GRU+s2", ["equal"]),
        ("#text=LSTM", []),
    ],
)
def test_the_filter_in_the_address_is_applied(tmp_path, fragment, words):
    assert visible_words(opened(tmp_path, page(), fragment)) == words


@browser
def test_the_filter_is_applied_when_clicked_and_typed(tmp_path):
    person = """
    for (const box of boxes) if (box.value !== "fixed" && box.value !== "equal") box.click();
    form.text.value = "S7";
    form.text.dispatchEvent(new Event("input", {bubbles: true}));
    document.getElementById("shown").textContent += location.hash;
    </script>"""
    found = opened(tmp_path, page().replace("</script>", person))
    assert visible_words(found) == ["fixed"]
    assert found.output == "1 of 10 shown#word=fixed%2Cequal&text=S7"


def test_every_word_has_a_place_in_the_order_of_the_page():
    rows = [given["data-word"] for given, _ in Page(page()).rows["changes"] if "data-word" in given]
    assert rows == sorted(rows, key=list(WORDS).index)
