"""Lines of any origin: read as a line, or rejected in a sentence."""

import json
import random

import pytest

from bptt_oracle.fleet.lines import (
    FORMAT,
    LONGEST,
    BadLine,
    append,
    holds_lines,
    parse,
    read_lines,
    sentence_of,
    sketches_of,
    to_text,
)
from support.fleet_lines import healthy_line, write_lines

FINDING = {"case": "steps", "dtype": "float32", "kind": "wrong", "tensor": "c", "element": [1]}
HOSTILE = "[bold]\x1b[31m</script><img src=x>\u202e\x00\n'; DROP TABLE--"

BAD = {
    "not JSON": [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"nul", b'{"a": 1}}', b"\x00" * 50],
    "format": [b"1", b"[]", b"{}", b'{"format": 1}', b'{"format": "bptt-oracle preflight 2"}'],
}


@pytest.mark.parametrize("content", [c for group in BAD.values() for c in group])
def test_what_is_no_line_is_rejected(content):
    with pytest.raises(BadLine, match="it is not JSON|its format is not"):
        parse(content)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"host": 1}, "its host is not a short text"),
        ({"host": "x" * 1001}, "its host is not a short text"),
        ({"host": "", "uuid": ""}, "neither a host nor a device's UUID"),
        ({"uuid": None}, "its uuid is not a short text"),
        ({"verdict": "fine"}, "its verdict is not one"),
        ({"verdict": ["healthy"]}, "its verdict is not a short text"),
        ({"verdict": "wrong"}, "its verdict contradicts its findings"),
        ({"findings": [FINDING]}, "its verdict contradicts its findings"),
        ({"findings": [1]}, "its findings are not a list of objects"),
        ({"findings": {}}, "its findings are not a list of objects"),
        ({"R": None}, "it has no R"),
        ({"R": 99.0}, "its verdict contradicts its R"),
        ({"R": "inf"}, "its verdict contradicts its R"),
        ({"digests": []}, "its digests is not an object of texts"),
        ({"digests": {"steps/float32": 5}}, "steps/float32 is not a short text"),
        ({"digests": {"steps/float32": "g" * 16}}, "its digests are not names with 16"),
        ({"digests": {"../etc": "0" * 16}}, "its digests are not names with 16"),
        ({"digests": {}}, "a verdict and no digests"),
        ({"cohort": {}}, "a verdict and no digests"),
        ({"cohort": {"a": {}}}, "its a is not a short text"),
        ({"cohort": {str(i): "" for i in range(1001)}}, "its cohort is not an object"),
    ],
)
def test_a_line_with_wrong_entries_is_rejected(changes, reason):
    with pytest.raises(BadLine, match=reason):
        parse(to_text(healthy_line(**changes)).encode())


def test_a_line_that_is_too_long_is_rejected():
    content = to_text(healthy_line(note="x" * LONGEST)).encode()
    with pytest.raises(BadLine, match="longer than"):
        parse(content)


def test_after_a_line_that_is_too_long_the_next_is_read(tmp_path):
    good = to_text(healthy_line(), brief=True).encode()
    file = write_lines(tmp_path / "a", [b"x" * (3 * LONGEST) + b"\n", b"\n", good, good[:-1]])
    with file.open("rb") as source:
        found = [(number, content) for number, _, content in read_lines(source)]
    assert [number for number, _ in found] == [1, 3, 4]
    assert parse(found[1][1]) == parse(found[2][1]) == parse(good)
    with pytest.raises(BadLine, match="longer than"):
        parse(found[0][1])


@pytest.mark.parametrize("cut", [1, 30])
def test_after_a_line_that_was_cut_off_the_next_is_whole(tmp_path, cut):
    good = to_text(healthy_line(), brief=True).encode()
    file = write_lines(tmp_path / "a", [good, good[:-cut]])
    append(file, healthy_line(host="next"))
    append(file, healthy_line(host="last"))
    with file.open("rb") as source:
        first, torn, *others = (content for _, _, content in read_lines(source))
    assert first == good and torn == good[:-cut] + b"\n"
    assert [parse(content).worker[0] for content in others] == ["next", "last"]


def test_positions_lead_back_to_the_lines(tmp_path):
    lines = [healthy_line(host=f"node{i}") for i in range(3)]
    with write_lines(tmp_path / "a", [lines[0], b"\n\n", *lines[1:]]).open("rb") as source:
        places = [position for _, position, _ in read_lines(source)]
        for line, position in zip(lines, places, strict=True):
            source.seek(position)
            assert parse(next(read_lines(source))[2]).worker[0] == line["host"]


def test_hostile_text_is_printed_without_control_characters():
    found = FINDING | {"expected": HOSTILE, "actual": ["x" * 9999], "kind": HOSTILE}
    entries = {"host": HOSTILE, "device": HOSTILE, "tensor": HOSTILE}
    for line in (
        healthy_line(**entries),
        healthy_line(**entries, verdict="wrong", findings=[found]),
        healthy_line(**entries, verdict="could not run", reason=HOSTILE),
    ):
        sentence = sentence_of(line)
        assert sentence.isprintable() and len(sentence) < 2000
    assert all(text.isprintable() for text in parse(to_text(line).encode()).worker)


def test_sketches_are_read_only_if_they_belong_to_the_digest():
    line = parse(to_text(healthy_line()).encode())
    assert {"c", "gates", "output", "d_x"} < {*sketches_of(line, "steps/float32")}
    assert sketches_of(parse(to_text(healthy_line(), brief=True).encode()), "steps/float32") == {}


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "0" * 16},
        {"digest": 5},
        {"shape": [199, 8, 64]},
        {"shape": [2**31, 2**31, 2**31]},
        {"shape": [-200, 8, 64]},
        {"shape": []},
        {"shape": "abc"},
        {"dtype": "int8"},
        {"sums": "AAAA"},
        {"sums": "é"},
        {"sums": 5},
        {"sums": ""},
    ],
)
def test_damaged_sketches_are_rejected(change):
    line = healthy_line()
    line["sketches"]["steps/float32/c"] |= change
    with pytest.raises(BadLine, match="its sketches of steps/float32 are damaged"):
        sketches_of(parse(to_text(line).encode()), "steps/float32")


@pytest.mark.parametrize("sketches", [[], 5, "x", {"steps/float32/c": 5}, {"steps/float32/": {}}])
def test_sketches_of_another_type_are_rejected(sketches):
    line = parse(to_text(healthy_line(sketches=sketches)).encode())
    with pytest.raises(BadLine, match="its sketches of steps/float32 are damaged"):
        sketches_of(line, "steps/float32")


def test_flipped_bits_of_a_line_are_a_line_or_rejected():
    content, rng = to_text(healthy_line()).encode(), random.Random(0)
    for _ in range(400):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 5])):
            damaged[rng.randrange(len(damaged) // rng.choice([1, 40]))] ^= 1 << rng.randrange(8)
        try:
            line = parse(bytes(damaged))
            sketches_of(line, "steps/float32")
        except BadLine:
            continue
        assert line.verdict in ("healthy", "could not run")


@pytest.mark.parametrize(
    "content, holds",
    [(b"", False), (b"mine\n", False), (None, True), (b"SQLite format 3\0", False)],
)
def test_whether_a_file_holds_lines(tmp_path, content, holds):
    file = write_lines(tmp_path / "a", [healthy_line()] if content is None else [content])
    assert holds_lines(file) == holds


def test_the_text_of_a_line_is_ascii_and_one_line():
    text = to_text(healthy_line(host=HOSTILE))
    assert text.isascii() and text.count("\n") == 1 and json.loads(text)["format"] == FORMAT
