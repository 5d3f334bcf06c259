"""The inputs of a language model: the text, the model's own output, or a mixture of the two.

    ids  [B, T]   a text      u  [B, ·]  draws from [0, 1), the only randomness      p = softmax(o)

    greedy              x_{t+1} = argmax o_t
    sampled             x_{t+1} = the first j with p_0 + … + p_j > u_t        the inverse of the CDF
    teacher forcing     the input is the text itself: `language_model.lm_step`
    scheduled sampling  the input at t is the text's token where truth_t, else the model's own
                        sample from o_{t−1}; the target is the text's next token either way

A sampled token is a step function of the logits: its derivative is 0 wherever it exists, so no
gradient flows through it. The gradient under scheduled sampling is therefore that of teacher
forcing with the mixed inputs in place of the text; with truth everywhere it *is* teacher forcing.

In generation a model reads its own mistakes, which teacher forcing never shows it: one mistake can
lead to states that do not occur in training (exposure bias). Scheduled sampling is for training
only.

Source: Williams & Zipser 1989 (teacher forcing); Bengio et al. 2015 (scheduled sampling).
Page: docs/models/generation.md
"""

from collections.abc import Callable

import numpy as np

from ..activations import softmax
from ..arrays import check_array, check_tokens
from ..nets.state import State
from . import loss
from .language_model import TinyRNNLM, loss_and_grads
from .parameters import Params

Choice = Callable[[np.ndarray, int], np.ndarray]


def most_likely(logits: np.ndarray) -> np.ndarray:
    """The token [B] with the largest logit [B, V]; of equal ones, the first."""
    tokens: np.ndarray = logits.real.argmax(axis=-1)
    return tokens


def sample(logits: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The token [B] that the draw u [B] selects from softmax(logits [B, V]); its p is never 0.

    u is compared after multiplication by Σ p, which rounding may leave below 1: u Σ p < Σ p.
    Raises ValueError for a draw outside [0, 1), RuntimeError, as torch.multinomial, for logits
    without a distribution: a row with NaN or +∞, or of −∞ only.
    """
    _check_draws(u)
    largest = check_array("logits", logits, TypeError).real.max(axis=-1)
    if not np.isfinite(largest).all():
        row = int(np.isfinite(largest).argmin())
        raise RuntimeError(
            f"Expected logits with a finite largest one in each row, got {largest[row]} in row "
            f"{row}: softmax would be NaN, so look for what diverged."
        )
    cdf = softmax(logits.real).cumsum(axis=-1)
    tokens: np.ndarray = (cdf <= u[:, None] * cdf[:, -1:]).sum(axis=-1)
    return tokens


def generate_greedy(
    lm: TinyRNNLM, params: Params, prompt: np.ndarray, steps: int, state: State | None = None
) -> np.ndarray:
    """The `steps` tokens [B, steps] that follow prompt [B, T], each the most likely one.

    They are intp whatever the prompt's integer type: a narrow type may not hold every token.
    """
    return _generate(lm, params, prompt, state, steps, lambda logits, _: most_likely(logits))


def generate_sampled(
    lm: TinyRNNLM, params: Params, prompt: np.ndarray, draws: np.ndarray, state: State | None = None
) -> np.ndarray:
    """The tokens [B, steps] that follow prompt [B, T], each sampled with its draw [B, steps].

    Raises ValueError for draws of another shape or outside [0, 1), and the errors of `sample`.
    """
    prompt = check_tokens("prompt", prompt)
    if check_array("draws", draws, TypeError).ndim != 2 or len(draws) != len(prompt):
        raise ValueError(
            f"Expected draws [{len(prompt)}, steps], one row for each row of the prompt, got "
            f"{list(draws.shape)}."
        )
    _check_draws(draws)
    steps = draws.shape[1]
    return _generate(lm, params, prompt, state, steps, lambda o, t: sample(o, draws[:, t]))


def scheduled_inputs(
    lm: TinyRNNLM, params: Params, text: np.ndarray, truth: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Inputs [B, T]: text [B, T] where `truth` [B, T] is True, else the model's own sample.

    The first input is always the text's, because no logits precede it; column 0 of `truth` and of
    `draws` [B, T] is not read, and no draw where `truth` is True. Inputs are intp. Raises
    ValueError where the three shapes differ, and the errors of `sample`.
    """
    tokens = check_tokens("text", text)
    for name, value in (("truth", truth), ("draws", draws)):
        check_array(name, value, TypeError)
    if not tokens.shape == truth.shape == draws.shape:
        raise ValueError(
            f"Expected text, truth and draws of one shape [B, T], got {list(tokens.shape)}, "
            f"{list(truth.shape)} and {list(draws.shape)}."
        )
    inputs, state = [tokens[:, :1]], None
    for t in range(1, tokens.shape[1]):
        logits, state, _ = lm.forward(params, inputs[-1], state)
        mixed, own = tokens[:, t].copy(), np.logical_not(truth[:, t])
        mixed[own] = sample(logits[own, 0], draws[own, t])
        inputs.append(mixed[:, None])
    return np.concatenate(inputs, axis=1)


def scheduled_step(
    lm: TinyRNNLM, params: Params, ids: np.ndarray, truth: np.ndarray, draws: np.ndarray
) -> tuple[np.ndarray, Params]:
    """`lm_step` on ids [B, T] with scheduled inputs; truth and draws [B, T−1]."""
    text, targets = loss.shift(ids)
    inputs = scheduled_inputs(lm, params, text, truth, draws)
    return loss_and_grads(lm, params, inputs, targets)


def _generate(
    lm: TinyRNNLM,
    params: Params,
    prompt: np.ndarray,
    state: State | None,
    steps: int,
    choose: Choice,
) -> np.ndarray:
    """Read the prompt [B, T], then each token that `choose` returns for the last logits."""
    prompt = check_tokens("prompt", prompt)
    tokens, inputs = np.empty((len(prompt), steps), dtype=np.intp), prompt
    for t in range(steps):
        logits, state, _ = lm.forward(params, inputs, state)
        tokens[:, t] = choose(logits[:, -1], t)
        inputs = tokens[:, t : t + 1]
    return tokens


def _check_draws(u: np.ndarray) -> None:
    """Raise ValueError unless every draw lies in [0, 1); TypeError for other types."""
    if not ((check_array("draws", u, TypeError) >= 0) & (u < 1)).all():
        raise ValueError(
            f"Expected draws in [0, 1), got values from {u.min()} to {u.max()}: use rng.random."
        )
