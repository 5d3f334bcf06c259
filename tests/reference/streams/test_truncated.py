"""Truncated BPTT: the forward is that of the uncut run, the gradient is cut."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import torch_impl.streams.truncated as torch_truncated
from reference import GRU, LSTM, RNN
from reference.models import optim
from reference.models.language_model import TinyRNNLM
from reference.models.loss import cross_entropy, cross_entropy_back
from reference.sequences.packing import pack_padded_sequence
from reference.streams import truncated
from support.calculus import agree, rejects
from support.strategies import nets, seeds, sizes
from torch_impl.models.language_model import TinyRNNLM as TorchRNNLM
from torch_impl.models.layers import load
from torch_impl.nets.modules import new_module

one_way = nets(layers=2, directions=(False,))
ks = st.integers(1, 3)


def inner(output, d):
    """⟨d, output⟩ and its gradient: a loss whose gradient is the given cotangent."""
    return (d * output).sum(), d


def draw(net, T, B, seed, dtype=np.float64):
    """Parameters, x, a cotangent for every output, and an initial state."""
    rng = np.random.default_rng(seed)
    params = {n: p.astype(dtype) for n, p in net.init(rng).items()}
    batch = (B, T) if net.batch_first else (T, B)
    L, H, P = net.num_layers, net.hidden_size, getattr(net, "proj_size", 0) or net.hidden_size
    x = rng.standard_normal((*batch, net.input_size)).astype(dtype)
    d = rng.standard_normal((*batch, P)).astype(dtype)
    h, c = rng.standard_normal((L, B, P)).astype(dtype), rng.standard_normal((L, B, H))
    return params, x, d, (h, c.astype(dtype)) if isinstance(net, LSTM) else h


def cut(net, K, *arrays):
    """Blocks of K steps."""
    time = 1 if net.batch_first else 0
    T = arrays[0].shape[time]
    return [
        tuple(a[:, t : t + K] if net.batch_first else a[t : t + K] for a in arrays)
        for t in range(0, T, K)
    ]


def parts(state):
    """h, or h and c."""
    return state if isinstance(state, tuple) else (state,)


def same_bits(actual, expected):
    """Assert that two states are equal."""
    for f, e in zip(parts(actual), parts(expected), strict=True):
        np.testing.assert_array_equal(f, e)


def torched(value):
    """Arrays as tensors, in any nesting of tuples."""
    if isinstance(value, tuple):
        return tuple(torched(v) for v in value)
    return torch.tensor(value)


def total(passes):
    """Σ δθ over all passes."""
    passes = list(passes)
    return {name: sum(p.params[name] for p in passes) for name in passes[0].params}


def bptt(net, params, x, d, state):
    """The gradient of the uncut run."""
    _, _, tape = net.forward(params, x, state)
    return net.backward(tape, d)


def same_passes(actual, expected, tolerance=1e-11):
    """Assert that every pass has the same loss, state and gradients as torch's."""
    for ours, torchs in zip(actual, expected, strict=True):
        agree(
            dict(enumerate(parts(ours.state))),
            {k: s.numpy() for k, s in enumerate(parts(torchs.state))},
            tolerance,
        )
        agree(ours.params, {n: g.numpy() for n, g in torchs.params.items()}, tolerance)
        np.testing.assert_allclose(ours.loss, torchs.loss.numpy(), rtol=tolerance, atol=1e-11)


@pytest.mark.claim("S1")
@given(one_way, sizes, sizes, ks, seeds)
def test_outputs_and_states_are_those_of_the_uncut_run_bit_for_bit(net, T, B, K, seed):
    """In longdouble, because its matrix product computes each row separately; a BLAS may round a
    row of a product with few rows differently from the same row of one with many.
    """
    params, x, d, state = draw(net, T, B, seed, np.longdouble)
    uncut, last, _ = net.forward(params, x, state)
    outputs = []

    def keep(output, d):
        outputs.append(output)
        return inner(output, d)

    *_, final = truncated.detach(net, params, cut(net, K, x, d), keep, state)
    np.testing.assert_array_equal(np.concatenate(outputs, axis=int(net.batch_first)), uncut)
    same_bits(final.state, last)


@pytest.mark.claim("S1", "X7")
@given(sizes, sizes, ks, seeds, st.sampled_from([np.float32, np.float64]))
def test_in_exact_arithmetic_outputs_are_the_uncut_runs_bit_for_bit(T, B, K, seed, dtype):
    net, rng = RNN(3, 4, nonlinearity="relu"), np.random.default_rng(seed)
    draw_small = lambda *shape: rng.integers(-2, 3, shape).astype(dtype) / 2  # noqa: E731
    params = {n: draw_small(*shape) for n, shape in net.parameter_shapes().items()}
    x, state = draw_small(T, B, 3), draw_small(1, B, 4)
    uncut, _, _ = net.forward(params, x, state)
    for block, expected in cut(net, K, x, uncut):
        output, state, _ = net.forward(params, block, state)
        np.testing.assert_array_equal(output, expected)


@pytest.mark.claim("S1")
@given(one_way, sizes, sizes, ks, seeds)
def test_in_float64_outputs_are_the_uncut_runs_to_the_last_digit(net, T, B, K, seed):
    params, x, d, state = draw(net, T, B, seed)
    uncut, _, _ = net.forward(params, x, state)
    for block, expected in cut(net, K, x, uncut):
        output, state, _ = net.forward(params, block, state)
        np.testing.assert_allclose(output, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.claim("S1")
@given(nets(layers=1, directions=(False,)), sizes, st.sampled_from([4, 8]), ks, seeds)
def test_in_float64_they_are_bit_for_bit_where_the_blas_rounds_a_row_alike_among_few(
    net, T, B, K, seed
):
    """The BLAS is tested on (1) of the cell only, which is one product over the rows of all steps;
    the later products have the same shape in a block as in the uncut run.
    """
    params, x, _, state = draw(net, T, B, seed)
    weights, net_input = net.cell_params(params, "_l0"), net.cell.net_input
    rows = (x.swapaxes(0, 1) if net.batch_first else x).reshape(T * B, -1)
    whole, n = net_input(weights, rows), K * B
    for t in range(0, T * B, n):
        assume(np.array_equal(whole[..., t : t + n, :], net_input(weights, rows[t : t + n])))
    uncut, last, _ = net.forward(params, x, state)
    for block, expected in cut(net, K, x, uncut):
        output, state, _ = net.forward(params, block, state)
        np.testing.assert_array_equal(output, expected)
    same_bits(state, last)


@pytest.mark.claim("S1")
@given(one_way, sizes, sizes, ks, ks, ks, seeds)
def test_where_the_gradient_is_cut_moves_no_bit_of_the_forward(net, T, B, K, k1, more, seed):
    params, x, d, state = draw(net, T, B, seed)
    blocks = cut(net, K, x, d)
    runs = [
        truncated.carry(net, params, blocks, inner, state),
        truncated.detach(net, params, blocks, inner, state),
        truncated.tbptt(net, params, blocks, inner, state, k1, k1 + more),
    ]
    finals = [list(run)[-1].state for run in runs]
    for final in finals[1:]:
        same_bits(final, finals[0])


@pytest.mark.claim("S1")
@given(one_way, sizes, sizes, ks, seeds)
def test_carry_and_detach_is_the_gradient_with_every_entering_state_constant(net, T, B, K, seed):
    params, x, d, state = draw(net, T, B, seed)
    blocks = cut(net, K, x, d)
    direction = {n: np.random.default_rng(seed).standard_normal(p.shape) for n, p in params.items()}
    nudged = {n: p + 1e-30j * direction[n] for n, p in params.items()}
    grads = total(truncated.detach(net, params, blocks, inner, state))
    right = [grads[n] * direction[n] for n in params]
    left, entering = [], state
    for block, d_block in blocks:
        constant = tuple(s + 0j for s in parts(entering))
        output, _, _ = net.forward(
            nudged, block + 0j, constant if isinstance(net, LSTM) else constant[0]
        )
        left.append(d_block * output.imag / 1e-30)
        _, entering, _ = net.forward(params, block, entering)
    scale = sum(np.abs(a).sum() for a in left + right)
    assert abs(sum(a.sum() for a in left) - sum(a.sum() for a in right)) <= 1e-12 * scale


@pytest.mark.claim("S1")
@given(one_way, sizes, sizes, ks, seeds, st.sampled_from(["reset", "detach", "carry"]))
def test_each_strategy_gives_torchs_losses_states_and_gradients(net, T, B, K, seed, strategy):
    params, x, d, state = draw(net, T, B, seed)
    module = load(new_module(net, {}), params)
    blocks = [torched(block) for block in cut(net, K, x, d)]
    same_passes(
        getattr(truncated, strategy)(net, params, cut(net, K, x, d), inner, state),
        getattr(torch_truncated, strategy)(
            module, blocks, lambda o, d: (o * d).sum(), torched(state)
        ),
    )


@pytest.mark.claim("S1")
@given(one_way, st.integers(1, 9), sizes, ks, st.integers(0, 3), seeds)
def test_tbptt_of_any_k1_and_k2_gives_torchs_passes(net, T, B, k1, more, seed):
    params, x, d, state = draw(net, T, B, seed)
    module = load(new_module(net, {}), params)
    blocks = [torched(block) for block in cut(net, 1, x, d)]
    k = k1, k1 + more
    same_passes(
        truncated.tbptt(net, params, cut(net, 1, x, d), inner, state, *k),
        torch_truncated.tbptt(module, blocks, lambda o, d: (o * d).sum(), torched(state), *k),
    )


@pytest.mark.claim("S1")
@given(one_way, sizes, sizes, ks, seeds)
def test_without_a_cut_it_is_backpropagation_through_time(net, T, B, K, seed):
    params, x, d, state = draw(net, T, B, seed)
    expected = bptt(net, params, x, d, state)
    agree(total(truncated.carry(net, params, cut(net, K, x, d), inner, state)), expected.params)
    for whole in (T, T + 3):
        (only,) = truncated.detach(net, params, cut(net, whole, x, d), inner, state)
        agree(only.params, expected.params)
        for actual, e in zip(parts(only.blocks[0].state), parts(expected.state), strict=True):
            agree({"state": actual}, {"state": e})


@pytest.mark.claim("S1")
def test_a_loss_reaches_k2_steps_back_and_no_further():
    net = GRU(3, 4)
    params, x, d, state = draw(net, 12, 2, seed=0)
    passes = list(truncated.tbptt(net, params, cut(net, 1, x, d), inner, state, k1=2, k2=5))
    assert [len(p.blocks) for p in passes] == [2, 4, 5, 5, 5, 5]
    assert all(block.x.any() for block in passes[-1].blocks)


@pytest.mark.claim("S1")
def test_cutting_loses_exactly_what_the_longer_paths_carried():
    net = RNN(3, 4)
    params, x, d, state = draw(net, 12, 2, seed=0)
    expected = bptt(net, params, x, d, state).params
    errors = []
    for k2 in (1, 2, 4, 8, 12):
        actual = total(truncated.tbptt(net, params, cut(net, 1, x, d), inner, state, 1, k2))
        errors.append(np.abs(actual["weight_hh_l0"] - expected["weight_hh_l0"]).max())
    assert errors[0] > 1e-3 and sorted(errors, reverse=True) == errors and errors[-1] < 1e-13


@pytest.mark.claim("S1")
def test_new_arrays_in_params_are_read_by_the_next_block_and_tapes_hold_the_old_ones():
    net = GRU(3, 4)
    params, x, d, state = draw(net, 6, 2, seed=0)
    old, (first, second) = dict(params), cut(net, 3, x, d)
    new = {n: 1.5 * p for n, p in params.items()}
    run = truncated.tbptt(net, params, [first, second], inner, state, k1=1, k2=2)
    next(run)
    params |= new
    results = next(run)
    _, between, tape = net.forward(old, first[0], state)
    _, _, later_tape = net.forward(new, second[0], between)
    later = net.backward(later_tape, second[1])
    earlier = net.backward(tape, 0 * first[1], later.state)
    agree(results.params, {n: later.params[n] + earlier.params[n] for n in params})


@pytest.mark.claim("S2")
def test_memory_is_that_of_k_steps_however_long_the_stream_is():
    peaks = {"detach": [], "tbptt": [], "carry": []}
    net = LSTM(3, 48)  # so wide that other allocations are negligible
    for T in (64, 1024):
        params, x, d, state = draw(net, T, 2, seed=0)
        blocks = cut(net, 8, x, d)
        runs = {
            "detach": truncated.detach(net, params, blocks, inner, state),
            "tbptt": truncated.tbptt(net, params, blocks, inner, state, k1=2, k2=4),
        }
        if T == 64:  # a run of `carry` costs T²
            runs["carry"] = truncated.carry(net, params, blocks, inner, state)
        for name, run in runs.items():
            tracemalloc.start()
            for _ in run:
                pass
            peaks[name].append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    for name in ("detach", "tbptt"):
        assert peaks[name][1] < 1.1 * peaks[name][0], name
    assert peaks["carry"][0] > 3 * peaks["detach"][0]


@pytest.mark.claim("S3")
@pytest.mark.parametrize("forgotten", ["h", "c"])
def test_an_lstm_of_which_one_half_stays_attached_is_caught(forgotten):
    net = LSTM(3, 4)
    params, x, d, state = draw(net, 6, 2, seed=0)
    module = load(new_module(net, {}), params)
    blocks = [torched(block) for block in cut(net, 3, x, d)]
    carried, loss = torched(state), 0
    for block, d_block in blocks:
        output, (h, c) = module(block, carried)
        carried = (h, c.detach()) if forgotten == "h" else (h.detach(), c)
        loss = loss + (output * d_block).sum()
    actual = dict(zip(params, torch.autograd.grad(loss, module.parameters()), strict=True))
    expected = total(truncated.detach(net, params, cut(net, 3, x, d), inner, state))
    with pytest.raises(AssertionError):
        agree({n: g.numpy() for n, g in actual.items()}, expected, 1e-3)


def test_a_model_trains_on_a_long_stream_as_torchs_does():
    lm = TinyRNNLM(7, GRU(3, 5, batch_first=True))
    rng = np.random.default_rng(0)
    params, ids = lm.init(rng), rng.integers(0, 7, (2, 41))
    blocks = [(ids[:, t : t + 8], ids[:, t + 1 : t + 9]) for t in range(0, 40, 8)]
    model = TorchRNNLM(lm, params)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)

    def objective(logits, targets):
        value, tape = cross_entropy(logits, targets)
        return value, cross_entropy_back(tape)

    def torch_objective(logits, targets):
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    torchs = torch_truncated.detach(model, [torched(b) for b in blocks], torch_objective)
    for ours in truncated.detach(lm, params, blocks, objective):
        expected = next(torchs)
        np.testing.assert_allclose(ours.loss, expected.loss.numpy(), rtol=1e-12)
        params |= optim.sgd(params, ours.params, None, lr=0.3)[0]
        for name, parameter in model.named_parameters():
            parameter.grad = expected.params[name]
        optimizer.step()
    agree(params, {n: p.detach().numpy() for n, p in model.named_parameters()})


def test_a_horizon_shorter_than_the_stride_is_rejected_with_one_sentence():
    net = GRU(3, 4)
    params, x, d, state = draw(net, 4, 2, seed=0)
    for k1, k2 in ((0, 1), (3, 2), (-1, None)):
        rejects(ValueError, f"k1 = {k1}", truncated.tbptt, net, params, [], inner, state, k1, k2)


def test_a_stride_or_horizon_that_is_not_an_integer_is_rejected_with_one_sentence():
    net = GRU(3, 4)
    params, _, _, state = draw(net, 4, 2, seed=0)
    for k1, k2 in ((1.5, 2), (1, 2.0), ("1", None)):
        rejects(TypeError, "integers", truncated.tbptt, net, params, [], inner, state, k1, k2)


@pytest.mark.parametrize("net", [GRU(3, 4), LSTM(3, 4)])
def test_blocks_may_be_packed_and_a_cotangent_absent(net):
    params, x, d, state = draw(net, 6, 2, seed=0)
    blocks = cut(net, 2, x, d)
    packed = [tuple(pack_padded_sequence(a, [2, 2]) for a in block) for block in blocks]
    objective = lambda output, d: ((d.data * output.data).sum(), d)  # noqa: E731
    dense = truncated.tbptt(net, params, blocks, inner, state, 1, 2)
    for actual, expected in zip(
        truncated.tbptt(net, params, packed, objective, state, 1, 2), dense, strict=True
    ):
        agree(actual.params, expected.params)
    silent = [(x, None if j == 1 else d) for j, (x, d) in enumerate(blocks)]
    zeros = [(x, 0 * d if j == 1 else d) for j, (x, d) in enumerate(blocks)]
    pass_on = lambda output, d: (0.0, d)  # noqa: E731
    for actual, expected in zip(
        truncated.tbptt(net, params, silent, pass_on, state, 1, 2),
        truncated.tbptt(net, params, zeros, pass_on, state, 1, 2),
        strict=True,
    ):
        agree(actual.params, expected.params)


def test_no_blocks_give_no_passes():
    net = GRU(3, 4)
    assert list(truncated.carry(net, net.init(np.random.default_rng(0)), [], inner)) == []
