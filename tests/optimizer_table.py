"""Measure the judge of optimisers, and write docs/optimizers/tables.md.

    python tests/optimizer_table.py [--cases 300] [--faults 20]

The first table has the worst R of every form on a corpus, the second what was planted and detected.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # to run it without an installation

from bptt_oracle.optimizers.cases import optimizer_cases  # noqa: E402
from bptt_oracle.optimizers.examine import examine_optimizers, optimizer_paths  # noqa: E402
from support.optimizer_faults import names, plant_in_cases  # noqa: E402

PAGE = ROOT / "docs" / "optimizers" / "tables.md"
DTYPES = ("float64", "float32", "bfloat16", "float16")
FORMS = ("loop", "foreach", "fused", "differentiable")
HEAD = """\
# The judge of optimisers, measured

Written by `python tests/optimizer_table.py` with torch {version}. What is judged and how:
[optimizers.md](optimizers.md)."""


def honest(count):
    """Verdicts and the worst R of each form and dtype."""
    verdicts, worst = Counter(), {}
    paths = [name for name, (_, form) in optimizer_paths().items() if form in FORMS]
    for case in optimizer_cases(count, seed=18):
        for dtype in DTYPES:
            for result in examine_optimizers(case, dtype, paths):
                key = optimizer_paths()[result.path][1], dtype
                verdicts[(*key, result.verdict)] += 1
                if result.verdict == "agree":
                    worst[key] = max(worst.get(key, 0.0), result.R)
    yield f"\n## {count} cases\n"
    yield "| form | dtype | results | agree | worst R | known deviation | untrusted | fault |"
    yield "|---|---|---|---|---|---|---|---|"
    for form in FORMS:
        for dtype in DTYPES:
            words = "agree", "known deviation", "untrusted", "fault"
            agree, known, untrusted, fault = (verdicts[form, dtype, word] for word in words)
            total = agree + known + untrusted + fault
            R = f"{worst.get((form, dtype), 0):.2f}"
            yield (
                f"| {form} | {dtype} | {total} | {agree} | {R} | {known} | {untrusted} | {fault} |"
            )


def kills(count):
    """What was planted and detected."""
    yield f"\n## Planted mistakes, each in {count} cases, float64 and float32\n"
    yield "| mistake | symptom | detected | least R |"
    yield "|---|---|---|---|"
    for name in names():
        kill = plant_in_cases(name, count)
        symptom = kill.symptom.replace("|", "\\|")
        least = f"{kill.least:.3g}".replace("inf", "∞")
        yield f"| `{name}` | {symptom} | {kill.detected} of {kill.planted} | {least} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--faults", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [HEAD.format(version=torch.__version__), *honest(options.cases), *kills(options.faults)]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
