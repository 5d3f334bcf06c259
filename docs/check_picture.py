"""Draws docs/check.svg: what `bptt-oracle check` prints here, as a picture for the README.

python docs/check_picture.py        (in the environment where the project is installed)
"""

import time
from pathlib import Path

import torch

from bptt_oracle.cases.corpus import corpus
from bptt_oracle.implementations.demonstrations import demonstrate
from bptt_oracle.judging.deviations import tally
from bptt_oracle.reports.check_tables import print_deviations, print_environment, print_results
from bptt_oracle.reports.console import new_console
from bptt_oracle.reports.verdicts import check_verdict
from bptt_oracle.runs.checking import check
from bptt_oracle.runs.environment import environment
from torch_impl.execution.catalogue import PATHS, devices


def main() -> None:
    """Run the default corpus and save what the console shows as a picture."""
    paths = [path.name for path in PATHS.values() if not devices()[path.device]]
    dtypes = ("float32", "float64")
    start = time.perf_counter()
    results = [r for some in check(corpus(200), dtypes, paths, workers=2) for r in some]
    seconds = time.perf_counter() - start
    tallies = tally(results, demonstrate=demonstrate)
    console = new_console(record=True, width=132)
    print_environment(console, environment())
    print_results(console, results, devices(), seconds)
    print_deviations(console, tallies, table=False)
    console.print(check_verdict(torch.__version__, results, tallies), style="green")
    Path(__file__).with_name("check.svg").write_text(
        console.export_svg(title="bptt-oracle check", clear=False)
    )


if __name__ == "__main__":
    main()
