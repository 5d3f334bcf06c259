"""The pages as GitHub shows them: mathematics that Markdown leaves whole, and none out of reach.

Inside $…$ and $$…$$ GitHub reads Markdown first: a backslash before punctuation is eaten, so that
\\, becomes a comma and \\{ vanishes. In a block of ```math nothing is.
"""

import re

import pytest

from bptt_oracle.ledger.claims import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EATEN = re.compile(r"\\(?!\\\n)[!-/:-@\[-`{-~]")  # all but the line break that ends a line


def split(text: str) -> tuple[list[str], str]:
    """What stands between dollars, outside of code; and the text with ¤ in the place of each."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", " ", text, flags=re.DOTALL)
    between = re.compile(r"\$\$(.*?)\$\$|\$((?:[^$\n]|\n(?!\n))+)\$", re.DOTALL)
    return ["".join(halves) for halves in between.findall(prose)], between.sub("¤", prose)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_github_leaves_the_mathematics_of_a_page_whole(page):
    mathematics, rest = split(page.read_text())
    assert [m for m in mathematics if EATEN.search(m)] == [], r"use ```math, \lVert, \lbrace"
    assert [m for m in mathematics if m != m.strip(" ")] == [], "a blank next to a dollar"
    assert not re.search(r"\w¤|¤\w|\$", rest), "a letter next to a dollar, or one dollar too many"
    assert r"\operatorname" not in page.read_text(), r"GitHub refuses it; use \mathrm"


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
            links = re.findall(r"\]\(([^):#\s]+\.md)(?:#[^)]*)?\)", page.read_text())
            todo += [(page.parent / link).resolve() for link in links]
    assert set(PAGES) - found == set()
