"""Packing, padding of what was packed, and their adjoints: torch's, and each other's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import torch_impl.sequences.packing as framework
from reference import PackedSequence
from reference.sequences import packing
from support.lengths import batches, integers
from support.skips import skip_inapplicable
from support.strategies import seeds

orders = st.booleans()  # whether the batch comes sorted


def pack(batch, is_sorted=False):
    """The batch packed; sorted beforehand where asked, and then the batch that was packed."""
    if is_sorted:
        order = np.argsort([-n for n in batch.lengths], kind="stable")
        rows = batch.rows[order]
        padded = rows if batch.batch_first else rows.swapaxes(0, 1)
        batch = batch._replace(padded=padded, lengths=[batch.lengths[b] for b in order])
    return batch, packing.pack_padded_sequence(
        batch.padded, batch.lengths, batch.batch_first, enforce_sorted=is_sorted
    )


def to_torch(packed):
    """The same pack of tensors."""
    fields = [None if f is None else torch.as_tensor(f) for f in packed]
    return framework.PackedSequence(*fields)


def alike(found, expected):
    """Assert equal packs, field by field."""
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)


@pytest.mark.claim("P2")
@given(batches(), orders)
def test_the_rows_are_the_real_steps_step_by_step_longest_sequence_first(batch, is_sorted):
    batch, packed = pack(batch, is_sorted)
    T, lengths = batch.steps, np.array(batch.lengths)
    order = sorted(range(len(lengths)), key=lambda b: -lengths[b])
    rows = [batch.rows[b, t] for t in range(T) for b in order if t < lengths[b]]
    np.testing.assert_array_equal(packed.data, rows)
    assert packed.data.dtype == batch.padded.dtype
    assert packed.batch_sizes.tolist() == [(lengths > t).sum() for t in range(lengths.max())]
    if is_sorted:
        assert packed.sorted_indices is packed.unsorted_indices is None
    else:
        assert packed.sorted_indices.tolist() == order
        assert [order[j] for j in packed.unsorted_indices] == list(range(len(order)))


@pytest.mark.claim("P2")
def test_there_is_a_row_for_each_real_step_and_none_for_padding():
    x = np.random.default_rng(0).standard_normal((5, 3, 2))
    assert packing.pack_padded_sequence(x, [5, 3, 1]).data.shape == (5 + 3 + 1, 2)
    assert x.reshape(-1, 2).shape == (5 * 3, 2)


@pytest.mark.claim("P2", "P3")
@given(batches(dtype="float64"), orders)
def test_packing_is_torchs_up_to_the_order_of_equal_lengths(batch, is_sorted):
    batch, packed = pack(batch, is_sorted)
    theirs = framework.pack_padded_sequence(
        torch.tensor(batch.padded), batch.lengths, batch.batch_first, enforce_sorted=is_sorted
    )
    np.testing.assert_array_equal(packed.batch_sizes, theirs.batch_sizes)
    if is_sorted or len(set(batch.lengths)) == len(batch.lengths):
        alike(packed, theirs)
    ours = PackedSequence(*[None if f is None else f.numpy() for f in theirs])
    for a, b in zip(packing.unpack_sequence(packed), packing.unpack_sequence(ours), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.claim("P3")
def test_equal_lengths_keep_their_order():
    lengths = [1, 2, 3, 2, 1, 2, 3, 2]
    packed = packing.pack_padded_sequence(np.eye(8), lengths, True, enforce_sorted=False)
    assert packed.sorted_indices.tolist() == [2, 6, 1, 3, 5, 7, 0, 4]


@pytest.mark.claim("P2", "P4")
@given(batches(dtype="float64"), orders, seeds)
def test_packing_and_padding_are_each_others_adjoints(batch, is_sorted, seed):
    batch, packed = pack(batch, is_sorted)
    rng, options = np.random.default_rng(seed), (batch.batch_first,)
    d_data = integers(rng, packed.data.shape, "float64")
    pulled = packing.pack_padded_sequence_back(
        packed._replace(data=d_data), *options, total_length=batch.steps
    )
    assert (d_data * packed.data).sum() == (pulled * batch.padded).sum()
    d_padded = integers(rng, batch.padded.shape, "float64")
    pushed, _ = packing.pad_packed_sequence(packed, *options, total_length=batch.steps)
    pulled = packing.pad_packed_sequence_back(d_padded, packed, *options)
    assert (d_padded * pushed).sum() == (pulled.data * packed.data).sum()


@pytest.mark.claim("P2")
@given(batches(dtype="float64"), orders, seeds)
def test_the_gradient_of_padding_is_exactly_zero_and_torchs_elsewhere(batch, is_sorted, seed):
    batch, packed = pack(batch, is_sorted)
    d_data = 0.5 + integers(np.random.default_rng(seed), packed.data.shape, "float64")
    found = packing.pack_padded_sequence_back(
        packed._replace(data=d_data), batch.batch_first, batch.steps
    )
    rows = found if batch.batch_first else found.swapaxes(0, 1)
    real = np.arange(batch.steps) < np.array(batch.lengths)[:, None]
    assert (rows[real] != 0).all()
    assert (rows[~real] == 0).all()
    x = torch.tensor(batch.padded, requires_grad=True)
    theirs = framework.pack_padded_sequence(
        x, batch.lengths, batch.batch_first, enforce_sorted=is_sorted
    )
    expected = [torch.tensor(d) for d in packing.unpack_sequence(packed._replace(data=d_data))]
    torch.autograd.backward(framework.unpack_sequence(theirs), expected)
    np.testing.assert_array_equal(found, x.grad)


@pytest.mark.claim("P4")
@given(batches(dtype="float64"), orders, st.integers(0, 2), st.sampled_from([0.0, -2.5]), seeds)
def test_padding_of_packed_rows_and_its_adjoint_are_torchs(batch, is_sorted, extra, value, seed):
    batch, packed = pack(batch, is_sorted)
    options = batch.batch_first, value, max(batch.lengths) + extra
    found, lengths = packing.pad_packed_sequence(packed, *options)
    theirs = to_torch(packed)
    theirs.data.requires_grad_()
    padded, expected = framework.pad_packed_sequence(theirs, *options)
    np.testing.assert_array_equal(found, padded.detach())
    np.testing.assert_array_equal(lengths, expected)
    assert lengths.tolist() == batch.lengths
    d_padded = integers(np.random.default_rng(seed), found.shape, "float64")
    padded.backward(torch.tensor(d_padded))
    pulled = packing.pad_packed_sequence_back(d_padded, packed, batch.batch_first)
    alike(pulled, packed._replace(data=theirs.data.grad))


@pytest.mark.claim("P4")
@given(batches(), orders)
def test_padding_undoes_packing_and_packing_undoes_padding(batch, is_sorted):
    batch, packed = pack(batch, is_sorted)
    padded, lengths = packing.pad_packed_sequence(packed, batch.batch_first, 1, batch.steps)
    rows = padded if batch.batch_first else padded.swapaxes(0, 1)
    real = np.arange(batch.steps) < np.array(batch.lengths)[:, None]
    np.testing.assert_array_equal(rows[real], batch.rows[real])
    assert (rows[~real] == 1).all()
    again = packing.pack_padded_sequence(padded, lengths, batch.batch_first, is_sorted)
    alike(again, packed)


@pytest.mark.claim("P4")
@given(batches(dtype="float64"), seeds)
def test_listing_undoes_packing_a_list_and_is_its_adjoint(batch, seed):
    sequences = [row[:n] for row, n in zip(batch.rows, batch.lengths, strict=True)]
    packed = packing.pack_sequence(sequences, enforce_sorted=False)
    listed = packing.unpack_sequence(packed)
    for a, b in zip(listed, sequences, strict=True):
        np.testing.assert_array_equal(a, b)
    theirs = framework.pack_sequence([torch.tensor(s) for s in sequences], enforce_sorted=False)
    for a, b in zip(listed, framework.unpack_sequence(theirs), strict=True):
        np.testing.assert_array_equal(a, b)
    d = packed._replace(data=integers(np.random.default_rng(seed), packed.data.shape, "float64"))
    pulled = packing.pack_sequence_back(d)
    inner = sum((a * b).sum() for a, b in zip(pulled, sequences, strict=True))
    assert inner == (d.data * packed.data).sum()
    back = packing.unpack_sequence_back(pulled, packed)
    alike(back, d)


@pytest.mark.claim("P4")
@given(st.permutations(range(7)))
def test_the_inverse_of_a_permutation_undoes_it(permutation):
    permutation = np.array(permutation)
    inverse = packing.invert_permutation(permutation)
    assert permutation[inverse].tolist() == inverse[permutation].tolist() == list(range(7))
    expected = framework.invert_permutation(torch.tensor(permutation))
    np.testing.assert_array_equal(inverse, expected)
    assert packing.invert_permutation(None) is None


@pytest.mark.claim("P2")
@pytest.mark.parametrize("kind", [list, tuple, np.array, np.int32, np.float64, torch.tensor])
def test_lengths_come_as_any_list_of_whole_numbers(kind):
    x, lengths = np.random.default_rng(0).standard_normal((4, 3)), [4, 2, 1]
    alike(packing.pack_padded_sequence(x, kind(lengths)), packing.pack_padded_sequence(x, lengths))


# The worked example of the tutorial: its lengths belong to other rows.
PRINTED = [
    [[1, 1.1], [2, 2.2], [0, 0], [0, 0]],
    [[1, 1.1], [2, 2.2], [3, 3.3], [4, 4.4]],
    [[1, 1.1], [0, 0], [0, 0], [0, 0]],
]


@pytest.mark.claim("P5")
@pytest.mark.parametrize(
    ("lengths", "data", "order"),
    [
        ([4, 2, 1], [1, 1, 1, 2, 2, 0, 0], [0, 1, 2]),  # as printed
        ([2, 4, 1], [1, 1, 1, 2, 2, 3, 4], [1, 0, 2]),  # as the rows are
    ],
)
def test_the_printed_example_packs_two_rows_of_padding_and_the_corrected_one_none(
    lengths, data, order
):
    x = np.array(PRINTED, dtype=np.float32)
    packed = packing.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
    np.testing.assert_array_equal(packed.data, np.outer(data, [1, 1.1]).astype(np.float32))
    assert packed.batch_sizes.tolist() == [3, 2, 1, 1]
    assert packed.sorted_indices.tolist() == packed.unsorted_indices.tolist() == order
    alike(packed, framework.pack_padded_sequence(torch.tensor(x), lengths, True, False))


@pytest.mark.claim("P3")
def test_enforce_sorted_matters_beyond_export_unsorted_lengths_are_rejected():
    x = np.random.default_rng(0).standard_normal((4, 3, 2))
    for pack_it, value in [
        (packing.pack_padded_sequence, x),
        (framework.pack_padded_sequence, torch.tensor(x)),
    ]:
        with pytest.raises(RuntimeError, match="sorted in decreasing order"):
            pack_it(value, [2, 4, 1])
        assert pack_it(value, [2, 4, 1], enforce_sorted=False).batch_sizes.tolist() == [3, 2, 1, 1]


@pytest.mark.claim("P9")
@pytest.mark.parametrize("device", ["meta", "cuda"])
def test_lengths_live_on_the_cpu(device, request):
    if device == "cuda" and not torch.cuda.is_available():
        skip_inapplicable(request, "no GPU to put the lengths on")
    x, lengths = torch.zeros(4, 3, 2), torch.tensor([4, 2, 1])
    assert framework.pack_padded_sequence(x, lengths).data.shape == (7, 2)
    with pytest.raises(RuntimeError, match="should be a 1D CPU int64 tensor"):
        framework.pack_padded_sequence(x, lengths.to(device))
    with pytest.raises(TypeError, match="copy the tensor to host memory first"):
        packing.pack_padded_sequence(x.numpy(), lengths.to(device))
