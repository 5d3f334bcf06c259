"""Unbiased online recurrent optimisation: the influence of `rtrl` as the product of two vectors.

    s̃  [B, S]   θ̃  [B, *θ]      P_t ≈ s̃ θ̃ᵀ, and equal to it on average
    ν  [B, S]   independent signs ±1, new at every step         ‖θ̃‖  over all parameters together

    (1)  s̃_t = ρ₀ J_t s̃_{t−1} + ρ₁ ν
    (2)  θ̃_t = θ̃_{t−1} / ρ₀ + νᵀ M_t / ρ₁
    (3)  ρ₀ = (‖θ̃_{t−1}‖ / ‖J_t s̃_{t−1}‖)^½     ρ₁ = (‖νᵀM_t‖ / ‖ν‖)^½
    (4)  ∂L/∂θ ≈ Σ_t (ȳ_tᵀ s̃_t) θ̃_t

Why it is unbiased. s̃θ̃ᵀ has four terms: J s̃θ̃ᵀ, whose mean is J P; ννᵀM, whose mean is M because
E[ννᵀ] = I; and two cross terms odd in ν. (3) is even in ν, so the cross terms vanish for every ρ of
this kind; ρ only keeps the variance down. Memory is S + |θ| for each sequence, besides that of one
M_t, which is written out here.

Source: Tallec & Ollivier 2018, "Unbiased Online Recurrent Optimization".
Page: docs/derivatives/uoro.md
"""

from typing import Any

import numpy as np

from ..nets import arguments
from ..nets.layout import layout_of
from .jacobian import by_parameter, jacobian, steps


def uoro(
    net: Any,
    params: dict[str, np.ndarray],
    x: np.ndarray,
    d_output: np.ndarray,
    signs: np.ndarray,
    state: Any = None,
) -> dict[str, np.ndarray]:
    """An unbiased estimate of ∂L/∂θ, by name, for a net of one layer and one direction.

    x is [T, B, I], d_output [T, B, H], signs [T, B, S] of −1 and +1; every sequence has an
    estimate of its own, and their sum is returned. float32 or float64. Raises what `rtrl` raises,
    and ValueError for signs other than −1 and +1.
    """
    run = steps(net, params, x, state)
    arguments.check_d_output(net, layout_of(x, net.batch_first), x.dtype, d_output)
    _refuse_signs(net, x, signs)
    weights = net.cell_params(params, "_l0")
    s = np.zeros_like(signs[0])
    theta: dict[str, Any] = {}
    found: dict[str, Any] = dict.fromkeys(net.parameter_shapes(), 0)
    for now, d_output_t, sign in zip(run, d_output, signs, strict=True):
        J_s = (jacobian(weights, now) @ s[:, :, None])[:, :, 0]
        new = {
            name: np.einsum("bs,bs...->b...", sign, M)
            for name, M in by_parameter(weights, now).items()
        }
        rho_0 = balance(theta, J_s)  # (3)
        rho_1 = balance(new, sign)
        s = rho_0[:, None] * J_s + rho_1[:, None] * sign  # (1)
        theta = {
            name: over(theta.get(name, 0 * M), rho_0) + over(M, rho_1)  # (2)
            for name, M in new.items()
        }
        reach = (d_output_t * s[:, : d_output.shape[2]]).sum(axis=1)
        for name, value in theta.items():
            found[f"{name}_l0"] += np.tensordot(reach, value, 1)  # (4)
    return found


def balance(theta: dict[str, np.ndarray], s: np.ndarray) -> np.ndarray:
    """ρ [B]: the square root of ‖θ̃‖ over ‖s‖; 1 where either vanishes, which drops nothing."""
    square = sum((v**2).sum(axis=tuple(range(1, v.ndim))) for v in theta.values())
    both = square * (s**2).sum(axis=1) > 0
    return np.where(both, square / np.where(both, (s**2).sum(axis=1), 1), 1) ** 0.25


def _refuse_signs(net: Any, x: np.ndarray, signs: Any) -> None:
    """Refuse what is not a sign for every unit of every state."""
    S = sum(net.state_sizes)
    arguments.check_like("signs", signs, (*x.shape[:2], S), x.dtype, "[T, B, S]", TypeError)
    if (abs(signs) != 1).any():
        raise ValueError(
            f"Expected signs of −1 and +1, got {signs[abs(signs) != 1][0]} among them: draw them "
            f"by rng.choice([-1.0, 1.0], {signs.shape})."
        )


def over(v: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """v [B, ...] over ρ [B]."""
    return v / rho.reshape(-1, *[1] * (v.ndim - 1))
