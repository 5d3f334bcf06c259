"""Linear recurrences in logarithmic depth: the parallel prefix scan and its adjoint.

    A  [T, ..., H, H]  transitions, or f [T, ..., H]  their diagonals      b, h  [T, ..., H]
    the recurrence  h_t = A_t h_{t−1} + b_t from 0;  an initial state enters as b_1 += A_1 h_0,
                    then δh_0 = A_1ᵀ δ_1, and δA_1 gains δ_1 h_0ᵀ

A step is the affine map h ↦ A h + b. Composition of maps is associative (but does not commute), so
⌈log₂ T⌉ rounds of compositions are enough for the T prefixes, and the compositions of a round are
independent of each other:

Forward
    (1)  (A₂, b₂) ∘ (A₁, b₁) = (A₂ A₁, A₂ b₁ + b₂)              the later map is on the left
    (2)  round j:  map_t = map_t ∘ map_{t−2^j}  for t > 2^j,  then h_t = b_t of the prefix

Adjoint                                   ȳ_t  direct cotangent of h_t
    (2′) δ_t = A_{t+1}ᵀ δ_{t+1} + ȳ_t      the same recurrence from the end: again a scan
    (1′) δb_t = δ_t     δA_t = δ_t h_{t−1}ᵀ, for a diagonal, δf_t = δ_t ⊙ h_{t−1}

The work grows to T log T products, and products of full matrices cost H³. So the scan is worthwhile
if A is diagonal, as in an LSTM's c_t = f_t ⊙ c_{t−1} + i_t ⊙ g_t once its gates are known.

Source: Hillis & Steele 1986; Blelloch 1990; for recurrent nets, Martin & Cundy 2018.
Page: docs/dynamics/scan.md
"""

import numpy as np


def compose(
    later: tuple[np.ndarray, np.ndarray], earlier: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The affine map `earlier` followed by `later`, each (A, b); A holds matrices or diagonals."""
    (A_2, b_2), (A_1, b_1) = later, earlier
    if is_diagonal(A_2, b_2):
        return A_2 * A_1, A_2 * b_1 + b_2  # (1)
    return A_2 @ A_1, apply(A_2, b_1) + b_2  # (1)


def scan(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """h [T, ..., H] for every t at once, from h_0 = 0, in any floating dtype.

    Raises ValueError if A has neither the shape of b nor that shape with one more axis H.
    """
    is_diagonal(A, b)  # rejects other shapes here, for T = 1 too and with the caller's shapes
    b = b.copy()  # for T = 1 the loop makes no new array, and h would be the caller's b
    distance = 1
    while distance < len(b):
        new = compose((A[distance:], b[distance:]), (A[:-distance], b[:-distance]))
        A = np.concatenate([A[:distance], new[0]])
        b = np.concatenate([b[:distance], new[1]])  # (2)
        distance *= 2
    return b


def scan_back(A: np.ndarray, h: np.ndarray, d_h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """δA and δb from h = scan(A, b) and its cotangent, each in the shape of its array."""
    diagonal = is_diagonal(A, h)
    transposed = A if diagonal else A.swapaxes(-1, -2)
    following = np.concatenate([transposed[1:], np.zeros_like(transposed[:1])])  # A_{t+1}ᵀ
    delta = scan(following[::-1], d_h[::-1])[::-1]  # (2′)
    h_before = np.concatenate([np.zeros_like(h[:1]), h[:-1]])
    if diagonal:
        return delta * h_before, delta  # (1′)
    return delta[..., :, None] * h_before[..., None, :], delta  # (1′)


def is_diagonal(A: np.ndarray, b: np.ndarray) -> bool:
    """True if A holds diagonals, False if matrices; raises ValueError if its shape fits neither."""
    if A.shape not in (b.shape, (*b.shape, b.shape[-1])):
        H = b.shape[-1]
        raise ValueError(
            f"A has shape {A.shape}, which with b of shape {b.shape} should be {b.shape} "
            f"(diagonals) or {(*b.shape, H)} (matrices): repeat a constant A by numpy.broadcast_to."
        )
    return A.shape == b.shape


def apply(A: np.ndarray, h: np.ndarray) -> np.ndarray:
    """A h for matrices [..., H, H] and vectors [..., H]."""
    product: np.ndarray = A @ h[..., None]
    return product[..., 0]
