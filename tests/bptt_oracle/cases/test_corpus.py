"""The corpus: every pair of options together, the same on every machine."""

from itertools import combinations

import pytest

from bptt_oracle.cases import covering
from bptt_oracle.cases.case import CELLS, LAYOUTS, REGIMES
from bptt_oracle.cases.corpus import corpus


def test_every_pair_of_option_values_that_can_stand_together_does():
    rows = covering.rows()
    missing = [
        (a, x, b, y)
        for a, b in combinations(covering.FACTORS, 2)
        for x in covering.FACTORS[a]
        for y in covering.FACTORS[b]
        if covering.possible({a: x, b: y}) and not any(row[a] == x and row[b] == y for row in rows)
    ]
    assert missing == []


@pytest.mark.slow
def test_the_committed_design_is_the_one_that_the_command_makes():
    assert covering.generate() == covering.rows()


def test_most_pairs_of_option_values_meet_in_every_cell():
    """But for tied parameters, which are seldom on purpose."""
    rows = covering.rows()
    wanted = [
        {"cell": cell, a: x, b: y}
        for cell in covering.FACTORS["cell"]
        for a, b in combinations(covering.FACTORS.keys() - {"cell", "tied"}, 2)
        for x in covering.FACTORS[a]
        for y in covering.FACTORS[b]
    ]
    wanted = [some for some in wanted if covering.possible(some)]
    met = sum(any(some.items() <= row.items() for row in rows) for some in wanted)
    assert met / len(wanted) > 0.85


def test_biases_of_their_own_meet_most_options_in_every_cell():
    rows = [row for row in covering.rows() if row["bias"] and not row["tied"]]
    wanted = [
        {"cell": cell, a: x}
        for cell in covering.FACTORS["cell"]
        for a in covering.FACTORS.keys() - {"cell"}
        for x in covering.FACTORS[a]
    ]
    wanted = [some for some in wanted if covering.possible(some | {"bias": True, "tied": False})]
    met = sum(any(some.items() <= row.items() for row in rows) for some in wanted)
    assert met / len(wanted) > 0.85


def test_a_longer_corpus_begins_with_a_shorter_one():
    assert corpus(120)[:50] == corpus(50)


def test_another_seed_gives_other_cases():
    assert not {c.id for c in corpus(60, 1)} & {c.id for c in corpus(60, 2)}


def test_ids_are_unique():
    ids = [case.id for case in corpus(500)]
    assert len(set(ids)) == len(ids)


def test_the_corpus_holds_what_has_hidden_faults_before():
    """Zero states, zero biases, squares, single rows, cotangents of one kind, sorted or equal
    lengths, one layer or two: each of these has hidden a fault of some framework."""
    cases = corpus(64)
    assert {c.cell for c in cases} == set(CELLS)
    assert {c.layout for c in cases} == set(LAYOUTS)
    assert {c.regime for c in cases} == set(REGIMES)
    assert {c.layers for c in cases} == {1, 2, 3}
    for size in "TBH":
        assert any(getattr(c, size) == 1 for c in cases)
    for cell in CELLS:
        own = [c for c in cases if c.cell == cell]
        assert any(c.T > 8 for c in own) and any(c.B > 8 for c in own)
        assert any(c.T == c.B == c.I == c.H for c in own)
        assert any(c.B == 1 and c.layout != "unbatched" for c in own)
        assert any(c.H % 8 == 0 for c in own) and any(c.H > 8 and c.H % 8 for c in own)
    assert all(c.T * c.B <= 49 for c in cases)
    distinct = [c for c in cases if len({c.T, c.B, c.I, c.H}) == 4]
    assert len(distinct) > len(cases) / 2
    packed = [c for c in cases if c.layout == "packed"]
    assert any(list(c.lengths) != sorted(c.lengths, reverse=True) for c in packed)
    assert any(len(set(c.lengths)) < len(c.lengths) for c in packed)
    assert any(not c.state for c in cases) and any(c.state for c in cases)
    assert any("output" not in c.cotangents for c in cases)


def test_now_and_then_sorted_lengths_are_all_equal_and_packed_ones_neither_rise_nor_fall():
    cases = corpus(256)
    rows = [list(c.lengths) for c in cases if c.layout == "sorted" and c.T > 1 and c.B > 2]
    assert 2 < sum(len(set(row)) == 1 for row in rows) < len(rows) / 2
    packed = [list(c.lengths) for c in cases if c.layout == "packed"]
    assert any(sorted(row) != row != sorted(row, reverse=True) for row in packed)


def test_beyond_the_design_some_cases_have_sizes_as_users_have_them():
    cases = corpus(200)
    for cell in CELLS:
        own = [c for c in cases if c.cell == cell]
        assert any(c.T >= 8 and c.B >= 3 for c in own), "many steps of many rows"
    assert any(c.I == 1 for c in cases) and any(c.T == 16 and c.B == 8 for c in cases)
    assert any(c.T % 8 == c.B % 8 == c.H % 8 == 0 for c in cases)


def test_beyond_the_design_the_steps_the_rows_and_the_units_of_every_cell_are_once_large():
    """Where a kernel takes another way above some size, as those of 16, 32 or 64 numbers do."""
    cases = corpus(200)
    for cell in CELLS:
        own = [c for c in cases if c.cell == cell]
        for size, least in ("T", 64), ("B", 32), ("H", 64):
            assert any(getattr(c, size) > least for c in own)
    assert all(sum(n > 64 for n in (c.T, c.B, c.H)) <= 1 for c in cases), "their truth is slow"
    assert any(c.lengths and c.T > 64 for c in corpus(400))
    assert any(c.lengths and c.B > 32 for c in corpus(400))
