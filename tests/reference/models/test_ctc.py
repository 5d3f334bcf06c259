"""CTC: the sum over all paths, its gradient, rows without a path, and torch's loss."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.activations import log_softmax, log_softmax_back
from reference.models.ctc import ctc, ctc_back, mean_per_label
from support.calculus import (
    adjoint_identity_holds,
    agrees_with_torch_in_float32,
    evaluate_in_torch,
    rejects,
)
from support.strategies import seeds
from torch_impl.models import ctc as torch_ctc


@st.composite
def problems(draw, most_steps=6):
    """Logits [T, B, V], labels [B, U], steps and lengths [B], a blank; every row has a path."""
    T, B, V = draw(st.integers(1, most_steps)), draw(st.integers(1, 3)), draw(st.integers(2, 4))
    rng, blank = np.random.default_rng(draw(seeds)), draw(st.integers(0, V - 1))
    others = np.delete(np.arange(V), blank)
    U = draw(st.integers(0, 3))
    labels, steps = rng.choice(others, (B, U)), rng.integers(1, T + 1, B)
    lengths = np.array([draw(st.integers(0, U)) for _ in range(B)])
    for b in range(B):
        while lengths[b] + repeats(labels[b, : lengths[b]]) > steps[b]:
            lengths[b] -= 1
    labels[np.arange(U) >= lengths[:, None]] = draw(st.sampled_from([-1, 10**6]))  # never read
    logits = rng.standard_normal((T, B, V)) * draw(st.sampled_from([1, 10]))
    return logits, labels, steps, lengths, blank


def repeats(labels):
    """How many labels equal the one before: each needs a blank in between."""
    return int((labels[1:] == labels[:-1]).sum())


def run_of(labels, steps, lengths, blank):
    """The losses as a function of the logits."""

    def run(inputs):
        log_p = log_softmax(inputs["logits"])
        losses, tape = ctc(log_p, labels, steps, lengths, blank)
        return {"loss": losses}, lambda d: {
            "logits": log_softmax_back(log_p, ctc_back(tape, d["loss"]))
        }

    return run


def collapse(path, blank):
    """The labels of a path: one for each run of equal tokens, without blanks."""
    return [token for token, _ in itertools.groupby(path) if token != blank]


@given(case=problems(most_steps=5))
def test_the_loss_is_minus_the_log_of_the_sum_over_all_paths(case):
    logits, labels, steps, lengths, blank = case
    log_p = log_softmax(logits)
    losses, _ = ctc(log_p, labels, steps, lengths, blank)
    for b, (n, u) in enumerate(zip(steps, lengths, strict=True)):
        wanted = labels[b, :u].tolist()
        total = sum(
            np.exp(sum(log_p[t, b, token] for t, token in enumerate(path)))
            for path in itertools.product(range(logits.shape[2]), repeat=n)
            if collapse(path, blank) == wanted
        )
        assert losses[b] == pytest.approx(-np.log(total), rel=1e-12, abs=1e-12)


@given(case=problems(), seed=seeds)
def test_the_gradient_is_the_adjoint_of_the_tangent(case, seed):
    logits, *rest = case
    inside = (np.arange(len(logits))[:, None] < rest[1])[..., None]  # the steps of a row

    def terms(cotangents):  # δo is δℓ (p − the share), of which both may be 1
        each = np.abs(cotangents["loss"])[:, None] * inside
        return {"logits": np.broadcast_to(each, logits.shape)}

    adjoint_identity_holds(run_of(*rest), {"logits": logits}, seed, terms=terms)


@given(case=problems(), seed=seeds)
def test_the_gradient_of_log_p_is_the_adjoint_of_the_tangent(case, seed):
    logits, *rest = case

    def run(inputs):
        losses, tape = ctc(inputs["log_p"], *rest)
        return {"loss": losses}, lambda d: {"log_p": ctc_back(tape, d["loss"])}

    adjoint_identity_holds(run, {"log_p": log_softmax(logits)}, seed)


def readable(labels, steps, lengths):
    """The three as tensors; padding of labels is 0, because torch may read it."""
    padded = np.where(np.arange(labels.shape[1]) < lengths[:, None], labels, 0)
    return [torch.tensor(value) for value in (padded, steps, lengths)]


def graph_of(labels, steps, lengths, blank):
    """The same losses by torch."""
    tensors = readable(labels, steps, lengths)
    return lambda inputs: {"loss": torch_ctc.ctc(inputs["logits"].log_softmax(-1), *tensors, blank)}


@given(case=problems(), seed=seeds)
def test_losses_and_the_gradient_of_the_logits_are_torchs(case, seed):
    logits, *rest = case
    (losses, pull), graph = run_of(*rest)({"logits": logits}), graph_of(*rest)
    d_loss = np.random.default_rng(seed).standard_normal(losses["loss"].shape)
    torchs = evaluate_in_torch(graph, {"logits": logits}, {"loss": d_loss})
    np.testing.assert_allclose(losses["loss"], torchs["loss"], rtol=1e-12, atol=1e-12)
    # δo = δℓ (p − the share): two numbers of up to 1, whose difference may be far below rounding.
    gap = np.abs(pull({"loss": d_loss})["logits"] - torchs["d_logits"])
    assert (gap <= 1e-12 * np.abs(d_loss)[:, None]).all()


@given(case=problems(), seed=seeds)
def test_torch_in_float32_is_as_exact_as_a_careful_evaluation(case, seed):
    logits, *rest = case
    run, inputs = run_of(*rest), {"logits": logits}
    # The loss is the log of a sum of up to 1, and a share of 1 is e to a sum of log p that cancel,
    # each as large as the loss.
    size = max(1.0, run(inputs)[0]["loss"].max())
    sizes = {"loss": size, "d_logits": size}
    agrees_with_torch_in_float32(run, graph_of(*rest), inputs, seed, sizes)


@given(case=problems())
def test_torchs_gradient_of_log_p_has_p_in_addition(case):
    logits, labels, steps, lengths, blank = case
    log_p = log_softmax(logits)
    _, tape = ctc(log_p, labels, steps, lengths, blank)
    leaf = torch.tensor(log_p, requires_grad=True)
    losses = torch_ctc.ctc(leaf, *readable(labels, steps, lengths), blank)
    (torchs,) = torch.autograd.grad(losses.sum(), leaf)
    inside = np.arange(len(log_p))[:, None, None] < steps[:, None]
    ours = ctc_back(tape, np.ones(len(steps))) + inside * np.exp(log_p)
    np.testing.assert_allclose(torchs.numpy(), ours, rtol=0, atol=1e-12)


@given(case=problems())
def test_the_mean_is_torchs(case):
    logits, labels, steps, lengths, blank = case
    log_p = log_softmax(logits)
    losses, _ = ctc(log_p, labels, steps, lengths, blank)
    torchs = torch_ctc.mean_per_label(torch.tensor(log_p), *readable(labels, steps, lengths), blank)
    assert mean_per_label(losses, lengths) == pytest.approx(torchs.item(), rel=1e-12, abs=1e-12)


@given(case=problems())
def test_an_occupied_step_is_occupied_once(case):
    logits, labels, steps, lengths, blank = case
    _, tape = ctc(log_softmax(logits), labels, steps, lengths, blank)
    total = -ctc_back(tape, np.ones(len(steps))).sum(axis=2)
    inside = np.arange(len(total))[:, None] < steps
    np.testing.assert_allclose(total, inside, rtol=0, atol=1e-12)


NO_PATH = (np.array([[1, 1]]), np.array([2]), np.array([2]))  # a repeated label needs 3 steps


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_a_row_without_a_path_is_torchs(zero_infinity):
    log_p = log_softmax(np.random.default_rng(0).standard_normal((4, 1, 3)))
    losses, tape = ctc(log_p, *NO_PATH, zero_infinity=zero_infinity)
    gradient = ctc_back(tape, np.ones(1))
    leaf = torch.tensor(log_p, requires_grad=True)
    torchs = torch_ctc.ctc(leaf, *map(torch.tensor, NO_PATH), zero_infinity=zero_infinity)
    (torchs_gradient,) = torch.autograd.grad(torchs.sum(), leaf)
    assert losses == torchs.detach().numpy() == (0 if zero_infinity else np.inf)
    assert not gradient[2:].any() and not torchs_gradient[2:].any()
    if zero_infinity:
        assert not gradient.any() and not torchs_gradient.any()
    else:
        assert np.isnan(gradient[:2]).any() and torchs_gradient[:2].isnan().any()


def test_log_probabilities_of_minus_thousands_give_a_finite_loss_and_gradient():
    log_p = log_softmax(np.random.default_rng(0).standard_normal((50, 2, 5)) * 1000)
    labels, steps, lengths = np.array([[1, 2], [3, 3]]), np.array([50, 40]), np.array([2, 2])
    losses, tape = ctc(log_p, labels, steps, lengths)
    assert np.isfinite(losses).all() and np.isfinite(ctc_back(tape, np.ones(2))).all()


LOG_P = np.log(np.full((4, 1, 3), 1 / 3))
VALID = {
    "labels": np.array([[1, 2]]),
    "steps": np.array([4]),
    "lengths": np.array([2]),
    "blank": 0,
}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": np.array([[1, 3]])}, IndexError, "between 0 and 2, got 1 to 3"),
        ({"labels": np.array([[-1, 2]])}, IndexError, "got -1 to 2"),
        ({"labels": np.array([[0, 2]])}, ValueError, "other than the blank 0"),
        ({"labels": np.array([[1.0, 2]])}, RuntimeError, "to be integers"),
        ({"labels": np.array([1, 2])}, RuntimeError, "labels [B, U]"),
        ({"labels": np.array([[1, 2]] * 2)}, RuntimeError, "[4, 1, 3] and [2, 2]"),
        ({"labels": [[1, 2]]}, TypeError, "an array, got list"),
        ({"steps": np.array([5])}, ValueError, "steps between 1 and 4, got 5 to 5"),
        ({"steps": np.array([0])}, ValueError, "steps between 1 and 4"),
        ({"steps": np.array([4, 4])}, RuntimeError, "steps of size (1,)"),
        ({"lengths": np.array([3])}, ValueError, "lengths between 0 and 2"),
        ({"lengths": np.array([-1])}, ValueError, "lengths between 0 and 2, got -1 to -1"),
        ({"blank": 3}, IndexError, "a blank between 0 and 2, got 3"),
    ],
    ids=str,
)
def test_bad_input_is_rejected_with_one_sentence(change, error, message):
    ctc(LOG_P, **VALID)
    rejects(error, message, lambda: ctc(LOG_P, **(VALID | change)))


def test_torch_accepts_labels_that_are_rejected_here():
    tensors = [torch.tensor(VALID[name]) for name in ("steps", "lengths")]
    log_p = torch.tensor(LOG_P)
    for labels in ([[0, 2]], [[1, 3]]):
        assert torch_ctc.ctc(log_p, torch.tensor(labels), *tensors).shape == (1,)
    zero = torch_ctc.ctc(log_p, torch.tensor([[1, 2]]), torch.tensor([0]), torch.tensor([2]))
    assert zero.item() == np.inf
