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


def of_road(results, name, dtype):
    """The results of a road in a dtype, those that ran, and the worst R of those that agree."""
    own = [r for r in results if (r["path"], r["dtype"]) == (name, dtype)]
    ran = [r for r in own if r["verdict"] != "excluded"]
    agreeing = [r["R"] for r in ran if r["verdict"] == "agree"]
    return own, ran, f"{max(agreeing):.1f}" if agreeing else ""


def rows(results):
    """A row for each road and dtype."""
    for name, road in ROADS.items():
        for dtype in road.dtypes:
            own, ran, worst = of_road(results, name, dtype)
            words = Counter(
                r["note"] if r["verdict"] == "known deviation" else r["verdict"]
                for r in ran
                if r["verdict"] != "agree"
            )
            wrong = ", ".join(f"{n} {word}" for word, n in words.items()) or "none"
            reasons = Counter(r["note"] for r in own)
            if not ran:
                wrong = f"not run: {reasons.most_common(1)[0][0]}" if own else "not run"
            yield f"`{name}`", road.what, dtype, str(len(ran)), worst or "–", wrong


def rows_of_versions(results):
    """A row for each road and dtype, from the results of each version: cases, worst R of those that
    agree, and how many deviate as listed, or do not agree."""
    for name, road in ROADS.items():
        for dtype in road.dtypes:
            row = [f"`{name}`", dtype]
            for found in results.values():
                _, ran, worst = of_road(found, name, dtype)
                counts = Counter(r["verdict"] for r in ran)
                judged = len(ran) - counts["untrusted"]
                known = counts["known deviation"]
                wrong = judged - counts["agree"] - known
                words = [worst, f"{known} known" * bool(known), f"{wrong} wrong" * bool(wrong)]
                row.append(f"{judged}: {', '.join(filter(None, words))}" if judged else "not run")
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
