"""The pages as GitHub shows them: their mathematics is intact, and links lead to every page.

Inside $…$ and $$…$$ GitHub reads Markdown first and removes a backslash before punctuation: \\,
becomes a comma and \\{ vanishes. In a block of ```math nothing is removed.
"""

import re

import pytest

from bptt_oracle.ledger.claims import ROOT
from support.links import local_links

PAGES = [
    ROOT / "README.md",
    *sorted(page for page in ROOT.glob("*.md") if page.name != "README.md"),
    ROOT / "tests" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
EATEN = re.compile(r"\\(?!\\\n)[!-/:-@\[-`{-~]")  # all but the line break that ends a line


def split(text: str) -> tuple[list[str], str]:
    """The text between dollars, outside of code; and the page with ¤ in place of each."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", " ", text, flags=re.DOTALL)
    between = re.compile(r"\$\$(.*?)\$\$|\$((?:[^$\n]|\n(?!\n))+)\$", re.DOTALL)
    return ["".join(halves) for halves in between.findall(prose)], between.sub("¤", prose)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_github_leaves_the_mathematics_of_a_page_whole(page):
    mathematics, rest = split(page.read_text())
    assert [m for m in mathematics if EATEN.search(m)] == [], r"use ```math, \lVert, \lbrace"
    assert [m for m in mathematics if m != m.strip(" ")] == [], "a blank next to a dollar"
    assert not re.search(r"\w¤|¤\w|\$", rest), "a letter next to a dollar, or one dollar too many"
    assert r"\operatorname" not in page.read_text(), r"GitHub rejects it; use \mathrm"


@pytest.mark.parametrize(
    "eaten", [r"$a\,b$", r"$\{a\}$", r"$\|a\|$", "$$\na \\, b\n$$", r"$$a \\ b$$", "$a\n\\;b$"]
)
def test_what_github_eats_is_found(eaten):
    assert [bool(EATEN.search(m)) for m in split(eaten)[0]] == [True]


def test_every_page_can_be_reached_from_the_readme_by_links():
    found, todo = set(), [PAGES[0]]
    while todo:
        page = todo.pop()
        if page not in found:
            found.add(page)
            todo += [file for _, file in local_links(page) if file.suffix == ".md"]
    assert set(PAGES) - found == set()


def test_the_index_links_to_every_page():
    """To the pages of cells by way of the cell table, so that a new cell has one list to join."""
    index = ROOT / "docs" / "index.md"
    linked = {
        file for page in (index, ROOT / "docs/cells/table.md") for _, file in local_links(page)
    }
    assert set((ROOT / "docs").rglob("*.md")) - linked - {index} == set()
