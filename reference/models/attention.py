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
from ..arrays import check_array, check_shape


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
    ValueError for a row in which no key counts, because softmax would be 0/0 there; RuntimeError
    for weights or keys of other shapes, TypeError for a value that is not an array.
    """
    _check_params(params)
    if check_array("h", h, TypeError).ndim != 3 or h.shape[2] != params.weight_h.shape[1]:
        raise RuntimeError(
            f"Expected keys h [B, T, H] with H = {params.weight_h.shape[1]}, as of weight_h, got "
            f"{list(h.shape)}."
        )
    mask = np.ones(h.shape[:2], dtype=bool) if mask is None else mask
    if check_array("mask", mask, TypeError).shape != h.shape[:2]:
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
    """δh [B, T, H] and δW_h [A, H] from the sums of δh and δk over all queries.

    Raises RuntimeError for sums of other shapes, TypeError for a value that is not an array.
    """
    _check_params(params)
    check_shape("d_h", d_h, keys.h.shape, "as of keys.h")
    check_shape("d_k", d_k, keys.k.shape, "as of keys.k")
    A, H = params.weight_h.shape
    d_weight_h = d_k.reshape(-1, A).T @ keys.h.reshape(-1, H)
    return d_h + d_k @ params.weight_h, d_weight_h  # (1′)


def attend(params: Params, s: np.ndarray, keys: Keys) -> tuple[np.ndarray, Tape]:
    """The context [B, H] of the query s [B, S], and the tape.

    Raises RuntimeError for a query, weights or keys of shapes that do not fit each other, TypeError
    for a value that is not an array.
    """
    _check_params(params)
    A, S = params.weight_s.shape
    check_shape("s", s, (len(keys.h), S), "[B, S] as of the keys and weight_s")
    check_shape("keys.k", keys.k, (*keys.mask.shape, A), "as project_keys returns with weight_h")
    m = np.tanh((s @ params.weight_s.T)[:, None] + keys.k)  # (2)
    alpha = softmax(np.where(keys.mask, m @ params.v, -np.inf))  # (3)
    context = (alpha[:, None] @ keys.h)[:, 0]  # (4)
    return context, Tape(params, s, keys, m, alpha)


def attend_back(tape: Tape, d_context: np.ndarray) -> Grads:
    """The gradients from δc [B, H].

    Raises RuntimeError for another shape, TypeError where δc is not an array.
    """
    params, s, keys, m, alpha = tape
    check_shape("d_context", d_context, (len(s), keys.h.shape[2]), "as of the context")
    d_alpha = (keys.h @ d_context[..., None])[..., 0]  # (4′)
    d_h = alpha[..., None] * d_context[:, None]
    d_e = softmax_back(alpha, d_alpha)  # (3′)
    d_k = d_e[..., None] * params.v * (1 - m * m)  # (2′)
    d_v = (d_e[..., None] * m).sum(axis=(0, 1))
    d_query = d_k.sum(axis=1)
    return Grads(d_query @ params.weight_s, d_h, d_k, d_query.T @ s, d_v)


def _check_params(params: Params) -> None:
    """Raise RuntimeError unless the weights have shapes [A, S], [A, H] and [A]."""
    arrays = [check_array(n, p, TypeError) for n, p in zip(params._fields, params, strict=True)]
    shapes = [a.shape for a in arrays]
    if [a.ndim for a in arrays] != [2, 2, 1] or len({shape[0] for shape in shapes}) > 1:
        raise RuntimeError(
            f"Expected weight_s [A, S], weight_h [A, H] and v [A] with the same A, got "
            f"{', '.join(str(list(shape)) for shape in shapes)}."
        )
