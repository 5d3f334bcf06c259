"""Teacher forcing and greedy decoding of the encoder–decoder."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from ..nets.state import hidden
from .seq2seq import Seq2Seq

IGNORED = -100


def teacher_forcing(targets: Tensor, lengths: Tensor, bos: int, eos: int) -> tuple[Tensor, Tensor]:
    """Inputs and labels [B, U + 1] of targets [B, U]; labels after a row's ⟨eos⟩ are IGNORED."""
    u = torch.arange(targets.shape[1] + 1)
    inputs = pad(targets, (1, 0), value=bos).masked_fill(u > lengths[:, None], eos)
    labels = pad(targets, (0, 1)).masked_fill(u == lengths[:, None], eos)
    return inputs, labels.masked_fill(u > lengths[:, None], IGNORED)


def seq2seq_step(
    model: Seq2Seq, source: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
) -> Tensor:
    """The mean cross-entropy under teacher forcing."""
    inputs, labels = teacher_forcing(targets, target_lengths, model.bos, model.eos)
    logits = model(source, lengths, inputs)
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


@torch.no_grad()
def decode_greedy(model: Seq2Seq, source: Tensor, lengths: Tensor, steps: int) -> Tensor:
    """Tokens [B, ≤ steps], each the most likely one; ⟨eos⟩ after a row's own ⟨eos⟩."""
    state, h, real = model.encode(source, lengths)
    context = hidden(state)
    tokens = [torch.full((len(source),), model.bos)]
    ended = torch.zeros(len(source), dtype=torch.bool)
    while len(tokens) <= steps and not ended.all():
        state = model.step(tokens[-1], state, context, h, real)
        y = model.head(hidden(state)).argmax(dim=-1).masked_fill(ended, model.eos)
        tokens.append(y)
        ended |= y == model.eos
    return torch.stack(tokens, dim=1)[:, 1:]
