"""Padding and unpadding, the last real step, and their adjoints."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.torch_version import TorchVersion

import torch_impl.sequences.packing as framework
from reference.sequences import padding
from support.lengths import batches, integers
from support.strategies import seeds

sides = st.sampled_from(["right", "left"])
sides_of_torch = sides if TorchVersion(torch.__version__) >= "2.5" else st.just("right")


def sequences_of(batch, side):
    """The sequences of a padded batch, by slices."""
    return [
        row[len(row) - n :] if side == "left" else row[:n]
        for row, n in zip(batch.rows, batch.lengths, strict=True)
    ]


def same(found, expected):
    """Assert equal lists of arrays, bit for bit and of one dtype."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def inner(left, right):
    """⟨left, right⟩ of two lists of arrays."""
    return sum((a * b).sum() for a, b in zip(left, right, strict=True))


@pytest.mark.claim("P4")
@given(batches(least=0), sides)
def test_unpadding_reads_each_sequence_in_its_own_length(batch, side):
    found = padding.unpad_sequence(batch.padded, batch.lengths, batch.batch_first, side)
    same(found, sequences_of(batch, side))


@pytest.mark.claim("P4")
@given(batches(least=0), sides, st.sampled_from([0.0, -7.0]))
def test_padding_puts_each_sequence_in_place_and_the_padding_value_elsewhere(batch, side, value):
    sequences = sequences_of(batch, side)
    T = max(batch.lengths)
    expected = np.full_like(batch.padded, value, shape=(len(sequences), T, *batch.rows.shape[2:]))
    for row, sequence in zip(expected, sequences, strict=True):
        start = T - len(sequence) if side == "left" else 0
        row[start : start + len(sequence)] = sequence
    found = padding.pad_sequence(sequences, batch.batch_first, value, side)
    same([found], [expected if batch.batch_first else expected.swapaxes(0, 1)])
    same(padding.unpad_sequence(found, batch.lengths, batch.batch_first, side), sequences)


@pytest.mark.claim("P4")
@given(batches(dtype="float64"), sides_of_torch)
def test_padding_is_torchs(batch, side):
    sequences, options = sequences_of(batch, side), {"padding_side": side} if side == "left" else {}
    given = batch.batch_first, -2.5
    expected = framework.pad_sequence([torch.tensor(s) for s in sequences], *given, **options)
    same([padding.pad_sequence(sequences, *given, side)], [expected.numpy()])


@pytest.mark.claim("P4")
@given(batches(dtype="float64"))
def test_unpadding_is_torchs(batch):
    lengths = torch.tensor(batch.lengths)
    expected = framework.unpad_sequence(torch.tensor(batch.padded), lengths, batch.batch_first)
    found = padding.unpad_sequence(batch.padded, batch.lengths, batch.batch_first)
    same(found, [t.numpy() for t in expected])


@pytest.mark.claim("P4")
@given(batches(dtype="float64", extra=0), sides, seeds)
def test_padding_and_unpadding_are_each_others_adjoints(batch, side, seed):
    rng = np.random.default_rng(seed)
    options = batch.batch_first, side
    u = [integers(rng, s.shape, "float64") for s in sequences_of(batch, side)]
    d_padded = batch.padded
    pushed = padding.pad_sequence(u, batch.batch_first, padding_side=side)
    pulled = padding.pad_sequence_back(d_padded, batch.lengths, *options)
    assert inner([d_padded], [pushed]) == inner(pulled, u)
    d_sequences, u = u, batch.padded
    pushed = padding.unpad_sequence(u, batch.lengths, *options)
    pulled = padding.unpad_sequence_back(d_sequences, batch.steps, *options)
    assert inner(d_sequences, pushed) == inner([pulled], [u])


@pytest.mark.claim("P4")
@given(batches(dtype="float64"), seeds)
def test_the_adjoint_of_unpadding_is_zero_in_the_padding_up_to_the_last_step(batch, seed):
    rng = np.random.default_rng(seed)
    d = [1.0 + rng.random(s.shape) for s in sequences_of(batch, "right")]
    pulled = padding.unpad_sequence_back(d, batch.steps, batch.batch_first)
    assert pulled.shape == batch.padded.shape
    real = np.arange(batch.steps) < np.array(batch.lengths)[:, None]
    rows = pulled if batch.batch_first else pulled.swapaxes(0, 1)
    assert (rows[~real] == 0).all()
    assert (rows[real] != 0).all()


@pytest.mark.claim("P4")
@given(batches())
def test_unpadding_does_not_change_its_argument_and_returns_copies(batch):
    before, shape = batch.padded.copy(), batch.padded.shape
    for sequence in padding.unpad_sequence(batch.padded, batch.lengths, batch.batch_first):
        sequence[:] = 0
    assert batch.padded.shape == shape
    np.testing.assert_array_equal(batch.padded, before)


def test_torchs_unpadding_transposes_its_argument():
    x = torch.zeros(4, 2)
    framework.unpad_sequence(x, torch.tensor([3, 1]))
    assert x.shape == (2, 4)


@pytest.mark.claim("P4")
def test_padding_takes_any_iterable_and_the_first_dtype():
    rng = np.random.default_rng(0)
    a, b = rng.integers(1, 9, 3), 1.75 + rng.random(2)
    found = padding.pad_sequence(v for v in (a, b))
    assert found.dtype == a.dtype
    expected = framework.pad_sequence([torch.tensor(a), torch.tensor(b)])
    np.testing.assert_array_equal(found, expected.numpy())
    np.testing.assert_array_equal(padding.pad_sequence(found), found.T)


@pytest.mark.claim("P7")
@given(batches())
def test_the_last_valid_step_is_the_last_of_each_sequence(batch):
    found = padding.last_valid(batch.padded, batch.lengths, batch.batch_first)
    same(found, [s[-1] for s in sequences_of(batch, "right")])


@pytest.mark.claim("P7")
@given(batches(dtype="float64"), seeds)
def test_the_adjoint_of_the_last_valid_step_is_torchs_and_zero_at_every_other_step(batch, seed):
    last = padding.last_valid(batch.padded, batch.lengths, batch.batch_first)
    d_last = integers(np.random.default_rng(seed), last.shape, "float64")
    found = padding.last_valid_back(d_last, batch.lengths, batch.steps, batch.batch_first)
    assert (found * batch.padded).sum() == (d_last * last).sum()
    x = torch.tensor(batch.padded, requires_grad=True)
    value = framework.last_valid(x, torch.tensor(batch.lengths), batch.batch_first)
    np.testing.assert_array_equal(value.detach(), last)
    value.backward(torch.tensor(d_last))
    same([found], [x.grad.numpy()])


def test_a_batch_of_no_sequences_unpads_to_none_and_has_no_last_steps():
    x = np.zeros((5, 0, 4))
    assert padding.unpad_sequence(x, []) == []
    assert padding.last_valid(x, []).shape == (0, 4)
    assert padding.last_valid_back(x[0], [], 5).shape == x.shape
