"""The state carried from chunk to chunk: points 5, 6 and 7."""

from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bptt_oracle import checklist

from .case import add
from .models import H, Keeping, Model, OfCells, V, compiled, filled, tokens

B, T, CHUNKS = 3, 4, 3
DATA = tokens(B, T * CHUNKS + 1)


def chunks():
    return DATA[:, :-1].split(T, 1)


def detached(state):
    if isinstance(state, torch.Tensor):
        return state.detach()
    return type(state)(detached(s) for s in state)


def loss_of(logits):
    return logits.float().square().mean()


def loop_of(model, after=detached, optimizer=None, call=None, finish=None, backward=None):
    """A loop over chunks; `after` changes the state between them."""
    call = call or (lambda x, state: model(x, state))
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.01)

    def loop():
        state = None
        for k, x in enumerate(chunks()):
            logits, state = call(x, state)
            loss = loss_of(logits)
            if backward:
                backward(loss, k)
            else:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            state = after(state)
            if finish:
                finish(k)

    return loop


def carry(model, after=detached, check=checklist.carry_and_detach, **options):
    return check(model, loop_of(model, after, **options))


def both(model, after=detached, **options):
    return carry(model, after, checklist.both_detached, **options)


def scaled_loop(model):
    scaler, optimizer = torch.amp.GradScaler("cpu"), torch.optim.SGD(model.parameters(), 0.01)

    def backward(loss, k):
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()

    return backward


def accumulating(model, every=2, retain=False):
    optimizer = torch.optim.Adam(model.parameters())

    def backward(loss, k):
        loss.backward(retain_graph=retain)
        if k % every:
            optimizer.step()
            optimizer.zero_grad()

    return backward


def validating(model):
    """A validation between the chunks."""

    def finish(k):
        model.eval()
        with torch.no_grad():
            state = None
            for x in chunks():
                _, state = model(x, state)
        model.train()

    return finish


class Inside(Keeping):
    """Keeps its state inside, and cuts it there."""

    def __init__(self, cut=detached, **options):
        super().__init__(**options)
        self.cut = cut

    def forward(self, x, state=None):
        output = super().forward(x)
        self.hidden = self.cut(self.hidden)
        return output


def inside(model, check=checklist.carry_and_detach):
    def call(x, state):
        output = model(x)
        return output["logits"] if isinstance(output, dict) else output, state

    loop = loop_of(model, lambda s: s, call=call)
    return check(model, loop)


class CellsInside(nn.Module):
    """A cell in a loop, its state kept inside."""

    def __init__(self, cut=True, forget=False):
        super().__init__()
        self.inner, self.cut, self.forget, self.hidden = OfCells(), cut, forget, None

    def forward(self, x):
        output, h = self.inner(x, None if self.forget else self.hidden)
        self.hidden = h.detach() if self.cut else h
        return output


class InsideOfDict(Inside):
    """The same, with its output in a dict."""

    def forward(self, x, state=None):
        return {"logits": super().forward(x)}


class OfLists(Model):
    """Takes and returns h and c in a list."""

    def forward(self, x, state=None):
        output, state = super().forward(x, None if state is None else tuple(state))
        return output, list(state)


class Separate(Model):
    """Takes and returns h and c as arguments of their own."""

    def forward(self, x, h=None, c=None):
        output, (h, c) = super().forward(x, None if h is None else (h, c))
        return output, h, c


class Masked(Model):
    """Takes a mask of floating point before the state."""

    def forward(self, x, mask, state=None):
        output, state = super().forward(x, state)
        return output * mask[..., None], state


class Attending(Model):
    """Returns weights of attention beside the state."""

    def forward(self, x, state=None):
        output, state = super().forward(x, state)
        return output, state, output.mean(2).softmax(1)


class TwoLayers(nn.Module):
    """A list of pairs as its state."""

    def __init__(self):
        super().__init__()
        self.emb, self.head = nn.Embedding(V, H), nn.Linear(H, V)
        self.layers = nn.ModuleList(nn.LSTM(H, H, batch_first=True) for _ in range(2))

    def forward(self, x, states=None):
        h, new = self.emb(x), []
        for layer, state in zip(self.layers, states or [None, None], strict=True):
            h, state = layer(h, state)
            new.append(state)
        return self.head(h), new


class Learnable(Model):
    """A learnable initial state."""

    def __init__(self):
        super().__init__()
        self.h0 = nn.Parameter(torch.randn(1, 1, H))

    def forward(self, x, state=None):
        return super().forward(
            x, self.h0.expand(-1, len(x), -1).contiguous() if state is None else state
        )


class Own(nn.Module):
    """Its own equations, its own state."""

    def __init__(self, cut=True):
        super().__init__()
        self.emb, self.w, self.head = nn.Embedding(V, H), nn.Linear(2 * H, H), nn.Linear(H, V)
        self.cut, self.h = cut, None

    def forward(self, x):
        h, outputs = torch.zeros(len(x), H) if self.h is None else self.h, []
        for e in self.emb(x).unbind(1):
            h = torch.tanh(self.w(torch.cat([e, h], 1)))
            outputs.append(self.head(h))
        self.h = h.detach() if self.cut else h
        return torch.stack(outputs, 1)


def checkpointed(model):
    """The model is called again during the backward pass."""

    def call(x, state):
        return checkpoint(model, x, state, use_reentrant=False)

    return call


def cut(state):
    return tuple(s.detach().clone() for s in state)


def no_graph(model):
    with torch.no_grad():
        state = None
        for x in chunks():
            _, state = model(x, state)


def one_state(model, keep):
    """A state of the first chunk is kept for all."""
    saved = []

    def after(state):
        saved.append(detached(state))
        return saved[0] if keep == "first" else saved[max(len(saved) - 2, 0)]

    return after


def autocast_call(model):
    def call(x, state):
        with torch.autocast("cpu", torch.bfloat16):
            return model(x, state)

    return call


def epochs(model, after=detached, starts_anew=True):
    """The data twice."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def loop():
        state = None
        for _ in range(2):
            state = None if starts_anew else state
            for x in chunks():
                output, state = model(x, state)
                optimizer.zero_grad()
                loss_of(output).backward()
                optimizer.step()
                state = after(state)

    return checklist.carry_and_detach(model, loop)


def two_streams(model, after=detached):
    """Two batches of streams that take turns."""

    def loop():
        states = [None, None]
        for x in chunks():
            for k in range(2):
                output, states[k] = model(x.roll(k, 1), states[k])
                loss_of(output).backward()
                states[k] = after(states[k])

    return checklist.carry_and_detach(model, loop)


RIGHT = {
    "two epochs": lambda: epochs(Model()),
    "two epochs, carried on": lambda: epochs(Model(), starts_anew=False),
    "the state before x by keyword": lambda: carry(m := Model(), call=lambda x, s: m(state=s, x=x)),
    "GRU": lambda: carry(Model()),
    "LSTM": lambda: carry(Model(nn.LSTM)),
    "two layers with dropout": lambda: carry(Model(nn.GRU, num_layers=2, dropout=0.5)),
    "GradScaler": lambda: carry(m := Model(), backward=scaled_loop(m)),
    "autocast": lambda: carry(m := Model(), call=autocast_call(m)),
    "accumulation": lambda: carry(m := Model(), backward=accumulating(m)),
    "bfloat16": lambda: carry(Model().bfloat16()),
    "state kept inside": lambda: inside(Inside()),
    "state kept inside, LSTM": lambda: inside(Inside(kind=nn.LSTM)),
    "state kept inside, cells": lambda: inside(CellsInside()),
    "state kept inside, in a dict": lambda: inside(InsideOfDict()),
    "cells": lambda: carry(OfCells()),
    "h and c apart": lambda: carry(
        m := Separate(nn.LSTM), call=lambda x, s: (lambda o, h, c: (o, (h, c)))(*m(x, *(s or ())))
    ),
    "a mask beside the state": lambda: carry(
        m := Masked(), call=lambda x, s: m(x, torch.ones(x.shape), s)
    ),
    "attention weights returned": lambda: carry(m := Attending(), call=lambda x, s: m(x, s)[:2]),
    "list of pairs": lambda: carry(TwoLayers()),
    "learnable initial state": lambda: carry(Learnable()),
    "checkpointed": lambda: carry(m := Model(), call=checkpointed(m)),
    "a validation between": lambda: carry(m := Model(), finish=validating(m)),
    "by keyword": lambda: carry(m := Model(), call=lambda x, s: m(x, state=s)),
    "in a dict": lambda: carry(
        m := Model(returns="dict"), call=lambda x, s: (lambda r: (r["logits"], r["state"]))(m(x, s))
    ),
    "in an object": lambda: carry(
        m := Model(returns="object"), call=lambda x, s: (lambda r: (r.logits, r.state))(m(x, s))
    ),
    "detach_": lambda: carry(Model(), lambda s: s.detach_()),
    "data": lambda: carry(Model(), lambda s: s.data),
    "cloned": lambda: carry(Model(nn.LSTM), cut),
    "compiled": lambda: carry(compiled(Model())),
    "evaluation mode with a graph": lambda: carry(Model().eval()),
    "two optimizers": lambda: carry(
        m := Model(),
        optimizer=SimpleNamespace(
            zero_grad=m.zero_grad,
            step=lambda: [
                o.step()
                for o in (
                    torch.optim.SGD(m.rnn.parameters(), 0.1),
                    torch.optim.Adam(m.head.parameters()),
                )
            ],
        ),
    ),
    "tied weights": lambda: carry(Model(tied=True)),
}
WRONG = {
    "two epochs, reset": lambda: epochs(Model(), lambda s: None),
    "two epochs, attached": lambda: epochs(Model(), lambda s: s),
    "reset": lambda: carry(Model(), lambda s: None),
    "zeros": lambda: carry(Model(), torch.zeros_like),
    "attached": lambda: carry(Model(), lambda s: s),
    "attached with retain_graph": lambda: carry(
        Model(), lambda s: s, backward=lambda loss, k: loss.backward(retain_graph=True)
    ),
    "attached clone": lambda: carry(Model(), lambda s: s.clone()),
    "attached through a product": lambda: carry(
        Model(), lambda s: s * 1.0, backward=lambda loss, k: loss.backward(retain_graph=True)
    ),
    "one backward at the end": lambda: carry(Model(), lambda s: s, backward=lambda loss, k: None),
    "the first state": lambda: carry(m := Model(), one_state(m, "first")),
    "the state before the last": lambda: carry(m := Model(), one_state(m, "before")),
    "scaled": lambda: carry(Model(), lambda s: 0.9 * s.detach()),
    "rows rolled": lambda: carry(Model(), lambda s: s.detach().roll(1, 1)),
    "c forgotten": lambda: carry(Model(nn.LSTM), lambda s: (s[0].detach(), s[1] * 0)),
    "c attached": lambda: carry(Model(nn.LSTM), lambda s: (s[0].detach(), s[1])),
    "state kept inside, attached": lambda: inside(Inside(cut=lambda s: s)),
    "state kept inside, zeroed": lambda: inside(Inside(cut=lambda s: s.detach() * 0)),
    "state inside a cell, attached": lambda: inside(CellsInside(cut=False)),
    "no state anywhere": lambda: inside(nn.Sequential(Model(returns="tensor"))),
    "attached, GradScaler": lambda: carry(m := Model(), lambda s: s, backward=scaled_loop(m)),
    "attached, compiled": lambda: carry(compiled(Model()), lambda s: s),
    "attached, learnable start": lambda: carry(Learnable(), lambda s: s),
    "reset, with a validation": lambda: carry(m := Model(), lambda s: None, finish=validating(m)),
    "one of two layers attached": lambda: carry(TwoLayers(), lambda s: [detached(s[0]), s[1]]),
}
BLIND = {
    "two streams that take turns": lambda: two_streams(Model()),
    "two streams that take turns, attached": lambda: two_streams(Model(), lambda s: s),
    "NaN weights": lambda: carry(filled(Model(), torch.nan)),
    "zero weights": lambda: carry(filled(Model(), 0)),
    "no graph": lambda: checklist.carry_and_detach(m := Model(), lambda: no_graph(m)),
    "own equations, own state": lambda: inside(Own()),
    "own equations, own state, attached": lambda: checklist.carry_and_detach(
        m := Own(cut=False), lambda: [m(x) for x in chunks()]
    ),
    "one chunk": lambda: checklist.carry_and_detach(m := Model(), lambda: m(DATA)),
    "rows are reset": lambda: carry(
        Model(), lambda s: s.detach() * torch.tensor([1.0, 0, 1])[None, :, None]
    ),
}
for kind, cases in (("right", RIGHT), ("wrong", WRONG), ("blind", BLIND)):
    for name, run in cases.items():
        add("carry_and_detach", kind, name, run)


def lstm(**options):
    return Model(nn.LSTM, **options)


PAIRS_RIGHT = {
    "a tuple": lambda: both(lstm()),
    "cloned": lambda: both(lstm(), cut),
    "h and c in a list": lambda: both(OfLists(nn.LSTM), lambda s: [s[0].detach(), s[1].detach()]),
    "two layers with dropout": lambda: both(lstm(num_layers=2, dropout=0.5)),
    "projected": lambda: both(Projected()),
    "bidirectional": lambda: both(lstm(bidirectional=True)),
    "float64": lambda: both(lstm().double()),
    "bfloat16": lambda: both(lstm().bfloat16()),
    "GradScaler": lambda: both(m := lstm(), backward=scaled_loop(m)),
    "accumulation": lambda: both(m := lstm(), backward=accumulating(m)),
    "h and c apart": lambda: both(
        m := Separate(nn.LSTM), call=lambda x, s: (lambda o, h, c: (o, (h, c)))(*m(x, *(s or ())))
    ),
    "state kept inside": lambda: inside(Inside(kind=nn.LSTM), checklist.both_detached),
    "list of pairs": lambda: both(TwoLayers()),
    "a validation between": lambda: both(m := lstm(), finish=validating(m)),
    "checkpointed": lambda: both(m := lstm(), call=checkpointed(m)),
    "compiled": lambda: both(compiled(lstm())),
    "in a dict": lambda: both(
        m := lstm(returns="dict"), call=lambda x, s: (lambda r: (r["logits"], r["state"]))(m(x, s))
    ),
}
PAIRS_WRONG = {
    "c attached": lambda: both(lstm(), lambda s: (s[0].detach(), s[1])),
    "h attached": lambda: both(lstm(), lambda s: (s[0], s[1].detach())),
    "both attached": lambda: both(lstm(), lambda s: s),
    "h twice": lambda: both(lstm(), lambda s: (s[0].detach(), s[0].detach())),
    "exchanged": lambda: both(lstm(), lambda s: (s[1].detach(), s[0].detach())),
    "c zero": lambda: both(lstm(), lambda s: (s[0].detach(), torch.zeros_like(s[1]))),
    "h zero": lambda: both(lstm(), lambda s: (torch.zeros_like(s[0]), s[1].detach())),
    "none": lambda: both(lstm(), lambda s: None),
    "c attached with retain_graph": lambda: both(
        lstm(),
        lambda s: (s[0].detach(), s[1]),
        backward=lambda loss, k: loss.backward(retain_graph=True),
    ),
    "c attached through tanh": lambda: both(lstm(), lambda s: (s[0].detach(), s[1].clamp(-9, 9))),
    "c of the first chunk": lambda: both(m := lstm(), one_state(m, "first")),
    "state kept inside, c attached": lambda: inside(
        Inside(cut=lambda s: (s[0].detach(), s[1]), kind=nn.LSTM), checklist.both_detached
    ),
    "one layer attached": lambda: both(TwoLayers(), lambda s: [detached(s[0]), s[1]]),
}
PAIRS_BLIND = {
    "a GRU": lambda: both(Model()),
    "NaN weights": lambda: both(filled(lstm(), torch.nan)),
    "no graph": lambda: checklist.both_detached(m := lstm(), lambda: no_graph(m)),
}


class Projected(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(V, 5)
        self.rnn, self.head = nn.LSTM(5, H, proj_size=3, batch_first=True), nn.Linear(3, V)

    def forward(self, x, state=None):
        h, state = self.rnn(self.emb(x), state)
        return self.head(h), state


for kind, cases in (("right", PAIRS_RIGHT), ("wrong", PAIRS_WRONG), ("blind", PAIRS_BLIND)):
    for name, run in cases.items():
        add("both_detached", kind, name, run)

# samples

ONE, OTHER = tokens(B, T), tokens(2 * B, T)[B:]


def fresh(model, take=lambda r: r):
    return checklist.fresh_start(lambda x: take(model(x)), ONE, OTHER)


class Counting(Model):
    """Changes with every call."""

    calls = 0.0

    def forward(self, x, state=None):
        self.calls += 1
        output, state = super().forward(x, state)
        return output + 0.01 * self.calls, state


class KeepingSameBatch(Keeping):
    """Keeps the state if the batch has the same size."""

    def forward(self, x, state=None):
        if self.hidden is not None and self.hidden.shape[1] != len(x):
            self.hidden = None
        return super().forward(x)


class Buffered(Model):
    """Keeps the state in a buffer, in place."""

    def __init__(self):
        super().__init__()
        self.register_buffer("hidden", torch.zeros(1, B, H))

    def forward(self, x, state=None):
        output, state = super().forward(x, self.hidden)
        self.hidden.copy_(state.detach())
        return output


class ByMode(Keeping):
    """Keeps its state in training mode only."""

    def forward(self, x, state=None):
        output = super().forward(x)
        if not self.training:
            self.hidden = None
        return output


class Caching(Model):
    """Returns the first result for ever."""

    first = None

    def forward(self, x, state=None):
        self.first = super().forward(x)[0] if self.first is None else self.first + 0.1
        return self.first


class LearnsInPlace(Model):
    """Adapts its weights as it reads."""

    def forward(self, x, state=None):
        with torch.no_grad():
            self.head.bias.add_(0.01)
        return super().forward(x, state)


class Lazy(Model):
    """Makes a mask in its first call."""

    mask = None

    def forward(self, x, state=None):
        self.mask = torch.ones(1) if self.mask is None else self.mask
        output, state = super().forward(x, state)
        return output * self.mask, state


class Resetting(Keeping):
    def run(self, x):
        self.hidden = None
        return self(x)


SHARED = {}


def in_a_global(model):
    def run(x):
        output, SHARED[model] = model(x, SHARED.get(model))
        return output

    return run


def spoiling(model):
    def run(x):
        output = model(x)[0]
        x.zero_()
        return output

    return run


class Noting(Model):
    """Keeps its last output, for a plot."""

    def forward(self, x, state=None):
        output, state = super().forward(x, state)
        self.last = output.detach()
        return output, state


FRESH_RIGHT = {
    "keeps its last output for a plot": lambda: fresh(Noting()),
    "GRU": lambda: fresh(Model()),
    "LSTM, output and state": lambda: fresh(Model(nn.LSTM)),
    "dropout in training mode": lambda: fresh(Model(num_layers=2, dropout=0.5)),
    "dropout always": lambda: fresh(Model(after=lambda h: F.dropout(h, 0.5, True))),
    "batch norm in training mode": lambda: fresh(
        nn.Sequential(Model(returns="tensor"), nn.Flatten(0, 1), nn.BatchNorm1d(V))
    ),
    "lazy mask": lambda: fresh(Lazy()),
    "reset before each sample": lambda: fresh(Resetting().run),
    "in a dict": lambda: fresh(Model(returns="dict")),
    "in an object": lambda: fresh(Model(returns="object")),
    "bfloat16": lambda: fresh(Model().bfloat16()),
    "autocast": lambda: fresh(Model(autocast=True)),
    "changes its input": lambda: checklist.fresh_start(spoiling(Model()), ONE, OTHER),
    "compiled": lambda: fresh(compiled(Model())),
    "logits of −∞": lambda: fresh(
        Model(), lambda r: r[0].index_fill(2, torch.tensor([0]), -torch.inf)
    ),
    "another size": lambda: checklist.fresh_start(Model(), ONE, tokens(1, 9)),
    "samples in a dict": lambda: (
        lambda m: checklist.fresh_start(lambda d: m(d["ids"])[0], {"ids": ONE}, {"ids": OTHER})
    )(Model()),
}
FRESH_WRONG = {
    "state kept": lambda: fresh(Keeping()),
    "LSTM state kept": lambda: fresh(Keeping(nn.LSTM)),
    "state kept, detached": lambda: fresh(Inside()),
    "state kept in cells": lambda: fresh(CellsInside()),
    "state kept in a buffer": lambda: fresh(Buffered()),
    "state kept in training mode": lambda: fresh(ByMode()),
    "state kept in a global": lambda: checklist.fresh_start(in_a_global(Model()), ONE, OTHER),
    "state kept if the size fits": lambda: checklist.fresh_start(
        KeepingSameBatch(), ONE, tokens(1, 9)
    ),
    "counts its calls": lambda: fresh(Counting()),
    "a cache that grows": lambda: fresh(Caching()),
    "weights that change": lambda: fresh(LearnsInPlace()),
    "state kept, in a dict": lambda: fresh(Keeping(), lambda o: {"logits": o}),
    "state kept, float64": lambda: fresh(Keeping().double()),
    "state kept, compiled": lambda: fresh(compiled(Keeping())),
    "own equations, own state": lambda: fresh(Own()),
}
FRESH_BLIND = {
    "a state forgotten after 400 steps": lambda: (
        lambda m: checklist.fresh_start(lambda x: m(x)[:, -1], tokens(2, 400), tokens(4, 400)[2:])
    )(Keeping()),
    "NaN weights": lambda: fresh(filled(Model(), torch.nan)),
    "zero weights": lambda: fresh(filled(Model(), 0)),
    "returns nothing": lambda: checklist.fresh_start(lambda x: None, ONE, OTHER),
    "the same sample": lambda: checklist.fresh_start(Model(), ONE, ONE),
}
for kind, cases in (("right", FRESH_RIGHT), ("wrong", FRESH_WRONG), ("blind", FRESH_BLIND)):
    for name, run in cases.items():
        add("fresh_start", kind, name, run)
