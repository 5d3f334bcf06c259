"""Cohorts: the odd one out by name, element and mask; and everything that lines may be instead."""

import random

import pytest

from bptt_oracle.fleet.cohort import compare, read_records, status_of
from bptt_oracle.fleet.fixed_cases import CASES
from bptt_oracle.fleet.flip import flip_bit
from bptt_oracle.fleet.preflight import add_sketches, examine
from bptt_oracle.fleet.truth_file import read
from support.command_line import bptt_oracle
from support.fleet_lines import healthy_line, write_lines

PART = "steps/float32"
LEFT_OUT = "bptt-oracle: a device or a line could not be compared; it is listed above\n"
PLACES = [
    ("weight_hh_l0", (255, 3), "[255, 3]"),
    ("gates", (7, 200), "[113, 7, 200]"),
    ("c", (0, 63), "[113, 0, 63]"),
    ("output", (3, 0), "[113, 3, 0]"),
]


def flipped_line(host, *flip):
    """The line of a device with a bit flipped in every run."""
    one = examine(CASES["steps"], "float32", "cpu", read(), touches=[flip_bit(*flip)] * 3)
    line = healthy_line(host=host, findings=one.findings, R=one.R)
    line["verdict"] = "wrong" if one.findings else "healthy"
    add_sketches(line, CASES["steps"], "float32", one.sketches)
    return line


def odd_line(host, digit="0", **entries):
    """A line whose digest is another, without sketches."""
    line = healthy_line(host=host, digests={PART: digit * 16}, **entries)
    del line["sketches"]
    return line


def nodes(count, **entries):
    return [healthy_line(host=f"node{i}", **entries) for i in range(count)]


def run(tmp_path, lines):
    return compare(*read_records([write_lines(tmp_path / "lines", lines)]))


def odd_of(fleet):
    return [(odd.worker[0], odd.place) for group in fleet.groups for odd in group.odd]


@pytest.mark.parametrize("tensor, element, where", PLACES)
@pytest.mark.parametrize("bit", [0, 22])
def test_the_odd_one_out_is_named_with_element_and_mask(tmp_path, tensor, element, where, bit):
    lines = [*nodes(4), flipped_line("odd", tensor, 113, element, bit)]
    place = f"first in {PART}/{tensor}{where}, xor 0x{1 << bit:08x}"
    assert odd_of(run(tmp_path, lines)) == [("odd", place)]


def test_equal_devices_agree(tmp_path):
    fleet = run(tmp_path, nodes(3))
    assert status_of(fleet) == 0 and odd_of(fleet) == [] and len(fleet.groups) == 1


def test_lines_without_sketches_name_the_worker(tmp_path):
    fleet = run(tmp_path, [*nodes(3), odd_line("odd")])
    place = f"in {PART}; its line has no sketches: run preflight with --output"
    assert odd_of(fleet) == [("odd", place)] and status_of(fleet) == 1
    brief = nodes(3)
    for line in brief:
        del line["sketches"]
    fleet = run(tmp_path, [*brief, flipped_line("odd", "c", 3, (0, 0), 0)])
    ((name, place),) = odd_of(fleet)
    assert name == "odd" and "the lines of the majority have no sketches" in place


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "other", [nodes, lambda n: [odd_line(f"odd{i}", str(i)) for i in range(n)]]
)
def test_one_or_two_have_no_majority(tmp_path, count, other):
    fleet = run(tmp_path, other(count))
    assert status_of(fleet) == 2 and fleet.groups[0].undecided == (PART,) and odd_of(fleet) == []


def test_half_is_no_majority(tmp_path):
    lines = [*nodes(2), odd_line("a"), odd_line("b")]
    assert run(tmp_path, lines).groups[0].undecided == (PART,)
    assert len(odd_of(run(tmp_path, [*lines, healthy_line(host="c")]))) == 2


def test_what_most_devices_did_not_compute_is_undecided(tmp_path):
    digests = healthy_line()["digests"]
    more = healthy_line(host="more", digests=digests | {"gates/float32": "0" * 16})
    del more["sketches"]
    fleet = run(tmp_path, [*nodes(3), more])
    assert fleet.groups[0].undecided == ("gates/float32",) and odd_of(fleet) == []


def test_other_drivers_are_other_cohorts(tmp_path):
    other = healthy_line()["cohort"] | {"driver": "571"}
    lines = [*nodes(3), *(odd_line(f"new{i}", cohort=other) for i in range(3))]
    fleet = run(tmp_path, lines)
    assert status_of(fleet) == 0 and len(fleet.groups) == 2


def test_a_device_that_repeats_has_one_vote(tmp_path):
    lines = [*nodes(3), *[odd_line("odd")] * 10]
    assert [name for name, _ in odd_of(run(tmp_path, lines))] == ["odd"]


def test_a_device_whose_lines_differ_is_odd_and_has_no_vote(tmp_path):
    lines = [*nodes(3), healthy_line(host="odd"), odd_line("odd")]
    fleet = run(tmp_path, lines)
    assert [name for name, _ in odd_of(fleet)] == ["odd"]
    assert fleet.groups[0].odd[0].equal == 3


def test_two_devices_of_one_host_are_two(tmp_path):
    lines = [healthy_line(host="a", device=f"cuda:{i}", uuid=f"GPU-{i}") for i in range(3)]
    assert len(run(tmp_path, lines).groups[0].workers) == 3


def test_a_device_that_lacks_a_result_is_odd(tmp_path):
    more = healthy_line()["digests"] | {"gru/float32": "0" * 16}
    fleet = run(tmp_path, [*nodes(3, digests=more), healthy_line(host="odd")])
    assert odd_of(fleet) == [("odd", "it did not compute gru/float32")]


def test_a_wrong_or_failed_preflight_counts(tmp_path):
    wrong = flipped_line("bad", "weight_hh_l0", 0, (1, 1), 22)
    fleet = run(tmp_path, [*nodes(3), wrong])
    assert [r.worker[0] for r in fleet.wrong] == ["bad"] and status_of(fleet) == 1
    assert "weight_hh_l0[1, 1]" in fleet.wrong[0].reason
    failed = {"verdict": "could not run", "reason": "no driver", "digests": {}, "sketches": {}}
    fleet = run(tmp_path, [*nodes(3), healthy_line(host="off", **failed)])
    assert [r.reason for r in fleet.failed] == ["no driver"] and status_of(fleet) == 2


def test_damaged_sketches_do_not_hide_the_odd_one(tmp_path):
    line = flipped_line("odd", "c", 3, (0, 0), 0)
    line["sketches"][f"{PART}/c"]["sums"] = "AAAA"
    place = f"in {PART}; its sketches of {PART} are damaged"
    assert odd_of(run(tmp_path, [*nodes(3), line])) == [("odd", place)]


def test_what_differs_in_more_than_one_element_is_named_by_its_step(tmp_path):
    def touch(name, t, value):
        if (name, t) == ("c", 60):
            value.data[2, :5] *= 1.001

    one = examine(CASES["steps"], "float32", "cpu", read(), touches=[touch] * 3)
    line = healthy_line(host="odd")
    add_sketches(line, CASES["steps"], "float32", one.sketches)
    place = f"first in {PART}/c at step 60, in more than one element"
    assert odd_of(run(tmp_path, [*nodes(3), line])) == [("odd", place)]


def test_lines_are_compared_in_any_order(tmp_path):
    lines = [*nodes(5), flipped_line("odd", "c", 3, (0, 0), 0), healthy_line(host="node0")]
    for seed in range(5):
        random.Random(seed).shuffle(lines)
        assert [name for name, _ in odd_of(run(tmp_path, lines))] == ["odd"]


def test_the_command_names_the_odd_one_and_exits_with_1(capsys, tmp_path):
    folder = [write_lines(tmp_path / f"{i}", [line]) for i, line in enumerate(nodes(3))]
    odd = write_lines(tmp_path / "odd", [flipped_line("odd", "c", 113, (0, 63), 10)])
    status, out, err = bptt_oracle(capsys, "cohort", *map(str, [*folder, odd]))
    assert (status, err) == (1, "")
    assert f"first in {PART}/c[113, 0, 63], xor 0x00000400\n" in out
    assert out.startswith("odd cpu (cores ") and " differs from 3 equal devices, in " in out
    assert out.endswith(
        "4 devices in 1 cohort: 1 differ from the majority, 0 wrong by their own preflight\n"
    )


def test_the_command_exits_with_0(capsys, tmp_path):
    file = write_lines(tmp_path / "lines", nodes(3))
    status, out, _ = bptt_oracle(capsys, "cohort", str(file), "-q")
    sentence = "3 devices in 1 cohort: all agree in every bit with the majority of their cohort\n"
    assert (status, out) == (0, sentence)


@pytest.mark.parametrize(
    "lines, words",
    [
        ([], "has no lines"),
        ([b"garbage\n"], "line 1: it is not JSON"),
        ([b"\x00" * 1000], "line 1: it is not JSON"),
        ([b'{"format": "other"}\n'], "line 1: its format is not"),
        ([b"[" * 200_000 + b"\n"], "line 1: it is not JSON"),
    ],
)
def test_garbage_exits_with_2_also_beside_lines_that_agree(capsys, tmp_path, lines, words):
    garbage = write_lines(tmp_path / "garbage", lines)
    good = write_lines(tmp_path / "good", nodes(3))
    for files in ([garbage], [garbage, good]):
        status, out, err = bptt_oracle(capsys, "cohort", *map(str, files))
        assert (status, err) == (2, LEFT_OUT) and words in out
        assert out.endswith("not every device could be compared\n")


def test_one_or_two_are_said_to_have_no_majority(capsys, tmp_path):
    file = write_lines(tmp_path / "lines", nodes(2))
    status, out, err = bptt_oracle(capsys, "cohort", str(file))
    assert (status, err) == (2, LEFT_OUT)
    assert "a cohort of 2 has no majority, and nothing was compared: node0 cpu" in out


def test_markup_and_control_characters_are_harmless(capsys, tmp_path):
    hostile = "[bold red]\x1b[31m[/]\u202e\x07"
    lines = [*nodes(3), odd_line(hostile)]
    lines += [b'{"format": "bptt-oracle preflight 1", "host": "\\u001b[2J", "verdict": 3}\n']
    status, out, err = bptt_oracle(capsys, "cohort", str(write_lines(tmp_path / "l", lines)))
    assert (status, err) == (1, "")
    assert out.replace("\n", "").isprintable() and "[bold red] [31m[/]" in out


def test_long_lists_are_shortened_unless_verbose(capsys, tmp_path):
    lines = [*nodes(80), *(odd_line(f"odd{i}", str(i % 10)) for i in range(30))]
    file = str(write_lines(tmp_path / "lines", lines))
    brief, full = (bptt_oracle(capsys, "cohort", file, *v)[1] for v in ([], ["-v"]))
    assert brief.count(" differs from ") == 20 and "… and 10 more, with --verbose" in brief
    assert full.count(" differs from ") == 30


def test_a_file_that_is_not_there_is_one_sentence(capsys, tmp_path):
    status, out, err = bptt_oracle(capsys, "cohort", str(tmp_path / "none"))
    assert (status, out, err) == (2, "", f"bptt-oracle: {tmp_path / 'none'} is not a file\n")
    assert bptt_oracle(capsys, "cohort", str(tmp_path))[0] == 2
