"""Recorded norms are those of the reference's error signals, in any model that trains."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from bptt_oracle.inspection import plot_norms, record_norms
from reference import GRU, LSTM, RNN
from reference.dynamics import products
from support.calculus import rejects
from support.problems import draw, solve
from support.single import close

T, B, IN, H = 7, 3, 4, 6
CELLS = {
    "tanh": (RNN, {}),
    "relu": (RNN, {"nonlinearity": "relu"}),
    "GRU": (GRU, {}),
    "LSTM": (LSTM, {}),
    "projected LSTM": (LSTM, {"proj_size": 5}),
    "LSTM without bias": (LSTM, {"bias": False}),
}
LAYOUTS = {
    "dense": {},
    "batch first": {"batch_first": True},
    "packed": {"lengths": [3, 7, 1]},
    "unbatched": {"unbatched": True},
}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def module_of(problem):
    """The torch module with the problem's weights, in float64."""
    net = problem.net
    options = {n: getattr(net, n) for n in ("num_layers", "bias", "batch_first", "bidirectional")}
    if net.mode.startswith("RNN"):
        options["nonlinearity"] = net.nonlinearity
    if net.proj_size:
        options["proj_size"] = net.proj_size
    module = getattr(nn, type(net).__name__)(net.input_size, net.hidden_size, **options).double()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.tensor(problem.inputs[name]))
    return module


def call(module, problem):
    """The module's output and final state on the problem's inputs."""
    x = torch.tensor(problem.inputs["x"])
    if problem.packing is not None:
        indices = [torch.tensor(i) for i in problem.packing[1:]]
        x = nn.utils.rnn.PackedSequence(x, *indices)
    state = [torch.tensor(problem.inputs[n]) for n in ("h_0", "c_0") if n in problem.inputs]
    output, final = module(x, tuple(state) if len(state) == 2 else state[0])
    output = output.data if problem.packing is not None else output
    return output, final if isinstance(final, tuple) else (final,)


def sequences(problem, rows):
    """Every sequence [T_b, ·] of an array in the layout of x, sorted as packing sorts them."""
    if problem.packing is not None:
        sizes = problem.packing.batch_sizes
        starts = np.cumsum(sizes) - sizes
        return [rows[starts[sizes > b] + b] for b in range(sizes[0])]
    if rows.ndim == 2:
        return [rows]
    return list(rows if problem.net.batch_first else rows.swapaxes(0, 1))


def norms_by_jacobians(problem, cotangents):
    """‖h‖, ‖c‖, ‖δh‖, ‖δc‖ by layer and direction, from explicit Jacobians, row by row.

    The cotangent of a layer's output is the gradient of the input of the net of the layers above.
    """
    net, D = problem.net, problem.net.directions
    found = {}
    order = None if problem.packing is None else problem.packing.sorted_indices
    layer_input, d_output = problem.inputs["x"], None
    one = {n: getattr(net, n) for n in ("bias", "batch_first", "bidirectional", "proj_size")}
    if net.mode.startswith("RNN"):
        one["nonlinearity"] = net.nonlinearity
    state = [problem.inputs[n] for n in ("h_0", "c_0") if n in problem.inputs]
    d_final = [cotangents[n] for n in ("h_n", "c_n") if n in cotangents]

    def params_of(layers):
        return {
            name.replace(f"_l{layer}", f"_l{k}"): problem.inputs[name]
            for k, layer in enumerate(layers)
            for name in net.parameter_shapes()
            if f"_l{layer}" in name
        }

    def part(values, layers):
        halves = [v[layers[0] * D : (layers[-1] + 1) * D] for v in values]
        return tuple(halves) if len(halves) == 2 else halves[0]

    for layer in range(net.num_layers):
        above = range(layer + 1, net.num_layers)
        width = layer_input.shape[-1]
        own = type(net)(width, net.hidden_size, 1, **one)
        y, _, _ = own.forward(params_of([layer]), problem.wrap(layer_input), part(state, [layer]))
        y = problem.unwrap(y)
        d_output = cotangents["output"]
        if above:
            rest = type(net)(y.shape[-1], net.hidden_size, len(above), **one)
            _, _, tape = rest.forward(params_of(above), problem.wrap(y), part(state, above))
            d_y = rest.backward(tape, problem.wrap(d_output), part(d_final, above)).x
            d_output = problem.unwrap(d_y)
        for direction in range(D):
            F = net.output_size
            single = type(net)(width, net.hidden_size, 1, **(one | ONE_WAY))
            suffix = "_reverse" if direction else ""
            params = {n: problem.inputs[f"{n[:-3]}_l{layer}{suffix}"] for n in
                      single.parameter_shapes()}  # fmt: skip
            squares = np.zeros((4, T))
            xs = sequences(problem, layer_input)
            d_ys = sequences(problem, d_output[..., direction * F : (direction + 1) * F])
            for b, (x, d_y) in enumerate(zip(xs, d_ys, strict=True)):
                row = b if order is None else order[b]
                at = (layer * D + direction, row) if state[0].ndim == 3 else layer * D + direction
                x, d_y = (v[::-1] if direction else v for v in (x, d_y))
                own_state = [np.atleast_2d(s[at])[None] for s in state]
                enter = tuple(own_state) if len(state) == 2 else own_state[0]
                J = products.jacobians(single, params, x[:, None], enter)
                d_states = np.zeros((len(x), 1, J.shape[-1]))
                d_states[:, 0, :F] = d_y
                d_states[-1, 0] += np.concatenate([d[at] for d in d_final])
                delta = products.error_signals(J, d_states)[1:, 0]
                values = [trajectory(single, params, x, enter, k) for k in range(len(state))]
                series = [values[0], values[-1], delta[:, :F], delta[:, F:]]
                for k, v in enumerate(series):
                    v = v[::-1] if direction else v
                    squares[k, : len(x)] += (v**2).sum(axis=1)
            found[layer, direction] = np.sqrt(squares)
        layer_input = y
    return found


ONE_WAY = {"batch_first": False, "bidirectional": False}


def trajectory(net, params, x, state, k):
    """h [T, ·] (k = 0) or c (k = 1) of one sequence, step by step."""
    states = []
    for x_t in x:
        _, state, _ = net.forward(params, x_t[None, None], state)
        states.append((state[k] if isinstance(state, tuple) else state)[0, 0])
    return np.array(states)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_the_norms_are_those_of_the_error_signals(cell, layers, bidirectional, layout):
    kind, options = CELLS[cell]
    where = dict(LAYOUTS[layout])
    options = options | {"batch_first": where.pop("batch_first", False)}
    net = kind(IN, H, layers, bidirectional=bidirectional, **options)
    problem = draw(net, T=T, B=B, **where)
    outputs, _ = solve(problem)
    rng = np.random.default_rng(1)
    cotangents = {name: rng.standard_normal(value.shape) for name, value in outputs.items()}
    module = module_of(problem)

    def step():
        output, final = call(module, problem)
        returned = dict(zip(("output", "h_n", "c_n"), (output, *final), strict=False))
        sum((value * torch.tensor(cotangents[n])).sum() for n, value in returned.items()).backward()

    records = record_norms(module, step)
    expected = norms_by_jacobians(problem, cotangents)
    places = [(r.layer, ["forward", "reverse"].index(r.direction)) for r in records]
    assert places == list(expected)
    for record, place in zip(records, places, strict=True):
        h, c, delta_h, delta_c = expected[place]
        close(record.h, h)
        close(record.delta_h, delta_h)
        if "LSTM" in cell:
            close(record.c, c)
            close(record.delta_c, delta_c)
        else:
            assert record.c is record.delta_c is None


def issues(record):
    return [finding.issue for finding in record.diagnose()]


def lstm_with_forget_bias(bias, **options):
    """An LSTM whose forget gates have this bias."""
    lstm = nn.LSTM(4, 16, **options)
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if name.startswith("bias_ih"):
                parameter[16:32] = bias
    return lstm


def test_an_lstm_that_remembers_is_not_accused_of_vanishing_credit():
    """What `retain_grad()` on the output gives is the direct cotangent alone: 0 before the end."""
    lstm, x = lstm_with_forget_bias(8), torch.randn(60, 3, 4)
    kept = []

    def step():
        output, _ = lstm(x)
        output.retain_grad()
        kept.append(output)
        output[-1].pow(2).sum().backward()

    (record,) = record_norms(lstm, step)
    assert not kept[0].grad[:-1].any(), "retain_grad() does not see the credit"
    assert 0.1 < record.delta_h[0] / record.delta_h[-1] < 1
    assert len(record.credit) == 60 and record.credit[-1] > 0.5
    assert issues(record) == []


def test_a_loss_on_the_final_state_alone_is_seen():
    lstm, x = lstm_with_forget_bias(8), torch.randn(60, 3, 4)
    (record,) = record_norms(lstm, lambda: lstm(x)[1][0].pow(2).sum().backward())
    assert record.delta_h[0] / record.delta_h[-1] == pytest.approx(0.24, abs=0.01)
    assert issues(record) == []
    (of_c,) = record_norms(lstm, lambda: lstm(x)[1][1].pow(2).sum().backward())
    assert of_c.delta_h[-1] == 0 < of_c.delta_c[-1] and issues(of_c) == []


@pytest.mark.parametrize("reads", ["every step", "the last step"])
def test_a_tanh_net_that_forgets_is_reported_whatever_the_loss_reads(reads):
    """With a loss on every step ‖δh‖ does not decay; the credit of the last step does."""
    rnn = nn.RNN(4, 16)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(0.5 * torch.linalg.qr(torch.randn(16, 16))[0])
    x = 0.1 * torch.randn(60, 3, 4)

    def step():
        output, _ = rnn(x)
        (output if reads == "every step" else output[-1]).sum().backward()

    (record,) = record_norms(rnn, step)
    assert issues(record) == ["vanishing credit"]
    assert (record.delta_h[0] > 0.1 * record.delta_h[-1]) == (reads == "every step")


def test_a_sum_over_many_steps_is_not_an_explosion():
    """Memory that lasts adds up the gradients of 3000 steps: ‖δc‖ grows, the credit of one does
    not."""
    lstm, x = lstm_with_forget_bias(12), torch.randn(3000, 1, 4)
    with torch.no_grad():
        lstm.weight_hh_l0.mul_(0.01)
    (record,) = record_norms(lstm, lambda: lstm(x)[0].sum().backward())
    assert record.delta_c[0] > 1000 * record.delta_c[-2]
    assert "exploding gradients" not in issues(record)


@pytest.mark.parametrize("lengths", [[40, 5, 20], [3, 40, 40]])
def test_credit_is_measured_from_the_end_of_each_row(lengths):
    gru, x = nn.GRU(4, 8), torch.randn(40, 3, 4)
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    (record,) = record_norms(gru, lambda: gru(packed)[1].sum().backward())
    alone = []
    for b, length in enumerate(lengths):
        row = x[:length, b : b + 1]
        (one,) = record_norms(gru, lambda row=row: gru(row)[1].sum().backward())
        alone.append(np.pad(one.credit, (0, 40 - length), constant_values=np.nan))
    close(record.credit, np.sqrt(np.nanmean(np.square(alone), axis=0)), 1e-5)
    assert record.rows.tolist() == [sum(n > t for n in lengths) for t in range(40)]


def test_the_gates_are_those_of_the_equations():
    lstm, gru = lstm_with_forget_bias(100), nn.GRU(4, 8)
    x = torch.randn(6, 3, 4)
    (record,) = record_norms(lstm, lambda: lstm(x)[0].sum().backward())
    assert list(record.gates) == ["i", "f", "o"]
    assert (record.gates["f"] == 1).all() and (record.gates["i"] < 0.9).all()
    h = torch.cat([torch.zeros(1, 3, 8), gru(x)[0][:-1]])
    u = nn.functional.linear(x, gru.weight_ih_l0, gru.bias_ih_l0)
    v = nn.functional.linear(h, gru.weight_hh_l0, gru.bias_hh_l0)
    r, z, _ = torch.sigmoid(u + v).chunk(3, dim=2)
    (record,) = record_norms(gru, lambda: gru(x)[0].sum().backward())
    for name, gate in (("r", r), ("z", z)):
        close(record.gates[name], gate.mean(dim=(1, 2)).detach().numpy(), 1e-6)


# unusual models


class Tagger(nn.Module):
    """Embedding, stacked recurrent modules with dropout, a head."""

    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        self.emb = nn.Embedding(11, 5)
        self.rnn = kind(5, 8, **({"batch_first": True} | options))
        self.second = nn.GRU(8 * (1 + self.rnn.bidirectional), 6, batch_first=True)
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(6, 3)

    def forward(self, ids):
        return self.head(self.drop(self.second(self.rnn(self.emb(ids))[0])[0]))


def trainer(model, ids, optimizer=None):
    """A training step as users write it."""

    def step():
        if optimizer:
            optimizer.zero_grad()
        loss = model(ids).pow(2).mean()
        loss.backward()
        if optimizer:
            optimizer.step()
        return loss

    return step


def gradients_of(model, step, inspect=False):
    """The gradients of one step from the same random numbers, with or without recording."""
    model.zero_grad()
    torch.manual_seed(3)
    if inspect:
        record_norms(model, step)
    else:
        step()
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("options", [{}, {"num_layers": 3, "dropout": 0.5, "bidirectional": True}])
def test_recording_changes_no_bit_of_the_training_step(kind, options):
    model = Tagger(kind, **options)
    step = trainer(model, torch.randint(11, (3, 9)))
    plain, recorded = gradients_of(model, step), gradients_of(model, step, inspect=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_every_module_has_its_records_also_with_dropout_in_training():
    model = Tagger(num_layers=2, dropout=0.4, bidirectional=True)
    model(torch.randint(11, (3, 9)))
    records = record_norms(model, trainer(model, torch.randint(11, (3, 9))))
    assert [(r.module, r.layer, r.direction) for r in records] == [
        ("rnn", 0, "forward"),
        ("rnn", 0, "reverse"),
        ("rnn", 1, "forward"),
        ("rnn", 1, "reverse"),
        ("second", 0, "forward"),
    ]
    assert all(np.isfinite(r.h).all() and (r.delta_h > 0).all() for r in records)


def test_the_masks_of_dropout_are_those_that_the_step_drew():
    """The δ of the lower layer is torch's: its sum over steps is the gradient of the bias."""
    rnn = nn.RNN(4, 6, 2, dropout=0.5, nonlinearity="relu").double()
    with torch.no_grad():
        for name, parameter in rnn.named_parameters():
            if name in ("weight_hh_l0", "weight_hh_l1"):
                parameter.zero_()
            if name.startswith("bias_ih"):
                parameter.fill_(5.0)  # every slope of relu is 1, and δa = δh
    x = torch.randn(1, 1, 4).double()
    records = record_norms(rnn, lambda: rnn(x)[0].sum().backward())
    expected = rnn.bias_ih_l0.grad.norm().item()
    assert records[0].delta_h[0] == pytest.approx(expected, rel=1e-12)


def test_weights_are_those_before_the_optimizer_changes_them():
    model, ids = Tagger(), torch.randint(11, (3, 9))
    before = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=100.0)
    torch.manual_seed(5)
    records = record_norms(model, trainer(model, ids, optimizer))
    torch.manual_seed(5)
    expected = record_norms(before, trainer(before, ids))
    for record, other in zip(records, expected, strict=True):
        assert np.array_equal(record.delta_h, other.delta_h)
        assert np.array_equal(record.h, other.h)


def test_two_updates_in_one_step_have_their_own_weights():
    gru, x = nn.GRU(4, 6), torch.randn(5, 2, 4)
    optimizer = torch.optim.SGD(gru.parameters(), lr=1.0)
    versions = []

    def step():
        for _ in range(2):
            versions.append(copy.deepcopy(gru))
            gru(x)[0].sum().backward()
            optimizer.step()

    records = record_norms(gru, step)
    for record, version in zip(records, versions, strict=True):
        fresh = nn.GRU(4, 6)  # a copy has the hooks of its original
        fresh.load_state_dict(version.state_dict())
        (expected,) = record_norms(fresh, lambda fresh=fresh: fresh(x)[0].sum().backward())
        assert np.array_equal(record.delta_h, expected.delta_h)


def test_growth_is_counted_in_the_order_in_which_a_direction_reads():
    rnn, x = nn.RNN(4, 6, nonlinearity="relu", bidirectional=True), torch.randn(60, 3, 4)
    with torch.no_grad():
        for name, parameter in rnn.named_parameters():
            if name.startswith("weight_hh"):
                parameter.fill_(1.3 / 6)
            if name.startswith("bias"):
                parameter.fill_(0.1)
    for record in record_norms(rnn, lambda: rnn(x)[0].sum().backward()):
        assert "unstable recurrence" in issues(record)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_half_types_give_the_norms_of_float64_to_their_precision(kind, dtype):
    half = kind(5, 8, 2, bidirectional=True).to(dtype)
    x = torch.randn(9, 3, 5).to(dtype)
    wide = copy.deepcopy(half).double()
    records = record_norms(half, lambda: half(x)[0].sum().backward())
    expected = record_norms(wide, lambda: wide(x.double())[0].sum().backward())
    for record, other in zip(records, expected, strict=True):
        close(record.h, other.h, 0.05)
        close(record.delta_h, other.delta_h, 0.05)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_autocast_and_a_scaler_are_followed(kind):
    model, ids = Tagger(kind).eval(), torch.randint(11, (3, 9))

    def step(scale=1.0, enabled=True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = model(ids).float().pow(2).mean()
        (scale * loss).backward()

    expected = record_norms(model, lambda: step(enabled=False))
    for record, other in zip(record_norms(model, lambda: step(1024.0)), expected, strict=True):
        close(record.delta_h, 1024 * other.delta_h, 0.1)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("pieces", [2, 12])
def test_chunks_that_carry_their_state_are_one_record(kind, pieces):
    rnn, x = kind(4, 6, 2).double(), torch.randn(12, 3, 4).double()

    def in_pieces():
        state, loss = None, 0
        for chunk in x.chunk(pieces):
            output, state = rnn(chunk, state)
            loss = loss + output.pow(2).sum()
        loss.backward()

    records = record_norms(rnn, in_pieces)
    expected = record_norms(rnn, lambda: rnn(x)[0].pow(2).sum().backward())
    assert [r.calls for r in records] == [tuple(range(pieces))] * 2
    for record, other in zip(records, expected, strict=True):
        for name in ("h", "delta_h", "credit"):
            close(getattr(record, name), getattr(other, name))


def test_a_detached_state_ends_the_credit():
    rnn, x = nn.GRU(4, 6), torch.randn(12, 3, 4)

    def step():
        output, state = rnn(x[:6])
        output.sum().backward()
        rnn(x[6:], state.detach())[0].sum().backward()

    (record,) = record_norms(rnn, step)
    assert len(record.h) == 12 and len(record.credit) == 6


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_a_loop_over_a_cell_is_one_record(cell):
    one = cell(4, 6).double()
    many = getattr(nn, cell.__name__.removesuffix("Cell"))(4, 6).double()
    many.load_state_dict({f"{n}_l0": p for n, p in one.state_dict().items()})
    x = torch.randn(9, 3, 4).double()

    def step():
        state = None
        for x_t in x:
            state = one(x_t, state)
        (state[0] if isinstance(state, tuple) else state).sum().backward()

    (record,) = record_norms(one, step)
    (expected,) = record_norms(many, lambda: many(x)[0][-1].sum().backward())
    of_c = ("c", "delta_c") if cell is nn.LSTMCell else ()
    for name in ("h", "delta_h", "credit", *of_c):
        close(getattr(record, name), getattr(expected, name))
    assert record.gates.keys() == expected.gates.keys()


def test_two_sentences_through_one_encoder_are_two_records():
    gru, a, b = nn.GRU(4, 6), torch.randn(5, 2, 4), torch.randn(8, 2, 4)
    records = record_norms(gru, lambda: (gru(a)[1].sum() + gru(b)[1].sum()).backward())
    assert [(r.calls, len(r.h)) for r in records] == [((0,), 5), ((1,), 8)]


def test_an_output_changed_in_place_is_followed_to_its_value_before():
    gru, x = nn.GRU(4, 6, batch_first=True).double(), torch.randn(2, 5, 4).double()

    def step(in_place):
        output = gru(x)[0]
        (output.mul_(3) if in_place else 3 * output).sum().backward()

    (record,) = record_norms(gru, lambda: step(True))
    (expected,) = record_norms(gru, lambda: step(False))
    close(record.h, expected.h)
    close(record.delta_h, expected.delta_h)


def test_weights_that_a_wrapper_computes_are_those_of_the_call():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gru = nn.utils.weight_norm(nn.GRU(4, 6), "weight_hh_l0")
    x = torch.randn(5, 2, 4)
    plain = nn.GRU(4, 6)
    with torch.no_grad():
        gru.weight_hh_l0_g.mul_(3)
    gru(x)
    plain.load_state_dict({n: getattr(gru, n).detach() for n in plain.state_dict()})
    (record,) = record_norms(gru, lambda: gru(x)[0].sum().backward())
    (expected,) = record_norms(plain, lambda: plain(x)[0].sum().backward())
    close(record.delta_h, expected.delta_h, 1e-6)


def test_a_module_without_a_gradient_beside_one_with_has_states_alone():
    class Target(nn.Module):
        def __init__(self):
            super().__init__()
            self.online, self.target = nn.GRU(4, 6), nn.GRU(4, 6)

    model, x = Target(), torch.randn(5, 2, 4)

    def step():
        with torch.no_grad():
            wanted = model.target(x)[0]
        (model.online(x)[0] - wanted).pow(2).sum().backward()

    records = {r.module: r for r in record_norms(model, step)}
    assert records["target"].delta_h is None and records["target"].h.all()
    assert records["online"].delta_h.all()
    rejects(ValueError, "no gradient reached target", records["target"].diagnose)


def test_a_frozen_layer_passes_its_gradient_on():
    model, ids = Tagger().eval(), torch.randint(11, (3, 9))
    expected = record_norms(model, trainer(model, ids))
    model.second.requires_grad_(False)
    for record, other in zip(record_norms(model, trainer(model, ids)), expected, strict=True):
        assert np.array_equal(record.delta_h, other.delta_h)


def test_checkpointing_is_followed():
    from torch.utils.checkpoint import checkpoint

    gru, x = nn.GRU(4, 6), torch.randn(5, 2, 4)
    (record,) = record_norms(
        gru, lambda: checkpoint(gru, x, use_reentrant=False)[0].sum().backward()
    )
    (expected,) = record_norms(gru, lambda: gru(x)[0].sum().backward())
    assert np.array_equal(record.delta_h, expected.delta_h)


@pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="torch before 2.6")
def test_a_compiled_model_is_recorded_as_it_was_before():
    model, ids = Tagger(num_layers=2).eval(), torch.randint(11, (3, 9))
    expected = record_norms(model, trainer(model, ids))
    compiled = torch.compile(model, backend="eager")
    compiled(ids)
    for passed in (model, compiled):
        for record, other in zip(
            record_norms(passed, trainer(compiled, ids)), expected, strict=True
        ):
            assert record.module == other.module
            assert np.array_equal(record.delta_h, other.delta_h)


def test_several_backward_passes_add_up():
    gru, x = nn.GRU(4, 6), torch.randn(5, 2, 4)

    def twice():
        output, _ = gru(x)
        output.sum().backward(retain_graph=True)
        output.sum().backward()

    (record,) = record_norms(gru, twice)
    (once,) = record_norms(gru, lambda: gru(x)[0].sum().backward())
    close(record.delta_h, 2 * once.delta_h, 1e-6)


def test_an_own_subclass_and_a_model_that_is_itself_recurrent_work():
    class Scaled(nn.LSTM):
        def forward(self, x, state=None):
            return super().forward(2 * x, state)

    lstm, x = Scaled(4, 6), torch.randn(5, 2, 4)
    (record,) = record_norms(lstm, lambda: lstm(x)[0].sum().backward())
    assert record.module == "Scaled" and record.h.all()


def test_a_gradient_of_many_sizes_is_not_lost():
    """Norms of float32 values whose squares float32 could not hold."""
    rnn, x = nn.RNN(1, 2, nonlinearity="relu"), torch.ones(3, 1, 1)
    (record,) = record_norms(rnn, lambda: (1e30 * rnn(x)[0]).sum().backward())
    assert np.isfinite(record.delta_h).all() and record.delta_h[-1] == pytest.approx(2**0.5 * 1e30)


# rejections


def test_what_cannot_be_recorded_is_rejected():
    gru, x = nn.GRU(4, 6), torch.randn(5, 2, 4)
    rejects(TypeError, "should be a torch.nn.Module, got int", record_norms, 3, lambda: None)
    rejects(ValueError, "Linear contains no", record_norms, nn.Linear(2, 2), lambda: None)
    rejects(ValueError, "called none", record_norms, gru, lambda: None)
    other = copy.deepcopy(gru)
    rejects(ValueError, "called none", record_norms, gru, lambda: other(x)[0].sum().backward())
    rejects(ValueError, "called none", record_norms, gru, lambda: copy.deepcopy(gru)(x))
    traced = torch.jit.trace(gru, x)
    rejects(ValueError, "called none", record_norms, gru, lambda: traced(x)[0].sum().backward())
    rejects(ValueError, "no gradient reached", record_norms, gru, lambda: gru(x))
    parallel = nn.DataParallel(gru)
    rejects(ValueError, "pass its `module`", record_norms, parallel, lambda: None)


def test_an_error_of_the_step_is_passed_on_and_leaves_no_hook():
    gru = nn.GRU(4, 6)
    with pytest.raises(RuntimeError, match="size"):
        record_norms(gru, lambda: gru(torch.randn(5, 2, 3)))
    assert not gru._forward_hooks and not gru._forward_pre_hooks
    assert gru(torch.randn(5, 2, 4))[0].shape == (5, 2, 6)


def test_one_step_cannot_be_diagnosed():
    gru = nn.GRU(4, 6)
    (record,) = record_norms(gru, lambda: gru(torch.randn(1, 2, 4))[0].sum().backward())
    rejects(ValueError, "expected two or more", record.diagnose)


def test_a_reverse_direction_that_is_read_after_one_step_is_not_accused():
    """output[-1] of the reverse direction has read one step only."""
    gru, x = nn.GRU(4, 6, bidirectional=True), torch.randn(20, 2, 4)
    _, reverse = record_norms(gru, lambda: gru(x)[0][-1].sum().backward())
    assert reverse.credit.tolist() == [1.0] and issues(reverse) == []
    assert "credit over 0 steps" in str(reverse)


def test_a_plot_has_a_line_for_every_series():
    lstm, x = nn.LSTM(4, 6), torch.randn(5, 2, 4)
    figure = plot_norms(record_norms(lstm, lambda: lstm(x)[0].sum().backward()))
    assert [len(axes.lines) for axes in figure.axes] == [2, 2, 3]
    assert figure.axes[1].get_yscale() == "log"


@pytest.mark.parametrize(("kind", "gate"), [(nn.LSTM, "f"), (nn.GRU, "z")])
def test_a_gated_cell_that_forgets_is_told_which_gate_to_open_and_not_to_use_a_gate(kind, gate):
    net, x = kind(4, 6), torch.randn(256, 3, 4)
    torch.nn.init.zeros_(net.weight_hh_l0)
    (record,) = record_norms(net, lambda: net(x)[0][-1].sum().backward())
    (finding,) = record.diagnose()
    assert finding.issue == "vanishing credit"
    mean = record.gates[gate].mean()
    assert finding.remedy.startswith(f"raise the bias of gate {gate}, whose mean is {mean:.2f}")
    assert "is 0 from" in finding.evidence or "shrinks by" in finding.evidence
