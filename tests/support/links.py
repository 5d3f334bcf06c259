"""Links of a page to files of the repository."""

import re

from bptt_oracle.ledger.claims import ROOT

REPOSITORY = re.compile(
    r"https://(?:github\.com/bptt-oracle/bptt-oracle/(?:blob|tree)"
    r"|raw\.githubusercontent\.com/bptt-oracle/bptt-oracle)/main/(.*)"
)


def local_links(page):
    """Each link of a page to a file of the repository, absolute or relative, and that file.

    Blocks of code have no links.
    """
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = []
    inline = re.findall(r"\]\(([^)\s]+)\)", text)
    defined = re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    for link in inline + defined:
        target = link.partition("#")[0]
        absolute = REPOSITORY.fullmatch(target)
        if absolute:
            found.append((link, (ROOT / absolute[1]).resolve()))
        elif target and "://" not in target and not target.startswith("mailto:"):
            found.append((link, (page.parent / target).resolve()))
    return found
