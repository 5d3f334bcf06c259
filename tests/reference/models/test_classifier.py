"""The many-to-one classifier: gradients, packing, independent rows, 200 steps next to torch."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import GRU, LSTM, RNN
from reference.models.classifier import SequenceClassifier, classifier_step
from support.calculus import (
    adjoint_identity_holds,
    agree,
    agrees_with_torch,
    agrees_with_torch_in_float32,
    rejects,
)
from support.models import nets, one_ulp_away, params_of, train, train_in_torch
from support.strategies import seeds, sizes
from torch_impl.models import classifier as torch_classifier


@st.composite
def cases(draw, padded=True):
    """A classifier, ids [B, T], lengths [B], labels [B], parameters, the random generator."""
    V, K, B = draw(st.integers(2, 7)), draw(sizes), draw(sizes)
    net, rng = draw(nets(directions=(False, True))), np.random.default_rng(draw(seeds))
    pad = draw(st.none() | st.integers(0, V - 1)) if padded else None
    clf = SequenceClassifier(V, K, net, pad)
    lengths = rng.integers(1, 7, B)
    ids = rng.integers(0, V, (B, lengths.max() + draw(st.integers(0, 2))))
    return clf, ids, lengths, rng.integers(0, K, B), params_of(clf, rng), rng


def logits_of(clf, ids, lengths):
    """Logits as a function of the parameters, here and in torch."""

    def run(params):
        logits, tape = clf.forward(params, ids, lengths)
        return {"logits": logits}, lambda d: clf.backward(tape, d["logits"])

    def graph(leaves):
        params = {n: v.detach().numpy() for n, v in leaves.items()}
        model = torch_classifier.SequenceClassifier(clf, params)
        args = torch.tensor(ids), torch.tensor(lengths)
        return {"logits": torch.func.functional_call(model, leaves, args)}

    return run, graph


@pytest.mark.claim("B11", "A6")
@given(cases(padded=False), seeds)
def test_the_backward_is_the_adjoint_of_the_tangent(case, seed):
    clf, ids, lengths, _, params, _ = case
    adjoint_identity_holds(logits_of(clf, ids, lengths)[0], params, seed)


@pytest.mark.claim("B11", "A6")
@given(cases(), seeds)
def test_logits_and_every_gradient_are_torchs(case, seed):
    clf, ids, lengths, _, params, _ = case
    agrees_with_torch(*logits_of(clf, ids, lengths), params, seed)


@pytest.mark.claim("B11")
@given(cases(), seeds)
def test_in_float32_torch_errs_no_more_than_a_careful_evaluation_does(case, seed):
    clf, ids, lengths, _, inputs, _ = case
    agrees_with_torch_in_float32(*logits_of(clf, ids, lengths), inputs, seed)


@pytest.mark.claim("B11")
@given(cases())
def test_the_loss_of_a_step_and_its_gradients_are_torchs(case):
    clf, ids, lengths, labels, params, _ = case
    model = torch_classifier.SequenceClassifier(clf, params)
    batch = map(torch.tensor, (ids, lengths, labels))
    expected = torch_classifier.classifier_step(model, *batch)
    expected.backward()
    found, grads = classifier_step(clf, params, ids, lengths, labels)
    assert abs(found - expected.item()) <= 1e-13 * (1 + expected.item())
    if clf.num_classes > 1:  # with one class the loss is 0 and so is every gradient
        agree(grads, {n: p.grad.numpy() for n, p in model.named_parameters()}, 1e-11)


@pytest.mark.claim("B11")
@given(cases())
def test_what_lies_in_the_padding_changes_no_bit(case):
    clf, ids, lengths, labels, params, rng = case
    beyond = np.arange(ids.shape[1]) >= lengths[:, None]
    changed = np.where(beyond, rng.integers(-9, 99, ids.shape), ids)
    for found, expected in zip(
        classifier_step(clf, params, changed, lengths, labels)[1].values(),
        classifier_step(clf, params, ids, lengths, labels)[1].values(),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.claim("B11")
@given(cases())
def test_a_row_in_a_batch_is_the_row_alone_and_order_does_not_matter(case):
    clf, ids, lengths, _, params, rng = case
    logits, _ = clf.forward(params, ids, lengths)
    for b, n in enumerate(lengths):
        own, _ = clf.forward(params, ids[b : b + 1, :n], lengths[b : b + 1])
        np.testing.assert_allclose(logits[b], own[0], rtol=1e-12, atol=1e-13)
    order = rng.permutation(len(ids))
    np.testing.assert_allclose(
        clf.forward(params, ids[order], lengths[order])[0], logits[order], rtol=1e-12, atol=1e-13
    )


@pytest.mark.claim("B11")
@given(cases())
def test_a_classifier_that_reads_the_last_column_depends_on_the_padding(case):
    clf, ids, lengths, _, params, _ = case
    padded = np.full(len(ids), ids.shape[1])
    right, _ = clf.forward(params, ids, lengths)
    wrong, _ = clf.forward(params, ids, padded)  # reads h[:, −1]: no column is padding
    full = lengths == ids.shape[1]
    np.testing.assert_allclose(wrong[full], right[full], rtol=1e-12, atol=1e-13)
    assert not np.any(np.all(wrong[~full] == right[~full], axis=1))


def course(kind, steps=200):
    """A classifier of sums modulo 10, initial parameters, and batches like the tutorial's."""
    clf = SequenceClassifier(11, 10, kind(10, 16, num_layers=2), padding_idx=10)
    rng = np.random.default_rng(5)
    batches = []
    for _ in range(steps):
        lengths = rng.integers(2, 6, 16)
        real = np.arange(5) < lengths[:, None]
        ids = np.where(real, rng.integers(0, 10, (16, 5)), 10)
        batches.append((ids, lengths, np.where(real, ids, 0).sum(axis=1) % 10))
    return clf, clf.init(rng), batches


@cache
def trajectories(kind):
    """The loss at each step: in NumPy, in torch, and in NumPy from a start one ulp away."""
    clf, start, batches = course(kind)
    step = lambda p, *batch: classifier_step(clf, p, *batch)  # noqa: E731
    moved = one_ulp_away(start, np.random.default_rng(7))
    model = torch_classifier.SequenceClassifier(clf, start)
    in_torch = train_in_torch(model, torch_classifier.classifier_step, batches)
    return train(start, step, batches)[0], in_torch, train(moved, step, batches)[0]


@pytest.mark.claim("B11")
@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_two_hundred_steps_of_adam_stay_with_torch_to_one_part_in_a_billion(kind):
    here, in_torch, _ = trajectories(kind)
    np.testing.assert_allclose(here, in_torch, rtol=1e-9)


@pytest.mark.claim("B11")
@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_what_parts_the_trajectories_is_what_parts_two_starts_one_ulp_apart(kind):
    here, in_torch, moved = trajectories(kind)
    gap, ulps = (np.abs(losses / here - 1).max() for losses in (in_torch, moved))
    assert gap <= 30 * max(ulps, 1e-16)


@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_initial_parameters_have_torchs_names_shapes_and_ranges(kind):
    clf = SequenceClassifier(40, 7, kind(30, 25, num_layers=2), padding_idx=4)
    params = clf.init(np.random.default_rng(0))
    model = torch_classifier.SequenceClassifier(clf, params)
    assert {n: tuple(p.shape) for n, p in model.named_parameters()} == clf.parameter_shapes()
    assert list(params) == [n for n, _ in model.named_parameters()]
    assert not params["emb.weight"][4].any()


def test_bad_input_is_rejected_with_one_sentence_of_torchs_class():
    clf = SequenceClassifier(5, 3, GRU(4, 6), padding_idx=0)
    params = clf.init(np.random.default_rng(0))
    model = torch_classifier.SequenceClassifier(clf, params)
    good = [np.array([[1, 2, 3], [4, 0, 0]]), np.array([3, 1]), np.array([2, 0])]
    none = [a[:0] for a in good]
    for error, position, value in (
        (IndexError, 0, np.array([[1, 5, 3], [4, 0, 0]])),
        (RuntimeError, 1, np.array([3, 0])),
        (RuntimeError, 1, np.array([3])),
        (IndexError, 2, np.array([3, 0])),
        (IndexError, 2, np.array([-1, 0])),
        (ValueError, 2, np.array([1, 0, 2])),
    ):
        bad = [value if i == position else a for i, a in enumerate(good)]
        with pytest.raises(error):
            classifier_step(clf, params, *bad)
        if not (position == 1 and len(value) == 1):  # torch drops rows that have no length
            with pytest.raises(error):
                torch_classifier.classifier_step(model, *map(torch.tensor, bad))
    with pytest.raises(RuntimeError, match="Cannot pack empty"):
        classifier_step(clf, params, *none)
    with pytest.raises(RuntimeError, match="Cannot pack empty"):
        torch_classifier.classifier_step(model, *map(torch.tensor, none))
    rejects(IndexError, "Target 3", classifier_step, clf, params, good[0], good[1], good[1])


def test_a_net_with_dropout_and_padding_that_is_no_token_are_rejected_with_one_sentence():
    rejects(ValueError, "dropout=0,", SequenceClassifier, 5, 3, GRU(4, 6, 2, dropout=0.5))
    for bad in (5, -1):
        rejects(ValueError, f"0 to 4, got {bad}", SequenceClassifier, 5, 3, GRU(4, 6), bad)
