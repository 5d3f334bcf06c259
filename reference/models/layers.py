"""The layers around a recurrent net: embedding, linear map, dropout with its mask as an argument.

    ids   [...]       tokens, integers 0 … V−1     E  [V, D]  embedding, one row a token
    x     [..., I]    input                        W  [O, I]   b [O]
    mask  [...]       zeros and ones, like x       p  probability that an entry of the mask is 0
    c                 largest norm of a row of E

Forward
    (1)  y = E[ids]
    (2)  y = x Wᵀ + b
    (3)  y = x ⊙ mask / (1 − p)            0 where p = 1
    (4)  E[v] ← E[v] c / (‖E[v]‖ + 10⁻⁷)   for each v in ids with ‖E[v]‖ > c, before (1)

Adjoint
    (3′) δx = δy ⊙ mask / (1 − p)
    (2′) δx = δy W   δW = Σ δyᵀ x   δb = Σ δy           Σ over every axis but the last
    (1′) δE[v] = Σ δy where ids = v        repeated tokens add up; the padding row's δE stays 0

(4) replaces the parameter and has no adjoint: the gradient is that of the replaced rows.

Source: torch.nn.functional.embedding, linear, dropout.
Page: docs/models/layers.md
"""

from math import prod
from typing import NamedTuple

import numpy as np

from ..arrays import check_array, check_not_masked, check_shape, check_tokens, is_token
from ..nets import arguments
from .parameters import Params


class EmbeddingTape(NamedTuple):
    """The values that (1′) reads; `shape` is that of E."""

    ids: np.ndarray
    shape: tuple[int, ...]
    padding_idx: int | None


class LinearTape(NamedTuple):
    """The values that (2′) reads."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None


class LinearGrads(NamedTuple):
    """δx, δW, δb; δb is None without a bias."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None

    @property
    def params(self) -> Params:
        """δW and δb by name."""
        weight = {"weight": self.weight}
        return weight if self.bias is None else weight | {"bias": self.bias}


def embedding(
    weight: np.ndarray, ids: np.ndarray, padding_idx: int | None = None
) -> tuple[np.ndarray, EmbeddingTape]:
    """Rows [..., D] of weight [V, D] at ids [...], and the tape.

    The row at padding_idx is read like any other; only its gradient is 0. Raises IndexError for a
    token outside the table, RuntimeError for ids that are not integers, TypeError for ids or a
    weight that is not an array.
    """
    V = len(check_array("weight", weight, TypeError))
    ids = check_tokens("ids", ids)
    if ids.size and (ids.min() < 0 or ids.max() >= V):
        raise IndexError(
            f"Expected token ids in the embedding's rows 0 to {V - 1}, got ids from {ids.min()} to "
            f"{ids.max()}; raise its vocab_size or map the tokens into it."
        )
    return weight[ids], EmbeddingTape(ids, weight.shape, padding_idx)  # (1)


def embedding_back(tape: EmbeddingTape, d_y: np.ndarray) -> np.ndarray:
    """δE [V, D] from δy [..., D].

    Raises TypeError where δy is not an array, RuntimeError where its shape is not y's.
    """
    _check_cotangent(d_y, (*tape.ids.shape, tape.shape[1]))
    d_weight = np.zeros_like(d_y, shape=tape.shape)
    np.add.at(d_weight, tape.ids, d_y)  # (1′)
    if tape.padding_idx is not None:
        d_weight[tape.padding_idx] = 0
    return d_weight


def renormalize(
    weight: np.ndarray, ids: np.ndarray, max_norm: float, norm_type: float = 2.0
) -> np.ndarray:
    """The weight [V, D] in which no row at ids [...] has a p-norm above max_norm, p = norm_type.

    Raises ValueError for a max_norm that is negative or NaN, and the errors of `embedding`.
    """
    # Differs: torch accepts a negative max_norm, and reverses the rows.
    if not max_norm >= 0:
        raise ValueError(f"Expected max_norm to be at least 0, got {max_norm}.")
    embedding(weight, ids)
    norm = np.linalg.norm(weight, norm_type, axis=1, keepdims=True)
    met = np.isin(np.arange(len(weight)), ids)[:, None]
    clipped: np.ndarray = np.where(
        met & (norm > max_norm), weight * (max_norm / (norm + 1e-7)), weight
    )  # (4)
    return clipped


def linear(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None
) -> tuple[np.ndarray, LinearTape]:
    """y [..., O] from x [..., I], weight [O, I] and bias [O] or None; and the tape.

    Raises RuntimeError when the last axis of x is not I, TypeError where one is not an array.
    """
    for name, value in (("x", x), ("weight", weight), ("bias", bias)):
        if value is not None or name != "bias":
            check_array(name, value, TypeError)
    if x.shape[-1] != weight.shape[1]:
        raise RuntimeError(
            f"Expected x to have {weight.shape[1]} features in its last axis, got {list(x.shape)}."
        )
    y = x @ weight.T  # (2)
    return (y if bias is None else y + bias), LinearTape(x, weight, bias)


def linear_back(tape: LinearTape, d_y: np.ndarray) -> LinearGrads:
    """δx [..., I], δW [O, I], δb [O] from δy [..., O].

    Raises TypeError where δy is not an array, RuntimeError where its shape is not y's.
    """
    _check_cotangent(d_y, (*tape.x.shape[:-1], len(tape.weight)))
    rows, d_rows = _rows(tape.x), _rows(d_y)
    d_bias = None if tape.bias is None else d_rows.sum(axis=0)
    return LinearGrads(d_y @ tape.weight, d_rows.T @ rows, d_bias)  # (2′)


def dropout(x: np.ndarray, mask: np.ndarray, p: float) -> tuple[np.ndarray, np.ndarray]:
    """y and the tape, which is mask / (1 − p) [...]; both in the dtype of x, floating or complex.

    Raises ValueError for p outside [0, 1] and for a mask with values other than zeros and ones,
    RuntimeError for x of integers and for a mask of another shape or of a dtype wider than x's,
    TypeError for x or a mask that is not an array.
    """
    check_array("x", x, TypeError)
    if not 0 <= p <= 1:
        raise ValueError(f"Expected a dropout probability between 0 and 1, got {p}.")
    if x.dtype.kind not in "fc":
        raise RuntimeError(
            f"Expected x to be floating or complex, got {x.dtype}; convert it first."
        )
    arguments.check_dropout_mask("mask", mask, x.shape, x.dtype)
    scale: np.ndarray = mask * x.dtype.type(1 / (1 - p) if p < 1 else 0)
    return x * scale, scale  # (3)


def dropout_back(scale: np.ndarray, d_y: np.ndarray) -> np.ndarray:
    """δx [...] from the tape [...] and δy [...]; TypeError for a masked array."""
    check_not_masked("d_y", d_y, TypeError)
    d_x: np.ndarray = d_y * scale  # (3′)
    return d_x


def embedding_init(
    rng: np.random.Generator, V: int, D: int, padding_idx: int | None = None
) -> Params:
    """weight [V, D] from torch's distribution, float64: N(0, 1), and 0 in the padding row."""
    weight = rng.standard_normal((V, D))
    if padding_idx is not None:
        weight[padding_idx] = 0
    return {"weight": weight}


def linear_init(rng: np.random.Generator, inputs: int, outputs: int) -> Params:
    """weight [O, I] and bias [O] from torch's distribution, float64: U(−1/√I, 1/√I)."""
    bound = inputs**-0.5
    shapes = {"weight": (outputs, inputs), "bias": (outputs,)}
    return {name: rng.uniform(-bound, bound, shape) for name, shape in shapes.items()}


def check_padding_idx(vocab_size: int, padding_idx: int | None) -> None:
    """Raise ValueError for a padding_idx that is neither None nor a token 0 … vocab_size − 1."""
    if padding_idx is None:
        return
    if not is_token(padding_idx) or not 0 <= padding_idx < vocab_size:
        raise ValueError(
            f"Expected padding_idx to be a token, 0 to {vocab_size - 1}, got {padding_idx}."
        )


def _rows(x: np.ndarray) -> np.ndarray:
    """[..., I] reshaped to [N, I]."""
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


def _check_cotangent(d_y: object, shape: tuple[int, ...]) -> None:
    """Raise TypeError where δy is not an array, RuntimeError where it does not have this shape."""
    check_shape("d_y", d_y, shape, "as of y")
