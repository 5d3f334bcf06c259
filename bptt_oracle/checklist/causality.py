"""Point 13: the output at step t does not depend on inputs after t."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .check_result import CheckResult, output_tensor
from .model_calls import set_mode


def causality(model: nn.Module, x: Tensor) -> CheckResult:
    """(13) The gradient of output t with respect to every input after t is zero.

    The model runs in evaluation mode and is put back in its own mode.

    Args:
        model: model(x) -> output [B, T, ·], alone or in a tuple with a state.
        x: tokens [B, T], integers, for a model with an nn.Embedding at whose output the gradient
            is taken; or numbers [B, T, D] of a floating dtype.

    Returns:
        Holds: all T (T − 1) / 2 gradients of an output with respect to a later input are exactly
        zero. Fails: names the first pair with a nonzero gradient, and any bidirectional layer; or
        reports that some output does not depend on its own input, so that zeros prove nothing.

    Raises:
        ValueError: x has fewer than two steps, or x holds tokens and no nn.Embedding reads them.
        TypeError: the model does not return a tensor, or a tuple that begins with one.
    """
    if x.dim() < 2 or x.shape[1] < 2:
        raise ValueError(f"Expected x [B, T] or [B, T, D] with T ≥ 2, got {list(x.shape)}.")
    gradients = _largest_gradients(model, x)
    T = len(gradients)
    nonzero = [(t, s) for t in range(T) for s in range(t + 1, T) if gradients[t, s]]
    failures = []
    if nonzero:
        t, s = nonzero[0]
        size = float(gradients[t, s])
        failures.append(f"output {t} has a gradient of {size:.2g} with respect to input {s}")
        bidirectional = [n for n, m in model.named_modules() if getattr(m, "bidirectional", False)]
        failures += [f"{name or 'the model'} is bidirectional" for name in bidirectional]
    elif not all(gradients[t, t] for t in range(T)):
        failures.append("some output does not depend on its own input, so zeros prove nothing")
    return CheckResult.from_failures(
        13,
        "no output depends on later inputs",
        failures,
        f"{T * (T - 1) // 2} gradients are exactly zero",
    )


def _largest_gradients(model: nn.Module, x: Tensor) -> Tensor:
    """[T, T]: the largest |gradient| of output t with respect to input s, random cotangent."""
    generator = torch.Generator().manual_seed(0)
    native = torch.backends.cudnn.flags(enabled=False)  # cuDNN has no backward in evaluation mode
    with set_mode(model, training=False), torch.enable_grad(), native:
        with _differentiable_inputs(model, x) as (model_input, leaves):
            output = output_tensor(model(model_input))
        if not leaves:
            raise ValueError("Expected an nn.Embedding that reads x, got none; pass x [B, T, D].")
        cotangents = torch.randn(output.shape, generator=generator).to(output)
        largest = torch.zeros(x.shape[1], x.shape[1])
        for t in range(len(largest)):
            loss = (output[:, t] * cotangents[:, t]).sum()
            grads = torch.autograd.grad(loss, leaves, retain_graph=True, materialize_grads=True)
            for grad in grads:
                by_step = grad.abs().transpose(0, 1).flatten(1).amax(dim=1)
                largest[t] = torch.maximum(largest[t], by_step.to(largest))
    return largest


@contextmanager
def _differentiable_inputs(model: nn.Module, x: Tensor) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """The input to call the model with, and the list that then holds the leaves of its graph.

    The leaves are x itself, or the outputs of the embeddings that read x, cut from the weights.
    """
    if x.is_floating_point():
        leaf = x.detach().clone().requires_grad_()
        yield leaf, [leaf]
        return
    embedded: list[Tensor] = []

    def detach_output(_: nn.Module, args: Any, output: Tensor) -> Tensor:
        if output.shape[: x.dim()] != x.shape:
            return output
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    hooks = [module.register_forward_hook(detach_output) for module in embeddings]
    try:
        yield x, embedded
    finally:
        for hook in hooks:
            hook.remove()
