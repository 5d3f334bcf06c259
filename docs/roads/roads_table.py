"""The table of docs/roads/roads.md, from files of `bptt-oracle check --path roads --json`.

python docs/roads/roads_table.py FILE …
"""

import json
import sys
from collections import Counter
from pathlib import Path

from torch_impl.roads.catalogue import ROADS

HEAD = ("road", "what", "dtype", "cases", "worst R", "not agreeing")


def rows(results):
    """A row for each road and dtype."""
    for name, road in ROADS.items():
        for dtype in road.dtypes:
            own = [r for r in results if (r["path"], r["dtype"]) == (name, dtype)]
            ran = [r for r in own if r["verdict"] != "excluded"]
            words = Counter(
                r["note"] if r["verdict"] == "known deviation" else r["verdict"]
                for r in ran
                if r["verdict"] != "agree"
            )
            agreeing = [r["R"] for r in ran if r["verdict"] == "agree"]
            worst = f"{max(agreeing):.1f}" if agreeing else "–"
            wrong = ", ".join(f"{n} {word}" for word, n in words.items()) or "none"
            reasons = Counter(r["note"] for r in own)
            if not ran:
                wrong = f"not run: {reasons.most_common(1)[0][0]}" if own else "not run"
            yield f"`{name}`", road.what, dtype, str(len(ran)), worst, wrong


def main(files):
    """Print the table."""
    reports = [json.loads(Path(file).read_text("utf-8")) for file in files]
    results = [result for report in reports for result in report["results"]]
    lines = [HEAD, ("---",) * len(HEAD), *rows(results)]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    main(sys.argv[1:])
