"""Linear recurrences in logarithmic depth: the parallel prefix scan and its adjoint.

    A  [T, ..., H, H]  transitions, or f [T, ..., H]  their diagonals      b, h  [T, ..., H]
    the recurrence  h_t = A_t h_{t−1} + b_t from 0;  an initial state enters as b_1 += A_1 h_0,
                    then δh_0 = A_1ᵀ δ_1, and δA_1 gains δ_1 h_0ᵀ

A step is the affine map h ↦ A h + b. Maps compose, and composition is associative though it does
not commute, so the T prefixes need no more than ⌈log₂ T⌉ rounds of compositions, every round all
at once:

Forward
    (1)  (A₂, b₂) ∘ (A₁, b₁) = (A₂ A₁, A₂ b₁ + b₂)              the later map stands on the left
    (2)  round j:  map_t = map_t ∘ map_{t−2^j}  for t > 2^j,  then h_t = b_t of the prefix

Adjoint                                   ȳ_t  cotangent of h_t as a result
    (2′) δ_t = A_{t+1}ᵀ δ_{t+1} + ȳ_t      the same recurrence read from the end: again a scan
    (1′) δb_t = δ_t     δA_t = δ_t h_{t−1}ᵀ, of which a diagonal keeps δf_t = δ_t ⊙ h_{t−1}

Work grows to T log T products, and those of full matrices cost H³: the scan pays where A is
diagonal, as for an LSTM's c_t = f_t ⊙ c_{t−1} + i_t ⊙ g_t once its gates are known.

Source: Hillis & Steele 1986; Blelloch 1990; for recurrent nets, Martin & Cundy 2018.
Page: docs/dynamics/scan.md
"""

import numpy as np


def compose(
    later: tuple[np.ndarray, np.ndarray], earlier: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The affine map `later` after `earlier`; transitions are matrices, or diagonals like b."""
    (A_2, b_2), (A_1, b_1) = later, earlier
    if is_diagonal(A_2, b_2):
        return A_2 * A_1, A_2 * b_1 + b_2  # (1)
    return A_2 @ A_1, apply(A_2, b_1) + b_2  # (1)


def scan(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """h [T, ..., H] for every t at once, from h_0 = 0, in any floating dtype.

    Raises ValueError where A has neither the shape of b nor that shape with one more axis H.
    """
    is_diagonal(A, b)  # refuses what is neither, by the shapes given, and where T = 1 too
    b = b.copy()  # where T = 1 nothing below makes a new one, and h would be the caller's b
    distance = 1
    while distance < len(b):
        new = compose((A[distance:], b[distance:]), (A[:-distance], b[:-distance]))
        A = np.concatenate([A[:distance], new[0]])
        b = np.concatenate([b[:distance], new[1]])  # (2)
        distance *= 2
    return b


def scan_back(A: np.ndarray, h: np.ndarray, d_h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """δA and δb from the result h = scan(A, b) and its cotangent, in logarithmic depth too."""
    diagonal = is_diagonal(A, h)
    onward = A if diagonal else A.swapaxes(-1, -2)
    onward = np.concatenate([onward[1:], np.zeros_like(onward[:1])])
    delta = scan(onward[::-1], d_h[::-1])[::-1]  # (2′)
    h_before = np.concatenate([np.zeros_like(h[:1]), h[:-1]])
    if diagonal:
        return delta * h_before, delta  # (1′)
    return delta[..., :, None] * h_before[..., None, :], delta  # (1′)


def is_diagonal(A: np.ndarray, b: np.ndarray) -> bool:
    """Whether A holds diagonals, and not matrices; ValueError where its shape fits neither."""
    if A.shape not in (b.shape, (*b.shape, b.shape[-1])):
        H = b.shape[-1]
        raise ValueError(
            f"A has shape {A.shape}, which with b of shape {b.shape} should be {b.shape} "
            f"(diagonals) or {(*b.shape, H)} (matrices); numpy.broadcast_to repeats a constant A."
        )
    return A.shape == b.shape


def apply(A: np.ndarray, h: np.ndarray) -> np.ndarray:
    """A h for matrices [..., H, H] and vectors [..., H]."""
    return (A @ h[..., None])[..., 0]
