"""Dropout between layers, by explicit masks: one mask for both passes, torch's own draws."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import GRU, LSTM, RNN
from support.problems import draw, pull_back, solve, solve_by_torch
from support.strategies import all_lengths, nets, seeds, sizes
from support.verdicts import adjoint_identity_holds, agree, random_like

layouts = st.one_of(
    st.fixed_dictionaries({"T": sizes, "B": sizes}),
    st.fixed_dictionaries({"T": sizes, "unbatched": st.just(True)}),
    st.fixed_dictionaries({"lengths": all_lengths}),
)


def masked(problem, seed):
    """The problem with the masks that torch draws in training, whatever the cell."""
    import torch

    net = problem.net
    width = (1 + net.bidirectional) * (getattr(net, "proj_size", 0) or net.hidden_size)
    outer = problem.inputs["x"].shape[:-1]
    turned = net.batch_first and len(outer) == 2  # torch draws step by step
    torch.manual_seed(seed)
    masks = []
    for _ in range(net.num_layers - 1):
        ones = torch.ones((*(outer[::-1] if turned else outer), width), dtype=torch.float64)
        mask = torch.nn.functional.dropout(ones, net.dropout, training=True).numpy() != 0
        masks.append(mask.swapaxes(0, 1) if turned else mask)
    return replace(problem, masks=tuple(masks))


def stacks(p):
    """Nets of two or three layers that drop with probability p."""
    deep = nets().map(lambda net: replace(net, num_layers=max(net.num_layers, 2)))
    return deep.map(lambda net: replace(net, dropout=p))


@pytest.mark.claim("A7")
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@given(data=st.data(), layout=layouts, seed=seeds)
def test_one_mask_in_both_passes_gives_torch_s_values_and_gradients(p, data, layout, seed):
    problem = masked(draw(data.draw(stacks(p)), seed=seed, **layout), seed)
    outputs, tape = solve(problem)
    cotangents = random_like(outputs)
    values, grads = solve_by_torch(problem, cotangents, seed=seed)
    agree(outputs, values)
    agree(pull_back(problem, tape, cotangents), grads)


@pytest.mark.claim("A7")
@given(stacks(0.3), layouts, seeds)
def test_the_adjoint_identity_holds_under_masks(net, layout, seed):
    adjoint_identity_holds(masked(draw(net, seed=seed, **layout), seed))


@pytest.mark.claim("A7")
@given(stacks(0.5), layouts, seeds)
def test_without_masks_nothing_is_dropped_as_in_torch_s_eval_mode(net, layout, seed):
    problem = draw(net, seed=seed, **layout)
    outputs, tape = solve(problem)
    cotangents = random_like(outputs)
    values, grads = solve_by_torch(problem, cotangents, training=False)
    agree(outputs, values)
    agree(pull_back(problem, tape, cotangents), grads)
    agree(solve(replace(problem, net=replace(net, dropout=0.0)))[0], outputs, 0)


@pytest.mark.claim("A7")
@pytest.mark.parametrize("make", [RNN, GRU, LSTM])
def test_nothing_is_dropped_after_the_last_layer_nor_from_any_state(make):
    problem = masked(draw(make(4, 6, 2, dropout=0.5)), seed=3)
    outputs, _ = solve(problem)
    full, _ = solve(replace(problem, masks=()))
    assert np.array_equal(outputs["output"][-1], outputs["h_n"][-1])
    assert np.array_equal(outputs["h_n"][0], full["h_n"][0])
    assert outputs["output"].all(), "no element of the last layer is zeroed"


@pytest.mark.claim("A7")
@pytest.mark.parametrize("make", [RNN, GRU, LSTM])
def test_the_next_layer_reads_the_undropped_values_scaled_by_one_over_one_minus_p(make):
    problem = masked(draw(make(4, 6, 2, dropout=0.25)), seed=3)
    outputs, _ = solve(problem)
    arrays = problem.inputs
    lower, upper = draw(make(4, 6)), draw(make(6, 6))
    for k, one in enumerate((lower, upper)):
        for name in set(one.inputs) - {"x"}:
            state = name in ("h_0", "c_0")
            one.inputs[name] = arrays[name][[k]] if state else arrays[name.replace("l0", f"l{k}")]
    below, _ = solve(lower.with_inputs(x=arrays["x"]))
    above, _ = solve(upper.with_inputs(x=below["output"] * problem.masks[0] / 0.75))
    np.testing.assert_allclose(above["output"], outputs["output"], rtol=1e-13)


@pytest.mark.claim("A7")
def test_with_everything_dropped_nothing_below_reaches_the_output_or_gets_a_gradient_from_it():
    problem = masked(draw(LSTM(4, 6, 3, dropout=1.0)), seed=3)
    outputs, tape = solve(problem)
    other, _ = solve(problem.with_inputs(x=-problem.inputs["x"]))
    assert np.array_equal(outputs["output"], other["output"])
    grads = pull_back(problem, tape, {"output": random_like(outputs)["output"]})
    assert all(np.isfinite(d).all() for d in grads.values())
    assert not any(d.any() for name, d in grads.items() if name.endswith(("x", "_l0", "_l1")))
    assert not grads["h_0"][:2].any() and grads["h_0"][2].all()
    assert not grads["weight_ih_l2"].any() and grads["weight_hh_l2"].all()


@pytest.mark.claim("A7")
def test_a_single_layer_has_nothing_to_drop():
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        problem = draw(GRU(4, 6, dropout=0.9))
    plain = replace(problem, net=GRU(4, 6))
    agree(solve(problem)[0], solve(plain)[0], 0)
