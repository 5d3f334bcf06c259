"""The states of a training loop over chunks: what entered each chunk, and what left the one before.

Page: docs/checklist/checklist.md
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .arguments import require_functions, require_modules
from .comparison import difference, require_numbers
from .recorded_calls import Call, is_attached, record_calls
from .values import tensors_in

HAND_OVER = "pass the module that takes and returns the state"


class Step(NamedTuple):
    """One chunk, and the chunk whose state should enter it."""

    chunk: int
    entering: tuple[Tensor, ...]
    attached: tuple[bool, ...]  # whether a gradient would flow into the graph of an earlier chunk
    previous: tuple[Tensor, ...]  # the state that left the chunk before


class Carried(NamedTuple):
    """The chunks of one module but the first, and how many tensors its state has."""

    states: int
    steps: list[Step]


class _Chunk(NamedTuple):
    """The calls of a module within one call of the model."""

    first: Call
    last: Call
    nodes: frozenset[object]

    @property
    def trains(self) -> bool:
        return bool(self.nodes)


def run_loop(model: nn.Module, loop: Callable[[], object]) -> tuple[list[Carried], str]:
    """The states carried by the loop, and PyTorch's sentence if a graph was used twice.

    Raises ValueError where nothing can be seen; see `carry_and_detach`.
    """
    require_modules(model=model)
    require_functions(loop=loop)
    error = ""
    with record_calls(model) as calls:
        try:
            loop()
        except RuntimeError as e:
            if "second time" not in str(e) and "modified by an inplace" not in str(e):
                raise
            error = re.split(r"\.\s", str(e))[0].rstrip(".")
    own = calls.pop("")
    if len(own) < 2:
        raise ValueError(f"Expected a loop over two or more chunks, got {len(own)} calls.")
    chunks = {name: _chunks(name, of_module) for name, of_module in calls.items() if of_module}
    carried = [_carried(_chunks("", own))]
    if not any(step.entering for step in carried[0].steps):
        inner = [_carried(of_module) for of_module in chunks.values() if len(of_module) > 1]
        with_state = [one for one in inner if any(step.entering for step in one.steps)]
        if with_state:
            carried = with_state
        else:
            _require_visible(model, own, bool(inner))
    if not any(chunk.trains for chunk in _chunks("", own)):
        raise ValueError(
            "Expected a loop that trains the model, got one that builds no graph, so that nothing "
            "can be attached."
        )
    return carried, error


def carrying_failures(carried: Sequence[Carried], error: str) -> list[tuple[int, str]]:
    """What is wrong with the state that enters each chunk."""
    steps = [(one.states, step) for one in carried for step in one.steps]
    attached = [any(step.attached) for _, step in steps]
    failures = []
    for (states, step), is_bound in zip(steps, attached, strict=True):
        if not step.entering:
            failures.append((step.chunk, "starts without a state: the chunks before are forgotten"))
            continue
        if len(step.entering) < states:
            failures.append((step.chunk, f"gets {len(step.entering)} of {states} tensors of state"))
        if is_bound:
            failures.append(
                (step.chunk, "its state is still attached to the graph of the chunk before")
            )
        pairs = list(zip(step.entering, step.previous, strict=True))
        if change := max(difference(e, p) for e, p in pairs):
            failures.append(
                (
                    step.chunk,
                    f"its state differs by {change:.2g} from the state the chunk before left",
                )
            )
    only_attached = all("attached" in text for _, text in failures)
    if failures and only_attached and not error and not all(attached):
        raise ValueError(
            "Expected chunks that are all detached or all attached, got some of each and no error, "
            "as in a loop that backpropagates through several chunks; cut the graph at every chunk."
        )
    return failures


def _chunks(name: str, calls: Sequence[Call]) -> list[_Chunk]:
    """The calls grouped by the call of the model in which they were made."""
    groups: dict[int, list[Call]] = {}
    for call in calls:
        groups.setdefault(call.outer, []).append(call)
    for group in groups.values():
        for before, after in zip(group, group[1:], strict=False):
            pairs = _matched(after, before.leaving)
            if not pairs or any(difference(after.entering[i], before.leaving[j]) for i, j in pairs):
                raise ValueError(
                    f"Expected one state per chunk, got several calls of {name} in a call of the "
                    f"model; {HAND_OVER}."
                )
    return [
        _Chunk(g[0], g[-1], frozenset().union(*(call.nodes for call in g))) for g in groups.values()
    ]


def _matched(call: Call, leaving: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Which entering tensor is which leaving one: by shape, from the last to the first."""
    free = list(range(len(leaving)))
    pairs = []
    for i in reversed(range(len(call.entering))):
        fits = [j for j in free if leaving[j].shape == call.entering[i].shape]
        if fits:
            pairs.append((i, fits[-1]))
            free = [j for j in free if j < fits[-1]]
    return pairs[::-1]


def _carried(chunks: Sequence[_Chunk]) -> Carried:
    """The steps of a module's chunks. A chunk without a graph beside others that have one, such as
    a validation, is not a step."""
    _require_one_stream(chunks)
    chunks = _first_epoch(chunks)
    training = any(chunk.trains for chunk in chunks)
    steps: list[Step] = []
    states, nodes = 0, chunks[0].nodes
    for k in range(1, len(chunks)):
        chunk, call = chunks[k], chunks[k].first
        if chunk.trains or not training:
            sources = [chunks[k - 1]]
            trained = [c for c in chunks[:k] if c.trains]
            if not chunks[k - 1].trains and trained:
                sources.append(trained[-1])
            fitting = [source for source in sources if _carries(call, source.last)]
            source = (fitting or sources[-1:])[0]
            pairs = _matched(call, source.last.leaving)
            if call.entering and not pairs:
                _require_other_batch(call, source.last)
            previous = tuple(source.last.leaving[j] for _, j in pairs)
            entering = tuple(call.entering[i] for i, _ in pairs)
            attached = tuple(is_attached(call.made_by[i], nodes) for i, _ in pairs)
            states = max(states, _state_count(pairs, source.last))
            if pairs:
                _require_state(previous)
                _require_no_resets(entering, previous, chunks[0].first)
            steps.append(Step(k, entering, attached, previous))
        nodes = nodes | chunk.nodes
    return Carried(states or _unmatched_count(chunks[0].last), steps)


def _first_epoch(chunks: Sequence[_Chunk]) -> Sequence[_Chunk]:
    """The chunks before the first one comes again without the state of the last, if there are any
    between."""
    first = chunks[0].first.x
    for k in range(2, len(chunks)):
        call = chunks[k].first
        again = call.x.shape == first.shape and torch.equal(call.x, first)
        others = any(not torch.equal(c.first.x, first) for c in chunks[1:k])
        if again and others and not _carries(call, chunks[k - 1].last):
            return chunks[:k]
    return chunks


def _require_one_stream(chunks: Sequence[_Chunk]) -> None:
    """Raise ValueError if the states of several streams are carried past each other."""
    sources = []
    starts = 1
    for k in range(1, len(chunks)):
        fits = [j for j in range(k) if _carries(chunks[k].first, chunks[j].last)]
        if fits:
            sources.append((k, fits[-1]))
        elif not chunks[k].first.entering:
            starts += 1
    used = [j for _, j in sources]
    past = [k for k, j in sources if any(chunk.trains for chunk in chunks[j + 1 : k])]
    if past and starts > 1 and len(set(used)) == len(used) == len(chunks) - starts:
        raise ValueError(
            f"Expected chunks of one batch of streams, got {starts} that take turns; pass a loop "
            "over one of them."
        )


def _carries(call: Call, source: Call) -> bool:
    """Whether the state that enters a call is the one that left an earlier call."""
    pairs = _matched(call, source.leaving)
    return bool(pairs) and not any(
        difference(call.entering[i], source.leaving[j]) for i, j in pairs
    )


def _state_count(pairs: Sequence[tuple[int, int]], source: Call) -> int:
    """How many tensors the state has: those that entered, and those of the same shape that left
    beside them, which are not the first, the output."""
    matched = {j for _, j in pairs}
    shapes = {source.leaving[j].shape for j in matched}
    beside = [
        j
        for j in range(1, len(source.leaving))
        if j not in matched and source.leaving[j].shape in shapes
    ]
    return len(matched) + len(beside)


def _unmatched_count(call: Call) -> int:
    """How many tensors of state leave a module to which none was given."""
    return len(call.leaving) - 1


def _require_state(previous: Sequence[Tensor]) -> None:
    """Raise ValueError if the state that left is NaN or zero."""
    require_numbers(previous, "the state that leaves a chunk")
    if not any(state.any() for state in previous):
        raise ValueError(
            "Expected a state that changes, got zeros, of which carrying over and starting anew "
            "look the same."
        )


def _require_no_resets(entering: Sequence[Tensor], previous: Sequence[Tensor], first: Call) -> None:
    """Raise ValueError if some rows were carried over and others start from zeros or from the first
    state."""
    for e, p in zip(entering, previous, strict=True):
        axis = 1 if e.dim() > 2 else 0
        rows = list(zip(e.unbind(axis), p.unbind(axis), strict=True))
        differing = [b for b, (a, q) in enumerate(rows) if difference(a, q)]
        starts = [s for s in first.entering if s.shape == e.shape]
        fresh = [torch.zeros_like(e), *starts]
        if 0 < len(differing) < len(rows) and all(
            any(torch.equal(rows[b][0], f.select(axis, b)) for f in fresh) for b in differing
        ):
            raise ValueError(
                f"Expected consecutive chunks of the same streams, got rows {differing} that start "
                "anew; pass a loop without resets."
            )


def _require_other_batch(call: Call, source: Call) -> None:
    """Raise ValueError if a state enters whose shape is that of another number of rows."""
    for e in call.entering:
        for p in source.leaving[1:] or source.leaving:
            same = [a == b for a, b in zip(e.shape, p.shape, strict=False)]
            if e.dim() == p.dim() > 1 and same.count(False) == 1 and same[-1]:
                raise ValueError(
                    f"Expected chunks of the same rows, got a state {list(e.shape)} after one "
                    f"{list(p.shape)}."
                )


def _require_visible(model: nn.Module, calls: Sequence[Call], has_recurrent: bool) -> None:
    """Raise ValueError if a state may be kept where no call shows it."""
    kept = any(
        tensors_in(value)
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor | tuple) and not name.startswith("_")
    )
    returns_state = any(tensor.dim() > 1 for tensor in calls[0].leaving[1:])
    if kept or not (returns_state or has_recurrent):
        raise ValueError(
            f"Expected calls that take and return a state, got calls of {type(model).__name__} "
            f"without one; {HAND_OVER}."
        )
