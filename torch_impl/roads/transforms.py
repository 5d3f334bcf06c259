"""torch.func over nets: vmap over rows and over nets, and Jacobians in reverse and forward mode.

Each gives the gradients of a case: those of rows are added, those of one net among several are
taken, and a Jacobian is multiplied by the cotangents.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch._C._functorch import is_batchedtensor
from torch.func import jacfwd, jacrev

from ..execution.calls import Call, Cotangents, Evaluation, ForwardPass, Leaves, Prepared
from ..execution.problem import Problem
from .road import forward_of_module, module_of, require

Tensor = torch.Tensor
vjp: Any = torch.func.vjp
jvp: Any = torch.func.jvp
vmap: Any = torch.func.vmap
NETS = 3  # of which the second has the weights of the call
MOST_LEAVES = 700  # elements of all leaves in a Jacobian; there is one tangent for each
MOST_OUTPUTS = 500  # elements of all outputs in a Jacobian; there is one cotangent for each


def rows_mapped(call: Call) -> Prepared:
    """vmap over the rows of a batch; each row is an unbatched sequence."""
    return Prepared(
        forward_of_module(module_of(call)),
        call,
        partial(_by_rows, 0 if call.net.batch_first else 1, len(call.state or [])),
    )


def _by_rows(
    batch: int, states: int, forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents
) -> Evaluation:
    outputs = forward_pass()
    given = _given(outputs, cotangents)
    rows = [batch, *[1] * states]
    params = list(leaves[1 + states :])
    with_rows = [leaf.detach() for leaf in leaves[: 1 + states]]

    def of_row(inputs: list[Tensor], of_outputs: list[Tensor]) -> Any:
        require(is_batchedtensor(inputs[0]), "the rows should be mapped")
        values, pull_back = vjp(lambda *all: forward_pass(all), *inputs, *params)
        return values, list(pull_back(of_outputs))

    out = [batch, *[1] * (len(outputs) - 1)]
    mapped = vmap(of_row, (rows, out), (out, [*rows, *[0] * len(params)]))
    values, grads = mapped(with_rows, given)
    first = 1 + states
    summed = [g if k < first else g.sum(0) for k, g in enumerate(grads)]
    return list(values), add_tied(leaves, summed)


def nets_mapped(call: Call) -> Prepared:
    """vmap over nets of other weights, all with the same input; one has those of the call."""
    states = len(call.state or [])
    return Prepared(forward_of_module(module_of(call)), call, partial(_by_nets, states))


def _by_nets(
    states: int, forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents
) -> Evaluation:
    given = _given(forward_pass(), cotangents)
    inputs = [leaf.detach() for leaf in leaves[: 1 + states]]
    factors = [k / (NETS // 2) for k in range(NETS)]  # 0, 1, 2
    stacked = [torch.stack([f * p.detach() for f in factors]) for p in leaves[1 + states :]]

    def of_net(*params: Tensor) -> Any:
        require(is_batchedtensor(params[0]), "the nets should be mapped")
        values, pull_back = vjp(lambda *all: forward_pass(all), *inputs, *params)
        return values, list(pull_back(given))

    values, grads = vmap(of_net)(*stacked)
    return [v[NETS // 2] for v in values], add_tied(leaves, [g[NETS // 2] for g in grads])


def jacobian_forward(call: Call) -> Prepared:
    """jacfwd of the loss Σ δy y: forward mode, one tangent for each element of the leaves."""
    return Prepared(forward_of_module(module_of(call)), call, _by_jacfwd)


def _by_jacfwd(forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents) -> Evaluation:
    outputs = forward_pass()
    given = _given(outputs, cotangents)

    def loss(*others: Tensor) -> Tensor:
        values = forward_pass(others)
        return torch.stack([(v * d).sum() for v, d in zip(values, given, strict=True)]).sum()

    grads = jacfwd(loss, tuple(range(len(leaves))))(*[leaf.detach() for leaf in leaves])
    return outputs, add_tied(leaves, list(grads))


def jacobian_reverse(call: Call) -> Prepared:
    """jacrev of all outputs: one cotangent for each of their elements, then multiplied."""
    return Prepared(forward_of_module(module_of(call)), call, _by_jacrev)


def _by_jacrev(forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents) -> Evaluation:
    outputs = forward_pass()
    used = [k for k, d in enumerate(cotangents) if d is not None]

    def function(*others: Tensor) -> list[Tensor]:
        values = forward_pass(others)
        return [values[k] for k in used]

    jacobians = jacrev(function, tuple(range(len(leaves))))(*[v.detach() for v in leaves])
    grads = [torch.zeros_like(leaf) for leaf in leaves]
    for k, of_output in zip(used, jacobians, strict=True):
        d = cotangents[k]
        assert d is not None
        for g, jacobian in zip(grads, of_output, strict=True):
            require(jacobian.shape == d.shape + g.shape, "a Jacobian has both shapes")
            g += torch.tensordot(d, jacobian, d.dim())
    return outputs, add_tied(leaves, grads)


def _given(outputs: Sequence[Tensor], cotangents: Cotangents) -> list[Tensor]:
    """The cotangents, zeros where there is none."""
    pairs = zip(outputs, cotangents, strict=True)
    return [torch.zeros_like(y).detach() if d is None else d for y, d in pairs]


def add_tied(leaves: Leaves, grads: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients, those of one leaf under several names added."""
    total: dict[int, Tensor] = {}
    for leaf, g in zip(leaves, grads, strict=True):
        total[id(leaf)] = total[id(leaf)] + g if id(leaf) in total else g
    return [total[id(leaf)] for leaf in leaves]


def dense_without_dropout(problem: Problem, dtype: str) -> str:
    """Why the rows of a problem cannot be mapped."""
    if problem.lengths is not None or problem.x.ndim == 2:
        return "vmap over rows needs a batch of rows of equal length"
    return no_dropout(problem, dtype)


def no_dropout(problem: Problem, dtype: str) -> str:
    """Why a problem with dropout is excluded."""
    if problem.net.dropout:
        return "torch draws other masks under vmap"
    return ""


def unpacked_without_dropout(problem: Problem, dtype: str) -> str:
    """Why a transform of torch.func cannot run a problem."""
    if problem.lengths is not None:
        return "torch.func hides the sizes of packed data from the net, which raises"
    return no_dropout(problem, dtype)


def few_leaves(problem: Problem, dtype: str) -> str:
    """Why the Jacobian of a problem is too large in forward mode."""
    values = [problem.x, *(problem.state or ()), *problem.params.values()]
    if sum(v.size for v in values) > MOST_LEAVES:
        return f"the leaves have more than {MOST_LEAVES} elements, each with a tangent"
    return unpacked_without_dropout(problem, dtype)


def few_outputs(problem: Problem, dtype: str) -> str:
    """Why the Jacobian of a problem is too large in reverse mode."""
    net = problem.net
    rows = problem.x.size // problem.x.shape[-1]
    if rows * net.directions * net.output_size > MOST_OUTPUTS:
        return f"the outputs have more than {MOST_OUTPUTS} elements, each with a cotangent"
    return unpacked_without_dropout(problem, dtype)
