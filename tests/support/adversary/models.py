"""Models as users write them, with what is usual and what is not."""

from types import SimpleNamespace

import torch
from torch import nn
from torch.nn.utils import parametrizations

V, B, T, E, H = 11, 4, 6, 5, 7


def tokens(*shape):
    """Random tokens from 1 to 10, the same in every call."""
    return torch.randint(1, V, shape, generator=torch.Generator().manual_seed(7))


def numbers(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(7)).to(dtype)


def wrapped(output, state, how):
    """Output and state as the model returns them."""
    if how == "tensor":
        return output
    if how == "tuple":
        return output, state
    if how == "list":
        return [output, state]
    if how == "dict":
        return {"loss": None, "logits": output, "state": state}
    return SimpleNamespace(logits=output, state=state)


class Model(nn.Module):
    """Embedding or linear layer, recurrent net, head."""

    def __init__(
        self,
        kind=nn.GRU,
        returns="tuple",
        reads="tokens",
        autocast=False,
        tied=False,
        before=None,
        after=None,
        **options,
    ):
        super().__init__()
        width = H if tied else E
        self.emb = nn.Embedding(V, width) if reads == "tokens" else nn.Linear(reads, width)
        self.rnn = kind(width, H, **({"batch_first": True} | options))
        self.head = nn.Linear(H * (1 + self.rnn.bidirectional), V)
        if tied:
            self.head.weight = self.emb.weight
        self.returns, self.autocast = returns, autocast
        self.before = before or (lambda x: x)
        self.after = after or (lambda h: h)

    def forward(self, x, state=None):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            h, state = self.rnn(self.before(self.emb(x)), state)
            output = self.head(self.after(h))
        return wrapped(output.float() if self.autocast else output, state, self.returns)


class Keeping(Model):
    """The same, with the state kept inside."""

    hidden = None

    def forward(self, x, state=None):
        output, self.hidden = super().forward(x, self.hidden)
        return output


class OfCells(nn.Module):
    """A GRU cell in a loop."""

    def __init__(self):
        super().__init__()
        self.emb, self.cell, self.head = nn.Embedding(V, E), nn.GRUCell(E, H), nn.Linear(H, V)

    def forward(self, x, state=None):
        h, outputs = torch.zeros(len(x), H) if state is None else state, []
        for e in self.emb(x).unbind(1):
            h = self.cell(e, h)
            outputs.append(self.head(h))
        return torch.stack(outputs, 1), h


def filled(model, value):
    """The model with all its weights set to a value."""
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(value)
    return model


def weight_normed(model):
    parametrizations.weight_norm(model.head)
    return model


def compiled(model):
    return torch.compile(model, backend="aot_eager")


UNUSUAL = {
    "an LSTM": lambda m: m(nn.LSTM),
    "a relu RNN": lambda m: m(nn.RNN, nonlinearity="relu"),
    "two layers, dropout, training mode": lambda m: m(nn.LSTM, num_layers=2, dropout=0.5),
    "logits in a dict": lambda m: m(returns="dict"),
    "logits in an object": lambda m: m(returns="object"),
    "output and state in a list": lambda m: m(returns="list"),
    "float64": lambda m: m().double(),
    "bfloat16": lambda m: m().bfloat16(),
    "float16": lambda m: m().half(),
    "autocast": lambda m: m(autocast=True),
    "tied weights": lambda m: m(tied=True),
    "weight_norm": lambda m: weight_normed(m()),
    "compiled": lambda m: compiled(m()),
    "frozen weights": lambda m: m().requires_grad_(False),
}
