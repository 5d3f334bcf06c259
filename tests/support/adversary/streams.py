"""Resets and routing: points 8 and 9."""

import torch
from torch import nn
from torch.nn import functional as F

from bptt_oracle import checklist

from .case import add
from .models import H, Model, OfCells, V, compiled, filled, numbers, tokens, wrapped

B, T = 4, 6
IDS = tokens(B, T)
RESET = torch.tensor([True, False, True, False])
STATE = numbers(1, B, H)
ROLLOUT = torch.zeros(T, B, dtype=torch.bool)
ROLLOUT[2, 0] = ROLLOUT[4, 1] = ROLLOUT[0, 2] = ROLLOUT[3, 2] = True


def select(state, rows, fresh=0.0):
    return torch.where(rows[:, None], fresh, state)


def multiply(state, rows):
    return state * ~rows[:, None]


def each(reset, state, rows):
    if isinstance(state, tuple):
        return tuple(reset(s, rows) for s in state)
    return reset(state, rows)


def with_reset(reset, model=None, state=STATE, x=IDS, rows=RESET, output=lambda r: r):
    """The user's step: a reset, then the model."""
    model = Model() if model is None else model

    def step(x, state, rows):
        return output(model(x, each(reset, state, rows)))

    return checklist.reset_leak(step, x, state, rows)


def lstm(reset, state=None):
    return with_reset(reset, Model(nn.LSTM), state or (STATE, STATE.flip(0)))


class Rolling(nn.Module):
    """A cell that is reset inside of a rollout; `when` chooses the rows at step t."""

    def __init__(self, reset=select, when=lambda resets, t: resets[t], kind=nn.GRUCell, late=False):
        super().__init__()
        self.emb, self.cell, self.head = nn.Embedding(V, 5), kind(5, H), nn.Linear(H, V)
        self.reset, self.when, self.late = reset, when, late

    def forward(self, x, h, resets):
        outputs = []
        for t, e in enumerate(self.emb(x).unbind(1)):
            rows = self.when(resets, t)
            if not self.late:
                h = each(self.reset, h, rows)
            h = self.cell(e, h)
            outputs.append(self.head(h[0] if isinstance(h, tuple) else h))
            if self.late:
                h = each(self.reset, h, rows)
        return torch.stack(outputs, 1), h


def rolled(state=None, resets=ROLLOUT, change=lambda m: m, **options):
    state = numbers(B, H) if state is None else state
    return checklist.reset_leak(change(Rolling(**options)), IDS, state, resets)


def never(resets, t):
    return resets[t] & False


pair = (numbers(B, H), numbers(B, H) + 1)


def time_first(model):
    """x and the output are [T, B, ·]."""

    def step(x, state, resets):
        output, state = model(x.T, state, resets)
        return output.transpose(0, 1), state

    return checklist.reset_leak(step, IDS.T, numbers(B, H), ROLLOUT, batch_first=False)


RESET_RIGHT = {
    "selected": lambda: with_reset(select),
    "selected, LSTM": lambda: lstm(select),
    "multiplied, as RL libraries do": lambda: with_reset(multiply),
    "multiplied, LSTM": lambda: lstm(multiply),
    "a learnable start": lambda: with_reset(lambda s, r: select(s, r, torch.full((H,), 0.3))),
    "masked_fill": lambda: with_reset(lambda s, r: s.masked_fill(r[:, None], 0)),
    "in place": lambda: with_reset(lambda s, r: s.index_fill_(1, r.nonzero()[:, 0], 0)),
    "output only": lambda: with_reset(select, output=lambda r: r[0]),
    "the last step only": lambda: with_reset(select, output=lambda r: r[0][:, -1]),
    "logits in a dict": lambda: with_reset(select, Model(returns="dict")),
    "logits in an object": lambda: with_reset(select, Model(returns="object")),
    "dropout": lambda: with_reset(select, Model(num_layers=2, dropout=0.5), numbers(2, B, H)),
    "state [B, H]": lambda: with_reset(select, OfCells(), numbers(B, H)),
    "numbers": lambda: with_reset(select, Model(reads=3), x=numbers(B, T, 3)),
    "float64": lambda: with_reset(select, Model().double(), STATE.double()),
    "bfloat16": lambda: with_reset(select, Model().bfloat16(), STATE.bfloat16()),
    "autocast": lambda: with_reset(select, Model(autocast=True)),
    "compiled": lambda: with_reset(select, compiled(Model())),
    "a rollout": rolled,
    "a rollout, multiplied": lambda: rolled(reset=multiply),
    "a rollout, LSTM": lambda: rolled(pair, kind=nn.LSTMCell),
    "a rollout, [B, T]": lambda: rolled(resets=ROLLOUT.T, when=lambda r, t: r[:, t]),
    "a rollout, time first": lambda: time_first(Rolling()),
    "one row is reset": lambda: with_reset(select, rows=torch.arange(B) == 1),
    "one step": lambda: with_reset(select, x=IDS[:, :1]),
}
RESET_WRONG = {
    "no reset": lambda: with_reset(lambda s, r: s),
    "every row": lambda: with_reset(lambda s, r: torch.zeros_like(s)),
    "the other rows": lambda: with_reset(lambda s, r: select(s, ~r)),
    "the first row only": lambda: with_reset(lambda s, r: select(s, r & (torch.arange(B) == 0))),
    "rows rolled": lambda: with_reset(lambda s, r: select(s, r.roll(1))),
    "halved": lambda: with_reset(lambda s, r: torch.where(r[:, None], 0.5 * s, s)),
    "another row's state": lambda: with_reset(
        lambda s, r: torch.where(r[:, None], s.roll(1, 1), s)
    ),
    "the mean state": lambda: with_reset(
        lambda s, r: torch.where(r[:, None], s.mean(1, keepdim=True), s)
    ),
    "half of the units": lambda: with_reset(
        lambda s, r: torch.where(r[:, None] & (torch.arange(H) < 3), 0, s)
    ),
    "no reset, LSTM": lambda: with_reset(
        lambda s, r: s, Model(nn.LSTM), (STATE, STATE), output=lambda r: r
    ),
    "c but not h": lambda: lstm_half(1),
    "h but not c": lambda: lstm_half(0),
    "one of two layers": lambda: with_reset(
        lambda s, r: torch.cat([select(s[:1], r), s[1:]]),
        Model(num_layers=2),
        numbers(2, B, H),
    ),
    "no state passed on": lambda: checklist.reset_leak(
        (lambda m: lambda x, s, r: m(x))(Model()), IDS, STATE, RESET
    ),
    "no reset, bfloat16": lambda: with_reset(lambda s, r: s, Model().bfloat16(), STATE.bfloat16()),
    "no reset, in a dict": lambda: with_reset(lambda s, r: s, Model(returns="dict")),
    "a rollout, only the first step": lambda: rolled(
        when=lambda r, t: r[t] if t == 0 else never(r, t)
    ),
    "a rollout, time first, ignored": lambda: time_first(Rolling(when=never)),
    "a rollout, no reset": lambda: rolled(when=never),
    "a rollout, one step late": lambda: rolled(late=True),
    "a rollout, one step early": lambda: rolled(
        when=lambda r, t: r[min(t + 1, T - 1)] & (t < T - 1) | (r[0] & (t == 0))
    ),
    "a rollout, all rows": lambda: rolled(when=lambda r, t: r[t] | r[t].any()),
    "a rollout, from the reset on": lambda: rolled(when=lambda r, t: r[: t + 1].any(0)),
    "a rollout, the last reset only": lambda: rolled(
        when=lambda r, t: r[t] & (r[t + 1 :].sum(0) == 0) & (t > 2)
    ),
    "a rollout, LSTM, h only": lambda: rolled_half(),
    "a rollout, rows rolled": lambda: rolled(when=lambda r, t: r[t].roll(1)),
}


def lstm_half(which):
    """Resets one of h and c."""
    model = Model(nn.LSTM)

    def step(x, state, rows):
        parts = list(state)
        parts[which] = select(parts[which], rows)
        return model(x, tuple(parts))

    return checklist.reset_leak(step, IDS, (STATE, STATE.flip(0)), RESET)


def rolled_half():
    calls = [0]

    def first_only(state, rows):
        calls[0] += 1
        return select(state, rows) if calls[0] % 2 else state

    return rolled(pair, kind=nn.LSTMCell, reset=first_only)


def noisy_step():
    model = Model()
    return checklist.reset_leak(
        lambda x, s, r: F.dropout(model(x, select(s, r))[0], 0.5, True), IDS, STATE, RESET
    )


RESET_BLIND = {
    "NaN weights": lambda: with_reset(select, filled(Model(), torch.nan)),
    "zero weights": lambda: with_reset(select, filled(Model(), 0)),
    "all rows are reset": lambda: with_reset(select, rows=RESET | True),
    "no row is reset": lambda: with_reset(select, rows=RESET & False),
    "a rollout without later resets": lambda: rolled(
        resets=ROLLOUT & (torch.arange(T) < 1)[:, None]
    ),
    "dropout that eval() does not switch off": noisy_step,
}
for kind, cases in (("right", RESET_RIGHT), ("wrong", RESET_WRONG), ("blind", RESET_BLIND)):
    for name, run in cases.items():
        add("reset_leak", kind, name, run)

# routing

ONE, TWO = tokens(2 * B, T)[:B], tokens(2 * B, T)[B:]


def stack(states):
    if isinstance(states[0], tuple):
        return tuple(torch.cat(parts, 1) for parts in zip(*states, strict=True))
    return torch.cat(states, 1)


def unstack(state):
    if isinstance(state, tuple):
        return list(zip(*[s.split(1, 1) for s in state], strict=True))
    return list(state.split(1, 1))


def bank(
    model,
    key=lambda i, row: i,
    put=lambda i, row: i,
    keep=lambda s: s,
    shared=None,
    new=lambda known, fresh: fresh,
    answer=lambda output, state: output,
    every=None,
):
    """new_step of a bank of states in which one thing is changed."""

    def start(like=None):
        zero = torch.zeros(model.rnn.num_layers, 1, H, dtype=next(model.parameters()).dtype)
        return (zero, zero) if isinstance(model.rnn, nn.LSTM) else zero

    def new_step():
        known = {} if shared is None else shared

        def step(ids, x):
            states = [known.get(key(i, row), new(known, start())) for row, i in enumerate(ids)]
            if every:
                states = every(ids, known, states, start())
            returned = model(x, stack(states))
            output, state = (
                returned if isinstance(returned, tuple) else (returned["logits"], returned["state"])
            )
            for row, (i, s) in enumerate(zip(ids, unstack(state), strict=True)):
                known[put(i, row)] = keep(s)
            return answer(output, state)

        return step

    return new_step


def routed(make=Model, one=ONE, two=TWO, model=None, **options):
    model = make() if model is None else model
    return checklist.routing(bank(model, **options), one, two)


def by_row(model):
    def new_step():
        carried = [None]

        def step(ids, x):
            output, carried[0] = model(x, carried[0])
            return output

        return step

    return checklist.routing(new_step, ONE, TWO)


def in_a_tensor(model, capacity=16):
    """The bank is one tensor, indexed by id."""

    def new_step():
        states = torch.zeros(1, capacity, H)

        def step(ids, x):
            output, h = model(x, states[:, ids].clone())
            states[:, ids] = h.detach()
            return wrapped(output, h, "object")

        return step

    return checklist.routing(new_step, ONE, TWO)


class Bank:
    """A bank as an object."""

    def __init__(self, model):
        self.model, self.states = model, {}

    def __call__(self, ids, x):
        start = torch.zeros(1, 1, H)
        h = torch.cat([self.states.get(i, start) for i in ids], 1)
        output, h = self.model(x, h)
        self.states |= dict(zip(ids, h.split(1, 1), strict=True))
        return output


def as_object(model):
    return checklist.routing(lambda: Bank(model), ONE, TWO)


def one_by_one(model):
    """Streams run one by one."""

    def new_step():
        states = {}

        def step(ids, x):
            outputs = []
            for i, row in zip(ids, x, strict=True):
                output, states[i] = model(row[None], states.get(i))
                outputs.append(output)
            return torch.cat(outputs)

        return step

    return checklist.routing(new_step, ONE, TWO)


def reset_if_any_new(ids, known, states, start):
    return [start] * len(ids) if any(i not in known for i in ids) and known else states


ROUTING_RIGHT = {
    "a bank": routed,
    "a bank, LSTM": lambda: routed(lambda: Model(nn.LSTM)),
    "a bank, two layers": lambda: routed(lambda: Model(num_layers=2, dropout=0.5)),
    "detached": lambda: routed(keep=lambda s: s.detach().clone()),
    "in a tensor": lambda: in_a_tensor(Model()),
    "an object": lambda: as_object(Model()),
    "one by one": lambda: one_by_one(Model()),
    "ids as strings": lambda: routed(key=lambda i, r: f"s{i}", put=lambda i, r: f"s{i}"),
    "in a tuple": lambda: routed(answer=lambda o, s: (o, s)),
    "in a dict": lambda: routed(answer=lambda o, s: {"logits": o}),
    "model returns a dict": lambda: routed(lambda: Model(returns="dict")),
    "the last step only": lambda: routed(answer=lambda o, s: o[:, -1]),
    "float64": lambda: routed(lambda: Model().double()),
    "bfloat16": lambda: routed(lambda: Model().bfloat16()),
    "compiled": lambda: in_a_tensor(compiled(Model())),
    "numbers": lambda: routed(lambda: Model(reads=3), numbers(B, T, 3), numbers(B, T, 3) + 1),
    "two streams": lambda: routed(one=ONE[:2], two=TWO[:2]),
    "tied weights": lambda: routed(lambda: Model(tied=True)),
    "learnable start": lambda: routed(new=lambda known, fresh: fresh + 0.3),
}
ROUTING_WRONG = {
    "by row": lambda: by_row(Model()),
    "by row, LSTM": lambda: by_row(Model(nn.LSTM)),
    "bank by row": lambda: routed(key=lambda i, r: r, put=lambda i, r: r),
    "put by row": lambda: routed(put=lambda i, r: r),
    "got by row": lambda: routed(key=lambda i, r: r),
    "no state": lambda: checklist.routing(
        (lambda m: lambda: lambda ids, x: m(x)[0])(Model()), ONE, TWO
    ),
    "zeros kept": lambda: routed(keep=lambda s: s * 0),
    "one state for all": lambda: routed(key=lambda i, r: 0, put=lambda i, r: 0),
    "new streams inherit the last state": lambda: routed(
        new=lambda known, fresh: list(known.values())[-1] if known else fresh
    ),
    "new streams inherit by modulo": lambda: routed(key=lambda i, r: i % B, put=lambda i, r: i % B),
    "a new stream resets all": lambda: routed(every=reset_if_any_new),
    "ids sorted": lambda: routed(
        every=lambda ids, known, states, start: [
            states[k] for k in sorted(range(len(ids)), key=lambda k: ids[k])
        ]
    ),
    "states shifted by one": lambda: routed(
        every=lambda ids, known, states, start: [*states[1:], states[0]]
    ),
    "one stream is lost": lambda: routed(put=lambda i, r: "lost" if i == 2 else i),
    "by row, in a dict": lambda: routed(
        key=lambda i, r: r, put=lambda i, r: r, answer=lambda o, s: {"logits": o}
    ),
    "bank too small": lambda: routed(put=lambda i, r: i % 3, key=lambda i, r: i % 3),
}
ROUTING_BLIND = {
    "NaN weights": lambda: routed(lambda: filled(Model(), torch.nan)),
    "zero weights": lambda: routed(lambda: filled(Model(), 0)),
    "one stream": lambda: routed(one=ONE[:1], two=TWO[:1]),
    "new_step remembers": lambda: routed(shared={}),
}
for kind, cases in (("right", ROUTING_RIGHT), ("wrong", ROUTING_WRONG), ("blind", ROUTING_BLIND)):
    for name, run in cases.items():
        add("routing", kind, name, run)
