"""The page of porting: its program prints what the page shows, its table is the data."""

import re

import numpy as np

from bptt_oracle.ledger.claims import ROOT
from bptt_oracle.porting import conventions as c
from bptt_oracle.porting.weights import from_torch_names, to_torch_names

TEXT = (ROOT / "docs" / "porting" / "porting.md").read_text()
SHORT, OWN, PROGRAM = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
BIASES = {
    c.TWO: "`bias_ih`, `bias_hh` [G·H]",
    c.ROWS: "`{bias}` [2, G·H]: bias_ih, bias_hh",
    c.JOINED: "`{bias}` [2·G·H]: bias_ih, then bias_hh",
    c.SUM: "`{bias}` [G·H], the sum",
    c.SUM_AND_B_HN: "`{bias}` [G·H], the sum, and `{b_hn}` [H]",
    c.SUM_WITHOUT_B_HN: "`{bias}` [G·H], the sum, no b_hn",
}


def rows():
    """The rows of the table, from the data."""
    for framework in c.FRAMEWORKS.values():
        for cell, convention in framework.cells.items():
            name = cell + (f" (`{convention.variant}`)" if convention.variant else "")
            weights = [_weight(convention, ours) for ours in ("weight_ih", "weight_hh")]
            biases = BIASES[convention.biases].format(**convention.names)
            others = [_weight(convention, "weight_hr")] if "weight_hr" in convention.names else []
            if convention.peepholes:
                order = " ".join(convention.peepholes)
                others.append(f"peepholes `{convention.names['weight_ch']}` [3·H], {order}")
            cells = [framework.title, name, " ".join(convention.gates), *weights, biases]
            yield f"| {' | '.join([*cells, ', '.join(others)])} |".replace("|  |", "| |")


def _weight(convention, ours):
    shape = {"weight_ih": ["G·H", "I"], "weight_hh": ["G·H", "H"], "weight_hr": ["P", "H"]}[ours]
    shape = shape[::-1] if ours in convention.transposed else shape
    return f"`{convention.names[ours]}` [{', '.join(shape)}]"


def test_the_table_is_the_data():
    table = re.search(r"\| framework \| cell .*?\n\|[-|]*\n(.*?)\n\n", TEXT, re.DOTALL)[1]
    assert table.splitlines() == list(rows())


def test_the_proof_prints_what_the_page_shows(capsys):
    exec(PROGRAM, {})
    shown = re.search(r"It prints\n\n```\n(.*?)```", TEXT, re.DOTALL)[1]
    printed = capsys.readouterr().out
    assert re.findall(r"[a-zR]{2,}", printed) == re.findall(r"[a-zR]{2,}", shown)
    pairs = zip(_numbers(printed), _numbers(shown), strict=True)
    assert all(0.1 < a / b < 10 for a, b in pairs), printed  # another BLAS rounds otherwise


def _numbers(text):
    return [float(number) for number in re.findall(r"\d[\d.]*(?:e[+-]\d+)?", text)]


def test_an_order_of_your_own_is_a_row_more(monkeypatch, capsys):
    monkeypatch.setitem(c.FRAMEWORKS, "mine", None)  # so that it is removed again
    names = {}
    exec(OWN, names)
    blocks = dict(zip("fiog", np.arange(16.0).reshape(4, 4), strict=True))
    assert np.array_equal(
        names["params"]["bias_ih_l0"], np.concatenate([blocks[gate] for gate in "ifgo"])
    )
    assert names["params"]["weight_hh_l0"].shape == (16, 4)
    assert all(map(np.array_equal, names["same"], names["weights"]))
    assert capsys.readouterr().out.startswith("[[ 4.  5.  6.  7.]\n [ 0.")


def test_the_first_example_runs():
    class Layer:
        def get_weights(self):
            return [np.ones((2, 9)), np.ones((3, 9)), np.ones((2, 9))]

    names = {"to_torch_names": to_torch_names, "from_torch_names": from_torch_names}
    names["layer"] = Layer()
    exec(SHORT, names)
    assert [array.shape for array in names["weights"]] == [(2, 9), (3, 9), (2, 9)]
