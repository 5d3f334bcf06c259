"""Cross-entropy: its gradient, its masks and denominators, its stability, and the label shift."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.models import loss
from support.calculus import (
    adjoint_identity_holds,
    agrees_with_torch,
    agrees_with_torch_in_float32,
    rejects,
)
from support.strategies import seeds, sizes
from torch_impl.models import loss as torch_loss

WEIGHTS = {"per_token": torch_loss.per_token, "per_sequence": torch_loss.per_sequence}


def run_of(labels, mask=None, weights=loss.per_token):
    """The loss as a function of its logits."""

    def run(inputs):
        value, tape = loss.cross_entropy(inputs["logits"], labels, mask, weights)
        return {"L": value}, lambda d: {"logits": loss.cross_entropy_back(tape, d["L"])}

    return run


@st.composite
def batches(draw, least_vocab=1, scales=(1, 30)):
    """Logits [B, T, V], labels and mask [B, T]; masked labels are outside the vocabulary."""
    B, T, V = draw(sizes), draw(sizes), draw(st.integers(least_vocab, 7))
    rng = np.random.default_rng(draw(seeds))
    mask = rng.random((B, T)) < draw(st.sampled_from([0.3, 0.7, 1.0]))
    mask[rng.integers(B), rng.integers(T)] = True
    labels = np.where(mask, rng.integers(0, V, (B, T)), rng.choice([-100, 10**6], (B, T)))
    return {"logits": rng.standard_normal((B, T, V)) * draw(st.sampled_from(scales))}, labels, mask


@pytest.mark.claim("B2")
@pytest.mark.parametrize("name", WEIGHTS)
@given(case=batches(least_vocab=2, scales=(1,)), seed=seeds)
def test_the_gradient_is_the_adjoint_of_the_tangent(name, case, seed):
    inputs, labels, mask = case
    adjoint_identity_holds(run_of(labels, mask, getattr(loss, name)), inputs, seed)


@pytest.mark.claim("B2", "P8")
@pytest.mark.parametrize("name", WEIGHTS)
@given(case=batches(scales=(1,)), seed=seeds)
def test_masked_value_and_gradient_are_torchs(name, case, seed):
    inputs, labels, mask = case
    torch_mask, torch_labels = torch.tensor(mask), torch.tensor(labels)

    def graph(leaves):
        logits, weights = leaves["logits"], WEIGHTS[name]
        return {"L": torch_loss.cross_entropy(logits, torch_labels, torch_mask, weights)}

    run = run_of(labels, mask, getattr(loss, name))
    agrees_with_torch(run, graph, inputs, seed)
    agrees_with_torch_in_float32(run, graph, inputs, seed)


@pytest.mark.claim("P8")
@given(batches(scales=(1,)), seeds)
def test_masking_the_padding_is_torchs_ignore_index(case, seed):
    inputs, labels, mask = case
    labels = np.where(mask, labels, -100)
    graph = lambda leaves: {  # noqa: E731
        "L": torch_loss.ignoring(leaves["logits"], torch.tensor(labels), -100)
    }
    agrees_with_torch(run_of(labels, labels != -100), graph, inputs, seed)


@pytest.mark.claim("P8")
def test_a_batch_of_padding_only_costs_nan_in_torch_and_zero_here():
    logits = np.random.default_rng(0).standard_normal((2, 3, 5))
    labels = np.full((2, 3), -100)
    leaf = torch.tensor(logits, requires_grad=True)
    value = torch_loss.ignoring(leaf, torch.tensor(labels), -100)
    value.backward()
    found, tape = loss.cross_entropy(logits, labels, labels != -100, loss.per_token_as_torch)
    assert np.isnan(found) and np.isnan(value.item())
    np.testing.assert_array_equal(loss.cross_entropy_back(tape), leaf.grad.numpy())
    for weights in (loss.per_token, loss.per_sequence):
        found, tape = loss.cross_entropy(logits, labels, labels != -100, weights)
        assert found == 0 and not loss.cross_entropy_back(tape).any()


@pytest.mark.claim("P8")
@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0)])
def test_an_empty_batch_reduces_like_one_whose_labels_are_all_ignored(shape):
    logits, labels = np.zeros((*shape, 5)), np.zeros(shape, int)
    value = torch_loss.ignoring(torch.tensor(logits), torch.tensor(labels), -100)
    assert np.isnan(value.item())
    assert np.isnan(loss.cross_entropy(logits, labels, None, loss.per_token_as_torch)[0])
    for weights in (loss.per_token, loss.per_sequence):
        found, tape = loss.cross_entropy(logits, labels, None, weights)
        assert found == 0 and loss.cross_entropy_back(tape).shape == logits.shape


@pytest.mark.claim("P8")
@given(batches())
def test_nan_in_a_masked_logit_changes_no_loss_and_no_gradient(case):
    inputs, labels, mask = case
    clean, tape = loss.cross_entropy(inputs["logits"], labels, mask)
    dirty = np.where(mask[..., None], inputs["logits"], np.nan)
    found, dirty_tape = loss.cross_entropy(dirty, labels, mask)
    assert found == clean
    expected = np.where(mask[..., None], loss.cross_entropy_back(tape), 0)
    np.testing.assert_array_equal(loss.cross_entropy_back(dirty_tape), expected)


@pytest.mark.claim("P8")
@given(batches())
def test_each_denominator_is_the_mean_it_is_called_after(case):
    inputs, labels, mask = case
    batch = zip(inputs["logits"], labels, mask, strict=True)
    rows = [list(zip(*row, strict=True)) for row in batch]
    losses = [
        [np.log(np.exp(o - o.max()).sum()) + o.max() - o[y] for o, y, m in row if m] for row in rows
    ]
    token = np.mean(list(itertools.chain(*losses)))
    sequence = np.mean([np.mean(row) for row in losses if row])
    expected = {"token": token, "sequence": sequence}
    found = {
        "token": loss.cross_entropy(inputs["logits"], labels, mask)[0],
        "sequence": loss.cross_entropy(inputs["logits"], labels, mask, loss.per_sequence)[0],
    }
    for name, value in expected.items():
        assert abs(found[name] - value) <= 1e-12 * max(abs(value), np.abs(inputs["logits"]).max())


@pytest.mark.claim("B2")
@given(batches(), st.floats(-50, 50))
def test_the_gradient_is_p_minus_one_hot_sums_to_zero_and_ignores_a_shift(case, constant):
    logits, labels, mask = case[0]["logits"], case[1], case[2]
    value, tape = loss.cross_entropy(logits, labels, mask, lambda m: m)
    d_logits = loss.cross_entropy_back(tape)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    one_hot = np.arange(logits.shape[-1]) == labels[..., None]
    expected = np.where(mask[..., None], p - one_hot, 0)
    np.testing.assert_allclose(d_logits, expected, atol=1e-14)
    assert np.abs(d_logits.sum(axis=-1)).max() < 1e-14
    moved, _ = loss.cross_entropy(logits + constant, labels, mask, lambda m: m)
    assert abs(moved - value) < 1e-12 * mask.sum() * (1 + np.abs(logits).max())


@pytest.mark.claim("B2")
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_logits_ten_thousand_apart_give_the_exact_loss_and_gradient(dtype):
    logits = np.array([[1e4, -3.0, 0.0], [1e4, -3.0, 0.0], [5.0, 5.0, -1e4]], dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, tape = loss.cross_entropy(logits, np.array([0, 1, 0]), weights=lambda m: m)
    assert value.dtype == dtype
    assert value == dtype(10003) + np.log(dtype(2))
    expected = np.array([[0, 0, 0], [1, -1, 0], [-0.5, 0.5, 0]])
    np.testing.assert_allclose(
        loss.cross_entropy_back(tape), expected, atol=4 * float(np.finfo(dtype).eps)
    )


@pytest.mark.claim("B3")
@given(st.integers(1, 5), st.integers(2, 7), seeds)
def test_the_shift_loses_one_column_and_every_target_is_the_next_input(B, T, seed):
    ids = np.random.default_rng(seed).integers(0, 9, (B, T))
    inputs, targets = loss.shift(ids)
    assert inputs.shape == targets.shape == (B, T - 1)
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    for found, expected in zip((inputs, targets), torch_loss.shift(torch.tensor(ids)), strict=True):
        np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, np.complex128])
@pytest.mark.parametrize("name", [*WEIGHTS, "per_token_as_torch"])
def test_value_and_gradient_keep_the_dtype(dtype, name):
    logits = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(dtype)
    labels, mask = np.array([[1, 2, 0], [4, 3, 1]]), np.array([[1, 1, 0], [1, 0, 0]]) > 0
    value, tape = loss.cross_entropy(logits, labels, mask, getattr(loss, name))
    assert value.dtype == loss.cross_entropy_back(tape).dtype == dtype


def test_a_mask_cleared_after_the_loss_changes_no_gradient():
    logits = np.random.default_rng(0).standard_normal((3, 5))
    mask = np.array([True, True, False])
    _, tape = loss.cross_entropy(logits, np.array([1, 2, 3]), mask)
    expected = loss.cross_entropy_back(tape)
    mask[:] = False
    np.testing.assert_array_equal(loss.cross_entropy_back(tape), expected)


def test_bad_input_is_rejected_with_one_sentence():
    logits, labels = np.zeros((2, 3)), np.array([2, 1])
    for label in (3, -1):
        bad = np.array([label, 1])
        rejects(IndexError, f"Target {label} is out of bounds", loss.cross_entropy, logits, bad)
        with pytest.raises(IndexError):
            torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(bad))
    rejects(ValueError, "[2, 3], [3] and [3]", loss.cross_entropy, logits, np.array([0, 1, 2]))
    rejects(ValueError, "[2]", loss.cross_entropy, logits, labels, np.array([True]))
    rejects(ValueError, "T ≥ 2", loss.shift, np.array([[1], [2]]))
    rejects(ValueError, "[B, T]", loss.shift, np.array([1, 2]))


def test_masks_and_weights_of_other_types_or_shapes_are_rejected_with_one_sentence():
    logits, labels, mask = np.zeros((2, 3)), np.array([2, 1]), np.array([True, False])
    for bad in (mask.astype(int), mask.astype(float)):
        message = f"boolean mask, got {bad.dtype}"
        rejects(RuntimeError, message, loss.cross_entropy, logits, labels, bad)
        with pytest.raises(RuntimeError):
            torch_loss.cross_entropy(*map(torch.tensor, (logits, labels, bad)))
    rejects(TypeError, "mask should be an array, got list", loss.cross_entropy, logits, labels, [1])
    rejects(TypeError, "logits should be an array", loss.cross_entropy, logits.tolist(), labels)
    rejects(ValueError, "got [], [] and []", loss.cross_entropy, np.array(1.0), np.array(1))
    for weights, shape in (
        (lambda m: m[:1], [1]),
        (lambda m: m.sum(), []),
        (lambda m: m[:, None], [2, 1]),
    ):
        message = f"the shape of the mask, [2], got {shape}"
        rejects(RuntimeError, message, loss.cross_entropy, logits, labels, mask, weights)
    rejects(
        TypeError, "result of weights", loss.cross_entropy, logits, labels, mask, lambda m: None
    )


@pytest.mark.parametrize("name", [*WEIGHTS, "per_token_as_torch"])
def test_a_single_label_has_the_loss_of_a_batch_of_one(name):
    logits, weights = np.array([0.5, -1.0, 2.0]), getattr(loss, name)
    if name == "per_sequence":  # a label without an axis is not a sequence
        weights = loss.per_token
    value, tape = loss.cross_entropy(logits, np.array(2), None, weights)
    expected, batch_tape = loss.cross_entropy(logits[None], np.array([2]), None, weights)
    assert value == expected
    d_logits = loss.cross_entropy_back(batch_tape)[0]
    np.testing.assert_array_equal(loss.cross_entropy_back(tape), d_logits)
