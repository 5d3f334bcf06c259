"""Sketches: one changed element is located, several are not taken for one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt_oracle.fleet.sketch import (
    causal_order,
    decode,
    digest_of,
    encode,
    first_difference,
    locate,
    sketch,
)

DTYPES = {"float32": np.uint32, "float64": np.uint64}


def flipped(value, element, mask):
    """A copy with the bits of a mask flipped in one element."""
    other = value.copy()
    other.view(DTYPES[str(value.dtype)])[element] ^= DTYPES[str(value.dtype)](mask)
    return other


def values(dtype, seed=0, shape=(5, 3, 4)):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@given(data=st.data(), dtype=st.sampled_from(list(DTYPES)), name=st.sampled_from(["c", "d_x"]))
def test_a_changed_word_is_located_with_its_mask(data, dtype, name):
    value = values(dtype, data.draw(st.integers(0, 99)))
    element = tuple(data.draw(st.integers(0, n - 1)) for n in value.shape)
    mask = data.draw(st.integers(1, 2**32 - 1)) << (32 * data.draw(st.integers(0, 1)))
    mask = mask if dtype == "float64" else mask % 2**32 or 1
    old, new = sketch(name, value), sketch(name, flipped(value, element, mask))
    assert old.digest != new.digest
    assert first_difference({name: old}, {name: new}) == (name, element[0])
    assert locate(old, new, element[0]) == (element, mask)


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_a_tensor_without_time_too(dtype):
    value = values(dtype, shape=(40, 30))
    old, new = sketch("d_weight", value), sketch("d_weight", flipped(value, (39, 29), 1 << 31))
    assert len(old.sums) == 1 and locate(old, new, 0) == ((39, 29), 1 << 31)


@given(data=st.data())
def test_several_changed_elements_are_not_taken_for_one(data):
    value = values("float32", data.draw(st.integers(0, 9999)))
    places = st.tuples(st.integers(0, 2), st.integers(0, 3))
    for place in data.draw(st.lists(places, min_size=2, max_size=12, unique=True)):
        value = flipped(value, (1, *place), data.draw(st.integers(1, 2**32 - 1)))
    old = sketch("c", values("float32"))
    assert locate(old, sketch("c", value), 1) is None


@given(data=st.data())
def test_two_bits_are_not_taken_for_two_bits_of_one_element(data):
    """Of an array of zeros, where XOR and sum of two bits are those of one element with both."""
    value = np.zeros((5, 3, 4), np.float32)
    places = st.tuples(st.integers(0, 2), st.integers(0, 3))
    other = value
    for place in data.draw(st.lists(places, min_size=2, max_size=3, unique=True)):
        bit = data.draw(st.integers(0, 30))
        other = flipped(other, (1, *place), 1 << bit)
    assert locate(sketch("c", value), sketch("c", other), 1) is None


def test_bits_of_the_outer_elements_are_not_taken_for_one_between():
    """The sums of one bit of the first and a higher bit of the fourth point at the third."""
    value = np.zeros((1, 1, 4), np.float32)
    other = flipped(flipped(value, (0, 0, 0), 1), (0, 0, 3), 2)
    assert locate(sketch("c", value), sketch("c", other), 0) is None


def test_large_arrays_wrap_without_an_error():
    value = np.full(2**21, np.float32(-np.nan))  # words near 2^32, so that the sums pass 2^64
    old, new = sketch("d_weight", value), sketch("d_weight", flipped(value, 2**21 - 1, 1 << 22))
    assert locate(old, new, 0) == ((2**21 - 1,), 1 << 22)


def test_the_order_is_that_of_the_computation():
    steps = 3
    places = [("output", 0), ("gates", 1), ("c", 1), ("output", 1), ("gates", 2), ("h_n", 0)]
    places += [
        ("d_h", 2),
        ("d_c", 2),
        ("d_gates", 2),
        ("d_x", 2),
        ("d_h", 1),
        ("d_weight_hh_l0", 0),
    ]
    places = [("weight_hh_l0", 0), *places, ("d_weight_hh_l0", 0)]
    keys = [causal_order(name, step, steps) for name, step in places]
    assert keys == sorted(keys)


def test_the_first_difference_of_gradients_is_the_last_step():
    value = values("float32")
    other = flipped(flipped(value, (1, 0, 0), 1), (3, 2, 2), 4)
    assert first_difference({"d_x": sketch("d_x", value)}, {"d_x": sketch("d_x", other)}) == (
        "d_x",
        3,
    )
    assert first_difference({"c": sketch("c", value)}, {"c": sketch("c", other)}) == ("c", 1)
    assert first_difference({"c": sketch("c", value)}, {"c": sketch("c", value)}) is None


def test_arrays_of_other_shapes_are_not_compared():
    value = values("float32")
    old, new = sketch("c", value), sketch("c", flipped(value, (1, 0, 0), 1))
    assert first_difference({"c": old}, {"c": new._replace(shape=(5, 12))}) is None


def test_text_and_back():
    sums = sketch("c", values("float64")).sums
    assert np.array_equal(decode(encode(sums)), sums)


@pytest.mark.parametrize("text", ["", "A", "AAAA", "é", "A" * 33, "?" * 32, "A" * 32])
def test_other_text_is_rejected(text):
    with pytest.raises(ValueError):
        decode(text)


def test_the_digest_of_several_depends_on_names_and_bits():
    a, b = (sketch("c", values("float32", seed)) for seed in (0, 1))
    digests = {digest_of({"a": a, "b": b}), digest_of({"a": b, "b": a}), digest_of({"a": a})}
    assert len(digests) == 3 and digest_of({"b": b, "a": a}) in digests
