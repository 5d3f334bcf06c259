"""Variants: how a net is called, and how its outputs and gradients are computed.

Every variant must give the same numbers as a single call. VARIANTS lists them; a variant
changes the calls made before, the call itself, the evaluation of outputs and gradients, or only
torch's switches (see `backend.flags`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch

from .calls import (
    Call,
    Cotangents,
    Evaluate,
    Evaluation,
    Forward,
    ForwardPass,
    Leaves,
    Result,
    larger_call,
    smaller_call,
)
from .dtypes import DTYPES
from .path import ANY, IMPLEMENTATIONS, NATIVE


def gradients(
    outputs: Sequence[torch.Tensor],
    leaves: Leaves,
    cotangents: Cotangents,
    retain_graph: bool = False,
) -> list[torch.Tensor | None]:
    """The gradient of each leaf; None if no output with a cotangent depends on it."""
    pairs = [(y, d) for y, d in zip(outputs, cotangents, strict=True) if d is not None]
    used, used_cotangents = zip(*pairs, strict=True)
    return list(
        torch.autograd.grad(
            used, leaves, used_cotangents, retain_graph=retain_graph, allow_unused=True
        )
    )


def evaluate(forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents) -> Evaluation:
    """One forward and one backward pass."""
    outputs = forward_pass()
    return outputs, gradients(outputs, leaves, cotangents)


def evaluate_second_backward(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents
) -> Evaluation:
    """Two backward passes through one graph; the gradients of the second."""
    outputs = forward_pass()
    gradients(outputs, leaves, cotangents, retain_graph=True)
    return outputs, gradients(outputs, leaves, cotangents)


def evaluate_third(forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents) -> Evaluation:
    """The last of three equal evaluations."""
    for _ in range(2):
        evaluate(forward_pass, leaves, cotangents)
    return evaluate(forward_pass, leaves, cotangents)


def evaluate_in_inference_mode(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents
) -> Evaluation:
    """The outputs in inference mode, then the gradients of an evaluation outside it."""
    with torch.inference_mode():
        outputs = forward_pass()
    return outputs, evaluate(forward_pass, leaves, cotangents)[1]


def evaluate_in_subsets(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents
) -> Evaluation:
    """Gradients required of every other leaf only, then of the remaining ones only."""
    grads: dict[int, torch.Tensor | None] = {}
    distinct = list({id(leaf): leaf for leaf in leaves}.values())
    for subset in (distinct[::2], distinct[1::2]):
        for leaf in distinct:
            leaf.requires_grad_(any(leaf is member for member in subset))
        outputs = forward_pass()
        reachable = [
            d if y.requires_grad else None for y, d in zip(outputs, cotangents, strict=True)
        ]
        if any(d is not None for d in reachable):
            grads |= zip(map(id, subset), gradients(outputs, subset, reachable), strict=True)
    for leaf in distinct:
        leaf.requires_grad_()
    return outputs, [grads.get(id(leaf)) for leaf in leaves]


def with_functional_call(forward: Forward) -> Forward:
    """Pass the parameters as views, which torch.func.functional_call hands to the module."""

    def call_with_views(call: Call) -> Result:
        return forward(call._replace(params={n: p.view_as(p) for n, p in call.params.items()}))

    return call_with_views


def after_eval_mode(forward: Forward) -> Forward:
    """Call in eval mode first, where nothing is dropped out, then in training mode."""

    def call_twice(call: Call) -> Result:
        forward(call._replace(training=False))
        return forward(call)

    return call_twice


def under_autocast(forward: Forward, dtype: str) -> Forward:
    """Only the forward pass runs under autocast, as torch's documentation recommends."""

    def call_under_autocast(call: Call) -> Result:
        with torch.autocast(call.x.device.type, dtype=DTYPES[dtype]):
            return forward(call)

    return call_under_autocast


def with_compile(forward: Forward) -> Forward:
    """Compile the whole call for its own shapes; recurrent modules are allowed in the graph."""

    def call_compiled(call: Call) -> Result:
        torch._dynamo.reset()
        with torch._dynamo.config.patch(allow_rnn=True):
            result: Result = torch.compile(forward, dynamic=False)(call)
        return result

    return call_compiled


def call_with_other_data(forward: Forward, call: Call) -> None:
    """Call the net on two other batches with other weights, and restore its weights.

    First a smaller batch with replaced parameters, and its gradient; then a larger packed batch
    with the parameters changed in place. Restoring them is an in-place update as an optimiser's.
    """
    originals = {name: p.detach().clone() for name, p in call.params.items()}
    replaced: dict[str, torch.Tensor] = {
        name: torch.nn.Parameter(-0.5 * p) for name, p in originals.items()
    }
    output, _ = forward(smaller_call(call)._replace(params=replaced))
    torch.autograd.grad(output.sum(), list(replaced.values()), allow_unused=True)
    with torch.no_grad():
        for p in call.params.values():
            p.mul_(0.75)
        forward(larger_call(call))
        for name, p in call.params.items():
            p.copy_(originals[name])


class Variant(NamedTuple):
    """A row of VARIANTS.

    `kernels` maps a device to the kernel of the optional paths that call nets so:
    `cpu-eval`, `cuda-eval`, or, for several implementations, `cpu-cells-compiled`.
    """

    kernels: dict[str, str] = {}
    implementations: tuple[str, ...] = ("module",)
    call_before: Callable[[Forward, Call], None] | None = None
    wrap_call: Callable[[Forward], Forward] | None = None
    evaluate: Evaluate = evaluate


_BOTH = {"cpu": ANY, "cuda": ANY}
# not through oneDNN: on a processor without bfloat16 its LSTM raises under autocast
_AUTOCAST = {"cpu": NATIVE, "cuda": ANY}
VARIANTS = {
    "": Variant(),
    "plain": Variant(),
    "again": Variant(call_before=call_with_other_data, evaluate=evaluate_second_backward),
    "functional": Variant(_BOTH, wrap_call=with_functional_call),
    "eval": Variant(_BOTH, wrap_call=after_eval_mode),
    "thrice": Variant(_BOTH, evaluate=evaluate_third),
    "inference": Variant(_BOTH, evaluate=evaluate_in_inference_mode),
    "subsets": Variant(_BOTH, evaluate=evaluate_in_subsets),
    "deterministic": Variant(_BOTH),
    "autocast-bfloat16": Variant(_AUTOCAST, wrap_call=partial(under_autocast, dtype="bfloat16")),
    "autocast-float16": Variant(_AUTOCAST, wrap_call=partial(under_autocast, dtype="float16")),
    "threads": Variant({"cpu": ANY}),
    "compiled": Variant(_BOTH, IMPLEMENTATIONS, wrap_call=with_compile),
}
