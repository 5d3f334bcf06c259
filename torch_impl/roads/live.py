"""A module in use: its dropout changes, several threads call it, its tensors change in place, or
its packed data goes through the methods of PackedSequence."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from ..execution.calls import (
    Call,
    Cotangents,
    Evaluation,
    ForwardPass,
    Leaves,
    Prepared,
    Result,
)
from ..execution.variants import evaluate, gradients
from .road import (
    call_net,
    forward_function,
    forward_of_module,
    module_of,
    prepared_with,
    require,
    warm_up,
)

THREADS = 4
FACTOR = 1.5  # of a change in place


def dropout_changed(call: Call) -> Prepared:
    """A module made and called with another dropout, whose `dropout` is then set."""
    p = call.net.dropout
    other = 0.5 if p != 0.5 else 0.25
    module = module_of(call._replace(net=replace(call.net, dropout=other)))
    require(module.dropout == other, "the module should be made with another dropout")
    warm_up(module, call)
    module.dropout = p
    return prepared_with(module, call)


def threads_at_once(call: Call) -> Prepared:
    """Several threads call one module and differentiate it at once; the first that differs from
    the others is judged, or the last if none does."""
    module = module_of(call)
    forward = forward_of_module(module)

    def evaluate_in_threads(
        forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents
    ) -> Evaluation:
        def work(_: int) -> Evaluation:
            return evaluate(forward_pass, leaves, cotangents)

        with ThreadPoolExecutor(THREADS) as pool:
            done = list(pool.map(work, range(THREADS)))
        bits = [_bytes(evaluation) for evaluation in done]
        odd = [k for k in range(THREADS) if bits.count(bits[k]) <= THREADS // 2]
        return done[odd[0] if odd else -1]

    return Prepared(forward, call, evaluate_in_threads)


def _bytes(evaluation: Evaluation) -> list[bytes]:
    values = [v for part in evaluation for v in part if v is not None]
    return [v.detach().contiguous().view(torch.uint8).numpy().tobytes() for v in values]


def methods_of_packed(call: Call) -> Prepared:
    """Packed data converted to float64 and back, and moved to the CPU, before and after the net."""
    module = module_of(call)
    dtype = call.x.dtype

    def converted(packed: PackedSequence) -> PackedSequence:
        wide = packed.double().cpu()
        require(wide.data.dtype == torch.float64, "packed data should be in float64")
        on_cpu: Any = wide.to(dtype)
        back: PackedSequence = on_cpu.to("cpu", non_blocking=True)
        same = back.batch_sizes.equal(packed.batch_sizes)
        require(same and not back.is_cuda, "packed data should keep its sizes")
        return back

    def forward(call: Call) -> Result:
        inner = forward_function(module, call)

        def function(packed: PackedSequence, state: Any) -> Any:
            output, final = inner(converted(packed), state)
            return converted(output), final

        return call_net(function, call)

    return Prepared(forward, call, evaluate)


def changed_in_place(call: Call) -> Prepared:
    """After each forward pass one leaf changes in place. torch must raise in the backward pass, or
    its gradients must be those before the change; the first that are not are judged."""
    module = module_of(call)
    return Prepared(forward_of_module(module), call, _evaluate_with_changes)


def _evaluate_with_changes(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents
) -> Evaluation:
    right = evaluate(forward_pass, leaves, cotangents)
    raised = 0
    for leaf in {id(leaf): leaf for leaf in leaves}.values():
        outputs = forward_pass()
        before = leaf.detach().clone()
        with torch.no_grad():
            leaf.mul_(FACTOR)
        try:
            grads = gradients(outputs, leaves, cotangents)
        except RuntimeError as error:
            _require_message(error)
            raised += 1
        else:
            if _bytes(([], grads)) != _bytes(([], right[1])):
                return outputs, grads
        finally:
            with torch.no_grad():
                leaf.copy_(before)
    require(raised > 0, "torch should raise after at least one of the changes")
    return right


def outputs_changed_in_place(call: Call) -> Prepared:
    """Output and final states double in place after the forward pass. torch must raise, or
    differentiate the doubling: twice the output with half of the cotangent has the same gradients,
    exactly."""
    return Prepared(forward_of_module(module_of(call)), call, _evaluate_doubled)


def _evaluate_doubled(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents
) -> Evaluation:
    right = evaluate(forward_pass, leaves, cotangents)
    halves = [None if d is None else d / 2 for d in cotangents]
    outputs = forward_pass()
    try:
        changed = [y.mul_(2) for y in outputs]
        grads = gradients(changed, leaves, halves)
    except RuntimeError as error:
        _require_message(error)
        return right
    return [y / 2 for y in changed], grads


def _require_message(error: RuntimeError) -> None:
    """Raise WrongKernel unless the error is about a change in place."""
    text = str(error)
    about = "modified by an inplace" in text or "modified inplace" in text
    require(about, f"torch raised another error than that of a change in place: {text}")
