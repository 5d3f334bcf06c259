"""The linear recurrence: its closed form, its spectrum, and the limits of both.

    A  [H, H]  transition      x  [T, n, I]  inputs     ρ(A)  spectral radius, the largest |λ_j|
    B  [H, I]  input weight    h  [T, n, H]  states     κ(Q)  condition number, ‖Q‖₂ ‖Q⁻¹‖₂

Forward
    (1)  h_t = A h_{t−1} + B x_t
    (2)  h_t = Aᵗ h_0 + Σ_{i=1..t} A^{t−i} B x_i      the same, unrolled

Adjoint                                    ȳ_t  direct cotangent of h_t; δ_t  ∂L/∂h_t over all paths
    (1′) δ_t = ȳ_t + Aᵀ δ_{t+1}            δx_t = Bᵀ δ_t   δh_0 = Aᵀ δ_1
         δA = Σ_t δ_t h_{t−1}ᵀ             δB = Σ_t δ_t x_tᵀ

Spectrum, if A = QΛQ⁻¹ can be diagonalized
    (3)  A^k = Q Λ^k Q⁻¹
    (4)  ρ(A)^k ≤ ‖A^k‖₂ ≤ κ(Q) ρ(A)^k
    (5)  ‖A‖_Q = ‖Q⁻¹ A Q‖₂ = ρ(A)         the vector norm is ‖h‖_Q = ‖Q⁻¹ h‖₂

The spectrum determines the rate but not the constant. A normal A has a unitary Q, with κ(Q) = 1;
`eig` finds it if no two eigenvalues are equal; otherwise its κ may be larger and (4) looser. If A
is not normal, ‖A^k‖₂ may grow at first although ρ(A) < 1. "There is a norm in which ‖A‖ ≤ ρ(A) + ε"
refers to a norm that depends on A, such as (5); in the Euclidean norm the bound is (4).

Source: Horn & Johnson, Matrix Analysis, 2nd ed., §5.6; Trefethen & Embree, Spectra and
Pseudospectra, ch. 14 for the transient.
Page: docs/dynamics/linear_rnn.md
"""

from typing import NamedTuple

import numpy as np

from ..nets.layout import read_only
from .ranges import check_range


class Params(NamedTuple):
    """A [H, H] and B [H, I]. Their gradients are a Params too."""

    A: np.ndarray
    B: np.ndarray


class Tape(NamedTuple):
    """The values that (1′) reads; `history` [T + 1, n, H] begins with h_0."""

    params: Params
    x: np.ndarray
    history: np.ndarray


class Grads(NamedTuple):
    """The gradients, each in the shape of its array."""

    x: np.ndarray
    h_0: np.ndarray
    params: Params


def unroll(params: Params, x: np.ndarray, h_0: np.ndarray) -> tuple[np.ndarray, Tape]:
    """h [T, n, H] after every step, from x [T, n, I] and h_0 [n, H], in any floating dtype.

    h is read-only, because it shares the memory of the tape.
    """
    A, B = params
    history = np.concatenate([h_0[None], x @ B.T])
    for t in range(len(x)):
        history[t + 1] += history[t] @ A.T  # (1)
    return read_only(history[1:]), Tape(params, x, history)


def unroll_back(tape: Tape, d_h: np.ndarray) -> Grads:
    """Gradients from the cotangent [T, n, H] of every state."""
    (A, B), x, history = tape
    delta = np.concatenate([np.zeros_like(d_h, shape=(1, *d_h.shape[1:])), d_h])
    for t in reversed(range(len(x))):
        delta[t] += delta[t + 1] @ A  # (1′)
    N = x.shape[0] * x.shape[1]
    rows = delta[1:].reshape(N, len(A))
    d_A = rows.T @ history[:-1].reshape(N, len(A))
    return Grads(delta[1:] @ B, delta[0], Params(d_A, rows.T @ x.reshape(N, x.shape[2])))


def closed_form(params: Params, x: np.ndarray, h_0: np.ndarray, t: int) -> np.ndarray:
    """h_t [n, H] for 0 ≤ t ≤ T, each past input weighted by its own power of A.

    Raises ValueError for any other t.
    """
    check_range(0, t, len(x))
    A, B = params
    h: np.ndarray = np.zeros_like(h_0)
    power = np.eye(len(A), dtype=A.dtype)
    for i in reversed(range(t)):
        h = h + x[i] @ (power @ B).T  # (2)
        power = power @ A
    h = h + h_0 @ power.T
    return h


def power(A: np.ndarray, k: int) -> np.ndarray:
    """A^k [H, H] from the eigenvectors, in the precision of A; complex if an eigenvalue is complex.

    A is float32, float64, complex64 or complex128, the widest dtypes of LAPACK. Raises LinAlgError
    if κ(Q) times the eps of that dtype is 1 or more, as for a single Jordan block, because no digit
    would be correct. Below that the relative error grows with κ(Q) and with k.
    """
    eigenvalues, Q = np.linalg.eig(A)
    kappa = np.linalg.cond(Q)
    if not kappa * np.finfo(Q.dtype).eps < 1:
        raise np.linalg.LinAlgError(
            f"Expected a matrix with a basis of eigenvectors, got one whose eigenvectors have "
            f"condition number {kappa:.1e}: use numpy.linalg.matrix_power."
        )
    powers: np.ndarray = (Q * eigenvalues**k) @ np.linalg.inv(Q)  # (3)
    return powers if np.iscomplexobj(A) or eigenvalues.imag.any() else powers.real


def spectral_radius(A: np.ndarray) -> np.floating:
    """ρ(A), real, in the precision of A: float32, float64, complex64 or complex128."""
    radius: np.floating = np.abs(np.linalg.eigvals(A)).max()
    return radius


def growth(A: np.ndarray, steps: int) -> np.ndarray:
    """‖A^k‖₂ [steps + 1] for k = 0 … steps, real, in the precision of A; dtypes as in `power`.

    The largest factor by which k steps can stretch a state.
    """
    powers = [np.eye(len(A), dtype=A.dtype)]
    for _ in range(steps):
        powers.append(A @ powers[-1])
    norms: np.ndarray = np.linalg.norm(powers, 2, axis=(1, 2))
    return norms


def growth_bound(A: np.ndarray, steps: int) -> np.ndarray:
    """κ(Q) ρ(A)^k, float64 [steps + 1], k = 0 … steps; κ is huge if A is (nearly) defective."""
    eigenvalues, Q = np.linalg.eig(A)
    radius = np.abs(eigenvalues).max()
    bound: np.ndarray = np.linalg.cond(Q) * radius ** np.arange(steps + 1)  # (4)
    return bound


def adapted_norm(A: np.ndarray, h: np.ndarray) -> np.ndarray:
    """‖h‖_Q [...] of states [..., H]: in this norm A never stretches by more than ρ(A)."""
    Q = np.linalg.eig(A).eigenvectors
    norms: np.ndarray = np.linalg.norm(np.linalg.solve(Q, h[..., None])[..., 0], axis=-1)  # (5)
    return norms
