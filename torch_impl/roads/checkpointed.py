"""torch.utils.checkpoint around nets: the forward pass runs again in the backward pass."""

from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence
from torch.utils.checkpoint import checkpoint

from ..execution.backend import graph_nodes
from ..execution.calls import Call, Cotangents, Evaluation, ForwardPass, Leaves, Prepared, Result
from ..execution.variants import evaluate
from .road import call_net, forward_function, module_of, require


def checkpointed(call: Call) -> Prepared:
    """use_reentrant=False, around the call of the module; packed data goes in as it is."""
    return _checkpointed(call, reentrant=False)


def checkpointed_reentrant(call: Call) -> Prepared:
    """use_reentrant=True, which takes gradients only by a backward pass of its own."""
    return _checkpointed(call, reentrant=True)


def _checkpointed(call: Call, reentrant: bool) -> Prepared:
    module = module_of(call)
    calls: list[int] = []
    module.register_forward_pre_hook(lambda *_: calls.append(1))

    def forward(call: Call) -> Result:
        inner = forward_function(module, call)

        def function(x: Any, state: Any) -> Any:
            if not reentrant:
                return checkpoint(inner, x, state, use_reentrant=False)
            flat = _flat(x, state)
            output, *final = checkpoint(_called_flat(inner, x, state), *flat, use_reentrant=True)
            return _like(x, output), tuple(final) if len(final) > 1 else final[0]

        return call_net(function, call)

    def evaluate_twice(
        forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents
    ) -> Evaluation:
        if not reentrant:
            result = evaluate(forward_pass, leaves, cotangents)
        else:
            result = _evaluate_by_backward(forward_pass, leaves, cotangents)
        require(len(calls) == 2, f"the module should be called twice, not {len(calls)} times")
        return result

    return Prepared(forward, call, evaluate_twice)


def _flat(x: Any, state: Any) -> list[torch.Tensor]:
    """The tensors that need gradients, one by one: a reentrant checkpoint looks into no tuple."""
    data = x.data if isinstance(x, PackedSequence) else x
    return [data, *(state if isinstance(state, tuple) else () if state is None else (state,))]


def _called_flat(inner: Any, x: Any, state: Any) -> Any:
    """A function of those tensors, which returns output and final states."""

    def function(data: torch.Tensor, *fields: torch.Tensor) -> tuple[torch.Tensor, ...]:
        initial = fields if isinstance(state, tuple) else fields[0] if fields else None
        output, final = inner(_like(x, data), initial)
        output = output.data if isinstance(output, PackedSequence) else output
        return output, *(final if isinstance(final, tuple) else (final,))

    return function


def _like(x: Any, data: Any) -> Any:
    return x._replace(data=data) if isinstance(x, PackedSequence) else data


def _evaluate_by_backward(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents
) -> Evaluation:
    """Gradients that backward() adds to each leaf; a checkpoint that is reentrant has no others."""
    outputs = forward_pass()
    require("CheckpointFunctionBackward" in graph_nodes(outputs), "there should be a checkpoint")
    pairs = [(y, d) for y, d in zip(outputs, cotangents, strict=True) if d is not None]
    used, given = zip(*pairs, strict=True)
    torch.autograd.backward(used, given)
    return outputs, [leaf.grad for leaf in leaves]
