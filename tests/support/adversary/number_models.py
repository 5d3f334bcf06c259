"""Rows alone and chunks: points 15 and 16."""

from collections import OrderedDict
from typing import Optional

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from bptt_oracle import checklist

from .case import add
from .models import UNUSUAL, H, Keeping, Model, OfCells, filled, numbers, tokens
from .streams import Rolling, multiply, never

B, T, D = 3, 6, 4
X = numbers(B, T, D)
IDS = tokens(B, T)


def bare(kind=nn.GRU, **options):
    return kind(D, H, **({"batch_first": True} | options))


class Changed(nn.Module):
    """A net of numbers whose input and output are changed."""

    def __init__(self, x=None, output=None, **options):
        super().__init__()
        self.rnn = bare(**options)
        self.change_x, self.change = x or (lambda x: x), output or (lambda o: o)

    def forward(self, x, state=None):
        output, state = self.rnn(self.change_x(x), state)
        return self.change(output), state


class Series(nn.Module):
    """Numbers [B, T], one per step."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(1, H, batch_first=True)

    def forward(self, x):
        return self.rnn(x[..., None])[0][:, -1, 0]


class Scaled(nn.LSTM):
    """An LSTM whose subclass computes something else on purpose."""

    def forward(self, x, state=None):
        output, state = super().forward(x, state)
        return output * 1.001, state


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(4, 7, batch_first=True)

    def forward(self, x, state: Optional[torch.Tensor] = None):  # noqa: UP045  for the script
        return self.rnn(x, state)


class ModelOutput(OrderedDict):
    """A dict whose items are attributes too."""

    def __setitem__(self, name, value):
        super().__setitem__(name, value)
        super().__setattr__(name, value)


class ReturnsModelOutput(Plain):
    def forward(self, x):
        output, _ = self.rnn(x)
        return ModelOutput(last_hidden_state=output, attentions=None)


def orthogonal(net):
    parametrizations.orthogonal(net, "weight_hh_l0")
    return net


def hooked(net):
    net.register_forward_hook(lambda m, args, result: (2 * result[0], result[1]))
    return net


def scaled(model, factor):
    """A chaotic net."""
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(factor)
    return model


def alone(model, x=X, **options):
    return checklist.row_alone(model, x, **options)


def leak(size):
    def change(o):
        mixed = o.clone()
        mixed[0] = mixed[0] + size * o[-1]
        return mixed

    return change


class SharedStart(nn.Module):
    """Starts each row from the state of the row before."""

    def __init__(self):
        super().__init__()
        self.rnn = bare()

    def forward(self, x):
        outputs, h = [], None
        for row in x.split(1):
            o, h = self.rnn(row, h)
            outputs.append(o)
        return torch.cat(outputs)


ALONE_RIGHT = {
    "GRU, judged by R": lambda: alone(bare()),
    "LSTM, judged by R": lambda: alone(bare(nn.LSTM)),
    "projected LSTM, judged by R": lambda: alone(bare(nn.LSTM, proj_size=3)),
    "bidirectional, two layers, judged by R": lambda: alone(
        bare(nn.LSTM, num_layers=2, bidirectional=True, dropout=0.5)
    ),
    "relu, judged by R": lambda: alone(bare(nn.RNN, nonlinearity="relu")),
    "bfloat16, judged by R": lambda: alone(bare().bfloat16(), X.bfloat16()),
    "float64, judged by R": lambda: alone(bare().double(), X.double()),
    "time first, meant": lambda: alone(
        bare(batch_first=False), X.transpose(0, 1), batch_first=False
    ),
    "time first, many to one": lambda: alone(
        (lambda m: lambda x: m(x)[0][-1])(bare(batch_first=False)),
        X.transpose(0, 1),
        batch_first=False,
    ),
    "many to one": lambda: alone(Changed(output=lambda o: o[:, -1])),
    "a number per row": lambda: alone(Series(), X[..., 0]),
    "flattened": lambda: alone(Changed(output=lambda o: o.flatten(0, 1))),
    "state kept inside": lambda: alone(Keeping(), IDS),
    "cells": lambda: alone(OfCells(), IDS),
    "batch norm in training mode": lambda: alone(
        nn.Sequential(Series(), nn.Unflatten(0, (-1, 1)), nn.BatchNorm1d(1)), X[..., 0]
    ),
    "final state": lambda: alone((lambda m: lambda x: m(x)[1])(bare())),
    "chaotic, judged by R": lambda: alone(
        scaled(nn.GRU(5, 50, batch_first=True), 10), numbers(8, 60, 5)
    ),
    "two rows": lambda: alone(bare(), X[:2]),
    "a subclass with a forward of its own": lambda: alone(Scaled(D, H, batch_first=True)),
    "orthogonal recurrent weights": lambda: alone(orthogonal(bare())),
    "a hook that changes the output": lambda: alone(hooked(bare())),
    "a distribution": lambda: alone(
        (lambda m: lambda x: torch.distributions.Normal(m(x)[0], 1.0).loc)(bare())
    ),
    "in an OrderedDict with attributes": lambda: alone(ReturnsModelOutput()),
    "scripted": lambda: alone(torch.jit.script(Plain())),
    "in parallel": lambda: alone(nn.DataParallel(Plain())),
    "square": lambda: alone(bare(), numbers(5, 5, D)),
}
ALONE_WRONG = {
    "without batch_first": lambda: alone(bare(batch_first=False)),
    "without batch_first, LSTM": lambda: alone(bare(nn.LSTM, batch_first=False)),
    "without batch_first, square": lambda: alone(bare(batch_first=False), numbers(5, 5, D)),
    "without batch_first, the last step": lambda: alone(
        Changed(output=lambda o: o[-1], batch_first=False)
    ),
    "without batch_first, the last column": lambda: alone(
        Changed(output=lambda o: o[:, -1], batch_first=False)
    ),
    "without batch_first, tokens": lambda: alone(Model(batch_first=False), IDS),
    "without batch_first, in a dict": lambda: alone(Model(batch_first=False, returns="dict"), IDS),
    "with batch_first, x time first": lambda: alone(bare(), X.transpose(0, 1), batch_first=False),
    "normalised over the batch": lambda: alone(Changed(x=lambda x: x - x.mean(0))),
    "output normalised over the batch": lambda: alone(Changed(output=lambda o: o - o.mean(0))),
    "scaled by the largest of the batch": lambda: alone(Changed(x=lambda x: x / x.abs().amax())),
    "softmax over the batch": lambda: alone(Changed(output=lambda o: o.softmax(0))),
    "row 0 reads the last row": lambda: alone(Changed(output=leak(0.3))),
    "row 0 reads a thousandth of the last row": lambda: alone(Changed(output=leak(1e-3))),
    "row 0 reads a hundred-thousandth of the last row": lambda: alone(Changed(output=leak(3e-5))),
    "each row starts from the row before": lambda: alone(SharedStart()),
    "rows rolled": lambda: alone(Changed(output=lambda o: o.roll(1, 0))),
    "view instead of transpose": lambda: alone(
        Changed(
            x=lambda x: x.reshape(x.shape[1], x.shape[0], D),
            batch_first=False,
            output=lambda o: o.reshape(o.shape[1], o.shape[0], H),
        )
    ),
}
ALONE_BLIND = {
    "chaotic, not known to the reference": lambda: alone(
        nn.Sequential(scaled(nn.GRU(5, 50, batch_first=True), 10)), numbers(8, 60, 5)
    ),
    "NaN weights": lambda: alone(filled(bare(), torch.nan)),
    "zero weights": lambda: alone(filled(Model(reads=D), 0)),
    "one row": lambda: alone(bare(), X[:1]),
    "dropout that eval() does not switch off": lambda: alone(
        Changed(output=lambda o: F.dropout(o, 0.5, True))
    ),
    "one number for the batch": lambda: alone((lambda m: lambda x: m(x)[0].mean())(bare())),
}
for unusual, make in UNUSUAL.items():
    add("row_alone", "right", unusual, lambda make: alone(make(Model), IDS), make)
for kind, cases in (("right", ALONE_RIGHT), ("wrong", ALONE_WRONG), ("blind", ALONE_BLIND)):
    for name, run in cases.items():
        add("row_alone", kind, name, run)

# chunks

RESETS = torch.zeros(T, B, dtype=torch.bool)
RESETS[2, 0] = RESETS[4, 1] = RESETS[0, 2] = RESETS[3, 2] = True


def pieces(model, x=X, **options):
    return checklist.in_chunks(model, x, **options)


def called(model, state=lambda s: s, output=lambda o: o, x=lambda x: x):
    """The model, with the state that enters, the output and the input changed."""

    def call(piece, s=None):
        o, new = model(x(piece), state(s))
        return output(o), new

    return call


class Resetting(Rolling):
    """Starts from zeros where no state is given."""

    def start(self, x):
        return torch.zeros(len(x), H, dtype=self.head.weight.dtype)

    def forward(self, x, h, resets):
        return super().forward(x, self.start(x) if h is None else h, resets)


class ManyToOneResetting(Resetting):
    def forward(self, x, h, resets):
        output, h = super().forward(x, h, resets)
        return output[:, -1], h


def resetting(change=lambda m: m, **options):
    return checklist.in_chunks(change(Resetting(**options)), IDS, reset=RESETS)


class PartOfState(nn.Module):
    """Returns h of an LSTM and forgets c."""

    def __init__(self):
        super().__init__()
        self.rnn = bare(nn.LSTM)

    def forward(self, x, h=None):
        output, (h, _) = self.rnn(x, None if h is None else (h, torch.zeros_like(h)))
        return output, h


class Positions(nn.Module):
    """Counts its positions from 0 in each chunk."""

    def __init__(self, carried):
        super().__init__()
        self.rnn, self.carried = bare(), carried

    def forward(self, x, state=None):
        h, start = state if state is not None else (None, torch.zeros(1))
        count = torch.arange(x.shape[1])[:, None] + (start if self.carried else 0)
        output, h = self.rnn(x + 0.3 * count, h)
        return output, (h, start + x.shape[1])


def convolved(x):
    """Reads the step before, which a chunk has not."""
    return x + F.pad(x, (0, 0, 1, 0))[:, :-1]


CHUNKS_RIGHT = {
    "GRU, judged by R": lambda: pieces(bare()),
    "LSTM, judged by R": lambda: pieces(bare(nn.LSTM)),
    "two layers, dropout, judged by R": lambda: pieces(bare(nn.LSTM, num_layers=2, dropout=0.5)),
    "relu, judged by R": lambda: pieces(bare(nn.RNN, nonlinearity="relu")),
    "projected, judged by R": lambda: pieces(bare(nn.LSTM, proj_size=3)),
    "float64, judged by R": lambda: pieces(bare().double(), X.double()),
    "bfloat16, judged by R": lambda: pieces(bare().bfloat16(), X.bfloat16()),
    "time first, meant": lambda: pieces(
        bare(batch_first=False), X.transpose(0, 1), batch_first=False
    ),
    "one row": lambda: pieces(bare(), X[:1]),
    "a subclass with a forward of its own": lambda: pieces(Scaled(D, H, batch_first=True)),
    "orthogonal recurrent weights": lambda: pieces(orthogonal(bare())),
    "scripted": lambda: pieces(torch.jit.script(Plain())),
    "chaotic, judged by R": lambda: pieces(
        scaled(nn.GRU(5, 50, batch_first=True), 10), numbers(8, 60, 5)
    ),
    "many to one": lambda: pieces(called(bare(), output=lambda o: o[:, -1])),
    "many to one, T classes": lambda: pieces(called(bare(), output=lambda o: o[:, -1, :3])),
    "state kept inside": lambda: pieces(Keeping(), IDS),
    "cells": lambda: pieces(OfCells(), IDS),
    "detached": lambda: pieces(called(bare(), state=lambda s: None if s is None else s.detach())),
    "positions carried": lambda: pieces(Positions(True)),
    "with resets": resetting,
    "with resets, multiplied": lambda: resetting(reset=multiply),
    "with resets, many to one": lambda: checklist.in_chunks(
        ManyToOneResetting(), IDS, reset=RESETS
    ),
    "with resets, float64": lambda: resetting(lambda m: m.double()),
}
CHUNKS_WRONG = {
    "bidirectional": lambda: pieces(bare(bidirectional=True)),
    "bidirectional LSTM, two layers": lambda: pieces(
        bare(nn.LSTM, num_layers=2, bidirectional=True)
    ),
    "the state is ignored": lambda: pieces(called(bare(), state=lambda s: None)),
    "the state is zeroed": lambda: pieces(
        called(bare(), state=lambda s: None if s is None else s * 0)
    ),
    "the state is scaled": lambda: pieces(
        called(bare(), state=lambda s: None if s is None else 0.99 * s)
    ),
    "rows of the state rolled": lambda: pieces(
        called(bare(), state=lambda s: None if s is None else s.roll(1, 1))
    ),
    "c is lost": lambda: pieces(PartOfState()),
    "without batch_first": lambda: pieces(bare(batch_first=False)),
    "without batch_first, square": lambda: pieces(bare(batch_first=False), numbers(5, 5, D)),
    "with batch_first, x time first": lambda: pieces(bare(), X.transpose(0, 1), batch_first=False),
    "positions from 0 in each chunk": lambda: pieces(Positions(False)),
    "normalised over time": lambda: pieces(called(bare(), x=lambda x: x - x.mean(1, True))),
    "a convolution padded in each chunk": lambda: pieces(called(bare(), x=convolved)),
    "reversed in each chunk": lambda: pieces(called(bare(), x=lambda x: x.flip(1))),
    "output normalised over time": lambda: pieces(
        called(bare(), output=lambda o: o - o.mean(1, True))
    ),
    "resets ignored": lambda: resetting(when=never),
    "resets at the first step of a chunk only": lambda: resetting(
        when=lambda r, t: r[t] if t == 0 else never(r, t)
    ),
    "resets one step late": lambda: resetting(late=True),
    "resets of all rows": lambda: resetting(when=lambda r, t: r[t] | r[t].any()),
    "resets of other rows": lambda: resetting(when=lambda r, t: r[t].roll(1)),
    "resets halve the state": lambda: resetting(
        reset=lambda s, r: torch.where(r[:, None], 0.5 * s, s)
    ),
    "resets, many to one, ignored": lambda: checklist.in_chunks(
        ManyToOneResetting(when=never), IDS, reset=RESETS
    ),
}
CHUNKS_BLIND = {
    "NaN weights": lambda: pieces(filled(bare(), torch.nan)),
    "zero weights": lambda: pieces(filled(Model(reads=D), 0)),
    "no state returned": lambda: pieces(lambda x, s: bare()(x)[0]),
    "no later reset": lambda: checklist.in_chunks(Resetting(), IDS, reset=RESETS & False),
    "two steps": lambda: pieces(bare(), X[:, :2]),
}
for unusual, make in UNUSUAL.items():
    add("in_chunks", "right", unusual, lambda make: pieces(make(Model), IDS), make)
for kind, cases in (("right", CHUNKS_RIGHT), ("wrong", CHUNKS_WRONG), ("blind", CHUNKS_BLIND)):
    for name, run in cases.items():
        add("in_chunks", kind, name, run)
