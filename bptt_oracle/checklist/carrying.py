"""Points 5, 6 and 7: the state is carried over, its graph is not, and samples share no state.

`loop()` is your own code: it trains `model`, called as model(x, state) -> (output, state), on a few
consecutive chunks of the same streams. The checks record these calls. The loop changes the weights;
use a copy of the model, or restore them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .check_result import CheckResult, difference
from .model_calls import ModelCall, record_calls

Loop = Callable[[], object]


def carry_and_detach(model: nn.Module, loop: Loop) -> CheckResult:
    """(5) The state that leaves a chunk enters the next one as a value, detached from its graph.

    Args:
        model: called by the loop as model(x, state) -> (output, state). State [L, B, H] or a pair
            (h, c), of any floating dtype. x may be a PackedSequence.
        loop: takes no arguments, trains the model on two or more consecutive chunks.

    Returns:
        Holds: in every chunk but the first, a state enters, equals the one that left the chunk
        before, and is detached. Fails: names each chunk that starts without a state, with other
        values or with an attached graph, and PyTorch's error if the loop backpropagated through a
        graph twice.

    Raises:
        ValueError: the loop calls the model fewer than two times.
        RuntimeError: raised by the loop for any other reason.
    """
    calls, error = _run_loop(model, loop)
    failures = [
        f"chunk {k}: {failure}"
        for k, call, previous in _consecutive(calls)
        for failure in _carrying_failures(call, previous)
    ]
    if error:
        failures.append(f"the loop raised: {error}")
    return CheckResult.from_failures(
        5,
        "the state is carried over and detached",
        failures,
        f"a detached state was carried over {len(calls) - 1} times",
    )


def both_detached(model: nn.Module, loop: Loop) -> CheckResult:
    """(6) Both h and c of an LSTM's state are carried over, and both are detached.

    Args:
        model: called by the loop as model(x, (h, c)) -> (output, (h, c)), each state [L, B, ·].
        loop: takes no arguments, trains the model on two or more consecutive chunks.

    Returns:
        Holds: h and c enter every chunk but the first with the values that left the chunk before,
        both detached. Fails: names h or c, and the chunk.

    Raises:
        ValueError: the model's state is not a pair, or the loop calls the model fewer than two
            times.
        RuntimeError: raised by the loop for a reason other than a graph used twice.
    """
    calls, error = _run_loop(model, loop)
    if len(calls[0].leaving) != 2:
        raise ValueError(f"Expected a state (h, c), got {len(calls[0].leaving)} tensors.")
    failures = []
    for k, call, previous in _consecutive(calls):
        if len(call.entering) != 2:
            failures.append(f"chunk {k} gets a state of {len(call.entering)} tensors, not h and c")
            continue
        for index, name in enumerate("hc"):
            if call.attached[index]:
                failures.append(f"{name} enters chunk {k} attached to the graph of chunk {k - 1}")
            if difference(call.entering[index], previous.leaving[index]):
                failures.append(f"{name} enters chunk {k} with other values than it left with")
    if error:
        failures.append(f"the loop raised: {error}")
    return CheckResult.from_failures(
        6, "h and c are both detached", failures, f"checked in {len(calls) - 1} chunks"
    )


def fresh_start(
    run: Callable[[Tensor], Tensor], sample: Tensor, other_sample: Tensor
) -> CheckResult:
    """(7) The result of a sample does not depend on the sample before it.

    Args:
        run: run(sample) -> a tensor; must not draw random numbers, so use evaluation mode.
        sample: any input of `run`, of any shape and dtype.
        other_sample: a different input of `run`.

    Returns:
        Holds: `sample` gives the same result before and after `other_sample`. Fails: reports the
        largest difference, which means that a state is kept between calls.
    """
    with torch.no_grad():
        before = run(sample).clone()
        run(other_sample)
        after = run(sample)
    change = difference(after, before)
    failures = []
    if change:
        failures.append(f"after another sample the same sample gives a result {change:.2g} away")
    return CheckResult.from_failures(
        7,
        "no state is reused between samples",
        failures,
        "the same result before and after another sample",
    )


def _run_loop(model: nn.Module, loop: Loop) -> tuple[list[ModelCall], str]:
    """The calls made by the loop, and the message of PyTorch's error for a graph used twice."""
    error = ""
    with record_calls(model) as calls:
        try:
            loop()
        except RuntimeError as e:
            if "second time" not in str(e) and "modified by an inplace" not in str(e):
                raise
            error = str(e).split(".")[0]
    if len(calls) < 2:
        raise ValueError(f"Expected a loop over two or more chunks, got {len(calls)} calls.")
    return calls, error


def _consecutive(calls: list[ModelCall]) -> list[tuple[int, ModelCall, ModelCall]]:
    """The index of each call but the first, the call, and the call before it."""
    return [(k, calls[k], calls[k - 1]) for k in range(1, len(calls))]


def _carrying_failures(call: ModelCall, previous: ModelCall) -> list[str]:
    if not call.entering:
        return ["starts without a state: the chunks before are forgotten"]
    failures = []
    if any(call.attached):
        failures.append("its state is still attached to the graph of the chunk before")
    change = max(
        difference(entering, leaving)
        for entering, leaving in zip(call.entering, previous.leaving, strict=True)
    )
    if change:
        failures.append(f"its state differs by {change:.2g} from the state the chunk before left")
    return failures
