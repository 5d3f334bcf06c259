"""The packing functions reject what torch's reject, and what torch accepts by mistake."""

import warnings

import numpy as np
import pytest

import torch_impl.sequences.packing as framework
from reference import PackedSequence
from reference.sequences import packing, padding
from support.rejections import (
    ACCEPTS,
    CRASHES,
    Row,
    bits,
    each,
    rejects_row,
    same_since,
    to_torch,
    torch_rejects_row,
)

normal = np.random.default_rng(0).standard_normal
X = normal((5, 3, 4))
PACK = packing.pack_padded_sequence(X, [4, 2, 1])

BETWEEN = r"Expected every length between 1 and T = 5, but got \[{}\]"
WHOLE = "should be a list of 3 whole numbers, got"
COUNT = r"`len\(lengths\)` to be equal to batch_size, but got {} \(batch_size=3\)"
PACKING = [  # (input, lengths, batch_first, enforce_sorted)
    Row("grow", (X, [2, 4, 1]), RuntimeError, r"got \[2 4 1\]: .* pass enforce_sorted=False"),
    Row("zero", (X, [3, 2, 0]), RuntimeError, BETWEEN.format("3, 2, 0")),
    Row("negative", (X, [3, 2, -1]), RuntimeError, BETWEEN.format("3, 2, -1")),
    Row("zero, unsorted", (X, [3, 0, 2], False, False), RuntimeError, BETWEEN.format("3, 0, 2")),
    Row("few", (X, [3, 2]), RuntimeError, COUNT.format(2)),
    Row("many", (X, [3, 2, 1, 1]), RuntimeError, COUNT.format(4)),
    Row("many, unsorted", (X, [3, 2, 1, 1], False, False), RuntimeError, COUNT.format(4)),
    Row("of the other axis", (X, [3, 2, 1], True), RuntimeError, r"got 3 \(batch_size=5\)"),
    Row("number", (X, 3), RuntimeError, WHOLE),
    Row("2-D", (X, np.array([[3, 2, 1]])), RuntimeError, WHOLE),
    Row("ragged", (X, [[3, 2], [1]]), ValueError, WHOLE),
    Row("NaN", (X, [float("nan"), 2, 1]), RuntimeError, WHOLE),
    Row("infinite", (X, [float("inf"), 2, 1]), RuntimeError, WHOLE),
    Row("None", (X, None), TypeError, WHOLE),
    Row("no steps", (X[:0], [3, 2, 1]), RuntimeError, r"empty tensors: .* \(0, 3, 4\)"),
    Row("no rows", (X[:, :0], []), RuntimeError, r"empty tensors: .* \(5, 0, 4\)"),
    Row("no features", (X[..., :0], [3, 2, 1]), RuntimeError, "Cannot pack empty tensors"),
    Row("1-D", (X[:, 0, 0], [3]), IndexError, r"a padded batch \[T, B, ·\] or .*, got \(5,\)"),
    Row("list", ([[1.0]], [1]), AttributeError, "should be an array, got list", TypeError),
    Row("list, unsorted", ([[1.0]], [1], False, False), AttributeError, "be an array, got list"),
    # Torch packs rows that do not exist, drops rows, and truncates fractions.
    Row("longer than T", (X, [7, 3, 2]), RuntimeError, BETWEEN.format("7, 3, 2"), ACCEPTS),
    Row("few, unsorted", (X, [3, 2], False, False), RuntimeError, COUNT.format(2), ACCEPTS),
    Row("fractions", (X, [3.5, 2, 1]), RuntimeError, WHOLE, ACCEPTS),
]
PERMUTATIONS = [
    Row("out of range", np.array([0, 1, 5]), RuntimeError, r"permutation of 0 … 2, got \[0 1 5\]"),
    Row("negative", np.array([0, 1, -1]), RuntimeError, "expected a permutation of 0 … 2"),
    Row("floats", np.array([0.0, 1.0, 2.0]), RuntimeError, "expected a permutation of 0 … 2"),
    Row("twice", np.array([0, 0, 2]), RuntimeError, r"got \[0 0 2\]", ACCEPTS),
    Row("2-D", np.array([[1, 0]]), RuntimeError, r"\[B\], got .* shape \(1, 2\)", IndexError),
    Row("0-D", np.array(0), RuntimeError, r"\[B\], got .* shape \(\)", ACCEPTS),
]
TOTAL = "at least the length of the longest .* total_length=3 and max sequence length being 4"
ODD = PackedSequence(X[:4, 0], np.array([2, 2, 2]))
PADDING = [  # (sequence, batch_first, padding_value, total_length)
    Row("too short", (PACK, False, 0.0, 3), ValueError, TOTAL),
    Row("no value", (PACK, False, None), TypeError, "should be a number, got NoneType"),
    Row("word", (PACK, False, "0"), TypeError, "should be a number, got str"),
    Row("complex", (PACK, False, 1j), RuntimeError, "should be real in float64, got 1j"),
    Row(
        "beyond complex64",
        (PACK._replace(data=PACK.data.astype(np.complex64)), False, 1e300j),
        RuntimeError,
        r"in complex64 should be at most 3.403e\+38, got 1e\+300j",
    ),
    Row("array", (X,), AttributeError, "expected a PackedSequence, got ndarray"),
    Row("rows missing", (ODD,), RuntimeError, "sum to 6, but the data has 4 rows"),
    Row("growing", (ODD._replace(batch_sizes=np.array([1, 3])),), RuntimeError, "not grow"),
    Row(
        "no steps",
        (ODD._replace(batch_sizes=np.array([], int)),),
        RuntimeError,
        "positive",
        same_since("2.10", before=CRASHES),
    ),
    Row(
        "rows left",
        (ODD._replace(batch_sizes=np.array([2, 1])),),
        RuntimeError,
        "sum to 3, but the data has 4 rows",
        ACCEPTS,
    ),
]
WORDS, BYTES = np.array([3, 5]), np.array([3, 5], np.uint8)
RANGE = "in {} should lie in {} … {}, got {}"
INT64 = RANGE.format("int64", -(2**63), 2**63 - 1, "{}")
AXES = r"that differ only in their lengths, got shape {} for sequence 1 and {} for"
SIDED = same_since("2.5", before=TypeError)  # an argument too many
LISTS = [  # (sequences, batch_first, padding_value, padding_side)
    Row("none", ([],), RuntimeError, "received an empty list of sequences"),
    Row("number", (5,), RuntimeError, "Expected iterable for input sequences, .*: int"),
    Row("no value", ([X], False, None), TypeError, "should be a number, got NoneType"),
    Row("complex", ([X], False, 1j), RuntimeError, "should be real in float64", TypeError),
    Row("NaN", ([WORDS], False, np.nan), RuntimeError, INT64.format("nan")),
    Row("infinite", ([WORDS], False, np.inf), RuntimeError, INT64.format("inf")),
    Row("beyond int64", ([WORDS], False, 2**64), RuntimeError, INT64.format(2**64)),
    Row("below uint8", ([BYTES], False, -1), RuntimeError, RANGE.format("uint8", 0, 255, -1)),
    Row(
        "beyond uint8", ([BYTES], False, 256.0), RuntimeError, RANGE.format("uint8", 0, 255, 256.0)
    ),
    Row(
        "beyond float32",
        ([X.astype(np.float32)], False, -1e300),
        RuntimeError,
        r"in float32 should be at most 3.403e\+38, got -1e\+300",
    ),
    Row("side", ([X], False, 0.0, "top"), RuntimeError, "one of left or right, but got top", SIDED),
    Row("list", ([[1.0, 2.0], [3.0]],), TypeError, "an array as sequence 0, but got list"),
    Row("0-D", ([np.array(0.5)],), RuntimeError, "expected sequences"),
    Row(
        "axes",
        ([X[:2, 0], X[:2, 0, :3]],),
        RuntimeError,
        AXES.format(r"\(2, 3\)", r"\(2, 4\)"),
    ),
    Row(
        "rank",
        ([X[:4, 0], X[:4, 0, 0]],),
        RuntimeError,
        AXES.format(r"\(4,\)", r"\(4, 4\)"),
        ACCEPTS,
    ),
]
UNPADDING = [  # (padded, lengths, batch_first)
    Row("few", (X, np.array([3, 2])), ValueError, COUNT.format(2), same_since("2.10")),
    Row("many", (X, np.array([3, 2, 1, 1])), ValueError, COUNT.format(4), same_since("2.10")),
    Row("list", ([[1.0]], np.array([1])), AttributeError, "should be an array, got list"),
    Row("1-D", (X[:3, 0, 0], np.array([1, 1, 1])), IndexError, "expected a padded batch"),
    Row("longer than T", (X, np.array([7, 2, 1])), ValueError, "between 0 and T = 5", ACCEPTS),
    Row("negative", (X, np.array([3, 2, -1])), ValueError, "between 0 and T = 5", ACCEPTS),
    Row("fractions", (X, np.array([2.5, 2, 1])), ValueError, WHOLE, ACCEPTS),
    Row("NaN", (X, np.array([np.nan, 2, 1])), ValueError, WHOLE, ACCEPTS),
]
SEQUENCES = [
    Row("an empty one", [X[:3, 0], X[:0, 0]], RuntimeError, "between 1 and T = 3"),
    Row("growing", [X[:2, 0], X[:3, 0]], RuntimeError, "pass enforce_sorted=False"),
    Row("none", [], RuntimeError, "received an empty list of sequences"),
    Row("number", 5, TypeError, "not iterable"),
]


@pytest.mark.claim("P2", "P3", "P4")
@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param(name, row, id=f"{name}-{row.id}")
        for name, rows in [
            ("pack_padded_sequence", PACKING),
            ("pad_packed_sequence", PADDING),
            ("pad_sequence", LISTS),
            ("unpad_sequence", UNPADDING),
        ]
        for row in rows
    ],
)
def test_a_helper_rejects(name, row):
    ours = getattr(packing, name)
    before = bits(row.arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rejects_row(row, ours, *row.arguments)
    assert bits(row.arguments) == before
    torch_rejects_row(row, getattr(framework, name), *to_torch(row.arguments))


@pytest.mark.claim("P4")
@each(PERMUTATIONS)
def test_indices_that_are_not_a_permutation_are_rejected(row):
    rejects_row(row, packing.invert_permutation, row.arguments)
    torch_rejects_row(row, framework.invert_permutation, to_torch(row.arguments))


@pytest.mark.claim("P4")
@each(SEQUENCES)
def test_a_list_that_cannot_be_packed_is_rejected(row):
    if row.id == "number":
        with pytest.raises(row.error, match=row.message):
            packing.pack_sequence(row.arguments)
    else:
        rejects_row(row, packing.pack_sequence, row.arguments)
    torch_rejects_row(row, framework.pack_sequence, to_torch(row.arguments))


@pytest.mark.claim("P7")
@pytest.mark.parametrize("lengths", [[3, 2], [3, 2, 0], [6, 2, 1], [2.5, 2, 1]])
def test_the_last_valid_step_rejects_lengths_that_no_sequence_has(lengths):
    row = Row("", lengths, ValueError, "length")
    rejects_row(row, padding.last_valid, X, lengths)
    rejects_row(row, padding.last_valid_back, X[0], lengths, 5)


@pytest.mark.claim("P4")
def test_cotangents_of_other_lengths_than_the_sequences_are_rejected():
    long = Row("", None, ValueError, r"between 0 and T = 3, but got \[2, 5\]")
    rejects_row(long, padding.unpad_sequence_back, [X[:2, 0], X[:5, 0]], 3)
    none = Row("", None, RuntimeError, "an empty list of sequences, expected at least one")
    rejects_row(none, padding.unpad_sequence_back, [], 3)
    listed = Row("", None, TypeError, "an array as sequence 0, but got list")
    rejects_row(listed, padding.unpad_sequence_back, [[1.0]], 3)
    for lengths in ([4, 3, 1], [4, 1, 1], [4, 2], [2, 4, 1]):
        d_sequences = [X[:n, 0] for n in lengths]
        row = Row("", None, RuntimeError, r"of lengths \[4, 2, 1\], .*, got \[")
        rejects_row(row, packing.unpack_sequence_back, d_sequences, PACK)


@pytest.mark.claim("P4")
def test_a_padding_value_may_be_infinite_or_nan():
    for value in (np.inf, -np.inf, np.nan):
        padded = packing.pad_sequence([np.ones(2, np.float32), np.ones(1, np.float32)], True, value)
        np.testing.assert_array_equal(padded[1, 1], np.float32(value))


@pytest.mark.claim("P4")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.float16(1), np.float32(1), np.int8(-128)])
def test_a_padding_value_may_be_a_scalar_of_a_narrower_dtype(value):
    assert packing.pad_sequence([np.ones(2), np.ones(1)], True, value)[1, 1] == value


@pytest.mark.claim("P4")
@pytest.mark.parametrize("name", PACK._fields)
def test_a_list_in_place_of_an_array_is_rejected(name):
    listed = PACK._replace(**{name: [1, 0]})
    with pytest.raises(AttributeError, match=f"^{name} should be an array, got list"):
        packing.pad_packed_sequence(listed)
    with pytest.raises(AttributeError, match="^data should be an array, got NoneType"):
        packing.pad_packed_sequence(PACK._replace(data=None))


@pytest.mark.claim("P4")
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_cotangent_unlike_the_padded_batch_is_rejected(batch_first):
    padded, _ = packing.pad_packed_sequence(PACK, batch_first, total_length=6)
    back = packing.pad_packed_sequence_back
    assert back(padded, PACK, batch_first).data.shape == PACK.data.shape
    for wrong in (padded[:1], padded[:, :1], padded[..., :1], padded.swapaxes(0, 1)):
        with pytest.raises(RuntimeError, match="Expected d_padded of"):
            back(wrong, PACK, batch_first)
