"""Laws between two runs: changes that must not matter do not, so that no truth is needed.

Every law holds for values and gradients, over cells, layers, directions, biases, projections,
dense and packed batches.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reference import GRU, LSTM, RNN
from reference.sequences.packing import (
    pack_padded_sequence,
    pack_padded_sequence_back,
    pad_packed_sequence,
    pad_packed_sequence_back,
)
from support.problems import draw, lengths_of, pack_of, pull_back, sequences, solve
from support.strategies import all_lengths, nets, problems, seeds, sizes
from support.verdicts import agree, random_like

STATES = ("h_0", "c_0", "h_n", "c_n")
P6 = pytest.mark.claim("P6")
dense = nets().map(lambda net: replace(net, batch_first=False))
batches = problems(dense, layouts=["batched", "packed"])


def run(problem, cotangents=None, seed=1):
    """Outputs and gradients in one dict, and the cotangents."""
    outputs, tape = solve(problem)
    cotangents = random_like(outputs, seed) if cotangents is None else cotangents
    grads = pull_back(problem, tape, cotangents)
    return outputs, {f"d_{name}": d for name, d in grads.items()}, cotangents


def params_of(arrays):
    """The arrays of parameters."""
    return {k: v for k, v in arrays.items() if k.removeprefix("d_") not in (*STATES, "x")}


def row(problem, b, arrays):
    """The arrays of sequence b: x, output and states, or their gradients."""
    found = {}
    for name, value in arrays.items():
        plain = name.removeprefix("d_")
        if plain in STATES:
            found[name] = value[:, b]
        elif plain in ("x", "output"):
            found[name] = sequences(problem, value)[b]
    return found


@P6
@given(batches)
def test_a_row_alone_is_the_row_in_its_batch_and_parameters_gradients_add_up(problem):
    outputs, grads, cotangents = run(problem)
    total = {}
    for b in range(len(sequences(problem, problem.inputs["x"]))):
        one = replace(problem, inputs=problem.inputs | row(problem, b, problem.inputs))
        one = replace(one, packing=None)
        values, d, _ = run(one, row(problem, b, cotangents))
        agree(values, row(problem, b, outputs))
        agree(row(one, 0, unbatched(d)), row(problem, b, grads))
        total = {k: total.get(k, 0) + v for k, v in params_of(d).items()}
    agree(total, params_of(grads))


def unbatched(arrays):
    """States of a single sequence seen as a batch of one."""
    return {k: v[:, None] if k.removeprefix("d_") in STATES else v for k, v in arrays.items()}


@given(batches, st.randoms(use_true_random=False))
def test_permuting_the_batch_permutes_the_rows_and_leaves_parameters_gradients(problem, random):
    rows = sequences(problem, problem.inputs["x"])
    order = random.sample(range(len(rows)), len(rows))
    outputs, grads, cotangents = run(problem)
    lengths = [len(rows[b]) for b in order]
    packing = None if problem.packing is None else pack_of(lengths)
    permuted = replace(problem, packing=packing)

    def permute(arrays):
        moved = dict(arrays)
        for name, value in arrays.items():
            plain = name.removeprefix("d_")
            if plain in STATES:
                moved[name] = value[:, order]
            elif plain in ("x", "output"):
                parts = sequences(problem, value)
                moved[name] = joined(permuted, [parts[b] for b in order])
        return moved

    permuted = replace(permuted, inputs=permute(problem.inputs))
    values, d, _ = run(permuted, permute(cotangents))
    agree(values, permute(outputs))
    agree(d, permute(grads))


def joined(problem, rows):
    """The inverse of `sequences`."""
    if problem.packing is None:
        return np.stack(rows, axis=1)
    total = sum(map(len, rows))
    where = sequences(problem, np.arange(total))
    value = np.empty((total, rows[0].shape[1]))
    for indices, part in zip(where, rows, strict=True):
        value[indices] = part
    return value


@given(problems(dense), seeds)
def test_the_names_of_hidden_units_do_not_matter(problem, seed):
    net, rng = problem.net, np.random.default_rng(seed)
    H, P = net.hidden_size, getattr(net, "proj_size", 0) or net.hidden_size
    D = 1 + net.bidirectional
    units = [rng.permutation(H) for _ in range(net.num_layers * D)]
    shown = [rng.permutation(P) for _ in units] if P != H else units

    def rename(arrays):
        moved = dict(arrays)
        for name, value in arrays.items():
            plain = name.removeprefix("d_")
            if plain in STATES:
                orders = units if plain[0] == "c" else shown
                moved[name] = np.stack([v[..., o] for v, o in zip(value, orders, strict=True)])
            elif plain == "output":
                moved[name] = value[..., both_halves(shown, net.num_layers - 1)]
            elif plain != "x":
                kind, _, suffix = plain.rpartition("_l")
                layer, reverse = int(suffix[0]), suffix.endswith("reverse")
                one = units[layer * D + reverse], shown[layer * D + reverse]
                moved[name] = rename_parameter(kind, layer, value, *one)
        return moved

    def both_halves(orders, layer):
        return np.concatenate([d * P + orders[layer * D + d] for d in range(D)])

    def rename_parameter(kind, layer, value, unit, show):
        if kind == "weight_hr":
            return value[np.ix_(show, unit)]
        gates = value.reshape(-1, H, *value.shape[1:])[:, unit].reshape(value.shape)
        if kind == "weight_hh":
            return gates[:, show]
        if kind == "weight_ih" and layer > 0:
            return gates[:, both_halves(shown, layer - 1)]
        return gates

    outputs, grads, cotangents = run(problem)
    values, d, _ = run(replace(problem, inputs=rename(problem.inputs)), rename(cotangents))
    agree(values, rename(outputs))
    agree(d, rename(grads))


@pytest.mark.claim("A5")
@given(batches)
def test_reversing_every_sequence_swaps_the_directions(problem):
    assume(problem.net.bidirectional)

    def swap(arrays):
        moved = {}
        for name, value in arrays.items():
            plain = name.removeprefix("d_")
            if plain in STATES:
                pairs = value.reshape(-1, 2, *value.shape[1:])[:, ::-1]
                moved[name] = pairs.reshape(value.shape)
            elif plain in ("x", "output"):
                turned = value if plain == "x" else halves(value)
                moved[name] = joined(problem, [v[::-1] for v in sequences(problem, turned)])
            else:
                other = name.removesuffix("_reverse")
                other = f"{name}_reverse" if other == name else other
                upper = plain.startswith("weight_ih") and "_l0" not in plain
                moved[other] = halves(value) if upper else value
        return {name: moved[name] for name in arrays}

    def halves(value):
        return np.concatenate(np.split(value, 2, axis=-1)[::-1], axis=-1)

    outputs, grads, cotangents = run(problem)
    values, d, _ = run(replace(problem, inputs=swap(problem.inputs)), swap(cotangents))
    agree(values, swap(outputs))
    agree(d, swap(grads))


@given(nets(directions=[False]), all_lengths, seeds, st.data())
def test_splitting_time_anywhere_and_carrying_the_state_changes_nothing(net, lengths, seed, data):
    lengths = sorted(lengths, reverse=True)
    problem = draw(net, lengths=lengths, seed=seed)
    t = data.draw(st.integers(1, max(max(lengths) - 1, 1)))
    late = sum(length > t for length in lengths)  # number of sequences that continue
    assume(late)
    outputs, grads, cotangents = run(problem)

    def part(arrays, first):
        chosen = slice(t) if first else slice(t, None)
        packing = pack_of([min(n, t) if first else n - t for n in lengths if first or n > t])
        empty = replace(problem, packing=packing)
        rows = [v[chosen] for v in sequences(problem, arrays)]
        return packing, joined(empty, [v for v in rows if len(v)])

    packing, x = part(problem.inputs["x"], True)
    head = replace(problem.with_inputs(x=x), packing=packing)
    head_outputs, head_tape = solve(head)
    packing, x = part(problem.inputs["x"], False)
    carried = {f"{k[0]}_0": v[:, :late] for k, v in head_outputs.items() if k != "output"}
    tail = replace(problem.with_inputs(x=x, **carried), packing=packing)
    tail_outputs, tail_tape = solve(tail)
    agree({"output": tail_outputs["output"]}, {"output": part(outputs["output"], False)[1]})
    agree({"output": head_outputs["output"]}, {"output": part(outputs["output"], True)[1]})

    d_tail = {k: v[:, :late] for k, v in cotangents.items() if k != "output"}
    d_tail["output"] = part(cotangents["output"], False)[1]
    back = pull_back(tail, tail_tape, d_tail)
    d_head = {"output": part(cotangents["output"], True)[1]}
    for name in set(cotangents) - {"output"}:
        d_head[name] = np.hstack([back[f"{name[0]}_0"], cotangents[name][:, late:]])
        ends = np.hstack([tail_outputs[name], head_outputs[name][:, late:]])
        agree({name: ends}, {name: outputs[name]})
    front = pull_back(head, head_tape, d_head)
    agree(
        {k: front[k] + back[k] for k in params_of(front)},
        {k: grads[f"d_{k}"] for k in params_of(front)},
    )
    agree({k: front[k] for k in carried}, {k: grads[f"d_{k}"] for k in carried})


@P6
@given(nets(), all_lengths, st.sampled_from([np.nan, np.inf, 1e300]), seeds, st.integers(0, 3))
def test_the_values_in_the_padding_never_leak(net, lengths, junk, seed, extra):
    rng = np.random.default_rng(seed)
    T, first = max(lengths) + extra, net.batch_first
    real = np.arange(T) < np.array(lengths)[:, None] if first else np.arange(T)[:, None] < lengths

    def with_junk(width):
        return np.where(real[..., None], rng.uniform(-1, 1, (*real.shape, width)), junk)

    x = with_junk(net.input_size)
    clean = draw(net, lengths=lengths, seed=seed)
    packed = pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
    problem = replace(clean.with_inputs(x=packed.data), packing=packed)
    assert np.isfinite(packed.data).all() and np.array_equal(lengths_of(packed), lengths)
    outputs, tape = solve(problem)
    output = problem.wrap(outputs["output"])
    padded, _ = pad_packed_sequence(output, batch_first=first, total_length=T)
    d_output = pad_packed_sequence_back(with_junk(padded.shape[2]), output, batch_first=first)
    grads = pull_back(problem, tape, random_like(outputs) | {"output": d_output.data})
    d_x = pack_padded_sequence_back(problem.wrap(grads["x"]), first, T)
    assert all(np.isfinite(v).all() for v in [*outputs.values(), *grads.values()])
    assert not padded[~real].any()
    assert not d_x[~real].any()


@given(problems(), st.floats(-3, 3))
def test_the_backward_pass_is_linear_in_the_cotangent(problem, scale):
    outputs, tape = solve(problem)
    one, other = random_like(outputs, 1), random_like(outputs, 2)
    combined = {name: scale * one[name] + other[name] for name in one}
    left, right = (pull_back(problem, tape, d) for d in (one, other))
    found = pull_back(problem, tape, combined)
    for name, d in found.items():
        expected = scale * left[name] + right[name]
        size = np.abs(scale * left[name]).max() + np.abs(right[name]).max()
        assert np.abs(d - expected).max() <= 1e-12 * size, name


@pytest.mark.parametrize("make", [RNN, GRU, LSTM])
@given(sizes, sizes, seeds)
def test_a_batch_of_copies_has_the_gradient_of_one_with_the_cotangents_summed(make, T, B, seed):
    problem = draw(make(4, 6, 2), T, B, seed=seed)
    arrays = {k: problem.inputs[k] for k in (*STATES[:2], "x") if k in problem.inputs}
    copies = problem.with_inputs(**{k: np.repeat(v[:, :1], B, axis=1) for k, v in arrays.items()})
    one = problem.with_inputs(**{k: v[:, :1] for k, v in arrays.items()})
    _, grads, cotangents = run(copies)
    summed = {k: v.sum(axis=1, keepdims=True) for k, v in cotangents.items()}
    agree(params_of(grads), params_of(run(one, summed)[1]))
