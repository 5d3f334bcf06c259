"""The two GRUs: the meaning of z is a convention, the place of the reset gate is not."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from bptt_oracle.implementations.torch_paths import torch_implementation
from bptt_oracle.runs.examine import examine
from reference import RecurrentCell, RecurrentNet
from reference.cells import gru, gru_textbook
from reference.cells.table import CELL_TABLE
from reference.sequences.unroll import schedule, unroll, unroll_back
from support.drawn_cases import cases
from support.problems import draw as draw_problem
from support.single import close
from support.strategies import all_lengths, seeds, sizes
from support.verdicts import adjoint_identity_holds, agrees_with_textbook
from torch_impl.cells import gru_textbook as torch_gru_textbook
from torch_impl.execution.catalogue import PATHS

TEXTBOOK, TORCH = CELL_TABLE["GRU_TEXTBOOK"], CELL_TABLE["GRU"]


def draw(seed, inputs=3, H=4, B=2, bias=True):
    rng = np.random.default_rng(seed)
    shapes = [(3 * H, inputs), (3 * H, H), (3 * H,), (3 * H,)][: 4 if bias else 2]
    params = gru.Params(*[rng.standard_normal(shape) for shape in shapes])
    return params, rng.standard_normal((5 * B, inputs)), gru.State(rng.standard_normal((B, H)))


def run(cell, params, x, state):
    """h of every step, [T·B, H], T = 5."""
    return unroll(cell, params, x, state, schedule([len(state.h)] * 5))


def shares(params, **rows):
    """Params with the r, z or n third of a field replaced, in a copy."""
    H, found = params.weight_hh.shape[1], {}
    for name, (gate, value) in rows.items():
        found[name] = getattr(params, name).copy()
        k = "rzn".index(gate)
        found[name][k * H : (k + 1) * H] = value
    return params._replace(**found)


@pytest.mark.claim("D9")
@given(seed=seeds, inputs=sizes, H=sizes, B=sizes, bias=st.booleans())
def test_values_and_gradients_of_the_textbook_form_are_torch_s(seed, inputs, H, B, bias):
    params, x, state = draw(seed, inputs, H, B, bias)
    output, _, tape = run(TEXTBOOK, params, x, state)
    d_output = np.random.default_rng(seed).standard_normal(output.shape)
    d_x, d_state, d_params = unroll_back(TEXTBOOK, tape, d_output, gru.State(0 * state.h))
    named = {k: v for k, v in params._asdict().items() if v is not None}
    leaves = {k: torch.tensor(v, requires_grad=True) for k, v in named.items()}
    x = torch.tensor(x.reshape(5, B, inputs), requires_grad=True)
    h_0 = torch.tensor(state.h, requires_grad=True)
    expected = torch_gru_textbook.unroll(leaves, x, h_0)
    close(output.reshape(5, B, H), expected.detach())
    d_expected = torch.tensor(d_output.reshape(5, B, H))
    grads = torch.autograd.grad(expected, [x, h_0, *leaves.values()], d_expected)
    found = [d_x.reshape(5, B, inputs), d_state.h, *[getattr(d_params, k) for k in leaves]]
    for mine, theirs in zip(found, grads, strict=True):
        close(mine, theirs)


def test_the_gradients_of_the_two_biases_are_two_arrays():
    params, x, state = draw(0)
    output, _, tape = run(TEXTBOOK, params, x, state)
    _, _, d_params = unroll_back(TEXTBOOK, tape, output, state)
    assert np.array_equal(d_params.bias_ih, d_params.bias_hh)
    assert not np.shares_memory(d_params.bias_ih, d_params.bias_hh)


@pytest.mark.claim("D9")
@given(seed=seeds)
def test_the_adjoint_identity_holds(seed):
    params, x, state = draw(seed)
    rng = np.random.default_rng(seed + 1)
    u = [rng.standard_normal(v.shape) for v in (*params, x, state.h)]
    nudged = [v + 1e-30j * d for v, d in zip((*params, x, state.h), u, strict=True)]
    pushed, _, _ = run(TEXTBOOK, gru.Params(*nudged[:4]), nudged[4], gru.State(nudged[5]))
    output, _, tape = run(TEXTBOOK, params, x, state)
    d_output = rng.standard_normal(output.shape)
    d_x, d_state, d_params = unroll_back(TEXTBOOK, tape, d_output, gru.State(0 * state.h))
    left = d_output * pushed.imag / 1e-30
    right = [g * d for g, d in zip((*d_params, d_x, d_state.h), u, strict=True)]
    total = np.abs(left).sum() + sum(np.abs(r).sum() for r in right)
    assert abs(left.sum() - sum(r.sum() for r in right)) <= 1e-13 * total


@pytest.mark.claim("D9")
@given(seed=seeds, bias=st.booleans())
def test_negating_the_rows_of_z_exactly_exchanges_the_two_meanings_of_z(seed, bias):
    """h = (1−z) h₋ + z n under the one is h = (1−z) n + z h₋ under the other."""
    params, x, state = draw(seed, bias=bias)
    flipped = gru_textbook.flip_update(params)
    output, _, tape = run(TEXTBOOK, params, x, state)
    h = state.h
    for t in range(5):
        W_r, W_z, W_n = np.split(flipped.weight_hh, 3)
        u_r, u_z, u_n = np.split(gru_textbook.net_input(flipped, x[2 * t : 2 * t + 2]), 3, axis=1)
        r, z = [1 / (1 + np.exp(-a)) for a in (u_r + h @ W_r.T, u_z + h @ W_z.T)]
        h = (1 - z) * np.tanh(u_n + (r * h) @ W_n.T) + z * h
        close(output[2 * t : 2 * t + 2], h)
    again = gru_textbook.flip_update(flipped)
    assert all(np.array_equal(p, q) for p, q in zip(params, again, strict=True) if p is not None)


@pytest.mark.claim("D9")
@given(seed=seeds)
@example(seed=0)
def test_moving_the_reset_gate_before_the_product_changes_the_output(seed):
    params, x, state = draw(seed, bias=False)
    before, _, _ = run(TEXTBOOK, gru_textbook.flip_update(params), x, state)
    after, _, _ = run(TORCH, params, x, state)
    assert np.abs(before - after).max() > 1e-3


@pytest.mark.claim("D9")
def test_the_smallest_counterexample_has_two_units_and_one_weight_off_the_diagonal():
    """Unit 1 reads unit 2; r is ½ for one and open for the other. The forms give ½ and 1."""
    W = np.zeros((6, 2))
    W[4, 1] = 1.0  # candidate 1 from unit 2
    x_weight = np.array([[0.0], [100.0], [-100.0], [-100.0], [0.0], [0.0]])  # r₁ = ½, r₂ = 1, z = 0
    params, h = gru.Params(x_weight, W), gru.State(np.array([[0.25, 0.75]]))
    one_step = schedule([1])
    x = np.ones((1, 1))
    after, _, _ = unroll(TORCH, params, x, h, one_step)
    before, _, _ = unroll(TEXTBOOK, gru_textbook.flip_update(params), x, h, one_step)
    close(np.arctanh(after[0, 0]), 0.5 * 0.75)
    close(np.arctanh(before[0, 0]), 1.0 * 0.75)


@pytest.mark.claim("D9")
@given(seed=seeds)
def test_with_a_saturated_reset_gate_the_two_forms_agree(seed):
    params, x, state = draw(seed)
    params = shares(params, bias_ih=("r", 1000.0))
    before, _, _ = run(TEXTBOOK, gru_textbook.flip_update(params), x, state)
    after, _, _ = run(TORCH, params, x, state)
    close(before, after)


@pytest.mark.claim("D9")
@given(seed=seeds)
def test_with_a_diagonal_candidate_weight_and_no_bias_under_the_gate_the_two_forms_agree(seed):
    params, x, state = draw(seed)
    diagonal = np.diag(np.random.default_rng(seed).standard_normal(4))
    params = shares(params, weight_hh=("n", diagonal), bias_hh=("n", 0.0))
    before, _, _ = run(TEXTBOOK, gru_textbook.flip_update(params), x, state)
    after, _, _ = run(TORCH, params, x, state)
    close(before, after)
    with_bias = shares(params, bias_hh=("n", 1.0))
    before, _, _ = run(TEXTBOOK, gru_textbook.flip_update(with_bias), x, state)
    after, _, _ = run(TORCH, with_bias, x, state)
    assert np.abs(before - after).max() > 1e-6


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, np.complex128])
def test_the_dtype_is_preserved(dtype):
    params, x, state = draw(0)
    params = gru.Params(*[p.astype(dtype) for p in params])
    state = gru.State(state.h.astype(dtype))
    output, _, tape = run(TEXTBOOK, params, x.astype(dtype), state)
    d_x, d_state, d_params = unroll_back(TEXTBOOK, tape, output, state)
    found = [output, d_x, d_state.h, *d_params]
    assert {value.dtype for value in found} == {np.dtype(dtype)}


@pytest.mark.claim("D9")
@given(seed=seeds)
def test_with_one_reset_for_all_units_and_no_bias_under_the_gate_the_two_forms_agree(seed):
    params, x, state = draw(seed)
    params = shares(params, weight_ih=("r", 0.0), weight_hh=("r", 0.0), bias_hh=("n", 0.0))
    params = shares(params, bias_ih=("r", 0.4), bias_hh=("r", -0.7))
    before, _, _ = run(TEXTBOOK, gru_textbook.flip_update(params), x, state)
    after, _, _ = run(TORCH, params, x, state)
    close(before, after)


@pytest.mark.claim("D9")
@given(case=cases(cells=["GRU_TEXTBOOK"]), dtype=st.sampled_from(["float32", "float64"]))
def test_nets_of_it_have_the_values_and_gradients_of_a_loop_in_torch(case, dtype):
    """Every layout, length, depth and direction, each tensor judged in units of rounding."""
    results = examine(
        case,
        dtype,
        [torch_implementation(PATHS["cpu-cells"]), torch_implementation(PATHS["cpu-manual"])],
    )
    assert results[0].verdict in ("agree", "untrusted")
    assert {r.verdict for r in results} <= {"agree", "untrusted", "excluded"}


@given(seed=seeds, lengths=all_lengths, bias=st.booleans())
def test_the_adjoint_identity_holds_for_nets(seed, lengths, bias):
    net = RecurrentNet("GRU_TEXTBOOK", 3, 4, 2, bias, bidirectional=True)
    adjoint_identity_holds(draw_problem(net, lengths=lengths, seed=seed))


@pytest.mark.parametrize("bias", [True, False])
def test_one_step_is_the_textbook_equation(bias):
    agrees_with_textbook(draw_problem(RecurrentCell("GRU_TEXTBOOK", 4, 6, bias), B=3))
