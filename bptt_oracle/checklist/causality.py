"""Point 13: the output at step t does not depend on inputs after t."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .arguments import require_modules, require_tensors
from .calls import Caller, fixed_seed, set_mode
from .check_result import CheckResult
from .comparison import require_numbers
from .kept_state import kept_state
from .replacement import other_values
from .values import output_tensor

SMALL = 1e-4  # of the largest gradient
LARGEST_T = 48  # steps that are replaced one by one; of longer inputs, as many of them


def causality(model: nn.Module, x: Tensor) -> CheckResult:
    """(13) The output at step t does not change with an input after t.

    Seen in two ways: the gradient of output t with respect to every later input is zero, which
    shows the smallest dependence; and when the inputs from step s on are replaced, the outputs
    before s stay equal to the bit, which shows a dependence that has no gradient. The model runs in
    evaluation mode and is put back in its own mode; a state that it keeps is put back too.

    Args:
        model: model(x) -> output [B, T, ·], [B, T] or flattened [B·T, ·], alone, in a tuple, or in
            a dict or object.
        x: tokens [B, T], integers; or numbers [B, T, D] of a floating dtype. Gradients with respect
            to tokens are taken at the output of every nn.Embedding that reads x.

    Returns:
        Holds: no output changes with a later input. Fails: names the first pair of output and later
        input, and any bidirectional layer.

    Raises:
        ValueError: x has fewer than two steps; the output is not [B, T, ·], as of a many-to-one
            model; the output is NaN or random, or does not depend on x or on earlier steps, so that
            zeros prove nothing; or the rows of x are mixed, as without batch_first.
        TypeError: the model does not return a tensor, or a tuple, dict or object with one.
    """
    require_modules(model=model)
    require_tensors(x=x)
    if x.dim() < 2 or x.shape[1] < 2:
        raise ValueError(f"Expected x [B, T] or [B, T, D] with T ≥ 2, got {list(x.shape)}.")
    caller = Caller(model)
    output = _by_step(caller(x), x)
    _require_steps(caller, x, output)
    require_numbers([output], "the model")
    caller.require_repeatable(x)
    T = x.shape[1]
    gradients = _largest_gradients(model, x) if output.is_floating_point() else None
    failures = [] if gradients is None else _nonzero(model, x, gradients)
    has_gradients = gradients is not None
    changes = {} if failures else _first_change(caller, x, output, has_gradients)
    for (t, s), size in changes.items():
        failures.append(f"output {t} changes by {size:.2g} with the inputs from {s} on")
    if failures:
        bidirectional = [n for n, m in model.named_modules() if getattr(m, "bidirectional", False)]
        failures += [f"{name or 'the model'} is bidirectional" for name in bidirectional]
    else:
        _require_dependence(caller, x, output)
    measured = f"{T * (T - 1) // 2} gradients are exactly zero" if gradients is not None else ""
    replaced = "no output changes when later inputs are replaced"
    return CheckResult.from_failures(
        13,
        "no output depends on later inputs",
        failures,
        ", and ".join(part for part in (measured, replaced) if part),
    )


def _nonzero(model: nn.Module, x: Tensor, gradients: Tensor) -> list[str]:
    """The first gradient with respect to a later input.

    Where all of them are as small as rounding makes them, as by a convolution through Fourier
    transforms, only those count that are as large in float64.
    """
    T = len(gradients)
    pairs = [(t, s) for t in range(T) for s in range(t + 1, T) if gradients[t, s]]
    if pairs and max(gradients[pair] for pair in pairs) < SMALL * gradients.max():
        try:
            wide = copy.deepcopy(model).double()
            in_float64 = _largest_gradients(wide, x.double() if x.is_floating_point() else x)
        except RuntimeError as e:
            raise ValueError(
                "Expected gradients that are zero or clearly not, got some as small as rounding "
                "makes them, of a model that cannot run in float64."
            ) from e
        if in_float64 is not None:
            pairs = [pair for pair in pairs if in_float64[pair] > gradients[pair] / 10]
    return [
        f"output {t} has a gradient of {float(gradients[t, s]):.2g} with respect to input {s}"
        for t, s in pairs[:1]
    ]


def _by_step(returned: object, x: Tensor) -> Tensor:
    """The output as [B, T, ·]. Raises ValueError for a model with one result per row."""
    output = output_tensor(returned)
    B, T = x.shape[:2]
    if output.dim() >= 1 and len(output) == B * T != B:
        output = output.reshape(B, T, *output.shape[1:])
    if output.shape[:2] != (B, T):
        raise ValueError(
            f"Expected outputs [B, T, ·] = [{B}, {T}, ·] for x {list(x.shape)}, got "
            f"{list(output.shape)}; a model with one result per row has no output per step."
        )
    return output


def _require_steps(caller: Caller, x: Tensor, output: Tensor) -> None:
    """Raise ValueError if the output has T classes, not T steps, or rows that are mixed."""
    T = x.shape[1]
    if output.dim() == 2 and output_tensor(caller(x[:, : T - 1])).shape == output.shape:
        raise ValueError(
            f"Expected outputs [B, T, ·], got {list(output.shape)} for {T} and for {T - 1} steps: "
            "one result per row."
        )
    if len(x) < 2:
        return
    changed = x.clone()
    changed[0] = other_values(x)[0]
    others = _by_step(caller(changed), x)[1:]
    if not torch.equal(others.nan_to_num(), output[1:].nan_to_num()):
        raise ValueError(
            "Expected x with rows on the first axis, got a model that mixes them, as without "
            "batch_first; transpose x, or check the rows first."
        )


def _steps(T: int) -> list[int]:
    """The steps from which on inputs are replaced."""
    return sorted({round(s) for s in torch.linspace(1, T - 1, min(T - 1, LARGEST_T)).tolist()})


def _first_change(
    caller: Caller, x: Tensor, output: Tensor, has_gradients: bool
) -> dict[tuple[int, int], float]:
    """{(t, s): change} of the first output t < s that changes when inputs from s on do.

    A change as small as rounding makes it decides nothing; where gradients are zero, it is
    rounding.
    """
    other = other_values(x)
    for s in _steps(x.shape[1]):
        changed = x.clone()
        changed[:, s:] = other[:, s:]
        before = _by_step(caller(changed), x)[:, :s]
        try:
            differs = caller.change(before, output[:, :s])
        except ValueError:
            if not has_gradients:
                raise
            continue
        if differs:
            by_step = (before != output[:, :s]).transpose(0, 1).flatten(1).any(dim=1)
            t = int(by_step.nonzero()[0])
            size = (before[:, t].double() - output[:, t].double()).abs().max()
            return {(t, s): float(size)}
    return {}


def _require_dependence(caller: Caller, x: Tensor, output: Tensor) -> None:
    """Raise ValueError unless outputs depend on inputs, and later ones on the first step."""
    other, T = other_values(x), x.shape[1]
    first = x.clone()
    first[:, 0] = other[:, 0]
    after_first = _by_step(caller(first), x)
    all_changed = _by_step(caller(other), x)
    blind = [t for t in range(1, T) if torch.equal(all_changed[:, t], output[:, t])]
    if blind:
        raise ValueError(
            f"Expected outputs that depend on their inputs, got output {blind[0]}, which depends "
            "on none, so that zeros prove nothing."
        )
    if torch.equal(after_first[:, 1:], output[:, 1:]):
        raise ValueError(
            "Expected a model with a memory, got outputs that do not depend on the first step, so "
            "that zeros prove nothing."
        )


def _largest_gradients(model: nn.Module, x: Tensor) -> Tensor | None:
    """[T, T]: the largest |gradient| of output t with respect to input s, random cotangent; None if
    there is no gradient with respect to x."""
    generator = torch.Generator().manual_seed(0)
    native = torch.backends.cudnn.flags(enabled=False)  # cuDNN has no backward in evaluation mode
    with kept_state(model), set_mode(model, training=False), fixed_seed():
        with torch.enable_grad(), native, _differentiable_inputs(model, x) as (own, leaves):
            output = _by_step(model(own), x)
        if not leaves or not output.requires_grad:
            return None
        cotangents = torch.randn(output.shape, generator=generator).to(output)
        largest = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
        for t in range(len(largest)):
            loss = (output[:, t] * cotangents[:, t]).sum()
            grads = torch.autograd.grad(
                loss, leaves, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for grad in grads:
                by_step = grad.abs().transpose(0, 1).flatten(1).amax(dim=1)
                largest[t] = torch.maximum(largest[t], by_step.to(largest))
    require_numbers([largest], "gradients of the model")
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
        if not torch.equal(args[0], x):
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
