"""Points 5, 6 and 7: the state is carried over, its graph is not, and samples share no state.

`loop()` is your own code: it trains `model`, called as model(x, state) -> (output, state), on a few
consecutive chunks of the same streams. The checks record these calls. Where the model keeps the
state inside itself, the calls of the recurrent modules in it are checked. The loop changes the
weights; use a copy of the model, or restore them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .arguments import require_functions
from .calls import fixed_seed, full_precision, modules_of
from .carried_state import carrying_failures, run_loop
from .check_result import CheckResult
from .comparison import change, difference, require_numbers
from .values import map_tensors, state_tensors, tensors_in

Loop = Callable[[], object]


def carry_and_detach(model: nn.Module, loop: Loop) -> CheckResult:
    """(5) The state that leaves a chunk enters the next one as a value, detached from its graph.

    Args:
        model: called by the loop as model(x, state) -> (output, state), with any other arguments
            and results beside them, or a model that keeps its state inside and has nn.RNN, nn.GRU,
            nn.LSTM or their cells in it. State: tensors of any floating dtype, alone or in tuples,
            lists or dicts. x may be a PackedSequence.
        loop: takes no arguments, trains the model on two or more consecutive chunks.

    Returns:
        Holds: in every chunk but the first, a state enters, equals the one that left the chunk
        before, and is detached. Fails: names each chunk that starts without a state, with other
        values or with an attached graph, and PyTorch's error if the loop backpropagated through a
        graph twice.

    Raises:
        ValueError: the loop calls the model fewer than two times, or builds no graph; the state is
            NaN or zero, so that nothing can be seen; rows are reset between the chunks; some chunks
            are detached and others not, without an error; or the state is kept inside by other
            means than torch's recurrent modules: pass the module that takes and returns it.
        RuntimeError: raised by the loop for any other reason.
    """
    carried, error = run_loop(model, loop)
    failures = [f"chunk {k}: {text}" for k, text in carrying_failures(carried, error)]
    if error:
        failures.append(f"the loop raised: {error}")
    return CheckResult.from_failures(
        5,
        "the state is carried over and detached",
        failures,
        f"a detached state was carried over {len(carried[0].steps)} times",
    )


def both_detached(model: nn.Module, loop: Loop) -> CheckResult:
    """(6) Both h and c of an LSTM's state are carried over, and both are detached.

    Args:
        model: called by the loop as model(x, (h, c)) -> (output, (h, c)), each state [L, B, ·], or
            with h and c as arguments and results of their own; or a model that keeps them inside
            and has an nn.LSTM or nn.LSTMCell in it.
        loop: takes no arguments, trains the model on two or more consecutive chunks.

    Returns:
        Holds: h and c enter every chunk but the first with the values that left the chunk before,
        both detached. Fails: names h or c, and the chunk.

    Raises:
        ValueError: the model's state is not a pair; or as for `carry_and_detach`.
        RuntimeError: raised by the loop for a reason other than a graph used twice.
    """
    carried, error = run_loop(model, loop)
    for one in carried:
        if one.states % 2 or not one.states:
            raise ValueError(f"Expected a state (h, c), got {one.states} tensors.")
    failures = []
    for one in carried:
        for step in one.steps:
            k = step.chunk
            if len(step.entering) != one.states:
                count = len(step.entering)
                failures.append(f"chunk {k} gets a state of {count} tensors, not h and c")
                continue
            for index, name in enumerate("hc" * (one.states // 2)):
                if step.attached[index]:
                    failures.append(
                        f"{name} enters chunk {k} attached to the graph of chunk {k - 1}"
                    )
                if difference(step.entering[index], step.previous[index]):
                    failures.append(f"{name} enters chunk {k} with other values than it left with")
    if not failures:
        failures = [f"chunk {k}: {text}" for k, text in carrying_failures(carried, error)]
    if error:
        failures.append(f"the loop raised: {error}")
    return CheckResult.from_failures(
        6, "h and c are both detached", failures, f"checked in {len(carried[0].steps)} chunks"
    )


def fresh_start(run: Callable[[Any], object], sample: Any, other_sample: Any) -> CheckResult:
    """(7) The result of a sample does not depend on the sample before it.

    The random numbers of torch, NumPy and Python start from the same seed in every run, so that
    dropout may be on.

    Args:
        run: run(sample) -> a tensor, or a tuple, list, dict or object that holds some.
        sample: any input of `run`, of any shape and dtype.
        other_sample: a different input of `run`.

    Returns:
        Holds: `sample` gives the same result, to the bit, before and after `other_sample`, and
        twice in a row. Fails: reports the largest difference, which means that a state is kept
        between calls.

    Raises:
        ValueError: the results are NaN, or the same for both samples, so that nothing can be seen;
            or they differ by less than rounding may cause; or a module that `run` refers to keeps
            and reads a state whose effect the result does not show.
    """
    require_functions(run=run)
    before, other = _tensors(run, sample), _tensors(run, other_sample)
    after, again = _tensors(run, sample), _tensors(run, sample)
    if not before:
        raise ValueError("Expected a function that returns a tensor, got one that returns none.")
    require_numbers(before, "run(sample)")
    changes = [_largest_change(after, before), _largest_change(again, after)]
    failures = []
    if changes[0]:
        failures.append(
            f"after another sample the same sample gives a result {changes[0]:.2g} away"
        )
    elif changes[1]:
        failures.append(f"twice in a row the same sample gives results {changes[1]:.2g} apart")
    elif held := _reads_what_it_keeps(run, sample, other_sample):
        raise ValueError(
            f"Expected a function without a state, got one that keeps {held} between calls and "
            "reads it, without a change of this result beyond rounding; use shorter samples, and a "
            "result of all steps."
        )
    elif not _largest_change(other, before):
        raise ValueError(
            "Expected a result that depends on the sample, got the same for both samples: nothing "
            "can be seen."
        )
    return CheckResult.from_failures(
        7,
        "no state is reused between samples",
        failures,
        "the same result before and after another sample",
    )


def _tensors(run: Callable[[Any], object], sample: Any) -> list[Tensor]:
    """Copies of the tensors that `run` returns, with the same random numbers in every call."""
    with fixed_seed(), full_precision(), torch.no_grad():
        returned = run(map_tensors(lambda tensor: tensor.detach().clone(), sample))
    return [tensor.detach().clone() for tensor in tensors_in(returned)]


def _reads_what_it_keeps(run: Callable[[Any], object], sample: Any, other_sample: Any) -> str:
    """The attribute of a module that a sample changes, and whose NaN reaches the next result; an
    empty string if there is none. A state can be forgotten so far that a number in it shows
    nothing."""
    modules = [part for module in modules_of(run) for part in module.modules()]
    before = {place: [t.clone() for t in held] for place, held in _kept(modules).items()}
    _tensors(run, other_sample)
    for (module, name), held in _kept(modules).items():
        old = before.get((module, name), [])
        if len(old) == len(held) and not _largest_change(held, old):
            continue
        copies = [tensor.detach().clone() for tensor in held]
        with torch.no_grad():
            for tensor in held:
                tensor.detach().fill_(torch.nan)
        after = _tensors(run, sample)
        with torch.no_grad():
            for tensor, copied in zip(held, copies, strict=True):
                tensor.detach().copy_(copied)
        if any(a.isnan().any() for a in after):
            return f"{type(module).__name__}.{name}"
    return ""


def _kept(modules: list[nn.Module]) -> dict[tuple[nn.Module, str], list[Tensor]]:
    """The tensors of floating point in the attributes and buffers of modules, not the weights."""
    return {
        (module, name): list(held)
        for module in modules
        for name, value in {**vars(module), **dict(module._buffers)}.items()
        if isinstance(value, Tensor | tuple | list) and not name.startswith("_")
        if (held := state_tensors(value))
    }


def _largest_change(actual: list[Tensor], expected: list[Tensor]) -> float:
    """The largest change of a tensor. Raises ValueError if rounding may be the cause."""
    if len(actual) != len(expected):
        return float("inf")
    return max((change(a, e) for a, e in zip(actual, expected, strict=True)), default=0.0)
