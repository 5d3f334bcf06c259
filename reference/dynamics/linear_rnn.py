"""The linear recurrence: its closed form, its spectrum, and how far both reach.

    A  [H, H]  transition      x  [T, n, I]  inputs     ρ(A)  spectral radius, the largest |λ_j|
    B  [H, I]  input weight    h  [T, n, H]  states     κ(Q)  condition number, ‖Q‖₂ ‖Q⁻¹‖₂

Forward
    (1)  h_t = A h_{t−1} + B x_t
    (2)  h_t = Aᵗ h_0 + Σ_{i=1..t} A^{t−i} B x_i      the same, written out

Adjoint                                    ȳ_t  cotangent of h_t; δ_t  ∂L/∂h_t over all paths
    (1′) δ_t = ȳ_t + Aᵀ δ_{t+1}            δx_t = Bᵀ δ_t   δh_0 = Aᵀ δ_1
         δA = Σ_t δ_t h_{t−1}ᵀ             δB = Σ_t δ_t x_tᵀ

Spectrum, where A = QΛQ⁻¹ can be diagonalised
    (3)  A^k = Q Λ^k Q⁻¹
    (4)  ρ(A)^k ≤ ‖A^k‖₂ ≤ κ(Q) ρ(A)^k
    (5)  ‖A‖_Q = ‖Q⁻¹ A Q‖₂ = ρ(A)         the vector norm is ‖h‖_Q = ‖Q⁻¹ h‖₂

The rate is the spectrum's, the constant is not. A normal A has a unitary Q, with κ(Q) = 1; `eig`
finds it where no two eigenvalues are equal, else its κ may be larger and (4) looser. Where A is not
normal ‖A^k‖₂ may first grow although ρ(A) < 1. "There is a norm in which ‖A‖ ≤ ρ(A) + ε" speaks of
(5), a norm that depends on A; in the Euclidean norm the bound is (4).

Source: Horn & Johnson, Matrix Analysis, 2nd ed., §5.6; Trefethen & Embree, Spectra and
Pseudospectra, ch. 14 for the transient.
Page: docs/dynamics/linear_rnn.md
"""

from typing import NamedTuple

import numpy as np

from ..nets.layout import read_only
from .products import refuse_steps


class Params(NamedTuple):
    """A [H, H] and B [H, I]. The gradient is a Params too."""

    A: np.ndarray
    B: np.ndarray


class Tape(NamedTuple):
    """What (1′) reads."""

    params: Params
    x: np.ndarray
    history: np.ndarray


class Grads(NamedTuple):
    """The gradients, each in the shape of what it belongs to."""

    x: np.ndarray
    h_0: np.ndarray
    params: Params


def unroll(params: Params, x: np.ndarray, h_0: np.ndarray) -> tuple[np.ndarray, Tape]:
    """h [T, n, H] after every step, from x [T, n, I] and h_0 [n, H], in any floating dtype.

    h is read-only, for it is the tape's own memory.
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
    """h_t [n, H] for 0 ≤ t ≤ T, each past input weighed by its own power of A; ValueError for
    another t."""
    refuse_steps(0, t, len(x))
    A, B = params
    h, power = np.zeros_like(h_0), np.eye(len(A), dtype=A.dtype)
    for i in reversed(range(t)):
        h = h + x[i] @ (power @ B).T  # (2)
        power = power @ A
    return h + h_0 @ power.T


def power(A: np.ndarray, k: int) -> np.ndarray:
    """A^k [H, H] through the eigenvectors, as wide as A; complex where an eigenvalue is.

    A is of float32, float64, or complex: LAPACK has no wider. Raises LinAlgError where κ(Q) times
    the eps of that dtype is 1 or more, as for a single Jordan block: no digit would be right. Short
    of that the result is as inaccurate as κ(Q) says, at any k.
    """
    eigenvalues, Q = np.linalg.eig(A)
    kappa = np.linalg.cond(Q)
    if not kappa * np.finfo(Q.dtype).eps < 1:
        raise np.linalg.LinAlgError(
            f"Expected a matrix with a basis of eigenvectors, got one whose eigenvectors have "
            f"condition number {kappa:.1e}: use numpy.linalg.matrix_power."
        )
    powers = (Q * eigenvalues**k) @ np.linalg.inv(Q)  # (3)
    return powers if np.iscomplexobj(A) or eigenvalues.imag.any() else powers.real


def spectral_radius(A: np.ndarray) -> np.floating:
    """ρ(A), real and as wide as A: float32 or complex64, float64 or complex128."""
    return np.abs(np.linalg.eigvals(A)).max()


def growth(A: np.ndarray, steps: int) -> np.ndarray:
    """‖A^k‖₂ [steps + 1] for k = 0 … steps, real and as wide as A, as `power` takes it.

    It is the most that k steps can stretch a state.
    """
    powers = [np.eye(len(A), dtype=A.dtype)]
    for _ in range(steps):
        powers.append(A @ powers[-1])
    return np.linalg.norm(powers, 2, axis=(1, 2))


def growth_bound(A: np.ndarray, steps: int) -> np.ndarray:
    """κ(Q) ρ(A)^k, float64 [steps + 1], k = 0 … steps; κ is huge where A is (nearly) defective."""
    eigenvalues, Q = np.linalg.eig(A)
    return np.linalg.cond(Q) * np.abs(eigenvalues).max() ** np.arange(steps + 1)  # (4)


def adapted_norm(A: np.ndarray, h: np.ndarray) -> np.ndarray:
    """‖h‖_Q [...] of states [..., H]: in this norm A never stretches by more than ρ(A)."""
    Q = np.linalg.eig(A).eigenvectors
    return np.linalg.norm(np.linalg.solve(Q, h[..., None])[..., 0], axis=-1)  # (5)
