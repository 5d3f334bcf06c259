"""The first value that is not finite is named: module, tensor, layer, direction, step and row."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bptt_oracle.inspection import first_nonfinite
from support.calculus import rejects

NAN, INF = math.nan, math.inf


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def place(found):
    """What is named, without the value."""
    return (
        found.phase, found.module, found.tensor, found.layer, found.direction, found.step, found.row
    )  # fmt: skip


class Net(nn.Module):
    """A linear layer, a recurrent module, a head."""

    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        self.front = nn.Linear(4, 5)
        self.rnn = kind(5, 6, **options)
        self.head = nn.Linear(6 * (1 + self.rnn.bidirectional), 2)

    def forward(self, x):
        return self.head(self.rnn(self.front(x))[0])


KINDS = [nn.RNN, nn.GRU, nn.LSTM]


def mean_square(model, x):
    """A step with an ordinary loss."""

    def step():
        model.zero_grad()
        loss = model(x).pow(2).mean()
        loss.backward()
        return loss

    return step


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.3}])
def test_a_healthy_step_has_no_finding(kind, options):
    model = Net(kind, **options)
    assert first_nonfinite(model, mean_square(model, torch.randn(7, 3, 4)), runs=3) is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("seed", range(3))
def test_a_relu_net_that_explodes_in_training_is_found_where_it_overflows(seed):
    """W_hh = 1.05 · I over 80 steps at rate 0.3: the loss is finite once, then it is not."""
    torch.manual_seed(seed)
    model = nn.ModuleDict({"rnn": nn.RNN(4, 8, nonlinearity="relu"), "head": nn.Linear(8, 3)})
    with torch.no_grad():
        model["rnn"].weight_hh_l0.copy_(1.05 * torch.eye(8))
    x, target = torch.randn(80, 4, 4), torch.randn(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    losses, weights = [], []

    def step():
        weights[:] = [p.detach().clone() for p in model.parameters()]
        optimizer.zero_grad()
        loss = F.mse_loss(model["head"](model["rnn"](x)[0][-1]), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        return loss

    found = first_nonfinite(model, step, runs=10)
    assert math.isfinite(losses[0]) and not math.isfinite(losses[-1])
    assert found.run == len(losses) - 1 == 1
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), weights, strict=True):
            assert value.isfinite().all()
            parameter.copy_(value)
        bad = ~model["rnn"](x)[0].isfinite().all(dim=2)
    t = int(bad.any(dim=1).nonzero()[0])
    b = int(bad[t].nonzero()[0])
    assert place(found) == ("forward", "rnn", "h", 0, "forward", t, b) and 0 < t < 80
    assert str(found) == (
        f"forward: h of rnn, call 0, layer 0, direction forward, step {t}, row {b} is {found.value}"
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [NAN, INF])
def test_the_input_is_named_before_everything_else(kind, value):
    model, x = Net(kind), torch.randn(7, 3, 4)
    x[4, 1, 2] = value
    found = first_nonfinite(model, mean_square(model, x))
    assert place(found)[:3] == ("forward", "Net", "input")
    assert found.position == (4, 1, 2)
    rnn = kind(4, 6)
    found = first_nonfinite(rnn, lambda: rnn(x)[0].sum().backward())
    assert place(found) == ("forward", kind.__name__, "x", 0, None, 4, 1)
    assert found.value == value or math.isnan(value)


def test_the_row_is_the_caller_s_before_sorting():
    gru, x = nn.GRU(4, 6), torch.randn(7, 3, 4)
    x[1, 0, 2] = NAN
    packed = pack_padded_sequence(x, [2, 5, 7], enforce_sorted=False)
    found = first_nonfinite(gru, lambda: gru(packed)[1].sum().backward())
    assert place(found) == ("forward", "GRU", "x", 0, None, 1, 0)


def test_nan_in_the_padding_is_not_read():
    gru, x = nn.GRU(4, 6, batch_first=True), torch.randn(3, 7, 4)
    x[0, 2:] = NAN
    packed = pack_padded_sequence(x, [2, 5, 7], batch_first=True, enforce_sorted=False)
    assert first_nonfinite(gru, lambda: gru(packed)[1].sum().backward()) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_and_a_state_are_named(kind):
    model, x = Net(kind, num_layers=2), torch.randn(7, 3, 4)
    with torch.no_grad():
        model.rnn.weight_hh_l1[2, 3] = NAN
    found = first_nonfinite(model, mean_square(model, x))
    assert place(found)[:3] == ("forward", "rnn", "weight_hh_l1") and found.position == (2, 3)
    rnn = kind(4, 6, 2, bidirectional=True)
    state = torch.zeros(4, 3, 6)
    state[3, 2, 0] = INF
    entering = (torch.zeros(4, 3, 6), state) if kind is nn.LSTM else state
    found = first_nonfinite(rnn, lambda: rnn(x, entering)[0].sum().backward())
    name = "c_0" if kind is nn.LSTM else "h_0"
    assert (found.tensor, found.layer, found.direction, found.row) == (name, 0, "forward", 2) or (
        found.tensor, found.layer, found.direction, found.row
    ) == (name, 1, "reverse", 2)  # fmt: skip


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_overflow_in_an_upper_layer_of_half_precision_is_found(bidirectional):
    """65504 is the largest float16; h of layer 1 passes it at a step that float64 predicts."""
    rnn = nn.RNN(1, 2, 2, nonlinearity="relu", bias=False, bidirectional=bidirectional)
    with torch.no_grad():
        for name, p in rnn.named_parameters():
            p.zero_()
            if "weight_ih_l0" in name:
                p.fill_(1.0)
            elif "weight_ih_l1" in name and "reverse" not in name:
                p[:, 0] = 1.0
            elif name == "weight_hh_l1":
                p.copy_(3 * torch.eye(2))
    rnn, x = rnn.half(), torch.ones(20, 2, 1).half()
    # h_t = 1 + 3 h_{t−1} = (3^{t+1} − 1) / 2 > 65504 first for t = 10
    found = first_nonfinite(rnn, lambda: rnn(x)[0].sum().backward())
    assert place(found) == ("forward", "RNN", "h", 1, "forward", 10, 0) and found.value == INF


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_the_step_of_the_reverse_direction_is_that_of_the_input(phase):
    """Row 0 of the batch has 15 steps and is the second after sorting; the reverse direction starts
    at step 14, and passes 65504 ten steps later: h is (3^{k+1} − 1) / 2 after k more steps."""
    rnn = nn.RNN(1, 1, nonlinearity="relu", bias=False, bidirectional=True)
    with torch.no_grad():
        for name, p in rnn.named_parameters():
            p.fill_(0.0 if name == "weight_hh_l0" else 3.0 if "hh" in name else 1.0)
    x = torch.zeros(20, 2, 1)
    x[:15, 0] = 1.0 if phase == "forward" else 1e-7
    rnn, x = rnn.half(), x.half()
    packed = pack_padded_sequence(x, [15, 20], enforce_sorted=False)
    scale = 1.0 if phase == "forward" else 1e4
    found = first_nonfinite(rnn, lambda: (scale * rnn(packed)[1][1, 0]).sum().backward())
    if phase == "forward":
        assert place(found) == ("forward", "RNN", "h", 0, "reverse", 14 - 10, 0)
    else:  # δh is 10^4 · 3^k, k steps before step 0, which is read last
        assert place(found) == ("backward", "RNN", "δh", 0, "reverse", 2, 0)


def test_the_c_of_an_lstm_is_named_before_its_h():
    """The net input from x is −∞, that from h is ∞, in float64, which is not computed wider."""
    lstm, x = nn.LSTM(1, 3).double(), torch.zeros(7, 3, 1).double()
    with torch.no_grad():
        lstm.weight_ih_l0.fill_(1e308)
        lstm.weight_hh_l0.fill_(1.7e308)
        lstm.bias_ih_l0.fill_(10.0)
    x[4, 1] = -10.0
    found = first_nonfinite(lstm, lambda: lstm(x)[0].sum().backward())
    assert place(found) == ("forward", "LSTM", "c", 0, "forward", 4, 1) and math.isnan(found.value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_operation_between_modules_is_seen_in_the_next_input(kind):
    class Logs(Net):
        def forward(self, x):
            return self.head(torch.log(self.rnn(self.front(x))[0].abs() - 10))

    model = Logs(kind)
    found = first_nonfinite(model, mean_square(model, torch.randn(7, 3, 4)))
    assert place(found)[:3] == ("forward", "head", "input")


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_is_not_finite_is_older_than_its_gradients(kind):
    model, x = Net(kind), torch.randn(7, 3, 4)

    def step():
        loss = (model(x) * 0).sum() / torch.zeros(())
        loss.backward()
        return {"loss": loss}

    found = first_nonfinite(model, step)
    assert place(found)[:3] == ("forward", "step()", "the returned value")


@pytest.mark.parametrize("kind", KINDS)
def test_the_square_root_of_zero_is_found_in_the_backward_pass(kind):
    """Its value is 0, its slope ∞ · 0."""
    rnn, x = kind(4, 6, batch_first=True), torch.randn(3, 7, 4)

    def step():
        output, _ = rnn(x)
        rest = (output[1, 5] - output[1, 5].detach()).pow(2).sum()
        loss = output.sum() + rest.sqrt()
        loss.backward()
        return loss

    found = first_nonfinite(rnn, step)
    assert place(found) == ("backward", kind.__name__, "gradient of output", 0, "forward", 5, 1)


def test_a_gradient_of_the_final_state_and_of_a_head_are_named():
    lstm, x = nn.LSTM(4, 6, 2), torch.randn(7, 3, 4)

    def step():
        c = lstm(x)[1][1]
        (c[1, 2] - c[1, 2].detach()).norm(dim=0).pow(0.5).backward()

    found = first_nonfinite(lstm, step)
    assert place(found) == ("backward", "LSTM", "gradient of c_n", 1, "forward", None, 2)
    model = Net(nn.GRU)

    def step_of_head():
        y = model(x)
        (y - y.detach()).pow(2).sum().sqrt().backward()

    found = first_nonfinite(model, step_of_head)
    assert place(found)[:3] == ("backward", "head", "gradient of output")


@pytest.mark.parametrize("layer", [0, 1])
def test_a_gradient_that_explodes_inside_a_layer_is_found_at_its_step(layer):
    """δh_{t} = 8^{T−1−t}: above 65504 = 2^16 first at the sixth step from the end."""
    rnn = nn.RNN(1, 1, 2, nonlinearity="relu", bias=False)
    with torch.no_grad():
        for name, p in rnn.named_parameters():
            p.fill_(8.0 if name == f"weight_hh_l{layer}" else 1.0 if "ih" in name else 0.0)
    rnn, x = rnn.half(), torch.zeros(12, 2, 1).half()
    # x_t is tiny, so that every h_t > 0 is finite while the gradient is not
    x[0] = 2e-7
    h = torch.full((2, 2, 1), 1e-7).half()
    found = first_nonfinite(rnn, lambda: rnn(x, h)[0][-1].sum().backward())
    assert place(found) == ("backward", "RNN", "δh", layer, "forward", 12 - 1 - 6, 0)


def test_the_gradient_of_a_weight_alone_is_named():
    """δ is small, its product with x is not."""
    rnn = nn.RNN(1, 1, bias=False)
    x = torch.full((3, 1, 1), 1e20)
    with torch.no_grad():
        rnn.weight_ih_l0.fill_(1e-21)
        rnn.weight_hh_l0.fill_(0.1)
    found = first_nonfinite(rnn, lambda: (1e20 * rnn(x)[0]).sum().backward())
    assert place(found)[:3] == ("backward", "RNN", "gradient of weight_ih_l0")


# right models


def test_a_mask_of_scores_that_the_softmax_absorbs_is_no_finding():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.mask, self.soft = nn.GRU(4, 6), Mask(), nn.Softmax(dim=0)

        def forward(self, x):
            y = self.rnn(x)[0]
            return (self.soft(self.mask(y.sum(dim=2)))[..., None] * y).sum(dim=0)

    class Mask(nn.Module):
        def forward(self, scores):
            masked = scores.clone()
            masked[3:] = -INF
            return masked

    model, x = Attention(), torch.randn(7, 3, 4)
    assert first_nonfinite(model, mean_square(model, x)) is None
    with torch.no_grad():
        model.rnn.weight_hh_l0.fill_(NAN)
    found = first_nonfinite(model, mean_square(model, x))
    assert found.tensor == "weight_hh_l0"

    def step():
        return (model(x) * 0 / 0).sum()

    model = Attention()
    found = first_nonfinite(model, step)
    assert found.tensor == "the returned value", "the mask is not what made the loss NaN"


def test_tokens_sparse_gradients_and_unused_outputs_are_no_finding():
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(9, 4, sparse=True)
            self.rnn = nn.LSTM(4, 6, bidirectional=True, batch_first=True)

        def forward(self, ids, lengths):
            x = pack_padded_sequence(self.emb(ids), lengths, True, False)
            return pad_packed_sequence(self.rnn(x)[0], batch_first=True)[0]

    model, ids = Tagger(), torch.randint(9, (3, 7))

    def step():
        model(ids, [2, 7, 3]).pow(2).mean().backward()

    assert first_nonfinite(model, step) is None
    model.emb.weight.register_hook(lambda g: g * NAN)
    found = first_nonfinite(model, lambda: (model(ids, [2, 7, 3]) * 1e38).pow(2).sum().backward())
    assert found is not None


def test_a_forward_pass_alone_is_inspected():
    model, x = Net(nn.GRU).eval(), torch.randn(7, 3, 4)
    with torch.no_grad():
        assert first_nonfinite(model, lambda: model(x)) is None
        model.head.weight.fill_(3e38)
        found = first_nonfinite(model, lambda: model(x))
    assert place(found)[:3] == ("forward", "head", "output")


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_a_loop_over_a_cell_is_inspected(cell):
    one, x = cell(4, 6), torch.randn(9, 3, 4)
    x[5, 2, 1] = NAN

    def step():
        state = None
        for x_t in x:
            state = one(x_t, state)
        (state[0] if isinstance(state, tuple) else state).sum().backward()

    found = first_nonfinite(one, step)
    assert place(found) == ("forward", cell.__name__, "x", 0, None, 0, 2) and found.call == 5


def test_what_cannot_be_inspected_is_rejected():
    gru = nn.GRU(4, 6)
    rejects(TypeError, "should be a torch.nn.Module", first_nonfinite, "gru", lambda: None)
    rejects(ValueError, "contains no", first_nonfinite, nn.Linear(2, 2), lambda: None)
    rejects(ValueError, "called none", first_nonfinite, gru, lambda: None)
