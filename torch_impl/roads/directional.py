"""Derivatives along a direction: forward mode, and gradients differentiated again.

    t  of an output y:     ẏ when all leaves move along the direction
    Hv of a leaf θ:        the derivative of ∂L/∂θ along the direction, L = Σ δy y

Torch has no forward mode of oneDNN's LSTM, so that these roads run ATen's; double backward has.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from ..execution.calls import Call, Cotangents, Derivatives, ForwardPass, Leaves, Prepared
from ..execution.problem import Direction, Problem
from .indexed import forward_by_indices
from .road import module_of, require
from .transforms import add_tied

Tensor = torch.Tensor
Direct = Callable[[ForwardPass, Leaves, Cotangents, list[Tensor]], Derivatives]


_jvp: Any = torch.func.jvp
_grad: Any = torch.func.grad


def with_direction(problem: Problem) -> Problem:
    """The problem with a direction, drawn from its seed."""
    rng = np.random.default_rng([problem.seed, 11])

    def draw(value: np.ndarray) -> np.ndarray:
        return 0.5 * rng.standard_normal(value.shape)

    drawn = {id(p): draw(p) for p in problem.params.values()}
    params = {name: drawn[id(p)] for name, p in problem.params.items()}
    state = problem.state and tuple(draw(s) for s in problem.state)
    return problem._replace(direction=Direction(params, draw(problem.x), state))


def forward_mode(call: Call) -> Prepared:
    """torch.autograd.forward_ad with dual tensors."""
    return _prepared(call, _by_dual_tensors)


def jvp(call: Call) -> Prepared:
    """torch.func.jvp."""
    return _prepared(call, _by_jvp)


def double_vjp(call: Call) -> Prepared:
    """Tangents by two backward passes: the gradient is linear in the cotangent u, and its
    derivative by u along the direction is the tangent."""
    return _prepared(call, _by_double_vjp)


def double_backward(call: Call) -> Prepared:
    """Gradients with create_graph=True, then the gradient of their product with the direction."""
    return _prepared(call, _by_double_backward)


def forward_over_reverse(call: Call) -> Prepared:
    """torch.func.jvp of torch.func.grad."""
    return _prepared(call, _by_forward_over_reverse)


def reverse_over_forward(call: Call) -> Prepared:
    """torch.func.grad of torch.func.jvp."""
    return _prepared(call, _by_reverse_over_forward)


def _prepared(call: Call, direct: Direct) -> Prepared:
    def evaluate(forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents) -> Derivatives:
        assert call.direction is not None
        return direct(forward_pass, leaves, cotangents, call.direction)

    return Prepared(forward_by_indices(module_of(call), call), call, evaluate)


def _by_dual_tensors(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents, direction: list[Tensor]
) -> Derivatives:
    with forward_ad.dual_level():
        duals: dict[int, Tensor] = {}
        for leaf, v in zip(leaves, direction, strict=True):
            duals.setdefault(id(leaf), forward_ad.make_dual(leaf, v))
        halves = [
            forward_ad.unpack_dual(y) for y in forward_pass([duals[id(leaf)] for leaf in leaves])
        ]
        tangents = [half.tangent for half in halves]
        require(all(t is not None for t in tangents), "every output should have a tangent")
        return Derivatives([half.primal for half in halves], tangents=tangents)


def _by_jvp(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents, direction: list[Tensor]
) -> Derivatives:
    outputs, tangents = _jvp(
        lambda *others: tuple(forward_pass(others)),
        tuple(leaf.detach() for leaf in leaves),
        tuple(direction),
    )
    return Derivatives(list(outputs), tangents=list(tangents))


def _by_double_vjp(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents, direction: list[Tensor]
) -> Derivatives:
    outputs = forward_pass()
    u = [torch.zeros_like(y, requires_grad=True) for y in outputs]
    distinct = _distinct(leaves, direction)
    inputs = [leaf for leaf, _ in distinct]
    grads = torch.autograd.grad(outputs, inputs, u, create_graph=True, materialize_grads=True)
    require(any(g.requires_grad for g in grads), "the gradients should have a graph")
    tangents = torch.autograd.grad(
        grads, u, [v for _, v in distinct], allow_unused=True, materialize_grads=True
    )
    return Derivatives(outputs, tangents=list(tangents))


def _by_double_backward(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents, direction: list[Tensor]
) -> Derivatives:
    outputs = forward_pass()
    pairs = [(y, d) for y, d in zip(outputs, cotangents, strict=True) if d is not None]
    used, given = zip(*pairs, strict=True)
    distinct = _distinct(leaves, direction)
    inputs = [leaf for leaf, _ in distinct]
    grads = torch.autograd.grad(
        used, inputs, given, create_graph=True, allow_unused=True, materialize_grads=True
    )
    graph = [(g, v) for g, (_, v) in zip(grads, distinct, strict=True) if g.requires_grad]
    require(bool(graph), "the gradients should have a graph")
    with_graph, along = zip(*graph, strict=True)
    products = torch.autograd.grad(
        with_graph, inputs, along, allow_unused=True, materialize_grads=True
    )
    first = {id(leaf): (g, h) for leaf, g, h in zip(inputs, grads, products, strict=True)}
    return Derivatives(
        outputs,
        [first[id(leaf)][0] for leaf in leaves],
        None,
        [first[id(leaf)][1] for leaf in leaves],
    )


def _loss(forward_pass: ForwardPass, cotangents: Cotangents) -> Callable[..., Tensor]:
    def loss(*others: Tensor) -> Tensor:
        pairs = zip(forward_pass(others), cotangents, strict=True)
        return torch.stack([(y * d).sum() for y, d in pairs if d is not None]).sum()

    return loss


def _by_forward_over_reverse(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents, direction: list[Tensor]
) -> Derivatives:
    gradient = _grad(_loss(forward_pass, cotangents), tuple(range(len(leaves))))
    inputs = tuple(leaf.detach() for leaf in leaves)
    grads, products = _jvp(gradient, inputs, tuple(direction))
    return Derivatives(forward_pass(), add_tied(leaves, grads), None, add_tied(leaves, products))


def _by_reverse_over_forward(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents, direction: list[Tensor]
) -> Derivatives:
    loss = _loss(forward_pass, cotangents)

    def moved(*others: Tensor) -> Tensor:
        tangent: Tensor = _jvp(loss, others, tuple(direction))[1]
        return tangent

    inputs = tuple(leaf.detach() for leaf in leaves)
    products = _grad(moved, tuple(range(len(leaves))))(*inputs)
    return Derivatives(forward_pass(), None, None, add_tied(leaves, products))


def _distinct(leaves: Leaves, direction: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Every leaf once, with its direction."""
    pairs = zip(leaves, direction, strict=True)
    return list({id(leaf): (leaf, v) for leaf, v in pairs}.values())
