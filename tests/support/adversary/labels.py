"""Label shift and shapes: points 1 and 2."""

import torch
from torch import nn
from torch.nn import functional as F

from bptt_oracle import checklist

from .case import add
from .models import UNUSUAL, B, Keeping, Model, V, filled, numbers, tokens

IDS = tokens(B, 12)
BOS, EOS = 0, 0


def column(ids, token):
    return torch.full_like(ids[:, :1], token)


def chunked_by_time(ids):
    """Rows of ids are steps."""
    return ids[:-1], ids[1:]


RIGHT_SPLITS = {
    "sliced": lambda i: (i[:, :-1], i[:, 1:]),
    "the last target ignored": lambda i: (i, torch.cat([i[:, 1:], column(i, -100)], 1)),
    "bos before the inputs": lambda i: (torch.cat([column(i, BOS), i[:, :-1]], 1), i),
    "bos and eos": lambda i: (
        torch.cat([column(i, BOS), i], 1),
        torch.cat([i, column(i, EOS)], 1),
    ),
    "eos after the targets": lambda i: (i, torch.cat([i[:, 1:], column(i, EOS)], 1)),
    "flattened targets": lambda i: (i[:, :-1], i[:, 1:].reshape(-1)),
    "both flattened": lambda i: (
        torch.cat([column(i, BOS), i[:, :-1]], 1).reshape(-1),
        i.reshape(-1),
    ),
    "both flattened, a column short": lambda i: (i[:, :-1].flatten(), i[:, 1:].flatten()),
    "inputs flattened": lambda i: (i[:, :-1].flatten(), i[:, 1:]),
    "prompt ignored": lambda i: (i[:, :-1], i[:, 1:].masked_fill(torch.arange(11) < 3, -100)),
    "a window inside": lambda i: (i[:, 2:8], i[:, 3:9]),
    "a dict": lambda i: {"input_ids": i[:, :-1], "labels": i[:, 1:]},
    "a list": lambda i: [i[:, :-1].contiguous(), i[:, 1:].contiguous()],
    "narrow": lambda i: (i.narrow(1, 0, 5), i.narrow(1, 1, 5)),
    "int32": lambda i: (i[:, :-1].int(), i[:, 1:].int()),
    "stored with labels first": lambda i: {"labels": i[:, 1:], "input_ids": i[:, :-1]},
}
WRONG_SPLITS = {
    "copies": lambda i: (i[:, :-1], i[:, :-1]),
    "copies, flattened": lambda i: (i[:, :-1].flatten(), i[:, :-1].flatten()),
    "two ahead, flattened": lambda i: (i[:, :-2].flatten(), i[:, 2:].flatten()),
    "copies in a dict": lambda i: {"labels": i, "input_ids": i},
    "the same": lambda i: (i, i),
    "two ahead": lambda i: (i[:, :-2], i[:, 2:]),
    "backwards": lambda i: (i[:, 1:], i[:, :-1]),
    "another length": lambda i: (i, i[:, 1:]),
    "reversed": lambda i: (i[:, :-1], i.flip(1)[:, 1:]),
    "rolled": lambda i: (i, i.roll(-1, 1)),
    "rolled the other way": lambda i: (i, i.roll(1, 1)),
    "shifted in the flat batch": lambda i: (i, i.reshape(-1).roll(-1).reshape(i.shape)),
    "other rows": lambda i: (i[:, :-1], i.roll(1, 0)[:, 1:]),
    "shifted twice, the rest ignored": lambda i: (
        i,
        torch.cat([i[:, 2:], column(i, -100), column(i, -100)], 1),
    ),
    "shifted over rows": lambda i: (i[:-1], i[1:]),
    "one token too many": lambda i: (i[:, :-1], i[:, 1:] + 1),
    "shuffled columns": lambda i: (i[:, :-1], i[:, 1:][:, [3, 1, 2, 0, *range(4, 11)]]),
}
for kind, splits in (("right", RIGHT_SPLITS), ("wrong", WRONG_SPLITS)):
    for name, split in splits.items():
        add("label_shift", kind, name, checklist.label_shift, split, IDS)
sliced, copied = RIGHT_SPLITS["sliced"], WRONG_SPLITS["copies"]
for kind, split in (("right", sliced), ("wrong", copied)):
    add("label_shift", kind, "one row", checklist.label_shift, split, IDS[:1])
    add("label_shift", kind, "numbers", checklist.label_shift, split, numbers(B, 9, 3))
add(
    "label_shift",
    "right",
    "ids [T, B]",
    checklist.label_shift,
    chunked_by_time,
    IDS.T,
    batch_first=False,
)
add("label_shift", "blind", "repeating ids", checklist.label_shift, sliced, IDS * 0 + 1)
add(
    "label_shift",
    "blind",
    "all targets ignored",
    checklist.label_shift,
    lambda i: (i[:, :-1], i[:, 1:] * 0 - 100),
    IDS,
)
add(
    "label_shift",
    "blind",
    "one row, rolled",
    checklist.label_shift,
    WRONG_SPLITS["rolled"],
    IDS[:1],
)
UNCLEAR_SPLITS = {
    "flattened step by step": lambda i: (i[:, :-1].T.flatten(), i[:, 1:].T.flatten()),
    "one stream of all rows": lambda i: (i.flatten()[:-1], i.flatten()[1:]),
    "tokens selected": lambda i: (i[:, :-1][i[:, 1:] > 5], i[:, 1:][i[:, 1:] > 5]),
    "labels alone": lambda i: {"labels": i[:, 1:]},
}
for name, split in UNCLEAR_SPLITS.items():
    add("label_shift", "blind", name, checklist.label_shift, split, IDS)
flattened = RIGHT_SPLITS["both flattened, a column short"]
add(
    "label_shift", "right", "numbers, flattened", checklist.label_shift, flattened, numbers(B, 9, 3)
)
add(
    "label_shift",
    "right",
    "ids [T, B], flattened",
    checklist.label_shift,
    lambda i: (i[:-1].flatten(), i[1:].flatten()),
    IDS.T,
    batch_first=False,
)
add("label_shift", "blind", "a string", checklist.label_shift, lambda i: "ids", IDS)

X = tokens(5, 6)


def of_shapes(model, x=X, targets=X, vocab=V):
    return checklist.shapes(model, x, targets, vocab)


class Changed(Model):
    """The model with something done to its logits."""

    def __init__(self, change, **options):
        super().__init__(**options)
        self.change = change

    def forward(self, x, state=None):
        return self.change(super().forward(x, state)[0])


class Normed(Model):
    def forward(self, x, state=None):
        h, state = self.rnn(self.emb(x), state)
        return self.head((h - h.mean(0)) / (h.std(0) + 1)), state


def leaking(k, size):
    """Row 0 reads a little of row k."""

    def change(logits):
        mixed = logits.clone()
        mixed[0] = mixed[0] + size * logits[k]
        return mixed

    return change


for name, make in UNUSUAL.items():
    add("shapes", "right", name, lambda make: of_shapes(make(Model)), make)
add("shapes", "right", "bidirectional", lambda: of_shapes(Model(bidirectional=True)))
add("shapes", "right", "state kept inside", lambda: of_shapes(Keeping()))
add(
    "shapes",
    "right",
    "flattened logits",
    lambda: of_shapes(Changed(lambda o: o.flatten(0, 1)), targets=X.flatten()),
)
add(
    "shapes",
    "right",
    "numbers",
    lambda: of_shapes(Model(reads=3), numbers(5, 6, 3), numbers(5, 6, V)),
)
add(
    "shapes",
    "right",
    "batch norm in training mode",
    lambda: of_shapes(
        nn.Sequential(
            Model(returns="tensor"), nn.Flatten(0, 1), nn.BatchNorm1d(V), nn.Unflatten(0, (5, 6))
        )
    ),
)
add("shapes", "right", "two rows", lambda: of_shapes(Model(), X[:2], X[:2]))
add("shapes", "right", "the first two rows equal", lambda: of_shapes(Model(), X[[0, 0, 1]], X[:3]))
add(
    "shapes",
    "right",
    "logits of −∞",
    lambda: of_shapes(Changed(lambda o: o.index_fill(2, torch.tensor([0]), -torch.inf))),
)
add("shapes", "wrong", "without batch_first", lambda: of_shapes(Model(batch_first=False)))
add(
    "shapes",
    "wrong",
    "without batch_first, square",
    lambda: of_shapes(Model(batch_first=False), X[:, :5], X[:, :5]),
)
add(
    "shapes",
    "wrong",
    "without batch_first, in a dict",
    lambda: of_shapes(Model(batch_first=False, returns="dict")),
)
add(
    "shapes",
    "wrong",
    "without batch_first, LSTM",
    lambda: of_shapes(Model(nn.LSTM, batch_first=False)),
)
add(
    "shapes",
    "wrong",
    "numbers without batch_first",
    lambda: of_shapes(Model(reads=3, batch_first=False), numbers(5, 6, 3)),
)
add("shapes", "wrong", "logits [B, V, T]", lambda: of_shapes(Changed(lambda o: o.mT)))
add("shapes", "wrong", "logits [T, B, V]", lambda: of_shapes(Changed(lambda o: o.transpose(0, 1))))
add("shapes", "wrong", "the last step only", lambda: of_shapes(Changed(lambda o: o[:, -1])))
add("shapes", "wrong", "one class too many", lambda: of_shapes(Model(), vocab=V + 1))
add("shapes", "wrong", "targets a step short", lambda: of_shapes(Model(), targets=X[:, 1:]))
add("shapes", "wrong", "targets [T, B]", lambda: of_shapes(Model(), targets=X.T))
add("shapes", "wrong", "normalised over the batch", lambda: of_shapes(Normed()))
add("shapes", "wrong", "row 0 reads row 3", lambda: of_shapes(Changed(leaking(3, 0.5))))
add(
    "shapes",
    "wrong",
    "row 0 reads a ten-thousandth of row 3",
    lambda: of_shapes(Changed(leaking(3, 1e-4))),
)
add("shapes", "wrong", "softmax over the batch", lambda: of_shapes(Changed(lambda o: o.softmax(0))))
add(
    "shapes",
    "wrong",
    "flattened in the order of time",
    lambda: of_shapes(Changed(lambda o: o.transpose(0, 1).flatten(0, 1))),
)
add("shapes", "wrong", "rows rolled", lambda: of_shapes(Changed(lambda o: o.roll(1, 0))))
add("shapes", "blind", "NaN weights", lambda: of_shapes(filled(Model(), torch.nan)))
add("shapes", "blind", "zero weights", lambda: of_shapes(filled(Model(), 0)))
add("shapes", "blind", "one row", lambda: of_shapes(Model(), X[:1], X[:1]))
add("shapes", "blind", "equal rows", lambda: of_shapes(Model(), X[[0, 0]], X[:2]))
add(
    "shapes",
    "blind",
    "dropout that eval() does not switch off",
    lambda: of_shapes(Changed(lambda o: F.dropout(o, 0.5, True))),
)
