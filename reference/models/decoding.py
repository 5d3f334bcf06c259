"""The decoder's inputs: the target in training (teacher forcing), its own output in decoding.

    targets  [B, U]  tokens t_1 … t_n of each row, lengths n [B]

    inputs   ⟨bos⟩ t_1 … t_n               labels   t_1 … t_n ⟨eos⟩               [B, U + 1] each
    mask     True on these n + 1 steps; after them inputs and labels are ⟨eos⟩ and do not count

    (1)  L = the mean of −log softmax(o_u)[label_u] over the labels of all rows       (training)
    (2)  y_{u+1} = argmax o_u, y_1 = ⟨bos⟩, until every row has had its ⟨eos⟩         (decoding)

A decoded sequence is a fixed point of teacher forcing: with that sequence as the target, the most
likely tokens are the same sequence. The loss on true prefixes does not measure how the model
continues its own prefixes (exposure bias).

Source: Williams & Zipser 1989 (teacher forcing); Sutskever, Vinyals & Le 2014.
Page: docs/models/seq2seq.md
"""

import numpy as np
import numpy.typing as npt

from ..arrays import check_not_masked, check_tokens, is_token
from ..nets.state import split_state
from . import loss
from .layers import embedding, linear
from .parameters import Params
from .seq2seq import Seq2Seq


def teacher_forcing(
    targets: np.ndarray, lengths: npt.ArrayLike, bos: int, eos: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, labels and mask [B, U + 1] of targets [B, U] with lengths [B]; padding is not read.

    Inputs and labels are intp whatever the integer type of the targets: a narrow type may not hold
    ⟨bos⟩ and ⟨eos⟩. Raises ValueError unless the targets have two axes, ⟨bos⟩ and ⟨eos⟩ are
    integers and the lengths are one whole number for each row, each 0 … U; RuntimeError for targets
    that are not integers.
    """
    targets = check_tokens("targets", targets)
    if targets.ndim != 2:
        raise ValueError(f"Expected targets [B, U], got {list(targets.shape)}.")
    for name, token in (("bos", bos), ("eos", eos)):
        if not is_token(token):
            raise ValueError(f"Expected {name} to be a token, an integer, got {token!r}.")
    bos, eos = int(bos), int(eos)  # a NumPy uint64 would make the inputs floating
    check_not_masked("lengths", lengths, TypeError)
    B, U = targets.shape
    n = np.asarray(lengths)
    if n.shape != (B,) or (n < 0).any() or (n > U).any() or (n != np.floor(n)).any():
        raise ValueError(f"Expected {B} whole target lengths, each 0 to {U}, got {n.tolist()}.")
    u = np.arange(U + 1)
    padded = np.pad(targets, ((0, 0), (1, 1)))
    inputs = np.where(u <= n[:, None], padded[:, :-1], eos)
    inputs[:, 0] = bos
    labels = np.where(u < n[:, None], padded[:, 1:], eos)
    return inputs, labels, u <= n[:, None]


def seq2seq_step(
    model: Seq2Seq,
    params: Params,
    source: np.ndarray,
    lengths: np.ndarray,
    targets: np.ndarray,
    target_lengths: np.ndarray,
) -> tuple[np.ndarray, Params]:
    """The loss of targets [B, U] given source [B, T], and the gradient of every parameter.

    Raises the errors of `Seq2Seq.forward` and `teacher_forcing`, and changes no argument.
    """
    inputs, labels, mask = teacher_forcing(targets, target_lengths, model.bos, model.eos)
    logits, tape = model.forward(params, source, lengths, inputs)
    value, loss_tape = loss.cross_entropy(logits, labels, mask)  # (1)
    return value, model.backward(tape, loss.cross_entropy_back(loss_tape))


def decode_greedy(
    model: Seq2Seq, params: Params, source: np.ndarray, lengths: np.ndarray, steps: int
) -> np.ndarray:
    """Tokens [B, ≤ steps], each the most likely one; after a row's first ⟨eos⟩ only ⟨eos⟩.

    Of equal logits the first is taken. Decoding stops early when every row has ended. Tokens are
    intp, whatever the integer type of the source.
    """
    (state, memory), _ = model.encode(params, source, lengths)
    tokens, ended = [np.full(len(source), model.bos, np.intp)], np.zeros(len(source), dtype=bool)
    for _ in range(steps):
        embedded, _ = embedding(params["target_emb.weight"], tokens[-1])
        state, _ = model.step(params, embedded, state, memory)
        logits, _ = linear(split_state(state)[0], params["head.weight"], params["head.bias"])
        tokens.append(np.where(ended, int(model.eos), logits.real.argmax(axis=-1)))  # (2)
        ended |= tokens[-1] == model.eos
        if ended.all():
            break
    return np.stack(tokens, axis=1)[:, 1:]
