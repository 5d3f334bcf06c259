"""The table of docs/diagnosis/diagnosis.md: every planted mistake, and what it is named.

    PYTHONPATH=tests:. python -m support.diagnosis_table LSTM      the diagnoses of one cell
    PYTHONPATH=tests:. python -m support.diagnosis_table page      the table, written into the page

The diagnoses that tests/bptt_oracle/diagnosis/named.tsv has no line of are made, in random order,
and a line is appended for each. Delete the file to make all of them again.
"""

import random
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from bptt_oracle.diagnosis.diagnose import diagnose_results
from support.planted_mistakes import evidence_of, plants, unnamed

ROOT = Path(__file__).parents[2]
LINES = ROOT / "tests/bptt_oracle/diagnosis/named.tsv"
PAGE = ROOT / "docs/diagnosis/diagnosis.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"
WORDS = ("named", "among several", "no name", "wrong name", "no mistake")
FAMILIES = (  # the first expression that a name contains
    ("dropout", "dropout between layers"),
    ("gradients in gate order", "gradients in another gate order"),
    ("gate order", "gate orders, of all parameters, weights or biases"),
    (r"(transposed|reshaped|interleaved)", "transposed and reshaped weights and gradients"),
    ("derivative of", "derivatives of σ, tanh and relu"),
    (
        "(zero|negated|halved|doubled|divided by [BT]|multiplied by [BT]|divided by T·B)$",
        "gradients multiplied by a factor",
    ),
    ("(peephole|torch)", "peepholes; torch's GRU in place of that of the papers"),
    ("(precision|accuracy|rounded to|quantised|where σ is small)", "precision"),
    ("(bias|parameters of|parameters in|weight_hh left)", "biases left out, doubled, shared"),
    ("(initial state|h_0|c_0)", "initial states and their gradients"),
    ("(final state|h_n|c_n|last column)", "final states and their gradients"),
    ("(length|padding|rows|direction|output|input of the step|run)", "lengths, directions, output"),
    ("gradient", "paths with no gradient, or with a wrong factor"),
    ("", "equations of a step"),
)


class Task(NamedTuple):
    """One diagnosis to make."""

    plant: object
    cell: str
    dtype: str


def tasks():
    """All plants in all of their cells and dtypes, those without a name last."""
    return [
        Task(plant, cell, dtype)
        for plant in [*plants(), *unnamed()]
        for cell in plant.cells
        for dtype in plant.dtypes
    ]


def outcome(task):
    """One of WORDS, and the diagnosis."""
    plant = task.plant
    evidence = evidence_of(plant, task.cell, task.dtype)
    diagnosis = diagnose_results(evidence)
    if diagnosis.sentence.startswith("no mistake:"):
        return "no mistake", diagnosis
    if diagnosis.names == ((plant.name,) if plant.name else ()):
        return "named", diagnosis
    if not diagnosis.names:
        return "no name", diagnosis
    return ("among several" if plant.name in diagnosis.names else "wrong name"), diagnosis


def family(name):
    """The row of the table that a mistake is counted in."""
    if not name:
        return "faults that are not in the list (no name is right)"
    return next(words for expression, words in FAMILIES if re.search(expression, name))


def table(lines):
    """The table as markdown, from lines [name, engine, cell, dtype, word]."""
    counts = {}
    for name, _, _, _, word in lines:
        counts.setdefault(family(name), Counter())[word] += 1
    names = {words: len({n for n, *_ in lines if family(n) == words}) for words in counts}
    names[family("")] = len(unnamed())
    rows = [["mistakes", "how many", "diagnoses", *WORDS]]
    order = [words for _, words in FAMILIES] + [family("")]
    for words in sorted(counts, key=order.index):
        own = counts[words]
        rows.append([words, str(names[words]), str(own.total()), *[str(own[w]) for w in WORDS]])
    total = sum(counts.values(), Counter())
    distinct = len({name for name, *_ in lines})
    rows.append(["all", str(distinct), str(total.total()), *[str(total[w]) for w in WORDS]])
    rows.insert(1, ["---", *["---:"] * (len(rows[0]) - 1)])
    count = f"{len(lines)} of {len(tasks())} diagnoses, {total['named']} of them named rightly:\n\n"
    return count + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def read_lines():
    """The lines of the last whole run."""
    text = LINES.read_text(encoding="utf-8") if LINES.exists() else ""
    return [line.split("\t") for line in text.splitlines()]


def main(arguments):
    if arguments == ["page"]:
        page = PAGE.read_text(encoding="utf-8")
        head, tail = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(head + BEGIN + "\n" + table(read_lines()) + "\n" + END + tail, "utf-8")
        return
    done = Counter("\t".join(line[:4]) for line in read_lines())
    chosen = [task for task in tasks() if task.cell in arguments]
    random.Random(0).shuffle(chosen)  # so that an unfinished run is a sample of all
    for task in chosen:
        plant = task.plant
        key = "\t".join((plant.name, plant.engine, task.cell, task.dtype))
        if done[key]:
            done[key] -= 1
            continue
        word, diagnosis = outcome(task)
        line = f"{key}\t{word}"
        with LINES.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        if word != "named":
            print(line, diagnosis, sep="\t", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
