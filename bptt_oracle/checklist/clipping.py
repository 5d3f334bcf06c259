"""Point 10: gradients are clipped before the optimizer's step."""

import copy
import math
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .arguments import require_functions
from .check_result import CheckResult
from .comparison import epsilon

GRADIENT_SCALES = (1e6, 1e3, 30.0)  # the smaller ones where the larger one overflows
OVERCLIPPED = 0.01
SMALL = 1e-6  # of max_norm; and the smallest norm, because 1e-6 is often added where it divides
ENLARGED = 0.25  # of max_norm, which small gradients reach only if they are normalised
UNCLIPPED = 2.0  # times the change by clipped gradients: of a step that does not clip inside


def clipping(
    optimizer: torch.optim.Optimizer, step: Callable[[], object], max_norm: float
) -> CheckResult:
    """(10) At the optimizer's step the global norm of the gradients is `max_norm`.

    Gradients are multiplied by a million as they are accumulated, so that clipping has to act, and
    so that parameters of other optimizers, if they are clipped together, count for nothing; where a
    million overflows, by less. Then they are made small, so that clipping must not act. The
    parameters, their gradients and the optimizer's state are restored afterwards.

    Args:
        optimizer: the optimizer that `step` uses; the norm is over all its parameters.
        step: takes no arguments: one training step with backward(), clipping, optimizer.step(). It
            may accumulate gradients, use a GradScaler, and step other optimizers. It is called
            several times.
        max_norm: the global L2 norm to which the step clips, positive and finite.

    Returns:
        Holds: every optimizer.step() sees gradients clipped to this norm, to a part in a thousand.
        Fails: reports the norm before and at the step, because clipping is missing, too early, too
        late, between the backward passes that accumulate gradients, or of some parameters only;
        that it is much smaller than `max_norm`, as of gradients clipped before a GradScaler
        unscaled them; or that small gradients are enlarged to `max_norm`.

    Raises:
        ValueError: `step` does not call optimizer.step(), or calls it with a closure; the scaled
            gradients do not exceed max_norm, as without backward(); gradients are not finite; the
            norm is another one below max_norm, to which the step clips instead; the optimizer is no
            torch.optim.Optimizer, or clips inside its own step, where the norm is not seen; or the
            batches of `step` come to an end.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ValueError(
            f"Expected a torch.optim.Optimizer, whose steps can be watched, got "
            f"{type(optimizer).__name__}."
        )
    require_functions(step=step)
    if not isinstance(max_norm, Real) or not 0 < max_norm < math.inf:
        raise ValueError(f"Expected max_norm as a positive finite number, got {max_norm!r}.")
    for scale in GRADIENT_SCALES:
        seen = _watch(optimizer, step, scale)
        if seen.closure:
            raise ValueError(
                "Expected a step without a closure, got optimizer.step(closure), which computes "
                "gradients inside of the step."
            )
        if seen.at_step and math.isfinite(seen.before) and all(map(math.isfinite, seen.at_step)):
            break
    norm = seen.before
    if not seen.at_step or not norm > max_norm:
        raise ValueError(
            "Expected a step that calls backward() and optimizer.step(), with finite gradients "
            f"that exceed {max_norm:g} once scaled by {scale:g}; got {len(seen.at_step)} steps and "
            f"the norm {norm:.3g}."
        )
    if not all(math.isfinite(n) for n in (norm, *seen.at_step)):
        raise ValueError("Expected finite gradients, got a norm that is not finite.")
    worst = max(seen.at_step)
    smallest = min(seen.at_step)
    tolerance = max(1e-3, 4 * seen.eps)
    measured = f"the norm is {norm:.3g} before clipping and {worst:.3g} at the step"
    failures = []
    if worst > max_norm * (1 + tolerance):
        _require_no_clipping_inside(optimizer, step, scale, max_norm)
        failures.append(measured)
    elif seen.changed:
        failures.append(
            "gradients are changed between the backward passes that accumulate them: clip their "
            "sum, before the step"
        )
    elif smallest < max_norm * OVERCLIPPED:
        failures.append(
            f"the norm is {norm:.3g} before clipping and only {smallest:.3g} at the step"
            + (", as of gradients clipped before a GradScaler unscaled them" if seen.scaler else "")
        )
    elif smallest < max_norm * (1 - tolerance):
        raise ValueError(
            f"Expected the norm to which the step clips, got max_norm {max_norm:g} where it clips "
            f"to {smallest:.4g}."
        )
    else:
        failures += _enlarged(optimizer, step, max_norm)
    return CheckResult.from_failures(
        10, f"gradients are clipped to the norm {max_norm:g} before the step", failures, measured
    )


def _require_no_clipping_inside(
    optimizer: torch.optim.Optimizer, step: Callable[[], object], scale: float, max_norm: float
) -> None:
    """Raise ValueError if the optimizer's own step clips: it then changes parameters and state as
    much with gradients as they are as with gradients that are clipped. Those of torch do not clip.
    """
    if type(optimizer).__module__.startswith("torch.optim"):
        return
    change = _watch(optimizer, step, scale).change
    if change <= UNCLIPPED * _watch(optimizer, step, scale, limit=max_norm).change:
        raise ValueError(
            "Expected gradients that are clipped before optimizer.step(), got a step of "
            f"{type(optimizer).__name__} that does the same with gradients that are not: it clips "
            "inside, where the norm cannot be seen."
        )


def _enlarged(
    optimizer: torch.optim.Optimizer, step: Callable[[], object], max_norm: float
) -> list[str]:
    """The failure that small gradients are normalised, where clipping leaves them alone.

    Then all of them grow by one factor. Others may be larger at the step than backward left them,
    as by a penalty that is added by hand.
    """
    own = _watch(optimizer, step, 1.0)
    if not 0 < own.before < math.inf:
        return []
    small = max(SMALL, SMALL * max_norm)
    seen = _watch(optimizer, step, small * max(own.scaler, 1.0) / own.before)
    before = seen.before / max(seen.scaler, 1.0)
    largest = max(seen.at_step, default=0.0)
    if not seen.by_one_factor or not largest > max(ENLARGED * max_norm, 2 * before):
        return []
    return [
        f"gradients of the norm {before:.3g} are enlarged to {largest:.3g}: multiply by "
        "min(1, max_norm / norm)"
    ]


class _Seen(NamedTuple):
    """Norms over all parameters of the optimizer."""

    before: float  # as backward left the scaled gradients, the largest of each
    at_step: list[float]
    closure: bool
    eps: float  # of the coarsest gradient
    changed: bool  # between two backward passes
    scaler: float  # the scale of the GradScaler that called the step; 0 if none did
    by_one_factor: bool  # from the last backward pass to the step
    change: float  # of the parameters, with the optimizer's state after the step


def _watch(
    optimizer: torch.optim.Optimizer,
    step: Callable[[], object],
    factor: float,
    limit: float = math.inf,
) -> _Seen:
    """Run the step with gradients times a factor, clipped to a limit at the optimizer's step, and
    put everything back.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer_state = copy.deepcopy(optimizer.state_dict())
    saved = [(p.detach().clone(), None if p.grad is None else p.grad.clone()) for p in parameters]
    scaled_norms: dict[Tensor, float] = {}
    left: dict[Tensor, float] = {}  # the norm with which the last backward pass left a gradient
    changed: list[float] = []
    at_step: list[float] = []
    closures: list[bool] = []
    eps = [0.0]
    scalers: list[float] = []
    growths: list[float] = []

    def compare(p: Tensor) -> None:
        """Before a gradient is added to another one."""
        norm = 0.0 if p.grad is None else float(_norm(p.grad))
        if norm and p in left and not math.isclose(norm, left[p], rel_tol=1e-3):
            changed.append(norm)

    def scale(p: Tensor) -> None:
        if p.grad is not None:
            p.grad.mul_(factor)
            left[p] = float(_norm(p.grad))
            scaled_norms[p] = max(scaled_norms.get(p, 0.0), left[p])
            eps[0] = max(eps[0], epsilon(p.grad.dtype))

    def look(own: Any, args: Any, kwargs: Any) -> None:
        growths.extend(
            float(_norm(p.grad)) / n for p, n in left.items() if n and p.grad is not None
        )
        left.clear()
        closures.append(any(a is not None for a in (*args[1:], *kwargs.values())))
        scalers.append(_scale_of_caller())
        unscale = getattr(own, "grad_scale", None)  # of a fused step, which unscales by itself
        at_step.append(_global_norm(parameters) / (1.0 if unscale is None else float(unscale)))
        if at_step[-1] > limit:
            for p in parameters:
                if p.grad is not None:
                    p.grad.mul_(limit / at_step[-1])

    with ExitStack() as stack:
        for p in parameters:
            if p.requires_grad:
                stack.callback(p.register_hook(lambda _, p=p: compare(p)).remove)
                stack.callback(p.register_post_accumulate_grad_hook(scale).remove)
        stack.callback(optimizer.register_step_pre_hook(look).remove)
        try:
            step()
            change = _change(optimizer, parameters, [value for value, _ in saved])
        except StopIteration as e:
            raise ValueError(
                "Expected a step that can be called several times, got one whose batches come to "
                "an end."
            ) from e
        finally:
            optimizer.load_state_dict(optimizer_state)
            with torch.no_grad():
                for p, (value, grad) in zip(parameters, saved, strict=True):
                    p.copy_(value)
                    p.grad = grad
    return _Seen(
        before=math.hypot(*scaled_norms.values()),
        at_step=at_step,
        closure=any(closures),
        eps=eps[0],
        changed=bool(changed),
        scaler=max(scalers, default=0.0),
        by_one_factor=bool(growths) and min(growths) > 0.99 * max(growths),
        change=change,
    )


def _scale_of_caller() -> float:
    """The scale of the GradScaler whose step() calls the optimizer; 0 if there is none."""
    for frame, _ in traceback.walk_stack(None):
        caller = frame.f_locals.get("self")
        if isinstance(caller, torch.amp.GradScaler):
            return float(caller.get_scale())
    return 0.0


def _change(
    optimizer: torch.optim.Optimizer, parameters: list[Tensor], before: list[Tensor]
) -> float:
    """The norm of the change of the parameters, and of the optimizer's state of each."""
    changes = [p.detach().double() - b.double() for p, b in zip(parameters, before, strict=True)]
    state = [
        value
        for p in parameters
        for value in optimizer.state.get(p, {}).values()
        if isinstance(value, Tensor) and value.shape == p.shape
    ]
    return math.hypot(*[float(_norm(tensor)) for tensor in (*changes, *state)])


def _norm(grad: Tensor) -> Tensor:
    """In float64, because squares of half types overflow."""
    dense = grad.coalesce().values() if grad.is_sparse else grad
    norm: Tensor = dense.detach().double().norm()
    return norm


def _global_norm(parameters: list[Tensor]) -> float:
    return math.hypot(*[float(_norm(p.grad)) for p in parameters if p.grad is not None])
