"""Additive attention: its adjoint, torch's values, and that masked keys act as if absent."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.models import attention
from support.calculus import adjoint_identity_holds, agree, agrees_with_torch_to_rounding, rejects
from support.strategies import seeds, sizes
from torch_impl.models.attention import AdditiveAttention

WEIGHTS = attention.Params._fields


def draw(B, T, S, H, A, seed, masked=True, dtype=np.float64):
    """Two queries s [2, B, S], keys h, weights; and a mask [B, T] with at least one key per row."""
    rng = np.random.default_rng(seed)
    shapes = {"s": (2, B, S), "h": (B, T, H), "weight_s": (A, S), "weight_h": (A, H), "v": (A,)}
    mask = rng.random((B, T)) < 0.6 if masked else np.ones((B, T), dtype=bool)
    mask[np.arange(B), rng.integers(0, T, B)] = True
    return {n: rng.standard_normal(shape).astype(dtype) for n, shape in shapes.items()}, mask


precisions = st.sampled_from([(np.float32, np.float64), (np.float64, np.longdouble)])
problems = st.builds(draw, sizes, sizes, sizes, sizes, sizes, seeds, st.booleans())


def run_with(mask):
    """The contexts of both queries over the same keys, and the gradient of every input."""

    def run(inputs):
        params = attention.Params(*(inputs[n] for n in WEIGHTS))
        keys = attention.project_keys(params, inputs["h"], mask)
        c_0, tape_0 = attention.attend(params, inputs["s"][0], keys)
        c_1, tape_1 = attention.attend(params, inputs["s"][1], keys)

        def pull(d):
            one = attention.attend_back(tape_0, d["c_0"])
            two = attention.attend_back(tape_1, d["c_1"])
            d_h, d_k = one.h + two.h, one.k + two.k
            d_h, d_weight_h = attention.project_keys_back(params, keys, d_h, d_k)
            return {
                "s": np.stack([one.s, two.s]),
                "h": d_h,
                "weight_s": one.weight_s + two.weight_s,
                "weight_h": d_weight_h,
                "v": one.v + two.v,
            }

        return {"c_0": c_0, "c_1": c_1}, pull

    return run


def graph_with(mask):
    """The contexts as computed by the torch module."""

    def graph(inputs):
        (A, S), (_, H) = inputs["weight_s"].shape, inputs["weight_h"].shape
        weights = {n: inputs[n] for n in WEIGHTS}

        def context(s):
            call = torch.func.functional_call
            args = (s, inputs["h"], torch.tensor(mask))
            return call(AdditiveAttention(S, H, A), weights, args)[0]

        return {"c_0": context(inputs["s"][0]), "c_1": context(inputs["s"][1])}

    return graph


def read(inputs, mask):
    """The context and the weights of the first query."""
    params = attention.Params(*(inputs[n] for n in WEIGHTS))
    keys = attention.project_keys(params, inputs["h"], mask)
    context, tape = attention.attend(params, inputs["s"][0], keys)
    return context, tape.alpha


@pytest.mark.claim("Q2")
@given(problems, seeds)
def test_attention_is_the_adjoint_of_its_tangent(problem, seed):
    inputs, mask = problem
    adjoint_identity_holds(run_with(mask), inputs, seed)


@pytest.mark.claim("Q2")
@given(problems, seeds, precisions)
def test_contexts_and_gradients_are_torchs(problem, seed, precision):
    inputs, mask = problem
    agrees_with_torch_to_rounding(run_with(mask), graph_with(mask), inputs, seed, *precision)


@pytest.mark.claim("Q2")
@given(problems)
def test_the_context_is_the_textbooks_weighted_sum(problem):
    inputs, mask = problem
    found, alpha = read(inputs, mask)
    for b, s in enumerate(inputs["s"][0]):
        keys = inputs["h"][b][mask[b]]
        scores = [
            inputs["v"] @ np.tanh(inputs["weight_s"] @ s + inputs["weight_h"] @ h) for h in keys
        ]
        weights = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(alpha[b][mask[b]], weights, rtol=1e-12)
        np.testing.assert_allclose(found[b], weights @ keys, rtol=1e-11, atol=1e-13)


@pytest.mark.claim("Q2")
@given(problems)
def test_weights_are_positive_on_the_keys_that_count_and_sum_to_one(problem):
    inputs, mask = problem
    _, alpha = read(inputs, mask)
    np.testing.assert_allclose(alpha.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_array_equal(alpha > 0, mask)


@pytest.mark.claim("Q2")
@given(problems, seeds)
def test_permuting_the_keys_permutes_the_weights_and_leaves_the_context(problem, seed):
    inputs, mask = problem
    order = np.random.default_rng(seed).permutation(mask.shape[1])
    before, alpha = read(inputs, mask)
    after, permuted = read(inputs | {"h": inputs["h"][:, order]}, mask[:, order])
    agree({"c": after, "alpha": permuted}, {"c": before, "alpha": alpha[:, order]})


@pytest.mark.claim("Q2")
@given(problems, seeds)
def test_a_masked_key_is_as_good_as_absent(problem, seed):
    inputs, mask = problem
    run = run_with(mask)
    outputs, pull = run(inputs)
    cotangents = {
        n: np.random.default_rng(seed).standard_normal(c.shape) for n, c in outputs.items()
    }
    grads = pull(cotangents)
    for b in range(len(mask)):
        row = {"s": inputs["s"][:, b : b + 1], "h": inputs["h"][b : b + 1, mask[b]]}
        unmasked, pull_row = run_with(None)(inputs | row)
        agree(unmasked, {n: c[b : b + 1] for n, c in outputs.items()}, 1e-11)
        d_row = pull_row({n: d[b : b + 1] for n, d in cotangents.items()})
        agree(
            {n: d_row[n] for n in row},
            {"s": grads["s"][:, b : b + 1], "h": grads["h"][b : b + 1, mask[b]]},
            1e-11,
        )


@pytest.mark.claim("Q2")
@given(problems, seeds, st.sampled_from([np.nan, np.inf, 1e300]))
def test_nothing_in_a_masked_key_reaches_a_context_or_receives_a_gradient(problem, seed, junk):
    inputs, mask = problem
    outputs, pull = run_with(mask)(inputs)
    cotangents = {
        n: np.random.default_rng(seed).standard_normal(c.shape) for n, c in outputs.items()
    }
    changed = inputs | {"h": np.where(mask[..., None], inputs["h"], junk)}
    again, pull_again = run_with(mask)(changed)
    for name in outputs:
        np.testing.assert_array_equal(again[name], outputs[name])
    grads, grads_again = pull(cotangents), pull_again(cotangents)
    for name in grads:
        np.testing.assert_array_equal(grads_again[name], grads[name])
    assert not grads["h"][~mask].any()


@pytest.mark.claim("Q2")
@given(problems)
def test_of_one_key_the_context_is_that_key(problem):
    inputs, mask = problem
    only = np.zeros_like(mask)
    only[:, -1] = True
    context, _ = read(inputs, only)
    np.testing.assert_array_equal(context, inputs["h"][:, -1])


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, np.complex128])
def test_attention_keeps_the_dtype(dtype):
    inputs, mask = draw(2, 4, 3, 5, 6, seed=0, dtype=dtype)
    outputs, pull = run_with(mask)(inputs)
    assert {a.dtype for a in (*outputs.values(), *pull(outputs).values())} == {np.dtype(dtype)}


def test_bad_masks_are_rejected_with_one_sentence():
    inputs, mask = draw(2, 4, 3, 5, 6, seed=0)
    rejects(ValueError, "[2, 4]", read, inputs, mask.T)
    rejects(TypeError, "int64", read, inputs, mask.astype(int))
    mask[1] = False
    rejects(ValueError, "Row 1 has no key", read, inputs, mask)
    rejects(ValueError, "Row 0 has no key", read, inputs | {"h": inputs["h"][:, :0]}, None)


def test_weights_keys_and_queries_of_other_shapes_are_rejected_with_one_sentence():
    inputs, mask = draw(2, 4, 3, 5, 6, seed=0)
    for name, wrong in (
        ("weight_s", inputs["weight_s"][:-1]),
        ("weight_s", inputs["weight_s"][0]),
        ("weight_h", inputs["weight_h"][:-1]),
        ("v", inputs["v"][:-1]),
        ("v", inputs["v"][:, None]),
    ):
        rejects(RuntimeError, f"{list(wrong.shape)}", read, inputs | {name: wrong}, mask)
    for h in (inputs["h"][..., :-1], inputs["h"][0], inputs["h"][..., None]):
        rejects(RuntimeError, "keys h [B, T, H] with H = 5", read, inputs | {"h": h}, mask)
    for s in (inputs["s"][:, :1], inputs["s"][..., :-1], inputs["s"][:, 0]):
        message = f"s of size (2, 3), [B, S] as of the keys and weight_s, got {s[0].shape}"
        rejects(RuntimeError, message, read, inputs | {"s": s}, mask)
    rejects(TypeError, "h should be an array, got NoneType", read, inputs | {"h": None}, mask)
    rejects(TypeError, "v should be an array, got list", read, inputs | {"v": [1] * 6}, mask)
    rejects(TypeError, "mask should be an array, got list", read, inputs, mask.tolist())
    for name, wrong in (("weight_h", inputs["weight_h"][:-1]), ("s", inputs["s"][..., :-1])):
        tensors = {n: torch.tensor(v) for n, v in (inputs | {name: wrong}).items()}
        with pytest.raises(RuntimeError):
            graph_with(mask)(tensors)


def test_keys_of_other_weights_and_other_cotangents_are_rejected():
    inputs, mask = draw(2, 4, 3, 5, 6, seed=0)
    params = attention.Params(*(inputs[n] for n in WEIGHTS))
    keys = attention.project_keys(params, inputs["h"], mask)
    fewer = attention.Params(params.weight_s[:4], params.weight_h[:4], params.v[:4])
    rejects(RuntimeError, "keys.k of size (2, 4, 4)", attention.attend, fewer, inputs["s"][0], keys)
    _, tape = attention.attend(params, inputs["s"][0], keys)
    rejects(RuntimeError, "(2, 5)", attention.attend_back, tape, np.ones((1, 5)))
    rejects(TypeError, "got NoneType", attention.attend_back, tape, None)
    back, d_h, d_k = attention.project_keys_back, np.ones((2, 4, 5)), np.ones((2, 4, 6))
    rejects(RuntimeError, "d_h of size (2, 4, 5)", back, params, keys, d_h[:1], d_k)
    rejects(RuntimeError, "d_k of size (2, 4, 6)", back, params, keys, d_h, d_k[:1])
