"""Cases of a user: lengths by rule, the files that hold cases, and what is wrong with a file."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt_oracle.cases.case import Case, contradiction, draw, parse
from bptt_oracle.cases.own_cases import read_cases
from bptt_oracle.implementations.fitting import fit
from bptt_oracle.implementations.implementation import Implementation
from bptt_oracle.runs.shrink import simplifications

ID = "LSTM.T20.B6.I4.H5.L2.bi.packed-uniform1.h0.output+h_n.generic.s3"
TABLE = """\
[[case]]
cell = "LSTM"
T = 20
B = 6
I = 4
H = 5
"""


@given(
    rule=st.sampled_from(["full", "rest", "uniform"]),
    layout=st.sampled_from(["packed", "sorted"]),
    T=st.integers(1, 30),
    B=st.integers(1, 40),
    seed=st.integers(0, 2**64 - 1),
    data=st.data(),
)
def test_lengths_by_rule_are_those_of_the_words_and_come_back_from_the_id(
    rule, layout, T, B, seed, data
):
    least = data.draw(st.integers(1, T))
    number = "" if rule == "full" else str(least)
    case = parse(f"GRU.T{T}.B{B}.I2.H3.L1.{layout}-{rule}{number}.h0.output.generic.s{seed}")
    lengths = list(case.lengths)
    assert len(lengths) == B and max(lengths) == T
    rest = sorted(lengths)[:-1]
    if rule == "full":
        assert set(lengths) == {T}
    elif rule == "rest":
        assert set(rest) <= {least}
    else:
        assert all(least <= n <= T for n in rest)
    if layout == "sorted":
        assert lengths == sorted(lengths, reverse=True)
    assert parse(case.id) == case and len(case.id) < 120
    assert draw(case).lengths == case.lengths


def test_uniform_lengths_are_uniform_depend_on_the_seed_and_are_pinned():
    many = parse("GRU.T100.B4096.I1.H1.L1.packed-uniform1.h0.output.generic.s0").lengths
    counts = np.histogram(many, bins=4, range=(1, 101))[0]
    assert counts.min() > 900 and counts.max() < 1150  # 1024 ± 28
    assert parse(ID).lengths == (4, 8, 18, 4, 9, 20)
    assert parse(ID.replace("s3", "s4")).lengths != parse(ID).lengths
    assert parse(ID).lengths != tuple(sorted(parse(ID).lengths, reverse=True))


def test_lengths_that_are_not_those_of_the_rule_contradict_it():
    assert contradiction(parse(ID)) == ""
    assert "rule uniform1" in contradiction(parse(ID)._replace(seed=4))
    assert "rule uniform1" in contradiction(parse(ID)._replace(lengths=(20,) * 6))


def test_a_smaller_case_spells_its_lengths():
    smaller = list(simplifications(parse(ID)))
    assert any(case.B < 6 for case in smaller) and any(case.T < 20 for case in smaller)
    for case in smaller:
        assert parse(case.id) == case


def test_a_case_by_rule_fits_what_has_no_sorted_packs_or_no_lengths():
    case = parse(ID.replace("packed", "sorted"))
    fitted = fit(Implementation("layers", layer=len), case)
    assert fitted.id == ID and parse(fitted.id) == fitted
    dense = fit(Implementation("dense", layer=len, lengths=False), case)
    assert (dense.layout, dense.lengths, dense.rule) == ("time", (), "")


def test_lines_are_ids_and_each_case_comes_once(tmp_path):
    file = tmp_path / "cases.txt"
    file.write_text(f"# mine\n\n  {ID}\nGRU.T2.B1.I2.H3.L1.time.output.tiny.s1\n{ID}\n")
    assert [case.id for case in read_cases(file)] == [ID, "GRU.T2.B1.I2.H3.L1.time.output.tiny.s1"]


@pytest.mark.parametrize(
    "fields, case",
    [
        ("", Case("LSTM", 20, 6, 4, 5)),
        (
            'layers = 2\nbidirectional = true\nlengths = "uniform 1..T"\nseed = 3',
            parse(ID),
        ),
        (
            'lengths = "uniform 7…T"',
            parse("LSTM.T20.B6.I4.H5.L1.packed-uniform7.h0.output+h_n.generic.s0"),
        ),
        (
            'lengths = "uniform7"',
            parse("LSTM.T20.B6.I4.H5.L1.packed-uniform7.h0.output+h_n.generic.s0"),
        ),
        (
            'layout = "sorted"\nlengths = "one full,  rest 2"',
            parse("LSTM.T20.B6.I4.H5.L1.sorted-rest2.h0.output+h_n.generic.s0"),
        ),
        (
            'lengths = "full"\nstate = false',
            parse("LSTM.T20.B6.I4.H5.L1.packed-full.output+h_n.generic.s0"),
        ),
        (
            "lengths = [20, 1, 2, 3, 4, 5]",
            Case("LSTM", 20, 6, 4, 5, layout="packed", lengths=(20, 1, 2, 3, 4, 5)),
        ),
        ('cotangents = "output+c_n"', Case("LSTM", 20, 6, 4, 5, cotangents=("output", "c_n"))),
        (
            'cotangents = ["c_n"]\nP = 2\nregime = "wide"',
            Case("LSTM", 20, 6, 4, 5, P=2, cotangents=("c_n",), regime="wide"),
        ),
        ("layers = 2\ndropout = 1", Case("LSTM", 20, 6, 4, 5, layers=2, dropout=1.0)),
    ],
)
def test_a_table_is_a_case(tmp_path, fields, case):
    file = tmp_path / "cases.toml"
    file.write_text(TABLE + fields)
    assert read_cases(file) == [case]


def test_yaml_holds_the_same(tmp_path):

    file = tmp_path / "cases.yaml"
    file.write_text(f"case:\n - {{id: {ID}}}\n - cell: GRU\n   T: 9\n   B: 2\n   I: 1\n   H: 1\n")
    assert read_cases(file) == [parse(ID), Case("GRU", 9, 2, 1, 1)]
    file.write_text(f"case:\n - id: {ID}\n - id: nonsense\n")
    with pytest.raises(ValueError, match=r"cases\.yaml line 3: 'nonsense' is not a case id"):
        read_cases(file)
    file.write_text("case: [")
    with pytest.raises(ValueError, match="is not valid YAML: .*line 1"):
        read_cases(file)


def test_a_case_of_yaml_may_be_that_of_another_with_changes(tmp_path):
    file = tmp_path / "cases.yml"
    plain = "{cell: GRU, T: 9, B: 2, I: 1, H: 1}"
    file.write_text(f"case:\n - &a {plain}\n - &b {{<<: *a, T: 4}}\n - {{<<: *b, B: 5}}\n - *b\n")
    first = Case("GRU", 9, 2, 1, 1)
    assert read_cases(file) == [first, first._replace(T=4), first._replace(B=5)]


def test_without_pyyaml_yaml_is_rejected_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "cases.yml").write_text("case: []")
    with pytest.raises(ValueError, match="PyYAML is not installed; install it, or write TOML"):
        read_cases(tmp_path / "cases.yml")


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a", f"{ID}\n\nnonsense\n", "a line 3: 'nonsense' is not a case id"),
        ("a", "# nothing\n", "a holds no case"),
        ("a", f"{ID[:-2]}sx", "wrong from '.sx' on"),
        ("a.toml", "x = = 1", r"a\.toml is not valid TOML: .*line 1"),
        ("a.toml", "[" * 9999, r"a\.toml is not valid TOML"),
        ("a.toml", "x = 1", "must hold a list `case` and nothing else"),
        ("a.toml", "case = 1", r"write \[\[case\]\]"),
        ("a.toml", "case = [1]", "case 1: a case is a table of fields, not 1"),
        ("a.toml", f'[[case]]\nid = "{ID}"\n[[case]]\ncell = "GRU"', "line 3: it lacks T, B, I, H"),
        ("a.toml", f'[[case]]\nid = "{ID}"\nT = 2', "line 1: an id is a text that says everything"),
        ("a.toml", TABLE + "size = 3", "has no field 'size'; choose from cell, T, B"),
        ("a.toml", TABLE + "rule = 'full'", "has no field 'rule'"),
        ("a.toml", TABLE.replace("20", '"20"'), "T must be a whole number, not '20'"),
        ("a.toml", TABLE.replace("20", "true"), "T must be a whole number, not True"),
        ("a.toml", TABLE.replace("20", "-1"), "T must not be negative"),
        ("a.toml", TABLE.replace("20", "99999"), "at most 4096"),
        ("a.toml", TABLE.replace("LSTM", "SLTM"), "cell must be one of RNN_TANH"),
        ("a.toml", TABLE + "bias = 1", "bias must be true or false, not 1"),
        ("a.toml", TABLE + "lengths = 3", "must be a list of whole numbers, or a rule"),
        ("a.toml", TABLE + "lengths = [20, 1]", "one length for each of the B rows"),
        ("a.toml", TABLE + 'lengths = "uniform"', "'uniform' is not a rule for lengths; write"),
        ("a.toml", TABLE + 'lengths = "uniform 0..T"', "must be from 1 to T, which is 20"),
        ("a.toml", TABLE + 'lengths = "uniform 21..T"', "must be from 1 to T, which is 20"),
        ("a.toml", TABLE + 'layout = "time"\nlengths = "full"', "other layouts have none"),
        ("a.toml", TABLE + "cotangents = []", "must be a list of some of output, h_n, c_n"),
        ("a.toml", TABLE + "cotangents = ['x']", "must be a list of some of output, h_n, c_n"),
        ("a.toml", TABLE + "seed = 18446744073709551616", "seed must be at most"),
        ("a.yml", "case: []\ncase:\n - {cell: GRU}", "line 2: case is given twice; leave one out"),
        ("a.yml", "case:\n - {cell: GRU, T: 9,\n    T: 8}", "line 3: T is given twice"),
        ("a.yml", "case:\n - seed: 2020-13-45", r"line 2: a value cannot be read \(month must be"),
        ("a.yml", "case:\n - seed: 2020-12-05", "line 2: it lacks cell"),
        ("a.yml", "case:\n - T: !!int x", r"line 2: a value cannot be read \(invalid literal"),
        ("a.yml", "case:\n - T: !!int ''", "line 2: a value cannot be read .*; write numbers as"),
        ("a.yml", "case:\n - T: !!bool x", "line 2: a value cannot be read"),
        ("a.yml", "case:\n - T: !!timestamp x", "line 2: a value cannot be read"),
        ("a.yml", "case:\n - T: !mine x", "is not valid YAML: could not determine"),
        ("a.yml", "<<: {case: []}", "must hold a list `case` and nothing else"),
        ("a.yml", "case: {T: 1}", "must hold a list `case`"),
        ("a.yml", "- case", "must hold a list `case` and nothing else"),
        ("a.yml", "", "must hold a list `case` and nothing else"),
        ("a.yml", "case: &x [*x]", "a case is a table of fields"),
        ("a.yml", "case: " + "[" * 5000, "is not valid YAML: maximum recursion depth"),
    ],
)
def test_a_wrong_file_is_rejected_in_one_sentence_with_its_place(tmp_path, name, text, message):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_cases(file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)


@pytest.mark.parametrize("name", ["a", "a.toml", "a.yaml"])
def test_a_file_that_is_not_text_is_rejected_in_the_same_way_in_every_form(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is not text in UTF-8; save it in that encoding$"):
        read_cases(tmp_path / name)
