"""Causality and generation: points 13 and 11."""

import torch
from torch import nn
from torch.nn import functional as F

from bptt_oracle import checklist

from .case import add
from .models import (
    UNUSUAL,
    B,
    H,
    Keeping,
    Model,
    OfCells,
    T,
    V,
    compiled,
    filled,
    numbers,
    tokens,
    weight_normed,
    wrapped,
)

IDS = tokens(B, T)


def causal(model, x=IDS):
    return checklist.causality(model, x)


class Changed(Model):
    """The model with its embedded input and its output changed."""

    def __init__(self, x=None, output=None, **options):
        super().__init__(**options)
        self.change_x, self.change_output = x or (lambda e: e), output or (lambda o: o)

    def forward(self, x, state=None):
        h, state = self.rnn(self.change_x(self.emb(x)), state)
        return wrapped(self.change_output(self.head(h)), state, self.returns)


class ReadsIds(Model):
    """Reads other ids than it is given."""

    def __init__(self, ids, **options):
        super().__init__(**options)
        self.ids = ids

    def forward(self, x, state=None):
        return super().forward(self.ids(x), state)


class Attention(nn.Module):
    def __init__(self, causal=True, mask=-torch.inf):
        super().__init__()
        self.emb, self.head, self.causal, self.mask = (
            nn.Embedding(V, H),
            nn.Linear(H, V),
            causal,
            mask,
        )

    def forward(self, x):
        e = self.emb(x)
        scores = e @ e.mT
        if self.causal:
            later = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
            scores = scores.masked_fill(later, self.mask)
        return self.head(scores.softmax(2) @ e)


class Convolution(nn.Module):
    """A causal convolution, directly or through Fourier transforms."""

    def __init__(self, left=2, right=0, fourier=False):
        super().__init__()
        self.emb, self.left, self.right, self.fourier = nn.Embedding(V, H), left, right, fourier
        self.conv, self.head = nn.Conv1d(H, H, 1 + left + right), nn.Linear(H, V)
        self.kernel = nn.Parameter(torch.randn(H, T))

    def forward(self, x):
        e = self.emb(x).mT
        if self.fourier:
            n = 2 * x.shape[1]
            kernel = torch.fft.rfft(self.kernel[:, : x.shape[1]], n)
            h = torch.fft.irfft(torch.fft.rfft(e, n) * kernel, n)[..., : x.shape[1]]
        else:
            h = self.conv(F.pad(e, (self.left, self.right)))
        return self.head(h.mT)


class OneHot(nn.Module):
    """No nn.Embedding."""

    def __init__(self, look=False):
        super().__init__()
        self.rnn, self.head, self.look = nn.GRU(V, H, batch_first=True), nn.Linear(H, V), look

    def forward(self, x):
        e = F.one_hot(x, V).float()
        if self.look:
            e = e + 0.1 * e.roll(-1, 1)
        return self.head(self.rnn(e)[0])


class Positions(Model):
    """An embedding of positions beside that of tokens."""

    def __init__(self):
        super().__init__()
        self.pos = nn.Embedding(T, 5)

    def forward(self, x, state=None):
        e = self.emb(x) + self.pos(torch.arange(x.shape[1]).expand_as(x))
        return self.head(self.rnn(e)[0])


class Shifted(Model):
    """Shifts its input right, so that output t reads inputs before t only."""

    def forward(self, x, state=None):
        e = F.pad(self.emb(x), (0, 0, 1, 0))[:, :-1]
        h, state = self.rnn(e, state)
        return self.head(h), state


class ManyToOne(Model):
    def forward(self, x, state=None):
        return super().forward(x, state)[0][:, -1]


class FixedLength(Model):
    """Positions for T steps, no fewer and no more."""

    def __init__(self):
        super().__init__()
        self.pos = nn.Parameter(torch.randn(T, 5))

    def forward(self, x, state=None):
        h, state = self.rnn(self.emb(x) + self.pos, state)
        return self.head(h), state


class Policy(Model):
    """Returns a distribution."""

    def forward(self, x, state=None):
        return torch.distributions.Categorical(logits=super().forward(x, state)[0])


class ManyToOneOfT(Model):
    """As many classes as steps."""

    def forward(self, x, state=None):
        return super().forward(x, state)[0][:, -1, :T]


def normed(axis):
    return lambda e: (e - e.mean(axis, keepdim=True)) / (e.std(axis, keepdim=True) + 1)


CAUSAL_RIGHT = {
    "of a fixed length": lambda: causal(FixedLength()),
    "a distribution": lambda: causal(Policy()),
    "state kept inside": lambda: causal(Keeping()),
    "cells": lambda: causal(OfCells()),
    "causal attention": lambda: causal(Attention()),
    "causal attention with −1e9": lambda: causal(Attention(mask=-1e9)),
    "causal convolution": lambda: causal(Convolution()),
    "causal convolution by FFT": lambda: causal(Convolution(fourier=True)),
    "one-hot": lambda: causal(OneHot()),
    "positions": lambda: causal(Positions()),
    "shifted right": lambda: causal(Shifted()),
    "one row": lambda: causal(Model(), IDS[:1]),
    "numbers": lambda: causal(Model(reads=3), numbers(B, T, 3)),
    "a bare LSTM": lambda: causal(nn.LSTM(3, H, batch_first=True), numbers(B, T, 3)),
    "flattened logits": lambda: causal(Changed(output=lambda o: o.flatten(0, 1), returns="tensor")),
    "one number per step": lambda: causal(Changed(output=lambda o: o[..., 0])),
    "logits of −∞": lambda: causal(
        Changed(output=lambda o: o.index_fill(2, torch.tensor([0]), -torch.inf))
    ),
    "layer norm per step": lambda: causal(Changed(x=normed(2))),
    "cumulative mean": lambda: causal(
        Changed(x=lambda e: e.cumsum(1) / torch.arange(1, 1 + e.shape[1])[:, None])
    ),
    "square": lambda: causal(Model(), tokens(6, 6)),
}
CAUSAL_WRONG = {
    "bidirectional": lambda: causal(Model(bidirectional=True)),
    "bidirectional, in a dict": lambda: causal(Model(bidirectional=True, returns="dict")),
    "bidirectional, compiled": lambda: causal(compiled(Model(bidirectional=True))),
    "bidirectional, bfloat16": lambda: causal(Model(bidirectional=True).bfloat16()),
    "bidirectional, one row": lambda: causal(Model(bidirectional=True), IDS[:1]),
    "bidirectional, frozen": lambda: causal(Model(bidirectional=True).requires_grad_(False)),
    "looks ahead": lambda: causal(Changed(x=lambda e: e + e.roll(-1, 1))),
    "looks ahead by a millionth": lambda: causal(Changed(x=lambda e: e + 1e-6 * e.roll(-1, 1))),
    "reads the next id": lambda: causal(ReadsIds(lambda x: x.roll(-1, 1))),
    "reversed ids": lambda: causal(ReadsIds(lambda x: x.flip(1))),
    "mean over time": lambda: causal(Changed(x=lambda e: e - e.mean(1, keepdim=True))),
    "normalised over time": lambda: causal(Changed(x=normed(1))),
    "attention without a mask": lambda: causal(Attention(causal=False)),
    "attention with a weak mask": lambda: causal(Attention(mask=-3.0)),
    "convolution with padding on both sides": lambda: causal(Convolution(1, 1)),
    "ahead without a gradient": lambda: causal(Changed(x=lambda e: e + e.detach().roll(-1, 1))),
    "ahead through an index": lambda: causal(
        Changed(x=lambda e: e * (1 + e[:, -1].argmax(1))[:, None, None])
    ),
    "softmax over time": lambda: causal(Changed(output=lambda o: o.softmax(1))),
    "one-hot, looks ahead": lambda: causal(OneHot(look=True)),
    "the last step decides": lambda: causal(Changed(output=lambda o: o + o[:, -1:])),
    "numbers, bidirectional": lambda: causal(
        nn.LSTM(3, H, batch_first=True, bidirectional=True), numbers(B, T, 3)
    ),
}
CAUSAL_BLIND = {
    "NaN weights": lambda: causal(filled(Model(), torch.nan)),
    "zero weights": lambda: causal(filled(Model(), 0)),
    "many to one": lambda: causal(ManyToOne()),
    "many to one, T classes": lambda: causal(ManyToOneOfT()),
    "many to one, numbers": lambda: causal(ManyToOne(reads=2), numbers(5, 12, 2)),
    "without batch_first": lambda: causal(Model(batch_first=False)),
    "bidirectional, without batch_first": lambda: causal(
        Model(batch_first=False, bidirectional=True)
    ),
    "without a memory": lambda: causal(nn.Sequential(nn.Embedding(V, H), nn.Linear(H, V))),
    "one step": lambda: causal(Model(), IDS[:, :1]),
    "dropout that eval() does not switch off": lambda: causal(
        Changed(x=lambda e: F.dropout(e, 0.5, True))
    ),
}
for unusual, make in UNUSUAL.items():
    add("causality", "right", unusual, lambda make: causal(make(Model)), make)
for kind, cases in (("right", CAUSAL_RIGHT), ("wrong", CAUSAL_WRONG), ("blind", CAUSAL_BLIND)):
    for name, run in cases.items():
        add("causality", kind, name, run)

# generation

PROMPT = tokens(3, 4)


def parts(returned):
    if isinstance(returned, dict):
        return returned["logits"], returned["state"]
    if hasattr(returned, "logits"):
        return returned.logits, returned.state
    if isinstance(returned, torch.Tensor):
        return returned, None
    return returned[:2]


def generator(
    model,
    feed=lambda y, k, prompt: y,
    keep=lambda new, old: new,
    choose=lambda logits: logits.argmax(-1),
    prefix=0,
    whole=False,
    first=lambda prompt: prompt,
    warm=False,
    before=None,
    after=lambda tokens: tokens,
):
    """A generator of tokens in which one thing is changed."""

    def generate(prompt, steps):
        if before:
            before()
        fed, state, written = first(prompt), None, []
        if warm:
            for t in range(prompt.shape[1] - 1):
                state = parts(model(prompt[:, t : t + 1], state))[1]
            fed = prompt[:, -1:]
        for k in range(steps):
            logits, new = parts(model(fed, state))
            state = keep(new, state)
            y = choose(logits[:, -1])[:, None]
            written.append(y)
            fed = torch.cat([fed, y], 1)[:, -prefix:] if prefix else feed(y, k, prompt)
        tokens = after(torch.cat(written, 1))
        return torch.cat([prompt, tokens], 1) if whole else tokens

    return generate


def generation(model=None, prompt=PROMPT, steps=6, **options):
    model = Model() if model is None else model
    return checklist.generation(model, generator(model, **options), prompt, steps)


def inside_generation(forget=False):
    """A model that keeps its state inside."""
    model = Keeping()

    def reset():
        model.hidden = None

    def forgetting(new, old):
        reset()

    keep = forgetting if forget else (lambda new, old: None)
    return checklist.generation(model, generator(model, keep=keep, before=reset), PROMPT, 6)


def of_cells(forget=False):
    model = OfCells()
    return generation(model, keep=(lambda n, o: None) if forget else (lambda n, o: n))


def time_first():
    model = Model(batch_first=False)

    def generate(prompt, steps):
        fed, state, written = prompt.T, None, []
        for _ in range(steps):
            logits, state = model(fed, state)
            fed = logits[-1].argmax(-1)[None]
            written.append(fed)
        return torch.cat(written).T

    return checklist.generation(model, generate, PROMPT, 6)


def beam():
    model = Model()

    def generate(prompt, steps):
        wide = prompt.repeat_interleave(2, 0)
        return generator(model)(wide, steps)[::2]

    return checklist.generation(model, generate, PROMPT, 6)


def stopping(every):
    """Stops at ⟨eos⟩."""
    model = Model()

    def generate(prompt, steps):
        tokens = generator(model)(prompt, steps)
        ended = (tokens == 3).any(0)
        end = int(ended.nonzero()[0]) + 1 if ended.any() else steps
        return tokens[:, : 1 if every else end]

    return checklist.generation(model, generate, PROMPT, 6)


sampled = lambda logits: torch.multinomial(logits.softmax(-1), 1)[:, 0]  # noqa: E731
top_k = lambda logits: logits.topk(3).indices[:, 1]  # noqa: E731


class Penalised:
    """Tokens already written are less likely."""

    def __init__(self):
        self.written = []

    def __call__(self, logits):
        logits = logits.clone()
        for y in self.written:
            logits.scatter_add_(1, y[:, None], torch.full((len(y), 1), -5.0))
        self.written.append(logits.argmax(-1))
        return self.written[-1]

    def clear(self):
        self.written = []


def penalised(**options):
    choose = Penalised()
    return generation(choose=choose, before=choose.clear, **options)


def by_keyword():
    model = Model()

    def generate(prompt, steps):
        fed, state, written = prompt, None, []
        for _ in range(steps):
            logits, state = model(state=state, x=fed)
            fed = logits[:, -1:].argmax(-1)
            written.append(fed)
        return {"tokens": torch.cat(written, 1)}

    return checklist.generation(model, generate, PROMPT, 6)


GENERATION_RIGHT = {
    "a penalty on repetition": penalised,
    "by keyword, tokens in a dict": by_keyword,
    "greedy": lambda: generation(),
    "sampled": lambda: generation(choose=sampled),
    "second best": lambda: generation(choose=top_k),
    "temperature": lambda: generation(choose=lambda o: sampled(o / 0.7)),
    "a token forbidden": lambda: generation(
        choose=lambda o: o.index_fill(1, torch.tensor([3]), -torch.inf).argmax(-1)
    ),
    "prefix fed again": lambda: generation(prefix=99, keep=lambda n, o: None),
    "a window of three": lambda: generation(prefix=3, keep=lambda n, o: None),
    "with the prompt": lambda: generation(whole=True),
    "prompt token by token": lambda: generation(warm=True),
    "LSTM": lambda: generation(Model(nn.LSTM)),
    "LSTM with dropout": lambda: generation(Model(nn.LSTM, num_layers=2, dropout=0.5)),
    "logits in a dict": lambda: generation(Model(returns="dict")),
    "logits in an object": lambda: generation(Model(returns="object")),
    "in a list": lambda: generation(Model(returns="list")),
    "state kept inside": inside_generation,
    "cells": of_cells,
    "one row": lambda: generation(prompt=PROMPT[:1]),
    "bfloat16": lambda: generation(Model().bfloat16()),
    "autocast": lambda: generation(Model(autocast=True)),
    "tied weights": lambda: generation(Model(tied=True)),
    "weight_norm": lambda: generation(weight_normed(Model())),
    "compiled": lambda: generation(compiled(Model())),
    "time first": time_first,
    "stops at ⟨eos⟩, if drawn": lambda: stopping(False),
}
GENERATION_WRONG = {
    "a penalty on repetition, no state": lambda: penalised(keep=lambda n, o: None),
    "a penalty on repetition, the first state": lambda: penalised(
        keep=lambda n, o: n if o is None else o
    ),
    "the prompt's last token": lambda: generation(feed=lambda y, k, p: p[:, -1:]),
    "the prompt again": lambda: generation(feed=lambda y, k, p: p),
    "one token for ever": lambda: generation(feed=lambda y, k, p: y * 0 + 1),
    "the target": lambda: generation(feed=lambda y, k, p: tokens(3, 9)[:, k : k + 1]),
    "the token plus one": lambda: generation(feed=lambda y, k, p: (y + 1) % V),
    "other rows": lambda: generation(feed=lambda y, k, p: y.roll(1, 0)),
    "no state": lambda: generation(keep=lambda n, o: None),
    "the first state for ever": lambda: generation(keep=lambda n, o: n if o is None else o),
    "a zero state": lambda: generation(keep=lambda n, o: n * 0),
    "state kept inside, reset": lambda: inside_generation(forget=True),
    "cells without their state": lambda: of_cells(forget=True),
    "a window of one": lambda: generation(prefix=1, keep=lambda n, o: None),
    "writes other tokens": lambda: generation(after=lambda tokens: (tokens + 1) % V),
    "writes them reversed": lambda: generation(after=lambda tokens: tokens.flip(1)),
    "argmax fed, sample written": lambda: argmax_fed(),
    "LSTM, c forgotten with h": lambda: generation(Model(nn.LSTM), keep=lambda n, o: None),
    "no state, dict": lambda: generation(Model(returns="dict"), keep=lambda n, o: None),
}
GENERATION_BLIND = {
    "NaN weights": lambda: generation(filled(Model(), torch.nan)),
    "zero weights": lambda: generation(filled(Model(), 0)),
    "no calls": lambda: checklist.generation(Model(), lambda p, n: tokens(3, n), PROMPT, 6),
    "stops at once": lambda: stopping(True),
    "beam search": beam,
    "two steps": lambda: generation(steps=2),
}


def argmax_fed():
    model = Model()

    def generate(prompt, steps):
        fed, state, written = prompt, None, []
        for _ in range(steps):
            logits, state = model(fed, state)
            fed = logits[:, -1:].argmax(-1)
            written.append(sampled(logits[:, -1] * 0.1)[:, None])
        return torch.cat(written, 1)

    return checklist.generation(model, generate, PROMPT, 6)


for kind, cases in (
    ("right", GENERATION_RIGHT),
    ("wrong", GENERATION_WRONG),
    ("blind", GENERATION_BLIND),
):
    for name, run in cases.items():
        add("generation", kind, name, run)
