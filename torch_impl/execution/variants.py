"""Ways to ask a net for the same numbers.

Around the call                              a function from one way to answer a call to another
    functional      the parameters handed in by torch.func.functional_call
    eval            a call in eval mode before, then back to training
    autocast-T      under torch.autocast to the type T
    compiled        through torch.compile

Around the attempt                           a function of an attempt, which computes the outputs
    thrice          the last of three equal attempts                 from the leaves, anew each time
    twice           the second of two gradients of one graph
    inference       the outputs of an attempt in inference mode
    subsets         gradients asked of every other leaf, then of those left out
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from .calls import Call, Forward, Result
from .dtypes import DTYPES

Attempt = Callable[[], list[torch.Tensor]]
Leaves = Sequence[torch.Tensor]
Cotangents = Sequence[torch.Tensor | None]
Answer = tuple[list[torch.Tensor], list[torch.Tensor | None]]


def gradients(
    values: Sequence[torch.Tensor], leaves: Leaves, cotangents: Cotangents, keep: bool = False
) -> list[torch.Tensor | None]:
    """The gradient of each leaf; None where the values do not depend on it."""
    wanted = [(v, d) for v, d in zip(values, cotangents, strict=True) if d is not None]
    outputs, given = zip(*wanted, strict=True)
    return list(torch.autograd.grad(outputs, leaves, given, retain_graph=keep, allow_unused=True))


def plainly(attempt: Attempt, leaves: Leaves, cotangents: Cotangents) -> Answer:
    """One attempt and its gradients."""
    values = attempt()
    return values, gradients(values, leaves, cotangents)


def twice(attempt: Attempt, leaves: Leaves, cotangents: Cotangents) -> Answer:
    """The graph gone through backwards a second time."""
    values = attempt()
    gradients(values, leaves, cotangents, keep=True)
    return values, gradients(values, leaves, cotangents)


def thrice(attempt: Attempt, leaves: Leaves, cotangents: Cotangents) -> Answer:
    """The same attempt three times, and the last of its answers."""
    for _ in range(2):
        plainly(attempt, leaves, cotangents)
    return plainly(attempt, leaves, cotangents)


def inference(attempt: Attempt, leaves: Leaves, cotangents: Cotangents) -> Answer:
    """The outputs in inference mode; the gradients are those of an attempt after it."""
    with torch.inference_mode():
        values = attempt()
    return values, plainly(attempt, leaves, cotangents)[1]


def subsets(attempt: Attempt, leaves: Leaves, cotangents: Cotangents) -> Answer:
    """Every other leaf asks for its gradient, the rest for none; then the other way round."""
    found: dict[int, torch.Tensor | None] = {}
    distinct = list({id(leaf): leaf for leaf in leaves}.values())
    for chosen in (distinct[::2], distinct[1::2]):
        for leaf in distinct:
            leaf.requires_grad_(any(leaf is one for one in chosen))
        values = attempt()
        asked = [d if v.requires_grad else None for v, d in zip(values, cotangents, strict=True)]
        if any(d is not None for d in asked):
            found |= zip(map(id, chosen), gradients(values, chosen, asked), strict=True)
    for leaf in distinct:
        leaf.requires_grad_()
    return values, [found.get(id(leaf)) for leaf in leaves]


def functional(forward: Forward) -> Forward:
    """The parameters as tensors that are not the module's own."""

    def way(call: Call) -> Result:
        return forward(call._replace(params={n: p.view_as(p) for n, p in call.params.items()}))

    return way


def after_eval(forward: Forward) -> Forward:
    """Evaluated first: eval mode drops nothing out, and is left again."""

    def way(call: Call) -> Result:
        forward(call._replace(training=False))
        return forward(call)

    return way


def autocast(forward: Forward, dtype: str) -> Forward:
    """The forward pass under autocast, as its documentation asks; the backward pass outside."""

    def way(call: Call) -> Result:
        with torch.autocast(call.x.device.type, dtype=DTYPES[dtype]):
            return forward(call)

    return way


def compiled(forward: Forward) -> Forward:
    """The call compiled whole, for the call's own shapes; recurrent modules are let in."""

    def way(call: Call) -> Result:
        torch._dynamo.reset()
        with torch._dynamo.config.patch(allow_rnn=True):
            result: Result = torch.compile(forward, dynamic=False)(call)
        return result

    return way


AROUND_THE_CALL: dict[str, Callable[[Forward], Forward]] = {
    "functional": functional,
    "eval": after_eval,
    "autocast-bfloat16": partial(autocast, dtype="bfloat16"),
    "autocast-float16": partial(autocast, dtype="float16"),
    "compiled": compiled,
}
AROUND_THE_ATTEMPT: dict[str, Callable[[Attempt, Leaves, Cotangents], Answer]] = {
    "thrice": thrice,
    "twice": twice,
    "inference": inference,
    "subsets": subsets,
}
