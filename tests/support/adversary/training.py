"""Clipping and teacher forcing: points 10 and 12."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from bptt_oracle import checklist

from .case import add
from .models import B, Keeping, Model, OfCells, T, V, compiled, filled, tokens, weight_normed

X, Y = tokens(B, T), tokens(2 * B, T)[B:]
MAX = 0.5


def loss_of(model, x=X, y=Y):
    returned = model(x)
    logits = returned[0] if isinstance(returned, tuple | list) else returned
    logits = logits["logits"] if isinstance(logits, dict) else logits
    return F.cross_entropy(logits.flatten(0, 1).float(), y.flatten())


def clipped(
    order="backward clip step",
    model=None,
    kind=torch.optim.SGD,
    clip=None,
    groups=False,
    options=None,
    max_norm=MAX,
):
    """A training step of these actions in this order."""
    model = Model() if model is None else model
    parameters = list(model.parameters())
    given = parameters
    if groups:
        given = [{"params": parameters[:2]}, {"params": parameters[2:], "lr": 0.5}]
    optimizer = kind(given, **(options or {"lr": 0.1}))
    clip = clip or (lambda: clip_grad_norm_(parameters, MAX))

    def step():
        optimizer.zero_grad()
        loss = loss_of(model)
        actions = {
            "backward": lambda: loss.backward(retain_graph=True),
            "clip": clip,
            "head": lambda: clip_grad_norm_(model.head.parameters(), MAX),
            "each": lambda: [clip_grad_norm_([p], MAX) for p in parameters],
            "value": lambda: clip_grad_value_(parameters, MAX),
            "half": lambda: clip_grad_norm_(parameters, MAX / 2),
            "tiny": lambda: by_hand(parameters, 1e-6 * MAX),
            "ten": lambda: clip_grad_norm_(parameters, 10 * MAX),
            "inf": lambda: clip_grad_norm_(parameters, MAX, norm_type=torch.inf),
            "total": lambda: torch.nn.utils.get_total_norm([p.grad for p in parameters]),
            "step": optimizer.step,
            "zero": optimizer.zero_grad,
            "manual": lambda: by_hand(parameters),
            "normalise": lambda: normalised(parameters),
            "ratio": lambda: normalised(parameters, eps=0.0),
            "square": lambda: normalised(parameters, power=2),
            "penalty": lambda: [p.grad.add_(p.detach()) for p in parameters],
            "tokens": lambda: [p.grad.mul_(X.numel()) for p in parameters],
        }
        for name in order.split():
            actions[name]()

    return checklist.clipping(optimizer, step, max_norm)


def by_hand(parameters, limit=MAX):
    norm = torch.stack([p.grad.norm() for p in parameters]).norm()
    for p in parameters:
        p.grad.mul_(min(1.0, limit / float(norm)))


def normalised(parameters, eps=1e-6, power=1):
    """Without min(1, ·): small gradients grow too; of the power 2 the root is forgotten."""
    norm = torch.stack([p.grad.norm() for p in parameters]).norm()
    for p in parameters:
        p.grad.mul_(MAX / (norm**power + eps))


def clipping_inside(kind, first=True, norm=MAX):
    """A class of optimizers that clip in their own step, before the update or after it."""

    class ClipsInside(kind):
        def step(self, closure=None):
            parameters = [p for group in self.param_groups for p in group["params"]]
            if first:
                clip_grad_norm_(parameters, norm)
            super().step(closure)
            if not first:
                clip_grad_norm_(parameters, norm)

    return ClipsInside


class OfOneself(torch.optim.Optimizer):
    """Signs of a momentum, as Lion has them; nothing is clipped."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            m = self.state[p].setdefault("m", torch.zeros_like(p))
            p.sub_(self.param_groups[0]["lr"] * (0.9 * m + 0.1 * p.grad).sign())
            m.mul_(0.99).add_(0.01 * p.grad)


class Unwatched:
    """No torch.optim.Optimizer."""

    def __init__(self, parameters, lr):
        self.param_groups = [{"params": list(parameters), "lr": lr}]

    def zero_grad(self):
        for p in self.param_groups[0]["params"]:
            p.grad = None

    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            p.sub_(self.param_groups[0]["lr"] * p.grad)


def in_a_hook():
    """Clipped by a hook of the optimizer's step."""
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    optimizer.register_step_pre_hook(lambda *_: clip_grad_norm_(model.parameters(), MAX) and None)

    def step():
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()

    return checklist.clipping(optimizer, step, MAX)


def scaled(
    unscale=True, order="unscale clip step", model=None, scale=65536.0, kind=torch.optim.SGD
):
    """A step with a GradScaler."""
    model = Model() if model is None else model
    optimizer = kind(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model)
        scaler.scale(loss).backward()
        actions = {
            "unscale": lambda: scaler.unscale_(optimizer),
            "clip": lambda: clip_grad_norm_(model.parameters(), MAX),
            "normalise": lambda: normalised(list(model.parameters())),
            "step": lambda: scaler.step(optimizer),
        }
        for name in order.split():
            actions[name]()
        scaler.update()

    return checklist.clipping(optimizer, step, MAX)


def accumulated(where="end", batches=3):
    model = Model()
    optimizer = torch.optim.Adam(model.parameters())

    def step():
        optimizer.zero_grad()
        for k in range(batches):
            loss_of(model, X.roll(k, 1)).backward()
            if where == "each" or (where == "first" and not k):
                clip_grad_norm_(model.parameters(), MAX)
        if where == "end":
            clip_grad_norm_(model.parameters(), MAX)
        if where == "normalised":
            normalised(list(model.parameters()))
        optimizer.step()

    return checklist.clipping(optimizer, step, MAX)


def several_steps(clip_all=True):
    """Two optimizer steps in one training step."""
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step():
        for k in range(2):
            optimizer.zero_grad()
            loss_of(model, X.roll(k, 1)).backward()
            if clip_all or not k:
                clip_grad_norm_(model.parameters(), MAX)
            optimizer.step()

    return checklist.clipping(optimizer, step, MAX)


def two_optimizers(which="together"):
    model = Model()
    one = torch.optim.SGD([*model.emb.parameters(), *model.rnn.parameters()], 0.1)
    two = torch.optim.Adam(model.head.parameters())

    def step():
        one.zero_grad()
        two.zero_grad()
        loss_of(model).backward()
        if which == "together":
            clip_grad_norm_(model.parameters(), MAX)
        if which == "apart":
            clip_grad_norm_(model.rnn.parameters(), MAX)
            clip_grad_norm_(model.head.parameters(), MAX)
        if which == "other":
            clip_grad_norm_(model.head.parameters(), MAX)
        one.step()
        two.step()

    if which == "apart":
        one.param_groups[0]["params"] = list(model.rnn.parameters())
    return checklist.clipping(one, step, MAX)


def with_closure():
    model = Model()
    optimizer = torch.optim.LBFGS(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        clip_grad_norm_(model.parameters(), MAX)
        return loss

    return checklist.clipping(optimizer, lambda: optimizer.step(closure), MAX)


def partly_frozen():
    model = Model()
    model.emb.requires_grad_(False)
    return clipped(model=model)


def sparse():
    model = Model()
    model.emb = nn.Embedding(V, 5, sparse=True)

    def clip():
        parameters = list(model.parameters())
        norm = (
            sum(
                float((p.grad.coalesce().values() if p.grad.is_sparse else p.grad).norm()) ** 2
                for p in parameters
            )
            ** 0.5
        )
        for p in parameters:
            p.grad.mul_(min(1.0, MAX / norm))

    return clipped(model=model, clip=clip)


SGD, ADAM = torch.optim.SGD, torch.optim.Adam
CLIP_RIGHT = {
    "SGD": lambda: clipped(),
    "Adam": lambda: clipped(kind=ADAM),
    "AdamW": lambda: clipped(kind=torch.optim.AdamW),
    "momentum": lambda: clipped(options={"lr": 0.1, "momentum": 0.9}),
    "RMSprop": lambda: clipped(kind=torch.optim.RMSprop),
    "foreach": lambda: clipped(options={"lr": 0.1, "foreach": True}),
    "parameter groups": lambda: clipped(groups=True),
    "two optimizers": two_optimizers,
    "two optimizers, clipped apart": lambda: two_optimizers("apart"),
    "GradScaler": scaled,
    "GradScaler of scale 2": lambda: scaled(scale=2.0),
    "accumulation": accumulated,
    "two steps": several_steps,
    "clipped twice": lambda: clipped("backward clip clip step"),
    "backward twice": lambda: clipped("backward backward clip step"),
    "by hand": lambda: clipped("backward manual step"),
    "by value, then by norm": lambda: clipped("backward value clip step"),
    "each, then all": lambda: clipped("backward each clip step"),
    "zeroed at the end": lambda: clipped("backward clip step zero"),
    "the norm logged": lambda: clipped("backward total clip step"),
    "frozen embedding": partly_frozen,
    "sparse gradients": sparse,
    "tied weights": lambda: clipped(model=Model(tied=True)),
    "weight_norm": lambda: clipped(model=weight_normed(Model())),
    "bfloat16": lambda: clipped(model=Model().bfloat16()),
    "float16": lambda: clipped(model=Model().half()),
    "float64": lambda: clipped(model=Model().double()),
    "compiled": lambda: clipped(model=compiled(Model())),
    "dropout": lambda: clipped(model=Model(nn.LSTM, num_layers=2, dropout=0.5)),
    "cells": lambda: clipped(model=OfCells()),
    "a penalty added by hand": lambda: clipped("backward penalty clip step"),
    "multiplied by the tokens by hand": lambda: clipped("backward tokens clip step"),
    "a hook of the optimizer": in_a_hook,
    "an optimizer of one's own": lambda: clipped(kind=OfOneself),
    "clipped before and inside": lambda: clipped(kind=clipping_inside(SGD)),
    "max_norm below the smallest gradients": lambda: clipped(
        "backward tiny step", max_norm=1e-6 * MAX
    ),
}
CLIP_WRONG = {
    "normalised": lambda: clipped("backward normalise step"),
    "normalised without an epsilon": lambda: clipped("backward ratio step"),
    "normalised, accumulation": lambda: accumulated("normalised"),
    "normalised, GradScaler": lambda: scaled(order="unscale normalise step"),
    "normalised, bfloat16": lambda: clipped("backward normalise step", model=Model().bfloat16()),
    "divided by the square of the norm": lambda: clipped("backward square step"),
    "an optimizer of one's own, not clipped": lambda: clipped("backward step", kind=OfOneself),
    "clipped inside, after the update": lambda: clipped(
        "backward step", kind=clipping_inside(SGD, first=False)
    ),
    "clipped inside to ten times max_norm": lambda: clipped(
        "backward step", kind=clipping_inside(SGD, norm=10 * MAX)
    ),
    "not at all": lambda: clipped("backward step"),
    "after the step": lambda: clipped("backward step clip"),
    "before backward": lambda: clipped("clip backward step"),
    "the head only": lambda: clipped("backward head step"),
    "each by itself": lambda: clipped("backward each step"),
    "by value": lambda: clipped("backward value step"),
    "ten times max_norm": lambda: clipped("backward ten step"),
    "by the infinity norm": lambda: clipped("backward inf step"),
    "clipped, then more backward": lambda: clipped("backward clip backward step"),
    "the norm only computed": lambda: clipped("backward total step"),
    "GradScaler, clipped before unscaling": lambda: scaled(order="clip unscale step"),
    "GradScaler, never unscaled by hand": lambda: scaled(order="clip step"),
    "GradScaler, not clipped": lambda: scaled(order="unscale step"),
    "accumulation, clipped in each batch": lambda: accumulated("each"),
    "accumulation, clipped in the first batch": lambda: accumulated("first"),
    "the second step not clipped": lambda: several_steps(clip_all=False),
    "the other optimizer clipped": lambda: two_optimizers("other"),
    "parameter groups, the head only": lambda: clipped("backward head step", groups=True),
    "not at all, Adam": lambda: clipped("backward step", kind=ADAM),
    "not at all, bfloat16": lambda: clipped("backward step", model=Model().bfloat16()),
    "not at all, float16": lambda: clipped("backward step", model=Model().half()),
}
CLIP_BLIND = {
    "NaN weights": lambda: clipped(model=filled(Model(), torch.nan)),
    "no step": lambda: clipped("backward clip"),
    "no backward": lambda: clipped("clip step"),
    "a closure": with_closure,
    "half of max_norm": lambda: clipped("backward half step"),
    "clipped inside": lambda: clipped("backward step", kind=clipping_inside(SGD)),
    "clipped inside, Adam": lambda: clipped("backward step", kind=clipping_inside(ADAM)),
    "clipped inside, dropout": lambda: clipped(
        "backward step",
        model=Model(nn.LSTM, num_layers=2, dropout=0.5),
        kind=clipping_inside(torch.optim.RMSprop),
    ),
    "clipped inside, bfloat16": lambda: clipped(
        "backward step", model=Model().bfloat16(), kind=clipping_inside(SGD)
    ),
    "clipped inside, GradScaler": lambda: scaled(order="unscale step", kind=clipping_inside(SGD)),
    "no torch.optim.Optimizer": lambda: clipped(kind=Unwatched),
}
for kind, cases in (("right", CLIP_RIGHT), ("wrong", CLIP_WRONG), ("blind", CLIP_BLIND)):
    for name, run in cases.items():
        add("clipping", kind, name, run)

# teacher forcing

TARGET, OTHER = tokens(B, T), tokens(2 * B, T)[B:]


class Decoder(Model):
    """Decodes; `feeds(t)` says whether the target is fed at step t."""

    def __init__(self, feeds, start="zero", result="logits", **options):
        super().__init__(**options)
        self.feeds, self.start, self.result = feeds, start, result

    def decode(self, target):
        y = target[:, :1] * (self.start == "target")
        state, logits, written = None, [], []
        for t in range(target.shape[1]):
            returned = self(y, state)
            o, state = (
                returned if isinstance(returned, tuple) else (returned["logits"], returned["state"])
            )
            logits.append(o)
            y = o.argmax(-1)
            written.append(y)
            if self.feeds(self, t):
                y = target[:, t : t + 1]
        o = torch.cat(logits, 1)
        if self.result == "tokens":
            return torch.cat(written, 1)
        if self.result == "dict":
            return {"loss": F.cross_entropy(o.flatten(0, 1), target.flatten()), "logits": o}
        if self.result == "pair":
            return o, F.cross_entropy(o.flatten(0, 1), target.flatten())
        if self.result == "loss":
            return F.cross_entropy(o.flatten(0, 1), target.flatten())
        return o


def forcing(feeds, other=OTHER, target=TARGET, change=lambda m: m, **options):
    model = Decoder(feeds, **options)
    model = change(model) or model
    return checklist.teacher_forcing(model, model.decode, target, other)


def in_training(m, t):
    return m.training


def often(m, t):
    return m.training and bool(torch.rand(()) < 0.7)


def same_start(x):
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:]], 1)


class KeptDecoder(Keeping):
    """Keeps its state inside, and resets it before each sequence."""

    def __init__(self, always=False):
        super().__init__()
        self.always = always

    def decode(self, target):
        self.hidden, y, logits = None, target[:, :1] * 0, []
        for t in range(target.shape[1]):
            o = self(y)
            logits.append(o)
            y = target[:, t : t + 1] if self.training or self.always else o.argmax(-1)
        return torch.cat(logits, 1)


def kept(always):
    model = KeptDecoder(always)
    return checklist.teacher_forcing(model, model.decode, TARGET, OTHER)


FORCING_RIGHT = {
    "always in training": lambda: forcing(in_training),
    "scheduled sampling": lambda: forcing(often),
    "rarely": lambda: forcing(lambda m, t: m.training and bool(torch.rand(()) < 0.1)),
    "by row of the batch": lambda: forcing(lambda m, t: m.training and t % 2 == 0),
    "tokens": lambda: forcing(in_training, result="tokens"),
    "logits beside a loss": lambda: forcing(in_training, result="pair"),
    "logits and loss in a dict": lambda: forcing(in_training, result="dict"),
    "⟨bos⟩ in the target": lambda: forcing(
        in_training, same_start(OTHER), same_start(TARGET), start="target"
    ),
    "dropout": lambda: forcing(in_training, num_layers=2, dropout=0.5),
    "LSTM": lambda: forcing(in_training, kind=nn.LSTM),
    "model returns a dict": lambda: forcing(in_training, returns="dict"),
    "a model left in evaluation mode": lambda: forcing(in_training, change=lambda m: m.eval()),
    "state kept inside": lambda: kept(False),
    "bfloat16": lambda: forcing(in_training, change=lambda m: m.bfloat16()),
    "float64": lambda: forcing(in_training, change=lambda m: m.double()),
    "one row": lambda: forcing(in_training, OTHER[:1], TARGET[:1]),
    "tied weights": lambda: forcing(in_training, tied=True),
    "autocast": lambda: forcing(in_training, autocast=True),
}
FORCING_WRONG = {
    "always": lambda: forcing(lambda m, t: True),
    "in evaluation only": lambda: forcing(lambda m, t: not m.training),
    "at random in both modes": lambda: forcing(lambda m, t: bool(torch.rand(()) < 0.7)),
    "rarely in both modes": lambda: forcing(lambda m, t: bool(torch.rand(()) < 0.15)),
    "at step 1 in evaluation": lambda: forcing(lambda m, t: m.training or t == 1),
    "at the step before the last": lambda: forcing(lambda m, t: m.training or t == T - 2),
    "always, tokens": lambda: forcing(lambda m, t: True, result="tokens"),
    "always, in a dict": lambda: forcing(lambda m, t: True, result="dict"),
    "always, beside a loss": lambda: forcing(lambda m, t: True, result="pair"),
    "always, LSTM": lambda: forcing(lambda m, t: True, kind=nn.LSTM),
    "always, with dropout": lambda: forcing(lambda m, t: True, num_layers=2, dropout=0.5),
    "by the embedding's mode": lambda: forcing(lambda m, t: not m.training or m.emb.training),
    "if gradients are off": lambda: forcing(lambda m, t: not torch.is_grad_enabled()),
    "state kept inside, always": lambda: kept(True),
    "always, bfloat16": lambda: forcing(lambda m, t: True, change=lambda m: m.bfloat16()),
}
FORCING_BLIND = {
    "never": lambda: forcing(lambda m, t: False),
    "NaN weights": lambda: forcing(in_training, change=lambda m: filled(m, torch.nan)),
    "zero weights": lambda: forcing(in_training, change=lambda m: filled(m, 0)),
    "a loss": lambda: forcing(in_training, result="loss"),
    "equal targets": lambda: forcing(in_training, TARGET),
    "different ⟨bos⟩": lambda: forcing(in_training, start="target"),
}
for kind, cases in (("right", FORCING_RIGHT), ("wrong", FORCING_WRONG), ("blind", FORCING_BLIND)):
    for name, run in cases.items():
        add("teacher_forcing", kind, name, run)
