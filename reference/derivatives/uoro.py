"""Unbiased online recurrent optimization: the influence of `rtrl` as the product of two vectors.

    s̃  [B, S]   θ̃  [B, *θ]      P_t ≈ s̃ θ̃ᵀ, and equal to it on average
    ν  [B, S]   independent signs ±1, drawn at every step        ‖θ̃‖  over all parameters together

    (1)  s̃_t = ρ₀ J_t s̃_{t−1} + ρ₁ ν
    (2)  θ̃_t = θ̃_{t−1} / ρ₀ + νᵀ M_t / ρ₁
    (3)  ρ₀ = (‖θ̃_{t−1}‖ / ‖J_t s̃_{t−1}‖)^½     ρ₁ = (‖νᵀM_t‖ / ‖ν‖)^½
    (4)  ∂L/∂θ ≈ Σ_t (ȳ_tᵀ s̃_t) θ̃_t

Why it is unbiased: s̃θ̃ᵀ has four terms. The mean of J s̃θ̃ᵀ is J P. The mean of ννᵀM is M, because
E[ννᵀ] = I. The two cross terms are odd in ν, and their mean is 0 for every ρ that is even in ν, as
(3) is; ρ only reduces the variance. Memory is S + |θ| for each sequence, plus one M_t, which is
formed explicitly here.

Source: Tallec & Ollivier 2018, "Unbiased Online Recurrent Optimization".
Page: docs/derivatives/uoro.md
"""

import numpy as np

from ..nets import arguments
from ..nets.layout import layout_of
from ..nets.net import Net
from ..nets.state import State
from .jacobian import jacobian, linearize_steps, parameter_jacobians


def uoro(
    net: Net,
    params: dict[str, np.ndarray],
    x: np.ndarray,
    d_output: np.ndarray,
    signs: np.ndarray,
    state: State | None = None,
) -> dict[str, np.ndarray]:
    """An unbiased estimate of ∂L/∂θ, by name, for a net with one layer and one direction.

    x is [T, B, I], d_output [T, B, H], signs [T, B, S] of −1 and +1, all float32 or all float64.
    Returns the sum of one estimate for each sequence. Raises the errors of `rtrl`; for signs,
    TypeError if they are not an array, RuntimeError for a wrong shape or dtype, and ValueError for
    values other than −1 and +1.
    """
    steps = linearize_steps(net, params, x, state)
    arguments.check_d_output(net, layout_of(x, net.batch_first), x.dtype, d_output)
    _check_signs(net, x, signs)
    weights = net.cell_params(params, "_l0")
    s = np.zeros_like(signs[0])
    theta: dict[str, np.ndarray] = {}
    d_params = {name: np.zeros(s, x.dtype) for name, s in net.parameter_shapes().items()}
    for step, d_output_t, sign in zip(steps, d_output, signs, strict=True):
        J_s = (jacobian(weights, step) @ s[:, :, None])[:, :, 0]
        sign_M = {
            name: np.einsum("bs,bs...->b...", sign, M)
            for name, M in parameter_jacobians(weights, step).items()
        }
        rho_0 = balance(theta, J_s)  # (3)
        rho_1 = balance(sign_M, sign)
        s = rho_0[:, None] * J_s + rho_1[:, None] * sign  # (1)
        theta = {
            name: divide(theta.get(name, 0 * M), rho_0) + divide(M, rho_1)  # (2)
            for name, M in sign_M.items()
        }
        d_s = (d_output_t * s[:, : d_output.shape[2]]).sum(axis=1)
        for name, value in theta.items():
            d_params[f"{name}_l0"] += np.tensordot(d_s, value, 1)  # (4)
    return d_params


def balance(theta: dict[str, np.ndarray], s: np.ndarray) -> np.ndarray:
    """ρ [B]: the square root of ‖θ̃‖ / ‖s‖; 1 where either norm is 0, which loses no term."""
    theta_square = sum((v**2).sum(axis=tuple(range(1, v.ndim))) for v in theta.values())
    s_square = (s**2).sum(axis=1)
    positive = theta_square * s_square > 0
    rho: np.ndarray = np.where(positive, theta_square / np.where(positive, s_square, 1), 1) ** 0.25
    return rho


def _check_signs(net: Net, x: np.ndarray, signs: np.ndarray) -> None:
    """Reject signs that are not one −1 or +1 for every unit of every state."""
    S = sum(net.state_sizes)
    arguments.check_like("signs", signs, (*x.shape[:2], S), x.dtype, "[T, B, S]", TypeError)
    if (abs(signs) != 1).any():
        raise ValueError(
            f"Expected signs of −1 and +1, got {signs[abs(signs) != 1][0]} among them: draw them "
            f"with rng.choice([-1.0, 1.0], {signs.shape})."
        )


def divide(v: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """v [B, ...] / ρ [B]."""
    quotient: np.ndarray = v / rho.reshape(-1, *[1] * (v.ndim - 1))
    return quotient
