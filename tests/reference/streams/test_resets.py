"""Reset masks: equal to torch; nothing of the old stream reaches the new one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import torch_impl.streams.resets as torch_streams
from reference import GRU, LSTM, pack_sequence
from reference.nets.state import join_state, split_state
from reference.streams import resets
from support.calculus import adjoint_identity_holds, agree, agrees_with_torch_to_rounding, rejects
from support.strategies import nets, seeds, sizes
from torch_impl.nets.modules import new_module


def draw(net, T, B, seed, p=0.3, dtype=np.float64):
    """Inputs by name: x, h and h_init (c and c_init), parameters; and resets [T, B]."""
    rng = np.random.default_rng(seed)
    L, H, P = net.num_layers, net.hidden_size, getattr(net, "proj_size", 0) or net.hidden_size
    shapes = {"x": (T, B, net.input_size), "h": (L, B, P), "h_init": (L, 1, P)}
    if isinstance(net, LSTM):
        shapes |= {"c": (L, B, H), "c_init": (L, 1, H)}
    inputs = {n: rng.standard_normal(shape) for n, shape in shapes.items()} | net.init(rng)
    return net, {n: a.astype(dtype) for n, a in inputs.items()}, rng.random((T, B)) < p


one_way = nets(layers=3, directions=(False,)).filter(lambda net: not net.batch_first)
precisions = st.sampled_from([(np.float32, np.float64), (np.float64, np.longdouble)])
problems = st.builds(draw, one_way, sizes, sizes, seeds, st.sampled_from([0.0, 0.3, 1.0]))


def state_of(net, inputs, suffix=""):
    """h, or the LSTM's pair."""
    fields = inputs["h" + suffix], inputs.get("c" + suffix)
    return fields if isinstance(net, LSTM) else fields[0]


def named(net, output, state):
    """Outputs by name."""
    fields = state if isinstance(net, LSTM) else (state,)
    return {"output": output} | dict(zip(["h_n", "c_n"], fields, strict=False))


def run_with(net, r):
    """Output and final state, and the gradient of everything."""

    def run(inputs):
        params = {n: p for n, p in inputs.items() if "_l" in n}
        state, init = state_of(net, inputs), state_of(net, inputs, "_init")
        output, last, tape = resets.forward(net, params, inputs["x"], r, state, init)

        def pull(d):
            d_state = (d["h_n"], d["c_n"]) if isinstance(net, LSTM) else d["h_n"]
            grads = resets.backward(net, tape, d["output"], d_state)
            results = {"x": grads.x} | grads.params
            for suffix, value in (("", grads.state), ("_init", grads.init)):
                fields = value if isinstance(net, LSTM) else (value,)
                results |= {n + suffix: g for n, g in zip("hc", fields, strict=False)}
            return results

        return named(net, output, last), pull

    return run


def graph_with(net, r):
    """The same by torch."""

    def graph(inputs):
        params = {n: torch.nn.Parameter(p) for n, p in inputs.items() if "_l" in n}
        module = new_module(net, params)

        def call(x, state):
            weights = {n: inputs[n] for n in params}
            return torch.func.functional_call(module, weights, (x, state))

        output, last = torch_streams.forward(
            call,
            inputs["x"],
            torch.tensor(r),
            state_of(net, inputs),
            state_of(net, inputs, "_init"),
        )
        return named(net, output, last)

    return graph


@pytest.mark.claim("S5")
@given(problems, seeds)
def test_a_run_with_resets_is_the_adjoint_of_its_tangent(problem, seed):
    net, inputs, r = problem
    adjoint_identity_holds(run_with(net, r), inputs, seed)


@pytest.mark.claim("S5")
@given(problems, seeds, precisions)
def test_outputs_states_and_gradients_are_torchs(problem, seed, precision):
    net, inputs, r = problem
    run, graph = run_with(net, r), graph_with(net, r)
    agrees_with_torch_to_rounding(run, graph, inputs, seed, *precision)


@pytest.mark.claim("S5")
@given(problems)
def test_a_row_between_two_resets_is_a_sequence_of_its_own(problem):
    net, inputs, r = problem
    outputs, _ = run_with(net, r)(inputs)
    params = {n: p for n, p in inputs.items() if "_l" in n}
    for b in range(r.shape[1]):
        starts = [0, *(t for t in range(1, len(r)) if r[t, b])]
        for first, end in zip(starts, [*starts[1:], len(r)], strict=True):
            begun = r[first, b]
            state = state_of(net, inputs, "_init" if begun else "")
            rows = [s if begun else s[:, b : b + 1] for s in split_state(state)]
            separate, _, _ = net.forward(
                params, inputs["x"][first:end, b : b + 1], join_state(rows)
            )
            agree({"y": outputs["output"][first:end, b]}, {"y": separate[:, 0]}, 1e-11)


@pytest.mark.claim("S5", "S5′")
@given(problems, seeds, st.sampled_from([np.nan, np.inf, 1e300]))
def test_nothing_of_the_old_stream_not_even_nan_reaches_the_new_one(problem, seed, junk):
    net, inputs, r = problem
    r[0] |= np.arange(r.shape[1]) % 2 == 0
    old = {n: np.where(r[0][:, None], junk, inputs[n]) for n in ("h", "c") if n in inputs}
    cotangents = {
        n: np.random.default_rng(seed).standard_normal(v.shape)
        for n, v in run_with(net, r)(inputs)[0].items()
    }
    clean, pull = run_with(net, r)(inputs)
    spoilt, pull_spoilt = run_with(net, r)(inputs | old)
    for name in clean:
        np.testing.assert_array_equal(spoilt[name], clean[name])
    grads, grads_spoilt = pull(cotangents), pull_spoilt(cotangents)
    for name in grads:
        np.testing.assert_array_equal(grads_spoilt[name], grads[name])
    for name in old:
        assert not grads[name][:, r[0]].any()


@pytest.mark.claim("S5′")
def test_a_reset_by_multiplication_lets_nan_through():
    """✗ (1 − r) h + r h_init, as it is often written: the counterexample, in both libraries."""
    h, r = np.array([[[np.nan], [2.0]]]), np.array([True, False])
    keep = (~r)[:, None].astype(float)
    assert np.isnan(h * keep + 0.5 * (1 - keep))[0, 0, 0]
    tensor, mask = torch.tensor(h), torch.tensor(keep)
    assert torch.isnan(tensor * mask + 0.5 * (1 - mask))[0, 0, 0]
    np.testing.assert_array_equal(resets.reset(h, r, np.array([[[0.5]]])), [[[0.5], [2.0]]])


@pytest.mark.claim("S5")
def test_the_gradient_of_a_learnable_start_sums_over_every_reset_row_and_step():
    net, inputs, _ = draw(GRU(2, 3, num_layers=2), 4, 3, seed=0)
    r = np.zeros((4, 3), dtype=bool)
    r[0, 1] = r[2, 0] = r[2, 1] = True
    outputs, pull = run_with(net, r)(inputs)
    d = {n: np.random.default_rng(1).standard_normal(v.shape) for n, v in outputs.items()}
    results = pull(d)["h_init"]
    untied = np.zeros_like(results)
    for t, b in [(0, 1), (2, 0), (2, 1)]:  # a start of its own for each reset
        params = {n: p for n, p in inputs.items() if "_l" in n}
        end = 2 if (t, b) == (0, 1) else 4
        x, start = inputs["x"][t:end, b : b + 1], inputs["h_init"]
        _, _, tape = net.forward(params, x, start)
        d_last = d["h_n"][:, b : b + 1] if end == 4 else None
        untied += net.backward(tape, d["output"][t:end, b : b + 1], d_last).state
    agree({"init": results}, {"init": untied})


@pytest.mark.claim("S5")
def test_a_reset_keeps_the_kind_and_the_dtype_of_a_state():
    for dtype in (np.float32, np.longdouble, np.complex128):
        for net in (GRU(2, 3), LSTM(2, 3)):
            _, inputs, r = draw(net, 2, 3, seed=0, dtype=dtype)
            state = state_of(net, inputs)
            for init in (None, state_of(net, inputs, "_init")):
                after = resets.reset(state, r[0], init)
                assert isinstance(after, tuple) == isinstance(state, tuple)
                assert {p.dtype for p in split_state(after)} == {np.dtype(dtype)}
                assert not np.shares_memory(split_state(after)[0], inputs["h"])


def test_a_state_may_be_a_list_as_the_nets_have_it():
    net, inputs, r = draw(LSTM(2, 3), 4, 3, seed=0)
    params, x = net.init(np.random.default_rng(0)), inputs["x"]
    state, init = state_of(net, inputs), state_of(net, inputs, "_init")
    output, last, tape = resets.forward(net, params, x, r, list(state), list(init))
    expected, _, tape_of_pairs = resets.forward(net, params, x, r, state, init)
    np.testing.assert_array_equal(output, expected)
    actual = resets.backward(net, tape, output, list(last))
    for pair in (actual.state, actual.init):
        assert isinstance(pair, tuple)
    d_init = resets.backward(net, tape_of_pairs, output, last).init
    np.testing.assert_array_equal(actual.init, d_init)


def test_bad_masks_and_nets_are_rejected_with_one_sentence():
    net, inputs, r = draw(GRU(2, 3), 4, 5, seed=0)
    params, state = net.init(np.random.default_rng(0)), inputs["h"]
    rejects(ValueError, "int64 [5]", resets.reset, state, r[0].astype(int))
    rejects(ValueError, "bool [4]", resets.reset, state, r[:, 0])
    rejects(TypeError, "got NoneType", resets.forward, net, params, inputs["x"], r, None)
    packed = pack_sequence([inputs["x"][:, 0]])
    rejects(TypeError, "got PackedSequence", resets.forward, net, params, packed, r, state)
    rejects(RuntimeError, "T = 0", resets.forward, net, params, inputs["x"][:0], r[:0], state)
    rejects(ValueError, "[5, 4]", resets.forward, net, params, inputs["x"], r.T, state)
    for wrong in (GRU(2, 3, batch_first=True), GRU(2, 3, bidirectional=True)):
        rejects(ValueError, "one direction", resets.forward, wrong, params, inputs["x"], r, state)


@pytest.mark.parametrize("net", [GRU(2, 3, num_layers=2), LSTM(2, 3, num_layers=2, proj_size=2)])
def test_a_start_that_is_not_one_row_in_the_dtype_of_the_state_is_rejected(net):
    _, inputs, r = draw(net, 4, 3, seed=0)
    params = net.init(np.random.default_rng(0))
    state, init = state_of(net, inputs), state_of(net, inputs, "_init")
    arguments = resets.forward, net, params, inputs["x"], r, state
    for message, change in [
        ("got (2, 3, ", lambda i: np.repeat(i, 3, axis=1)),
        ("got (1, 1, ", lambda i: i[:1]),
        ("got (2, ", lambda i: i[:, 0]),
        ("got float32", lambda i: i.astype("f")),
    ]:
        wrong = join_state([change(i) for i in split_state(init)])
        rejects(RuntimeError, message, *arguments, wrong)
    rejects(RuntimeError, "as in the state", *arguments, (*split_state(init), init))


def test_a_cotangent_that_is_absent_is_zero():
    net, inputs, r = draw(GRU(2, 3), 4, 5, seed=0)
    params, state = net.init(np.random.default_rng(0)), inputs["h"]
    output, last, tape = resets.forward(net, params, inputs["x"], r, state)
    absent = resets.backward(net, tape, None, last)
    zero = resets.backward(net, tape, np.zeros_like(output), last)
    np.testing.assert_array_equal(absent.x, zero.x)
    np.testing.assert_array_equal(absent.state, zero.state)


@pytest.mark.parametrize("steps", [3, 5])
def test_a_cotangent_with_another_number_of_steps_is_rejected(steps):
    net, inputs, r = draw(GRU(2, 3), 4, 5, seed=0)
    params = net.init(np.random.default_rng(0))
    _, _, tape = resets.forward(net, params, inputs["x"], r, inputs["h"])
    d_output = np.zeros((steps, 5, 3))
    rejects(
        RuntimeError, f"4 steps, as of output, got {steps}", resets.backward, net, tape, d_output
    )


def test_a_reset_mask_that_is_not_an_array_is_rejected_with_one_sentence():
    net, inputs, r = draw(GRU(2, 3), 4, 2, seed=0)
    state = np.zeros((1, 2, 3))
    rejects(TypeError, "r should be an array, got list", resets.reset, state, r[0].tolist())
    rejects(TypeError, "r should be an array, got NoneType", resets.reset_back, None, state)
    params = {n: v for n, v in inputs.items() if n in net.parameter_shapes()}
    forward = resets.forward
    rejects(TypeError, "r should be an array", forward, net, params, inputs["x"], r.tolist(), state)
