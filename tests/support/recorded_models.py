"""Models to record: functions that return (model, batch, loss)."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

COUNT = 0


class Tagger(nn.Module):
    """Tokens to tags, with two layers of an LSTM in both directions."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.embed = nn.Embedding(50, 5)
        self.rnn = nn.LSTM(5, 6, 2, bidirectional=True, batch_first=True, dropout=dropout)
        self.head = nn.Linear(12, 7)

    def forward(self, ids):
        return self.head(self.rnn(self.embed(ids))[0])


def tag_loss(model, batch):
    ids, tags = batch
    return cross_entropy(model(ids).flatten(0, 1), tags.flatten())


def make_tagger():
    return Tagger(), (torch.randint(50, (3, 4)), torch.randint(7, (3, 4))), tag_loss


def make_dropping():
    _, batch, loss = make_tagger()
    return Tagger(dropout=0.5), batch, loss


def make_other_each_time():
    """A model whose weights and numbers no seed fixes."""
    global COUNT
    COUNT += 1
    torch.manual_seed(COUNT)
    return nn.GRU(4, 6), {"x": torch.randn(5, 3, 4), "y": torch.randn(5, 3, 6)}, regression_loss


def regression_loss(model, batch):
    return mse_loss(model(batch["x"])[0], batch["y"])


def make_float64():
    return nn.GRU(4, 6).double(), {"x": torch.randn(5, 3, 4).double(), "y": 0.0}, with_backward


def with_backward(model, batch):
    loss = model(batch["x"])[0].pow(2).mean()
    loss.backward()
    return loss


def make_nan():
    model, batch, loss = make_tagger()
    with torch.no_grad():
        model.head.weight[0, 0] = torch.nan
    return model, batch, loss


def make_cancelling():
    """A loss in which rounding is amplified in a way that no weight shows."""
    model, batch, _ = make_tagger()
    return model, batch, lambda m, b: tag_loss(m, b) + 1e6 - 1e6


def make_pair():
    return nn.GRU(4, 6), torch.randn(5, 3, 4)


def make_without_net():
    return nn.Linear(4, 6), torch.randn(5, 4), lambda model, x: model(x).sum()


def make_without_batch():
    return nn.GRU(4, 6), None, lambda model, _: model(torch.randn(5, 3, 4))[0].sum()


def make_vector_loss():
    return nn.GRU(4, 6), torch.randn(5, 3, 4), lambda model, x: model(x)[0]


def make_number_loss():
    return nn.GRU(4, 6), torch.randn(5, 3, 4), lambda model, x: model(x)[0].sum().item()


def make_raising():
    return nn.GRU(4, 6), torch.randn(5, 3, 9), lambda model, x: model(x)[0].sum()


def make_unused():
    return nn.GRU(4, 6), torch.randn(5, 3, 4), lambda model, x: x.sum()


class HalfLSTM(nn.LSTM):
    """Half of what torch computes."""

    def forward(self, x, state=None):
        output, state = super().forward(x, state)
        return output / 2, state


class OwnLSTM(nn.LSTM):
    """Nothing of what torch computes."""

    def forward(self, x):
        return x @ self.weight_ih_l0[: self.hidden_size].T, None


def make_half():
    return HalfLSTM(4, 6), torch.randn(5, 3, 4), lambda model, x: model(x)[0].sum()


def make_own():
    return OwnLSTM(4, 6), torch.randn(5, 3, 4), lambda model, x: model(x)[0].sum()


def make_complex():
    return nn.GRU(4, 6), torch.randn(5, 3, 4) + 0j, lambda model, x: model(x.real)[0].sum()


NOT_A_FUNCTION = 3
