"""Other libraries that differentiate these cells on a CPU; each takes part if it is installed.

    JAX        jax.jit of jax.lax.scan over the steps, and of its vjp; compiled in advance
    autograd   HIPS autograd of a Python loop over the steps

Both differentiate the equations of this file, which are those of torch.nn: the input product of all
steps at once, then one recurrent product at each step. NumPy computes with them too, so that a test
compares them with the reference where neither library is installed.
"""

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any

from .contestants import Contestant, Workload

State = tuple[Any, ...]


def step(xp: Any, cell: str, params: dict[str, Any], u: Any, state: State) -> State:
    """The state after one step, from the net input u [B, G·H] of x; `xp` is NumPy or like it."""
    h = state[0]
    v = h @ params["weight_hh_l0"].T + params["bias_hh_l0"]
    if cell == "RNN":
        return (xp.tanh(u + v),)
    H = h.shape[1]
    u, v = ([a[:, k : k + H] for k in range(0, a.shape[1], H)] for a in (u, v))
    if cell == "GRU":
        r, z = sigmoid(xp, u[0] + v[0]), sigmoid(xp, u[1] + v[1])
        n = xp.tanh(u[2] + r * v[2])
        return ((1 - z) * n + z * h,)
    i, f, g, o = (a + b for a, b in zip(u, v, strict=True))
    c = sigmoid(xp, f) * state[1] + sigmoid(xp, i) * xp.tanh(g)
    return sigmoid(xp, o) * xp.tanh(c), c


def sigmoid(xp: Any, a: Any) -> Any:
    """σ(a)."""
    return 1 / (1 + xp.exp(-a))


def initial_state(xp: Any, p: Workload) -> State:
    """Zeros [B, H]: h, and c of the LSTM."""
    zero = xp.zeros((p.size.B, p.size.H), p.x.dtype)
    return (zero, zero) if p.cell == "LSTM" else (zero,)


def net_input(params: dict[str, Any], x: Any) -> Any:
    """u [T, B, G·H] of x [T, B, I]."""
    return x @ params["weight_ih_l0"].T + params["bias_ih_l0"]


def unroll(xp: Any, p: Workload, params: dict[str, Any], x: Any) -> Any:
    """Output [T, B, H], by a loop over the steps."""
    u, state, output = net_input(params, x), initial_state(xp, p), []
    for t in range(p.size.T):
        state = step(xp, p.cell, params, u[t], state)
        output.append(state[0])
    return xp.stack(output)


def autograd_net(p: Workload) -> Contestant:
    """HIPS autograd; backward returns the gradients of (params, x)."""
    make_vjp: Any = importlib.import_module("autograd").make_vjp
    xp = importlib.import_module("autograd.numpy")
    differentiate = make_vjp(lambda arguments: unroll(xp, p, *arguments))
    return Contestant(
        lambda: differentiate((p.params, p.x)), lambda outcome: outcome[0](p.d_output)
    )


def jax_net(p: Workload) -> Contestant:
    """JAX, compiled; backward returns the gradients of params and x."""
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    xp = jax.numpy

    def scan(params: dict[str, Any], x: Any) -> Any:
        def one(state: State, u: Any) -> tuple[State, Any]:
            state = step(xp, p.cell, params, u, state)
            return state, state[0]

        return jax.lax.scan(one, initial_state(xp, p), net_input(params, x))[1]

    forward = jax.jit(lambda params, x: jax.vjp(scan, params, x))
    backward = jax.jit(lambda vjp, d_output: vjp(d_output))
    params, x, d_output = jax.device_put((p.params, p.x, p.d_output))
    return Contestant(
        lambda: jax.block_until_ready(forward(params, x)),
        lambda outcome: jax.block_until_ready(backward(outcome[1], d_output)),
    )


PEERS: dict[str, Callable[[Workload], Contestant]] = {"jax": jax_net, "autograd": autograd_net}


def installed_peers() -> list[str]:
    """The names of the peers that can be imported."""
    return [name for name in PEERS if importlib.util.find_spec(name) is not None]


def versions() -> dict[str, str]:
    """The version of each peer, or "not installed"."""
    installed = installed_peers()
    return {
        name: importlib.metadata.version(name) if name in installed else "not installed"
        for name in PEERS
    }
