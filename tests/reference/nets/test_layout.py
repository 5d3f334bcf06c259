"""Layouts: converting a batch to rows is a permutation, and converting back is its adjoint."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import PackedSequence
from reference.nets.layout import layout_of
from reference.sequences import packing
from support.lengths import integers
from support.strategies import all_lengths, seeds, sizes

kinds = st.sampled_from(["time", "batch", "unbatched", "sorted", "unsorted"])


@st.composite
def inputs(draw_from):
    """An input in any layout, with its batch_first."""
    kind = draw_from(kinds)
    rng, width = np.random.default_rng(draw_from(seeds)), draw_from(sizes)
    if kind in ("sorted", "unsorted"):
        lengths = draw_from(all_lengths)
        lengths = sorted(lengths, reverse=True) if kind == "sorted" else lengths
        x = integers(rng, (max(lengths), len(lengths), width), "float64")
        x = packing.pack_padded_sequence(x, lengths, enforce_sorted=kind == "sorted")
        return x, draw_from(st.booleans())
    T, B = draw_from(sizes), draw_from(st.integers(0, 6))
    shape = (T, width) if kind == "unbatched" else (T, B, width)
    if kind == "batch":
        shape = (B, T, width)
    return integers(rng, shape, "float64"), kind == "batch"


def array(x):
    """The values of an input."""
    return x.data if isinstance(x, PackedSequence) else x


def rows_by_hand(x, batch_first):
    """The rows of every step, sequence by sequence."""
    if isinstance(x, PackedSequence):
        return x.data
    if x.ndim == 2:
        return x
    T, B = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    rows = [x[b, t] if batch_first else x[t, b] for t in range(T) for b in range(B)]
    return np.reshape(rows, (T * B, x.shape[2]))


@pytest.mark.claim("A2")
@given(inputs())
def test_rows_are_in_the_order_of_steps_and_convert_back_exactly(given_input):
    x, batch_first = given_input
    layout = layout_of(x, batch_first)
    rows = layout.to_rows(x)
    np.testing.assert_array_equal(rows, rows_by_hand(x, batch_first))
    assert len(rows) == sum(layout.batch_sizes)
    back = layout.from_rows(rows)
    assert type(back) is type(x)
    np.testing.assert_array_equal(array(back), array(x))
    assert array(back).shape == layout.shape(rows.shape[1])


@given(inputs(), seeds)
def test_to_rows_and_from_rows_are_each_others_adjoints(given_input, seed):
    x, batch_first = given_input
    layout = layout_of(x, batch_first)
    rows = layout.to_rows(x)
    d_rows = integers(np.random.default_rng(seed), rows.shape, "float64")
    assert (d_rows * rows).sum() == (array(layout.from_rows(d_rows)) * array(x)).sum()


@pytest.mark.claim("P3")
@given(inputs(), seeds, sizes, sizes)
def test_states_follow_their_sequences_into_the_rows_and_back(given_input, seed, depth, width):
    x, batch_first = given_input
    layout = layout_of(x, batch_first)
    state = integers(np.random.default_rng(seed), (depth, *layout.batch(), width), "float64")
    rows = layout.state_to_rows(state)
    order = getattr(x, "sorted_indices", None)
    if order is not None:
        for j, b in enumerate(order):
            np.testing.assert_array_equal(rows[:, j], state[:, b])
    else:
        np.testing.assert_array_equal(rows, state if state.ndim == 3 else state[:, None])
    np.testing.assert_array_equal(layout.state_from_rows(rows), state)
    d_rows = integers(np.random.default_rng(seed + 1), rows.shape, "float64")
    assert (d_rows * rows).sum() == (layout.state_from_rows(d_rows) * state).sum()


@pytest.mark.claim("A2", "P3")
def test_batch_first_does_not_affect_packed_rows_unbatched_inputs_and_states():
    rng = np.random.default_rng(0)
    packed = packing.pack_padded_sequence(rng.random((5, 3, 4)), [2, 5, 3], enforce_sorted=False)
    state = rng.random((2, 3, 6))
    for x in (packed, rng.random((5, 4))):
        for batch_first in (False, True):
            layout = layout_of(x, batch_first)
            np.testing.assert_array_equal(layout.to_rows(x), array(x))
    for batch_first in (False, True):
        x = rng.random((3, 5, 4) if batch_first else (5, 3, 4))
        assert layout_of(x, batch_first).state_to_rows(state) is state
