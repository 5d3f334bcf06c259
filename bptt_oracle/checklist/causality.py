"""Point 13: the output at t does not know what comes after t."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .verdict import Verdict, first, verdict
from .watch import mode


def causality(model: nn.Module, x: Tensor) -> Verdict:
    """(13) The gradient of the output at t is zero at every input after t, and not at t.

    x is [B, T] of tokens, for a model with an nn.Embedding at whose output the gradient is taken,
    or [B, T, D] of numbers; `model(x)` gives [B, T, ·], alone or with a state. A bidirectional
    layer in a causal language model is named.
    Raises ValueError for one step only, and for tokens that no embedding reads.
    """
    if x.dim() < 2 or x.shape[1] < 2:
        raise ValueError(f"Expected x [B, T] or [B, T, D] with T ≥ 2, got {list(x.shape)}.")
    reach = _reach(model, x)
    T = len(reach)
    ahead = [(t, s) for t in range(T) for s in range(t + 1, T) if reach[t, s]]
    faults = []
    if ahead:
        t, s = ahead[0]
        faults.append(f"output {t} has a gradient of {float(reach[t, s]):.2g} to input {s}")
        two_ways = [n for n, m in model.named_modules() if getattr(m, "bidirectional", False)]
        faults += [f"{name or 'the model'} is bidirectional" for name in two_ways]
    elif not all(reach[t, t] for t in range(T)):
        faults.append("some output does not depend on its own input: nothing is shown")
    return verdict(
        13, "no output knows the future", faults, f"{T * (T - 1) // 2} gradients are exactly zero"
    )


def _reach(model: nn.Module, x: Tensor) -> Tensor:
    """[T, T]: the largest gradient of the output at t to the input at s, for a random cotangent."""
    draws = torch.Generator().manual_seed(0)
    native = torch.backends.cudnn.flags(enabled=False)  # cuDNN differentiates in training alone
    with mode(model, training=False), torch.enable_grad(), native:
        with _inputs_of(model, x) as (given, inputs):
            output = first(model(given))
        if not inputs:
            raise ValueError("Expected an nn.Embedding that reads x, got none; give x [B, T, D].")
        weights = torch.randn(output.shape, generator=draws).to(output)
        reach = torch.zeros(x.shape[1], x.shape[1])
        for t in range(len(reach)):
            loss = (output[:, t] * weights[:, t]).sum()
            grads = torch.autograd.grad(loss, inputs, retain_graph=True, materialize_grads=True)
            for g in grads:
                at = g.abs().transpose(0, 1).flatten(1).amax(dim=1)
                reach[t] = torch.maximum(reach[t], at.to(reach))
    return reach


@contextmanager
def _inputs_of(model: nn.Module, x: Tensor) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """What to give to the model, and the list that will hold what gradients are taken of."""
    if x.is_floating_point():
        leaf = x.detach().clone().requires_grad_()
        yield leaf, [leaf]
        return
    embedded: list[Tensor] = []

    def catch(_: nn.Module, args: Any, output: Tensor) -> Tensor:
        if output.shape[: x.dim()] != x.shape:
            return output
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    hooks = [m.register_forward_hook(catch) for m in model.modules() if isinstance(m, nn.Embedding)]
    try:
        yield x, embedded
    finally:
        for hook in hooks:
            hook.remove()
