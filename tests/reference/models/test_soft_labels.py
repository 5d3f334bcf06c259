"""Cross-entropy of probabilities, weighted classes and smoothed labels, against torch and loss."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.models import loss
from reference.models.soft_labels import soft_cross_entropy, soft_cross_entropy_back
from support.calculus import (
    adjoint_identity_holds,
    agree,
    agrees_with_torch,
    agrees_with_torch_in_float32,
    rejects,
)
from support.strategies import seeds, sizes
from torch_impl.models import soft_labels as torch_soft_labels

REDUCTIONS = ["mean", "sum"]


@st.composite
def problems(draw, kinds=("labels", "probabilities"), fewest=1):
    """Inputs by name: logits and, if they are probabilities, targets; then the other arguments.
    There are at least `fewest` classes; the loss of one class is 0, and so are its gradients."""
    B, T, V = draw(sizes), draw(sizes), draw(st.integers(fewest, 6))
    rng = np.random.default_rng(draw(seeds))
    inputs = {"logits": rng.standard_normal((B, T, V)) * draw(st.sampled_from([1, 30]))}
    targets = None
    if draw(st.sampled_from(kinds)) == "probabilities":
        inputs["targets"] = rng.dirichlet(np.ones(V), (B, T))
    else:
        targets = np.where(rng.random((B, T)) < 0.7, rng.integers(0, V, (B, T)), -100)
        targets[rng.integers(B), rng.integers(T)] = rng.integers(0, V)
    options = {
        "class_weights": draw(st.sampled_from([None, rng.random(V) + 0.1])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 0.7, 1.0])),
    }
    return inputs, targets, options


def run_of(targets, options):
    """The loss as a function of its logits and, where they are among the inputs, targets."""

    def run(inputs):
        value, tape = soft_cross_entropy(
            inputs["logits"], inputs.get("targets", targets), **options
        )

        def pull(d):
            grads = soft_cross_entropy_back(tape, d["L"])
            return {name: getattr(grads, name) for name in inputs}

        return {"L": value}, pull

    return run


def graph_of(targets, options):
    """The same by torch."""

    def graph(inputs):
        like = inputs["logits"]
        weights = options["class_weights"]
        given = inputs.get("targets", targets)
        given = given if isinstance(given, torch.Tensor) else torch.tensor(given)
        weights = None if weights is None else torch.tensor(weights, dtype=like.dtype)
        return {
            "L": torch_soft_labels.soft_cross_entropy(
                like, given, **(options | {"class_weights": weights})
            )
        }

    return graph


def terms_of(targets, options, inputs):
    """δo is δL w (p − q) / n: two numbers of up to δL w / n, which may nearly cancel."""
    shape, weights = inputs["logits"].shape, options["class_weights"]
    weights = np.ones(shape[-1]) if weights is None else weights
    counted, n = np.ones(shape[:-1]), np.prod(shape[:-1])
    if targets is not None:
        counted = targets != -100
        n = weights[targets[counted]].sum()
    n = n if options["reduction"] == "mean" else 1
    each = np.broadcast_to(weights.max() * counted[..., None] / n, shape)
    return lambda cotangents: {"logits": np.abs(cotangents["L"]) * each}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(case=problems(fewest=2), seed=seeds)
def test_the_gradient_is_the_adjoint_of_the_tangent(reduction, case, seed):
    inputs, targets, options = case
    options |= {"reduction": reduction}
    terms = terms_of(targets, options, inputs)
    adjoint_identity_holds(run_of(targets, options), inputs, seed, terms=terms)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(case=problems(), seed=seeds)
def test_value_and_gradients_are_torchs(reduction, case, seed):
    inputs, targets, options = case
    options |= {"reduction": reduction}
    run, graph = run_of(targets, options), graph_of(targets, options)
    agrees_with_torch(run, graph, inputs, seed, terms=terms_of(targets, options, inputs))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(case=problems(), seed=seeds)
def test_torch_in_float32_is_as_exact_as_a_careful_evaluation(reduction, case, seed):
    inputs, targets, options = case
    weights = options["class_weights"]
    options |= {"reduction": reduction}
    if weights is not None:
        options |= {"class_weights": weights.astype(np.float32)}
    agrees_with_torch_in_float32(run_of(targets, options), graph_of(targets, options), inputs, seed)


@given(case=problems(kinds=("labels",)))
def test_hard_labels_without_options_have_the_loss_of_the_mask(case):
    inputs, labels, _ = case
    value, tape = soft_cross_entropy(inputs["logits"], labels)
    expected, other = loss.cross_entropy(inputs["logits"], labels, labels != -100)
    found = {"L": value, "d_logits": soft_cross_entropy_back(tape).logits}
    agree(
        found,
        {"L": expected, "d_logits": loss.cross_entropy_back(other)},
        sizes={"d_logits": 1 / np.count_nonzero(labels != -100)},  # (p − q) / n
    )


@given(case=problems(kinds=("labels",)))
def test_probabilities_of_0_and_1_are_labels(case):
    inputs, labels, _ = case
    logits, y = inputs["logits"], np.where(labels < 0, 0, labels)
    hard = soft_cross_entropy(logits, y)[0]
    one_hot = (np.arange(logits.shape[-1]) == y[..., None]).astype(float)
    assert soft_cross_entropy(logits, one_hot)[0] == pytest.approx(hard, rel=1e-14)


def test_where_no_label_counts_the_mean_is_nan_and_the_gradient_0_as_in_torch():
    logits, labels = np.ones((3, 4)), np.full(3, -100)
    value, tape = soft_cross_entropy(logits, labels)
    leaf = torch.tensor(logits, requires_grad=True)
    torchs = torch_soft_labels.soft_cross_entropy(leaf, torch.tensor(labels))
    (gradient,) = torch.autograd.grad(torchs, leaf)
    assert np.isnan(value) and torchs.isnan()
    assert not soft_cross_entropy_back(tape).logits.any() and not gradient.any()


def test_a_class_that_is_masked_out_costs_nothing_here_and_nan_in_torch():
    logits, target = np.array([[0.0, 1.0, -np.inf]]), np.array([[0.5, 0.5, 0.0]])
    value, _ = soft_cross_entropy(logits, target)
    without, _ = soft_cross_entropy(logits[:, :2], target[:, :2])
    assert value == without
    torchs = torch_soft_labels.soft_cross_entropy(torch.tensor(logits), torch.tensor(target))
    assert torchs.isnan()


def test_nan_in_an_ignored_logit_changes_no_loss_and_no_gradient():
    logits, labels = np.random.default_rng(0).standard_normal((3, 4)), np.array([1, -100, 3])
    value, tape = soft_cross_entropy(logits, labels, label_smoothing=0.1)
    logits[1] = np.nan
    other, other_tape = soft_cross_entropy(logits, labels, label_smoothing=0.1)
    assert value == other
    np.testing.assert_array_equal(
        soft_cross_entropy_back(tape).logits, soft_cross_entropy_back(other_tape).logits
    )


LOGITS = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"targets": np.array([0, 3])}, IndexError, "Target 3 is out of bounds"),
        ({"targets": np.array([0, -1])}, IndexError, "Target -1 is out of bounds"),
        ({"targets": np.array([0, 1, 2])}, RuntimeError, "targets of size (2,)"),
        ({"targets": np.zeros((2, 2))}, RuntimeError, "targets of size (2, 3)"),
        ({"targets": [0, 1]}, TypeError, "an array, got list"),
        ({"class_weights": np.ones(2)}, RuntimeError, "class_weights of size (3,)"),
        ({"label_smoothing": 1.5}, ValueError, "between 0 and 1, got 1.5"),
        ({"label_smoothing": float("nan")}, ValueError, "between 0 and 1, got nan"),
        ({"reduction": "none"}, ValueError, "to be mean or sum, got 'none'"),
    ],
    ids=str,
)
def test_bad_input_is_rejected_with_one_sentence(change, error, message):
    valid = {"targets": np.array([0, 1])}
    soft_cross_entropy(LOGITS, **valid)
    rejects(error, message, lambda: soft_cross_entropy(LOGITS, **(valid | change)))
