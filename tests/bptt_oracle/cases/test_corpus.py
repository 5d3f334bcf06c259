"""The corpus: every possible pair of options occurs, and it is the same on every machine."""

from itertools import combinations

import pytest

from bptt_oracle.cases import covering
from bptt_oracle.cases.case import CELLS, LAYOUTS, REGIMES
from bptt_oracle.cases.corpus import corpus


def test_every_possible_pair_of_options_occurs():
    rows = covering.load_design()
    missing = [
        (a, x, b, y)
        for a, b in combinations(covering.FACTORS, 2)
        for x in covering.FACTORS[a]
        for y in covering.FACTORS[b]
        if covering.is_possible({a: x, b: y})
        and not any(row[a] == x and row[b] == y for row in rows)
    ]
    assert missing == []


@pytest.mark.slow
def test_the_committed_design_is_the_one_that_the_command_makes():
    assert covering.generate() == covering.load_design()


def test_most_pairs_of_options_occur_in_every_cell():
    """Except with tied parameters, which are rare on purpose."""
    rows = covering.load_design()
    wanted = [
        {"cell": cell, a: x, b: y}
        for cell in covering.FACTORS["cell"]
        for a, b in combinations(covering.FACTORS.keys() - {"cell", "tied"}, 2)
        for x in covering.FACTORS[a]
        for y in covering.FACTORS[b]
    ]
    wanted = [options for options in wanted if covering.is_possible(options)]
    occurring = sum(any(o.items() <= row.items() for row in rows) for o in wanted)
    assert occurring / len(wanted) > 0.85


def test_untied_biases_combine_with_most_options_in_every_cell():
    rows = [row for row in covering.load_design() if row["bias"] and not row["tied"]]
    wanted = [
        {"cell": cell, a: x}
        for cell in covering.FACTORS["cell"]
        for a in covering.FACTORS.keys() - {"cell"}
        for x in covering.FACTORS[a]
    ]
    wanted = [
        options
        for options in wanted
        if covering.is_possible(options | {"bias": True, "tied": False})
    ]
    occurring = sum(any(o.items() <= row.items() for row in rows) for o in wanted)
    assert occurring / len(wanted) > 0.85


def test_a_longer_corpus_begins_with_a_shorter_one():
    assert corpus(120)[:50] == corpus(50)


def test_another_seed_gives_other_cases():
    assert not {c.id for c in corpus(60, 1)} & {c.id for c in corpus(60, 2)}


def test_ids_are_unique():
    ids = [case.id for case in corpus(500)]
    assert len(set(ids)) == len(ids)


def test_the_corpus_has_the_features_that_have_hidden_faults():
    """Zero states, zero biases, equal sizes, single rows, cotangents of one output only, sorted or
    equal lengths, one layer or two: each has hidden a fault of some framework."""
    cases = corpus(64)
    assert {c.cell for c in cases} == set(CELLS)
    assert {c.layout for c in cases} == set(LAYOUTS)
    assert {c.regime for c in cases} == set(REGIMES)
    assert {c.layers for c in cases} == {1, 2, 3}
    for size in "TBH":
        assert any(getattr(c, size) == 1 for c in cases)
    for cell in CELLS:
        cases_of_cell = [c for c in cases if c.cell == cell]
        assert any(c.T > 8 for c in cases_of_cell) and any(c.B > 8 for c in cases_of_cell)
        assert any(c.T == c.B == c.I == c.H for c in cases_of_cell)
        assert any(c.B == 1 and c.layout != "unbatched" for c in cases_of_cell)
        assert any(c.H % 8 == 0 for c in cases_of_cell) and any(
            c.H > 8 and c.H % 8 for c in cases_of_cell
        )
    assert all(c.T * c.B <= 49 for c in cases)
    distinct = [c for c in cases if len({c.T, c.B, c.I, c.H}) == 4]
    assert len(distinct) > len(cases) / 2
    packed = [c for c in cases if c.layout == "packed"]
    assert any(list(c.lengths) != sorted(c.lengths, reverse=True) for c in packed)
    assert any(len(set(c.lengths)) < len(c.lengths) for c in packed)
    assert any(not c.state for c in cases) and any(c.state for c in cases)
    assert any("output" not in c.cotangents for c in cases)


def test_some_sorted_lengths_are_all_equal_and_some_packed_ones_are_not_monotonic():
    cases = corpus(256)
    rows = [list(c.lengths) for c in cases if c.layout == "sorted" and c.T > 1 and c.B > 2]
    assert 2 < sum(len(set(row)) == 1 for row in rows) < len(rows) / 2
    packed = [list(c.lengths) for c in cases if c.layout == "packed"]
    assert any(sorted(row) != row != sorted(row, reverse=True) for row in packed)


def test_after_the_design_some_cases_have_everyday_sizes():
    cases = corpus(200)
    for cell in CELLS:
        cases_of_cell = [c for c in cases if c.cell == cell]
        assert any(c.T >= 8 and c.B >= 3 for c in cases_of_cell), "many steps of many rows"
    assert any(c.I == 1 for c in cases) and any(c.T == 16 and c.B == 8 for c in cases)
    assert any(c.T % 8 == c.B % 8 == c.H % 8 == 0 for c in cases)


def test_after_the_design_every_cell_has_a_case_of_large_T_of_large_B_and_of_large_H():
    """Kernels change their algorithm above a size such as 16, 32 or 64."""
    cases = corpus(200)
    for cell in CELLS:
        cases_of_cell = [c for c in cases if c.cell == cell]
        for size, least in ("T", 64), ("B", 32), ("H", 64):
            assert any(getattr(c, size) > least for c in cases_of_cell)
    assert all(sum(n > 64 for n in (c.T, c.B, c.H)) <= 1 for c in cases), "their truth is slow"
    assert any(c.lengths and c.T > 64 for c in corpus(400))
    assert any(c.lengths and c.B > 32 for c in corpus(400))
