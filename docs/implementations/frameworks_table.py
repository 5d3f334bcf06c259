"""The table of docs/implementations/frameworks.md, from the files of `check --json` in a folder.

python docs/implementations/frameworks_table.py FOLDER
"""

import json
import sys
from collections import Counter
from pathlib import Path

HEAD = (
    "implementation",
    "dtype",
    "results",
    "tensors",
    "worst R that agrees",
    "not agreeing",
    "control",
)


def rows(file):
    """A row of the table for each dtype in which an implementation was judged. The control is that
    of the whole run: how many of the mistakes planted in its answers were detected."""
    report = json.loads(file.read_text("utf-8"))
    control = f"{report['control']['detected']} of {report['control']['planted']}"
    for dtype in ("float32", "float64"):
        results = [r for r in report["results"] if r["dtype"] == dtype]
        if not results:
            continue
        words = Counter(r["verdict"] for r in results)
        ids = Counter(i for r in results if r["note"] for i in r["note"].split(", "))
        known = [f"{ids[d['id']]} {d['id']}" for d in report["deviations"] if ids[d["id"]]]
        others = [f"{n} {word}" for word, n in words.items() if word in ("fault", "crash")]
        agreeing = [r["R"] for r in results if r["verdict"] == "agree"]
        tensors = sum(len(r["tensors"]) for r in results)
        worst = f"{max(agreeing):.1f}" if agreeing else "–"
        wrong = ", ".join(known + others) or "none"
        name = file.stem.replace("_", " ")
        yield name, dtype, str(len(results)), f"{tensors:,}", worst, wrong, control


def main(folder):
    """Print the table."""
    lines = [HEAD, ("---",) * len(HEAD)]
    for file in sorted(Path(folder).glob("*.json")):
        lines += rows(file)
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    main(sys.argv[1])
