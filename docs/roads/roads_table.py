"""The tables of docs/roads/roads.md, from files of `bptt-oracle check --path roads --json`: of one
version of torch, or of several, with a column for each.

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


def rows_of_versions(results):
    """A row for each road and dtype, from the results of each version: cases, worst R of those that
    agree, and how many deviate as listed, or do not agree."""
    for name, road in ROADS.items():
        for dtype in road.dtypes:
            row = [f"`{name}`", dtype]
            for found in results.values():
                own = [r for r in found if (r["path"], r["dtype"]) == (name, dtype)]
                ran = [r for r in own if r["verdict"] not in ("excluded", "untrusted")]
                agreeing = [r["R"] for r in ran if r["verdict"] == "agree"]
                known = sum(r["verdict"] == "known deviation" for r in ran)
                wrong = len(ran) - len(agreeing) - known
                words = [f"{max(agreeing):.1f}"] if agreeing else []
                words += [f"{known} known"] * bool(known) + [f"{wrong} wrong"] * bool(wrong)
                row.append(f"{len(ran)}: {', '.join(words)}" if ran else "not run")
            yield row


def main(files):
    """Print the table."""
    results = {}
    for file in files:
        report = json.loads(Path(file).read_text("utf-8"))
        version = report.get("environment", {}).get("torch", "")
        results.setdefault(version.partition("+")[0], []).extend(report["results"])
    if len(results) > 1:
        head, body = ("road", "dtype", *results), rows_of_versions(results)
    else:
        head, body = HEAD, rows(*results.values())
    print("\n".join(f"| {' | '.join(line)} |" for line in [head, ("---",) * len(head), *body]))


if __name__ == "__main__":
    main(sys.argv[1:])
