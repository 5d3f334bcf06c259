"""Padding: points 3, 4 and 14."""

from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bptt_oracle import checklist

from .case import add
from .models import UNUSUAL, B, H, Model, T, V, compiled, filled, numbers, tokens, wrapped

LENGTHS = torch.tensor([2, 6, 1, 4])
IDS = tokens(B, T)
PADDED = torch.where(torch.arange(T) < LENGTHS[:, None], IDS, 0)


def embedded(model, x):
    return model.emb(x)


def packed(model, x, lengths):
    lengths = torch.as_tensor(lengths)
    pack = pack_padded_sequence(embedded(model, x), lengths, True, enforce_sorted=False)
    output, state = model.rnn(pack)
    return pad_packed_sequence(output, True)[0], state


def padded(model, x, lengths):
    """The net reads the padding too."""
    return model.rnn(embedded(model, x))


def mask_of(output, lengths):
    return torch.arange(output.shape[1]) < torch.as_tensor(lengths)[:, None]


def rows(output):
    return torch.arange(len(output))


def at(output, steps):
    return output[rows(output), steps]


def attention(output, mask=None):
    scores = output.sum(2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return (scores.softmax(1)[..., None] * output).sum(1)


def by_hand(model, x, lengths, unsort=True):
    lengths = torch.as_tensor(lengths)
    order = lengths.argsort(descending=True)
    pack = pack_padded_sequence(embedded(model, x)[order], lengths[order], True)
    output, state = model.rnn(pack)
    output = pad_packed_sequence(output, True)[0]
    back = order.argsort() if unsort else torch.arange(len(order))
    return output[back], state[:, back]


def frozen_steps(model, x, lengths, freeze=True):
    """A loop of single steps that keeps the state of rows that have ended."""
    h = torch.zeros(1, len(x), H)
    for t, e in enumerate(embedded(model, x).split(1, dim=1)):
        new = model.rnn(e, h)[1]
        going = (t < torch.as_tensor(lengths))[None, :, None]
        h = torch.where(going, new, h) if freeze else new
    return h


# results [B, ·] of a row
RIGHT_RESULTS = {
    "final state of a pack": lambda m, x, n: packed(m, x, n)[1][-1],
    "output at length − 1": lambda m, x, n: at(padded(m, x, n)[0], torch.as_tensor(n) - 1),
    "masked mean": lambda m, x, n: (
        (o := padded(m, x, n)[0]) * mask_of(o, n)[..., None] / torch.as_tensor(n)[:, None, None]
    ).sum(1),
    "masked maximum": lambda m, x, n: (
        (o := padded(m, x, n)[0]).masked_fill(~mask_of(o, n)[..., None], -torch.inf).amax(1)
    ),
    "masked attention": lambda m, x, n: attention(o := padded(m, x, n)[0], mask_of(o, n)),
    "sorted and unsorted by hand": lambda m, x, n: by_hand(m, x, n)[1][-1],
    "loop that freezes rows": lambda m, x, n: frozen_steps(m, x, n)[-1],
    "lengths from the padding": lambda m, x, n: at(padded(m, x, n)[0], (x != 0).sum(1) - 1),
    "classes as integers beside logits": lambda m, x, n: (
        (logits := m.head(packed(m, x, n)[1][-1])),
        logits.argmax(1),
    ),
    "masked logits of −∞": lambda m, x, n: m.head(packed(m, x, n)[1][-1]).index_fill(
        1, torch.tensor([3]), -torch.inf
    ),
}
WRONG_RESULTS = {
    "last column": lambda m, x, n: padded(m, x, n)[0][:, -1],
    "last column of an unpacked pack": lambda m, x, n: packed(m, x, n)[0][:, -1],
    "mean without a mask": lambda m, x, n: padded(m, x, n)[0].mean(1),
    "mean of an unpacked pack over all columns": lambda m, x, n: packed(m, x, n)[0].mean(1),
    "maximum without a mask": lambda m, x, n: padded(m, x, n)[0].amax(1),
    "attention without a mask": lambda m, x, n: attention(padded(m, x, n)[0]),
    "attention over the zeros of a pack": lambda m, x, n: attention(packed(m, x, n)[0]),
    "one step before the last": lambda m, x, n: at(
        padded(m, x, n)[0], (torch.as_tensor(n) - 2).clamp(min=0)
    ),
    "one step after the last": lambda m, x, n: at(
        padded(m, x, n)[0], torch.as_tensor(n).clamp(max=x.shape[1] - 1)
    ),
    "first step": lambda m, x, n: padded(m, x, n)[0][:, 0],
    "lengths of other rows": lambda m, x, n: at(padded(m, x, n)[0], torch.as_tensor(n).roll(1) - 1),
    "the longest row's last step": lambda m, x, n: padded(m, x, n)[0][:, max(n) - 1],
    "final state without a pack": lambda m, x, n: padded(m, x, n)[1][-1],
}
RIGHT_STATES = {
    "a pack": lambda m, x, n: packed(m, x, n)[1],
    "a pack's state [B, H]": lambda m, x, n: packed(m, x, n)[1][-1],
    "a pack's state [B, L, H]": lambda m, x, n: packed(m, x, n)[1].transpose(0, 1),
    "sorted and unsorted by hand": lambda m, x, n: by_hand(m, x, n)[1],
    "loop that freezes rows": frozen_steps,
    "output at length − 1": lambda m, x, n: at(padded(m, x, n)[0], torch.as_tensor(n) - 1)[None],
    "state in a dict": lambda m, x, n: {"h": packed(m, x, n)[1]},
    "rows one by one": lambda m, x, n: torch.cat(
        [m.rnn(embedded(m, x[b : b + 1, : int(n[b])]))[1] for b in range(len(x))], dim=1
    ),
    "lengths from the padding": lambda m, x, n: packed(m, x, (x != 0).sum(1))[1],
}
WRONG_STATES = {
    "no pack": lambda m, x, n: padded(m, x, n)[1],
    "no freezing": lambda m, x, n: frozen_steps(m, x, n, freeze=False),
    "lengths one too long": lambda m, x, n: packed(
        m, x, (torch.as_tensor(n) + 1).clamp(max=x.shape[1])
    )[1],
    "the longest row's length": lambda m, x, n: packed(m, x, torch.as_tensor(n) * 0 + max(n))[1],
    "embedding of padding set to zero": lambda m, x, n: m.rnn(
        embedded(m, x) * mask_of(x, n)[..., None]
    )[1],
    "padding on the left": lambda m, x, n: m.rnn(
        embedded(m, torch.stack([row.roll(-int(k)) for row, k in zip(x, n, strict=True)]))
    )[1],
    "lengths of other rows": lambda m, x, n: packed(m, x, torch.as_tensor(n).roll(1))[1],
    "rows in sorted order": lambda m, x, n: by_hand(m, x, n, unsort=False)[1],
    "the last output": lambda m, x, n: padded(m, x, n)[0][:, -1][None],
    "the mean state": lambda m, x, n: padded(m, x, n)[0].mean(1)[None],
    "reversed with its padding": lambda m, x, n: m.rnn(embedded(m, x.flip(1)))[1],
}
RIGHT_ORDERS = {
    "unpacked outputs": lambda m, x, n: packed(m, x, n)[0],
    "final state": lambda m, x, n: packed(m, x, n)[1][-1],
    "sorted and unsorted by hand": lambda m, x, n: by_hand(m, x, n)[0],
    "unsorted state": lambda m, x, n: by_hand(m, x, n)[1][-1],
    "no packing": lambda m, x, n: at(padded(m, x, n)[0], torch.as_tensor(n) - 1),
    "loop that freezes rows": lambda m, x, n: frozen_steps(m, x, n)[-1],
    "outputs without packing": lambda m, x, n: padded(m, x, n)[0],
    "logits of every step": lambda m, x, n: m.head(packed(m, x, n)[0]),
    "logits of a head in a dict": lambda m, x, n: {"logits": m.head(packed(m, x, n)[1][-1])},
    "masked attention": lambda m, x, n: attention(o := padded(m, x, n)[0], mask_of(o, n)),
}
WRONG_ORDERS = {
    "sorted outputs": lambda m, x, n: by_hand(m, x, n, unsort=False)[0],
    "sorted states": lambda m, x, n: by_hand(m, x, n, unsort=False)[1][-1],
    "sorted logits": lambda m, x, n: m.head(by_hand(m, x, n, unsort=False)[1][-1]),
    "sorted twice": lambda m, x, n: by_hand(m, x, n)[1][-1][torch.as_tensor(n).argsort()],
    "unsorted by the sorting order": lambda m, x, n: (
        by_hand(m, x, n, unsort=False)[1][-1][torch.as_tensor(n).argsort(descending=True)]
        if len(x) > 2
        else by_hand(m, x, n, unsort=False)[1][-1]
    ),
    "rows reversed": lambda m, x, n: packed(m, x, n)[1][-1].flip(0),
    "rows rolled": lambda m, x, n: packed(m, x, n)[0].roll(1, 0),
    "the first two exchanged": lambda m, x, n: packed(m, x, n)[1][-1][
        [1, 0, *range(2, len(x))] if len(x) > 1 else [0]
    ],
    "sorted, in a dict": lambda m, x, n: {"logits": by_hand(m, x, n, unsort=False)[1][-1]},
    "sorted ascending": lambda m, x, n: packed(m, x, n)[1][-1][torch.as_tensor(n).argsort()],
    "every row is the first": lambda m, x, n: packed(m, x, n)[1][-1][[0] * len(x)],
}
CHECKS = {
    "last_valid_step": (checklist.last_valid_step, RIGHT_RESULTS, WRONG_RESULTS),
    "padding_state": (checklist.padding_state, RIGHT_STATES, WRONG_STATES),
    "packed_order": (checklist.packed_order, RIGHT_ORDERS, WRONG_ORDERS),
}


def run_rule(check, rule, x=PADDED, lengths=LENGTHS, model=None, **options):
    model = Model() if model is None else model
    return check(lambda x, n: rule(model, x, n), x, lengths, **options)


def output_and_state(returned):
    """The parts of what a model returns, in a tuple, list, dict or object."""
    if isinstance(returned, tuple | list):
        return returned
    named = returned if isinstance(returned, dict) else vars(returned)
    return named["logits"], named["state"]


def of_model(check, make):
    """The last logits of an unusual model, or the states of its rows one by one."""
    model = make(Model)

    def last_logits(x, n):
        return at(output_and_state(model(x))[0], n - 1)

    def states(x, n):
        rows = [output_and_state(model(x[b : b + 1, : n[b]]))[1] for b in range(len(x))]
        if isinstance(rows[0], tuple):
            return tuple(torch.cat(parts, dim=1) for parts in zip(*rows, strict=True))
        return torch.cat(rows, dim=1)

    run = states if check is checklist.padding_state else last_logits
    return check(run, PADDED, LENGTHS)


def of_classifier(check, returns="tensor", compile=False, autocast=False):
    """A whole classifier, as model(x, lengths)."""

    class Classifier(Model):
        def forward(self, x, lengths):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                h = self.after(at(self.rnn(self.emb(x))[0], lengths - 1))
                return wrapped(self.head(h).float(), None, returns)

    model = Classifier(after=nn.Dropout(0.5))
    return check(compiled(model) if compile else model, PADDED, LENGTHS)


def bidirectional(check, packs):
    model = Model(bidirectional=True)

    def run(x, n):
        output, state = (packed if packs else padded)(model, x, n)
        if check is checklist.padding_state:
            return state
        return torch.cat([state[0], state[1]], dim=1)

    return check(run, PADDED, LENGTHS)


def of_numbers(check, rule, fill=0.0):
    model = Model(reads=3)
    x = numbers(B, T, 3).masked_fill((torch.arange(T) >= LENGTHS[:, None])[..., None], fill)
    return check(lambda x, n: rule(model, x, n), x, LENGTHS)


def batch_normed(check):
    model, norm = Model(), nn.BatchNorm1d(H)
    norm.running_mean.fill_(0.1)

    def run(x, n):
        h = norm(packed(model, x, n)[1][-1])
        return h[None] if check is checklist.padding_state else h

    return check(run, PADDED, LENGTHS)


def noisy(check):
    model = Model()

    def run(x, n):
        h = F.dropout(packed(model, x, n)[1][-1], 0.5, training=True)
        return h[None] if check is checklist.padding_state else h

    return check(run, PADDED, LENGTHS)


for name, (check, right_rules, wrong_rules) in CHECKS.items():
    for kind, rules in (("right", right_rules), ("wrong", wrong_rules)):
        for rule_name, rule in rules.items():
            add(name, kind, rule_name, run_rule, check, rule)
    good = right_rules[next(iter(right_rules))]
    bad = wrong_rules[next(iter(wrong_rules))]
    for unusual, make in UNUSUAL.items():
        add(name, "right", unusual, of_model, check, make)
    add(name, "right", "list of lengths", run_rule, check, good, lengths=LENGTHS.tolist())
    add(name, "wrong", "list of lengths", run_rule, check, bad, lengths=LENGTHS.tolist())
    equal = {"x": IDS, "lengths": torch.full((B,), T)}
    add(name, "right", "equal lengths", run_rule, check, good, **equal)
    if name != "packed_order":
        one = {"x": PADDED[:1], "lengths": LENGTHS[:1]}
        add(name, "right", "one row", run_rule, check, good, **one)
        add(name, "wrong", "one row", run_rule, check, bad, **one)
        add(name, "blind", "equal lengths, ignored", run_rule, check, bad, **equal)
    else:
        add(name, "wrong", "equal lengths", run_rule, check, bad, **equal)
    add(name, "right", "bidirectional", bidirectional, check, True)
    add(name, "wrong", "bidirectional without a pack", bidirectional, check, False)
    add(name, "right", "batch norm in training mode", batch_normed, check)
    add(name, "right", "numbers", of_numbers, check, good)
    add(name, "wrong", "numbers", of_numbers, check, bad)
    add(name, "right", "NaN in the padding", of_numbers, check, good, torch.nan)
    add(
        name,
        "wrong",
        "infinity in the padding",
        of_numbers,
        check,
        WRONG_STATES["no pack"] if name == "padding_state" else WRONG_RESULTS["last column"],
        torch.inf,
    )
    add(name, "blind", "NaN weights", run_rule, check, good, model=filled(Model(), torch.nan))
    add(name, "blind", "zero weights", run_rule, check, good, model=filled(Model(), 0))
    add(name, "blind", "dropout that eval() does not switch off", noisy, check)

for name in ("last_valid_step", "packed_order"):
    check = CHECKS[name][0]
    for returns in ("tensor", "dict", "object", "list"):
        add(name, "right", f"classifier, {returns}, dropout", of_classifier, check, returns)
    add(name, "right", "classifier, compiled", of_classifier, check, compile=True)
    add(name, "right", "classifier, autocast", of_classifier, check, autocast=True)
add(
    "last_valid_step",
    "blind",
    "outputs of every step",
    run_rule,
    checklist.last_valid_step,
    lambda m, x, n: packed(m, x, n)[0],
)
add(
    "packed_order",
    "blind",
    "one row",
    run_rule,
    checklist.packed_order,
    RIGHT_ORDERS["final state"],
    PADDED[:1],
    LENGTHS[:1],
)


class MaskedByValue(Model):
    """Reads lengths for a position, and the padding token 1 for its mask."""

    def __init__(self, known):
        super().__init__()
        if known:
            self.emb.padding_idx = 1

    def forward(self, x, lengths):
        o = self.rnn(self.emb(x))[0]
        return attention(o, x != 1) + at(o, torch.as_tensor(lengths) - 1)


WITHOUT_ONE = torch.where(IDS == 1, 2, IDS)
EQUAL = torch.full((B,), T)


def little(model, x, lengths):
    """Reads the padding, by a twentieth."""
    right = at(model.rnn(model.emb(x))[0], torch.as_tensor(lengths) - 1)
    return right + 0.05 * model.rnn(model.emb(x))[0][:, -1]


for name in ("last_valid_step", "packed_order"):
    check = CHECKS[name][0]
    for known, kind in ((True, "right"), (False, "blind")):
        add(
            name,
            kind,
            f"equal lengths, padding is token 1, known: {known}",
            lambda check, known: check(MaskedByValue(known), WITHOUT_ONE, EQUAL),
            check,
            known,
        )
    add(
        name,
        "right",
        "equal lengths, pad given",
        lambda check: check(MaskedByValue(False), WITHOUT_ONE, EQUAL, pad=1),
        check,
    )
    add(
        name,
        "blind",
        "bfloat16, a mistake of one part in twenty",
        run_rule,
        check,
        little,
        model=Model().bfloat16(),
    )
    add(name, "wrong", "a mistake of one part in twenty", run_rule, check, little)
add(
    "last_valid_step",
    "wrong",
    "equal lengths, the step after the last, pad given",
    run_rule,
    checklist.last_valid_step,
    WRONG_RESULTS["one step after the last"],
    IDS,
    EQUAL,
    pad=0,
)
add(
    "packed_order",
    "right",
    "a PackedSequence",
    run_rule,
    checklist.packed_order,
    lambda m, x, n: m.rnn(
        pack_padded_sequence(m.emb(x), torch.as_tensor(n), True, enforce_sorted=False)
    )[0],
)

# the loss

LOGITS = numbers(B, T, V)


def cross_entropy(logits, targets, **options):
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), **options)


def masked_mean(logits, targets, pad=0, **options):
    mask = targets != pad
    each = cross_entropy(logits, targets.clamp(min=0), reduction="none", **options)
    return (each.view_as(targets) * mask).sum() / mask.sum().clamp(min=1)


def per_sequence(logits, targets):
    pairs = zip(logits, targets, strict=True)
    return torch.stack([masked_mean(o[None], y[None]) for o, y in pairs]).mean()


def ignoring(logits, targets, **options):
    return cross_entropy(logits, targets, ignore_index=0, **options)


WEIGHTS = torch.linspace(0.5, 2, V)
RIGHT_LOSSES = {
    "masked mean": masked_mean,
    "ignore_index": ignoring,
    "label smoothing": lambda o, y: ignoring(o, y, label_smoothing=0.1),
    "class weights": lambda o, y: ignoring(o, y, weight=WEIGHTS),
    "divided by the steps of accumulation": lambda o, y: ignoring(o, y) / 4,
    "scaled by a GradScaler": lambda o, y: ignoring(o, y) * 1024,
    "in a dict": lambda o, y: wrapped(o, None, "dict") | {"loss": ignoring(o, y)},
    "in an object": lambda o, y: SimpleNamespace(logits=o, loss=ignoring(o, y)),
    "valid logits selected": lambda o, y: F.cross_entropy(o[y != 0], y[y != 0]),
    "log_softmax and nll": lambda o, y: F.nll_loss(
        o.log_softmax(-1).transpose(1, 2), y, ignore_index=0
    ),
    "focal": lambda o, y: (
        (p := o.softmax(-1).gather(-1, y[..., None])[..., 0]),
        (-((1 - p) ** 2) * p.log())[y != 0].mean(),
    )[1],
    "of shape [1]": lambda o, y: ignoring(o, y)[None],
    "sum over rows, divided by all tokens": lambda o, y: (
        sum(cross_entropy(a, b, ignore_index=0, reduction="sum") for a, b in zip(o, y, strict=True))
        / (y != 0).sum()
    ),
}
RIGHT_LOSSES |= {  # whose denominator is chosen in another way
    "sum": lambda o, y: ignoring(o, y, reduction="sum"),
    "sum, smoothed": lambda o, y: ignoring(o, y, reduction="sum", label_smoothing=0.1),
    "divided by B": lambda o, y: ignoring(o, y, reduction="sum") / len(y),
    "mean of means": per_sequence,
    "mean of means, smoothed": lambda o, y: torch.stack(
        [ignoring(a[None], b[None], label_smoothing=0.1) for a, b in zip(o, y, strict=True)]
    ).mean(),
}
WRONG_LOSSES = {
    "mean over padding": cross_entropy,
    "divided by B·T": lambda o, y: ignoring(o, y, reduction="sum") / y.numel(),
    "divided by B·T, smoothed": lambda o, y: (
        ignoring(o, y, reduction="sum", label_smoothing=0.1) / y.numel()
    ),
    "divided by T": lambda o, y: ignoring(o, y, reduction="sum") / y.shape[1],
    "mask one step short": lambda o, y: masked_mean(
        o, torch.where(F.pad(y[:, 1:], (0, 1)) != 0, y, 0)
    ),
    "ignores another token": lambda o, y: cross_entropy(o, y, ignore_index=-100),
    "mask of the wrong sign": lambda o, y: masked_mean(o, torch.where(y == 0, 1, 0)),
    "mask one step late": lambda o, y: (
        (cross_entropy(o, y, reduction="none").view_as(y) * (y.roll(1, 1) != 0)).sum()
        / (y != 0).sum()
    ),
    "mean of losses times mask": lambda o, y: (
        cross_entropy(o, y, reduction="none").view_as(y) * (y != 0)
    ).mean(),
    "smoothing over padding": lambda o, y: cross_entropy(o, y, label_smoothing=0.1),
    "a penalty on all logits": lambda o, y: ignoring(o, y) + 0.01 * o.square().mean(),
}


def of_loss(loss, logits=LOGITS, targets=PADDED):
    return checklist.padding_loss(loss, logits, targets, 0)


for kind, losses in (("right", RIGHT_LOSSES), ("wrong", WRONG_LOSSES)):
    for name, loss in losses.items():
        add("padding_loss", kind, name, of_loss, loss)
for kind, loss in (("right", ignoring), ("wrong", WRONG_LOSSES["divided by B·T"])):
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        add("padding_loss", kind, f"{dtype}", of_loss, loss, LOGITS.to(dtype))
    flat = LOGITS.flatten(0, 1), PADDED.flatten()
    add("padding_loss", kind, "flattened", of_loss, loss, *flat)
    add("padding_loss", kind, "one row", of_loss, loss, LOGITS[:1], PADDED[:1])
masked = LOGITS.index_fill(2, torch.tensor([0]), -torch.inf)
add("padding_loss", "right", "logits of −∞", of_loss, ignoring, masked)
add(
    "padding_loss",
    "wrong",
    "divided by B times the longest row",
    of_loss,
    lambda o, y: ignoring(o, y, reduction="sum") / (len(y) * (y != 0).sum(1).max()),
    targets=torch.where(torch.arange(T) < T - 1, PADDED, 0),
)
equal_lengths = torch.where(torch.arange(T) < T - 1, IDS, 0)
add("padding_loss", "right", "equal lengths", of_loss, ignoring, targets=equal_lengths)
add(
    "padding_loss",
    "right",
    "smoothing, of one size only",
    of_loss,
    lambda o, y: masked_mean(o.view(B, T, V), y.view(B, T), label_smoothing=0.1),
)
add("padding_loss", "blind", "NaN logits", of_loss, ignoring, LOGITS * torch.nan)
add("padding_loss", "blind", "no padding", of_loss, ignoring, LOGITS, IDS)
add("padding_loss", "blind", "no reduction", of_loss, lambda o, y: ignoring(o, y, reduction="none"))
UNCLEAR_LOSSES = {
    "divided by the root of each length": lambda o, y: (
        (cross_entropy(o, y, reduction="none").view_as(y) * (y != 0)).sum(1)
        / (y != 0).sum(1).sqrt()
    ).sum(),
    "a sum of one size only": lambda o, y: (
        cross_entropy(o, y, reduction="none").view(B, T) * (y != 0)
    ).sum(),
}
for name, loss in UNCLEAR_LOSSES.items():
    add("padding_loss", "blind", name, of_loss, loss)
add("padding_loss", "blind", "a constant", of_loss, lambda o, y: o.sum() * 0)
