"""Recorded calls are judged by truth: torch's pass, and a planted error is found and named."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pack_padded_sequence

from bptt_oracle.inspection.judged_call import judge_call, product_precision
from bptt_oracle.inspection.layer_calls import record_layer_calls

KINDS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def recorded(model, loss):
    """The calls of one step of a model, with the gradients of `loss()`."""
    with record_layer_calls(model, with_gradients=True) as calls:
        loss().backward()
    return calls


def assert_agree(calls, tensors=None):
    """Every call agrees with truth; `tensors` is how many tensors are judged in each."""
    assert calls
    for call in calls:
        judged = judge_call(call)
        assert judged.verdict.word == "agree", judged.verdict.worst
        assert tensors in (None, len(judged.results))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_of_a_packed_and_of_a_padded_call_agrees(kind, dtype):
    net = KINDS[kind](4, 6, num_layers=2, bidirectional=True, dropout=0.3).to(dtype)
    x = torch.randn(7, 3, 4).to(dtype).requires_grad_()
    packed = pack_padded_sequence(x, [3, 7, 1], enforce_sorted=False)
    calls = recorded(net, lambda: net(packed)[0].data.sum() + net(x)[0].pow(2).sum())
    assert len(calls) == 4
    assert_agree(calls, 12 if kind == "LSTM" else 11)


@pytest.mark.parametrize("options", [{"batch_first": True}, {"proj_size": 3}, {"bias": False}])
def test_options_of_a_module_agree(options):
    net, x = nn.LSTM(4, 6, **options).double(), torch.randn(5, 3, 4).double()
    state = [torch.randn(1, 5 if options == {"batch_first": True} else 3, n) for n in (6, 6)]
    state[0] = state[0][..., : options.get("proj_size", 6)]
    h, c = (s.double().requires_grad_() for s in state)
    assert_agree(recorded(net, lambda: sum(s.pow(2).sum() for s in net(x, (h, c))[1])))


def test_cells_in_a_loop_agree_and_carry_gradients_between_steps():
    cells = nn.ModuleList([nn.LSTMCell(4, 6), nn.GRUCell(6, 5), nn.RNNCell(5, 3)])
    x = torch.randn(3, 2, 4)

    def loss():
        state = after = last = None
        for step in x:
            state = cells[0](step, state)
            after = cells[1](state[0], after)
            last = cells[2](after, last)
        return last.pow(2).sum() + state[1].sum()

    calls = recorded(cells, loss)
    assert len(calls) == 9
    assert "h_0" in calls[-1].gradients
    assert_agree(calls)


def test_a_planted_error_is_a_fault_that_is_named():
    net, x = nn.GRU(4, 6), torch.randn(5, 3, 4)
    (call,) = recorded(net, lambda: net(x)[0].pow(2).sum())
    call.gradients["weight_hh_l0"][7, 2] *= 1.001
    judged = judge_call(call)
    assert judged.verdict.word == "fault"
    assert judged.verdict.worst.tensor == "d_weight_hh_l0"
    assert judged.place == "gate z unit 1 from unit 2"


def test_the_row_of_a_packed_batch_is_that_of_the_caller():
    net, x = nn.RNN(4, 6), torch.randn(7, 3, 4)
    packed = pack_padded_sequence(x, [3, 7, 1], enforce_sorted=False)
    (call,) = recorded(net, lambda: net(packed)[1].sum())
    call.output[1] += 1  # the second row in order of length: the caller's row 0
    assert judge_call(call).place.startswith("time 0 row 0 ")


def test_a_weight_used_in_two_calls_has_the_gradient_of_each_call_alone():
    net, x = nn.RNN(4, 6).double(), torch.randn(5, 3, 4).double()
    calls = recorded(net, lambda: net(x)[0].sum() + net(2 * x)[0].pow(2).sum())
    assert_agree(calls)
    total = sum(call.gradients["weight_ih_l0"] for call in calls)
    assert np.allclose(total, net.weight_ih_l0.grad.numpy(), rtol=1e-12)
    assert not np.allclose(calls[0].gradients["weight_ih_l0"], total)


def test_frozen_weights_and_a_step_without_gradients_are_judged_by_what_there_is():
    net, x = nn.GRU(4, 6), torch.randn(5, 3, 4)
    net.weight_hh_l0.requires_grad_(False)
    (call,) = recorded(net, lambda: net(x)[0].sum())
    assert "d_weight_hh_l0" not in judge_call(call).results
    with record_layer_calls(net, with_gradients=True) as calls, torch.no_grad():
        net(x)
    assert judge_call(calls[0]).results.keys() == {"output", "h_n"}
    assert_agree(calls)


class WeightDrop(nn.Module):
    """An LSTM of which entries of weight_hh_l0 are dropped before each call."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 6)
        self.raw = nn.Parameter(self.lstm.weight_hh_l0.detach().clone())
        del self.lstm.weight_hh_l0

    def forward(self, x):
        self.lstm.weight_hh_l0 = nn.functional.dropout(self.raw, 0.5)
        return self.lstm(x)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def weight_norm(net):
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(net, "weight_hh_l0")


def parametrized(net):
    parametrize.register_parametrization(net, "weight_hh", Doubled())
    return net


MODELS = {
    "weight norm": lambda: weight_norm(nn.LSTM(4, 6)),
    "weight drop": WeightDrop,
    "parametrized cell": lambda: nn.ModuleList([parametrized(nn.GRUCell(4, 6))]),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_that_are_computed_are_those_that_the_call_reads(name):
    model, x = MODELS[name](), torch.randn(5, 3, 4)
    if isinstance(model, nn.ModuleList):
        calls = recorded(model, lambda: model[0](x[0]).pow(2).sum())
    else:
        calls = recorded(model, lambda: model(x)[0].pow(2).sum())
    assert "weight_hh_l0" in calls[0].gradients
    assert_agree(calls)
    if name == "weight drop":
        dropped = calls[0].params[0].weight_hh == 0
        assert 0.2 < dropped.mean() < 0.8
        # The call's own gradient is not 0 where the weight was dropped; that of the raw weight is.
        assert calls[0].gradients["weight_hh_l0"][dropped].any()
        assert not model.raw.grad.numpy()[dropped].any()


def test_a_model_is_copied_pickled_and_loaded_while_it_is_recorded():
    net, x = nn.LSTM(4, 6), torch.randn(5, 3, 4)

    def loss():
        buffer = io.BytesIO()
        torch.save(net, buffer)
        buffer.seek(0)
        loaded = torch.load(buffer, weights_only=False)
        teacher = copy.deepcopy(net)
        with torch.no_grad():
            target = teacher(x)[0] + loaded(x)[0]
        assert target.equal(2 * net(x)[0])
        return (net(x)[0] - target).pow(2).sum()

    calls = recorded(net, loss)
    assert [call.number for call in calls] == [0, 1]  # not those of the copies
    assert_agree(calls)
    assert not net._forward_hooks
    assert not net._forward_pre_hooks


def test_autocast_is_judged_in_the_dtype_that_it_computes_in():
    net, x = nn.GRU(4, 6), torch.randn(5, 3, 4)

    def loss():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return net(x)[0].float().pow(2).sum()

    calls = recorded(net, loss)
    assert calls[0].product_dtype == "bfloat16"
    assert_agree(calls)
    calls[0].gradients["weight_hh_l0"] *= 1.5
    assert judge_call(calls[0]).verdict.word == "fault"


def test_the_kernel_is_that_of_the_call():
    net, x = nn.LSTM(4, 6), torch.randn(5, 3, 4)
    (call,) = recorded(net, lambda: net(x)[0].sum())
    with torch.backends.mkldnn.flags(enabled=False):
        (native,) = recorded(net, lambda: net(x)[0].sum())
    assert native.kernel == "native"
    if torch.backends.mkldnn.is_available():
        assert call.kernel.startswith("MkldnnRnn")


def test_the_precision_of_products_is_that_of_the_switches():
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        assert product_precision("cuda", "float32") == "tf32"
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        assert product_precision("cuda", "float32") == "float32"
    with torch.backends.cudnn.flags(enabled=False):
        assert product_precision("cuda", "float32") == "float32"
    assert product_precision("cuda", "float16") == "float16"
    assert product_precision("cpu", "float32") == "float32"
