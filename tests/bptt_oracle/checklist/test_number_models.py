"""Rows alone, chunks, and the truth that judges both."""

import re

import pytest
import torch
from torch import nn

from bptt_oracle import checklist
from bptt_oracle.checklist.truth import known_net, measure
from support.adversary.models import numbers, tokens
from support.calculus import rejects

X = numbers(3, 6, 4)
NETS = {
    "LSTM": lambda **o: nn.LSTM(4, 5, **o),
    "GRU": lambda **o: nn.GRU(4, 5, **o),
    "RNN": lambda **o: nn.RNN(4, 5, **o),
    "relu": lambda **o: nn.RNN(4, 5, nonlinearity="relu", **o),
    "projected": lambda **o: nn.LSTM(4, 5, proj_size=2, **o),
    "deep": lambda **o: nn.LSTM(4, 5, num_layers=2, bidirectional=True, bias=False, **o),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_R_is_small_of_torchs_output_and_large_of_a_wrong_one(name, dtype):
    net = NETS[name](batch_first=True).to(dtype)
    x = X.to(dtype)
    with torch.no_grad():
        output = net(x)[0]
    assert known_net(net, x) is net
    assert measure(net, x, output, batch_first=True) < 16
    assert measure(net, x, output * (1 + 100 * torch.finfo(dtype).eps), batch_first=True) > 16
    by_time = measure(net, x.transpose(0, 1), output.transpose(0, 1), batch_first=False)
    assert by_time < 16
    assert measure(net, x, output, batch_first=False) > 16  # another meaning of the axes


def test_only_nets_that_the_reference_has_are_judged_by_it():
    assert known_net(nn.Linear(4, 5), X) is None
    assert known_net(nn.GRU(4, 5).double(), X) is None
    assert known_net(nn.Embedding(11, 4), tokens(3, 6)) is None
    assert known_net(nn.GRU(4, 2**12), numbers(64, 64, 4)) is None


@pytest.mark.parametrize("check", [checklist.row_alone, checklist.in_chunks])
def test_the_evidence_states_R_or_the_bound(check):
    net = nn.GRU(4, 5, batch_first=True)
    measured = re.search(r"R = (\d+\.\d+)", check(net, X).evidence)
    assert 0 < float(measured[1]) < 16
    wrapper = nn.ModuleList([net])
    wrapper.forward = lambda x, state=None: net(x, state)
    assert "within 1000 eps" in check(wrapper, X).evidence


@pytest.mark.parametrize("check", [checklist.row_alone, checklist.in_chunks])
def test_axes_taken_for_each_other_are_named(check):
    time_first, batch_first = nn.GRU(4, 5), nn.GRU(4, 5, batch_first=True)
    assert check(time_first, X.transpose(0, 1), batch_first=False)
    assert "as without batch_first" in check(time_first, X).evidence
    taken = check(batch_first, X.transpose(0, 1), batch_first=False)
    assert "as with batch_first" in taken.evidence


def test_layers_as_many_as_steps_are_not_taken_for_rows():
    net = nn.GRU(4, 5, num_layers=2, batch_first=True)

    def states_by_row(x, state=None):  # [B, L, H]
        state = None if state is None else state.transpose(0, 1).contiguous()
        output, state = net(x, state)
        return output, state.transpose(0, 1)

    assert checklist.in_chunks(states_by_row, X)


def test_a_reset_is_named_by_its_row_and_step():
    from support.adversary.number_models import resetting

    result = resetting(late=True)
    assert "row 0, reset at step 2" in result.evidence


def test_cases_that_show_nothing_are_rejected():
    net = nn.GRU(4, 5, batch_first=True)
    rejects(ValueError, "two rows or more", checklist.row_alone, net, X[:1])
    rejects(ValueError, "three steps or more", checklist.in_chunks, net, X[:, :2])
    with pytest.raises(ValueError, match="one after the first step"):
        checklist.in_chunks(net, X, reset=torch.zeros(6, 3, dtype=torch.bool))


class LastStep(nn.Module):
    """A head on the last step of a recurrent module, which gets [T, B, ·] if `swap`."""

    def __init__(self, batch_first, swap, mix=0.0):
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 8, batch_first=batch_first), nn.Linear(8, 2)
        self.swap, self.mix = swap, mix

    def forward(self, x):
        output = self.rnn(x.transpose(0, 1) if self.swap else x)[0]
        output = self.head(output[-1] if self.swap else output[:, -1])
        return output - self.mix * output.mean(0)


@pytest.mark.parametrize(
    ("model", "clause"),
    [
        (LastStep(False, swap=False), "rows are mixed, because rnn gets [B, T, ·] without batch_f"),
        (LastStep(True, swap=True), "rows are mixed, because rnn gets [T, B, ·] with batch_first"),
        (LastStep(False, swap=True, mix=0.5), "rows are mixed; "),
        (LastStep(True, swap=False, mix=0.5), "rows are mixed; "),
    ],
)
def test_a_recurrent_module_that_gets_its_axes_swapped_is_named(model, clause):
    assert clause in str(checklist.row_alone(model, torch.randn(5, 7, 4)))
    assert checklist.row_alone(LastStep(False, swap=True), torch.randn(5, 7, 4))
