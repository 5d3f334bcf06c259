"""Additive attention and its adjoint: a decoder's query reads the encoder's states.

    s  [B, S]     query, the decoder's state        W_s [A, S]   W_h [A, H]   v [A]
    h  [B, T, H]  keys, the encoder's states        mask [B, T]  True where a key counts
    e, α  [B, T]  scores, weights                   c  [B, H]  context

Forward
    (1)  k = h W_hᵀ                         once for all queries: does not depend on s
    (2)  m_t = tanh(s W_sᵀ + k_t)           e_t = m_t · v
    (3)  α = softmax(e)                     e = −∞ where the mask is False, so α = 0 there
    (4)  c = Σ_t α_t h_t

Adjoint                                     δv is ∂L/∂v summed over every path from v to the loss
    (4′) δα_t = δc · h_t                    δh_t = α_t δc
    (3′) δe = α ⊙ (δα − Σ_t δα_t α_t)
    (2′) δk_t = δe_t v ⊙ (1 − m_t²)         δv = Σ δe_t m_t
         δs = Σ_t δk_t W_s                  δW_s = Σ_t δk_tᵀ s
    (1′) δh += δk W_h   δW_h = Σ δkᵀ h      Σ over all queries, in one product

A masked key acts as if it were absent: it is replaced by 0 before anything reads it, so that even
NaN in it changes nothing, and its gradient is exactly 0 because α = 0.

Source: Bahdanau, Cho & Bengio 2015, without their biases.
Page: docs/models/attention.md
"""

from typing import NamedTuple

import numpy as np

from ..activations import softmax, softmax_back


class Params(NamedTuple):
    """The three weights."""

    weight_s: np.ndarray
    weight_h: np.ndarray
    v: np.ndarray


class Keys(NamedTuple):
    """The inputs of every query: h [B, T, H], 0 in masked keys; k [B, T, A]; the mask [B, T]."""

    h: np.ndarray
    k: np.ndarray
    mask: np.ndarray


class Tape(NamedTuple):
    """The values of one query that (4′) to (2′) read; α [B, T] can also be plotted."""

    params: Params
    s: np.ndarray
    keys: Keys
    m: np.ndarray
    alpha: np.ndarray


class Grads(NamedTuple):
    """The gradients from one query: of s [B, S], of h and k of the keys, of W_s and v."""

    s: np.ndarray
    h: np.ndarray
    k: np.ndarray
    weight_s: np.ndarray
    v: np.ndarray


def project_keys(params: Params, h: np.ndarray, mask: np.ndarray | None = None) -> Keys:
    """(1) for keys h [B, T, H]; without a mask [B, T] every key counts.

    Raises ValueError for a mask of another shape, TypeError for a mask that is not boolean, and
    ValueError for a row in which no key counts, because softmax would be 0/0 there.
    """
    mask = np.ones(h.shape[:2], dtype=bool) if mask is None else mask
    if mask.shape != h.shape[:2]:
        raise ValueError(
            f"Expected a mask [B, T] = {list(h.shape[:2])} for keys {list(h.shape)}, "
            f"got {list(mask.shape)}."
        )
    if mask.dtype != bool:
        raise TypeError(f"Expected a boolean mask, got {mask.dtype}; pass mask != 0.")
    if not mask.any(axis=1).all():
        raise ValueError(
            f"Row {int(mask.any(axis=1).argmin())} has no key to attend to: its mask is all False; "
            "expected at least one True in each row."
        )
    h = np.where(mask[..., None], h, 0)
    return Keys(h, h @ params.weight_h.T, mask)  # (1)


def project_keys_back(
    params: Params, keys: Keys, d_h: np.ndarray, d_k: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """δh [B, T, H] and δW_h [A, H] from the sums of δh and δk over all queries."""
    A, H = params.weight_h.shape
    d_weight_h = d_k.reshape(-1, A).T @ keys.h.reshape(-1, H)
    return d_h + d_k @ params.weight_h, d_weight_h  # (1′)


def attend(params: Params, s: np.ndarray, keys: Keys) -> tuple[np.ndarray, Tape]:
    """The context [B, H] of the query s [B, S], and the tape."""
    m = np.tanh((s @ params.weight_s.T)[:, None] + keys.k)  # (2)
    alpha = softmax(np.where(keys.mask, m @ params.v, -np.inf))  # (3)
    context = (alpha[:, None] @ keys.h)[:, 0]  # (4)
    return context, Tape(params, s, keys, m, alpha)


def attend_back(tape: Tape, d_context: np.ndarray) -> Grads:
    """The gradients from δc [B, H]."""
    params, s, keys, m, alpha = tape
    d_alpha = (keys.h @ d_context[..., None])[..., 0]  # (4′)
    d_h = alpha[..., None] * d_context[:, None]
    d_e = softmax_back(alpha, d_alpha)  # (3′)
    d_k = d_e[..., None] * params.v * (1 - m * m)  # (2′)
    d_v = (d_e[..., None] * m).sum(axis=(0, 1))
    d_query = d_k.sum(axis=1)
    return Grads(d_query @ params.weight_s, d_h, d_k, d_query.T @ s, d_v)
