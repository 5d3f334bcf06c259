"""Where a model's inputs come from: the text, its own output, or a mixture of the two.

    ids  [B, T]   a text      u  [B, ·]  draws from [0, 1), the only randomness      p = softmax(o)

    greedy              x_{t+1} = argmax o_t
    sampled             x_{t+1} = the first j with p_0 + … + p_j > u_t        the inverse of the CDF
    teacher forcing     the input is the text itself: `language_model.lm_step`
    scheduled sampling  the input at t is the text's token where truth_t, else the model's own
                        sample from o_{t−1}; the target is the text's next token either way

A sampled token is a step function of the logits: its derivative is 0 wherever it has one, so the
gradient stops there. The gradient under scheduled sampling is therefore that of teacher forcing
with the mixed inputs in the text's place, and with truth everywhere it *is* teacher forcing.

Generation feeds back what teacher forcing never shows: one mistake puts the state where training
has not been (exposure bias). Scheduled sampling belongs to training alone.

Source: Williams & Zipser 1989 (teacher forcing); Bengio et al. 2015 (scheduled sampling).
Page: docs/models/generation.md
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..activations import softmax
from . import loss
from .language_model import Params, TinyRNNLM, loss_and_grads

Choice = Callable[[np.ndarray, int], np.ndarray]


def most_likely(logits: np.ndarray) -> np.ndarray:
    """The token [B] with the largest logit [B, V]; of equal ones, the first."""
    return logits.real.argmax(axis=-1)


def sample(logits: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The token [B] that u [B] picks under softmax(logits [B, V]); never one of probability 0.

    The sum of all p, rounded, stands in for 1: u < 1 leaves u Σ p below it.
    """
    cdf = softmax(logits.real).cumsum(axis=-1)
    return (cdf <= u[:, None] * cdf[:, -1:]).sum(axis=-1)


def greedy(
    lm: TinyRNNLM, params: Params, prompt: np.ndarray, steps: int, state: Any = None
) -> np.ndarray:
    """The `steps` tokens [B, steps] that follow prompt [B, T], each the most likely one.

    Whatever type of integers the prompt is of, they are intp, which holds every token.
    """
    return _generate(lm, params, prompt, state, steps, lambda logits, _: most_likely(logits))


def sampled(
    lm: TinyRNNLM, params: Params, prompt: np.ndarray, draws: np.ndarray, state: Any = None
) -> np.ndarray:
    """The tokens [B, steps] that follow prompt [B, T], one for each of draws [B, steps].

    Raises ValueError for draws of another shape.
    """
    if draws.ndim != 2 or len(draws) != len(prompt):
        raise ValueError(
            f"Expected draws [{len(prompt)}, steps], a row for each of the prompt's, got "
            f"{list(draws.shape)}."
        )
    steps = draws.shape[1]
    return _generate(lm, params, prompt, state, steps, lambda o, t: sample(o, draws[:, t]))


def scheduled_inputs(
    lm: TinyRNNLM, params: Params, text: np.ndarray, truth: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Inputs [B, T]: text [B, T] where `truth` [B, T], else the model's own sample.

    The first input is always the text's: nothing comes before it. `truth` and `draws` have a
    column for it all the same, which is not read. Raises ValueError where the shapes differ.
    """
    if not text.shape == truth.shape == draws.shape:
        raise ValueError(
            f"Expected text, truth and draws of one shape [B, T], got {list(text.shape)}, "
            f"{list(truth.shape)} and {list(draws.shape)}."
        )
    tokens, inputs, state = text.astype(np.intp), [text[:, :1]], None
    for t in range(1, text.shape[1]):
        logits, state, _ = lm.forward(params, inputs[-1], state)
        chosen = sample(logits[:, 0], draws[:, t])
        inputs.append(np.where(truth[:, t], tokens[:, t], chosen)[:, None])
    return np.concatenate(inputs, axis=1, dtype=np.intp, casting="same_kind")


def scheduled_step(
    lm: TinyRNNLM, params: Params, ids: np.ndarray, truth: np.ndarray, draws: np.ndarray
) -> tuple[np.ndarray, Params]:
    """As `lm_step` on ids [B, T], with scheduled inputs; truth and draws [B, T−1]."""
    text, targets = loss.shift(ids)
    inputs = scheduled_inputs(lm, params, text, truth, draws)
    return loss_and_grads(lm, params, inputs, targets)


def _generate(
    lm: TinyRNNLM, params: Params, prompt: np.ndarray, state: Any, steps: int, choose: Choice
) -> np.ndarray:
    """Feed the prompt, then each chosen token."""
    tokens, fed = np.empty((len(prompt), steps), dtype=np.intp), prompt
    for t in range(steps):
        logits, state, _ = lm.forward(params, fed, state)
        tokens[:, t] = choose(logits[:, -1], t)
        fed = tokens[:, t : t + 1]
    return tokens
