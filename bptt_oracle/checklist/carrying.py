"""Points 5, 6 and 7: the state goes on, its graph does not, and strangers share none.

`loop()` is your own: it trains `model`, called as model(x, state) -> (output, state), on a few
consecutive chunks of the same streams. The checks watch the calls; weights are yours to restore.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .verdict import Verdict, gap, verdict
from .watch import Call, watched

Loop = Callable[[], object]


def carry_and_detach(model: nn.Module, loop: Loop) -> Verdict:
    """(5) What leaves one chunk enters the next, as a value: no gradient follows it back.

    Raises ValueError for a loop of fewer than two chunks.
    """
    calls, error = _calls(model, loop)
    faults = [f"chunk {k}: {f}" for k, now, before in _pairs(calls) for f in _faults(now, before)]
    if error:
        faults.append(f"the loop ends in: {error}")
    return verdict(
        5,
        "the state is carried and its graph is cut",
        faults,
        f"{len(calls) - 1} times the state went on, detached",
    )


def both_detached(model: nn.Module, loop: Loop) -> Verdict:
    """(6) Of an LSTM's state both h and c are carried, and both are detached.

    Raises ValueError where the state is no pair.
    """
    calls, error = _calls(model, loop)
    if len(calls[0].leaving) != 2:
        raise ValueError(f"Expected a state (h, c), got {len(calls[0].leaving)} tensors.")
    faults = []
    for k, now, before in _pairs(calls):
        if len(now.entering) != 2:
            faults.append(f"chunk {k} is entered by {len(now.entering)} tensors, not h and c")
            continue
        for half, name in enumerate("hc"):
            if now.attached[half]:
                faults.append(f"{name} enters chunk {k} attached to the graph of chunk {k - 1}")
            if gap(now.entering[half], before.leaving[half]):
                faults.append(f"{name} enters chunk {k} with other values than it left with")
    if error:
        faults.append(f"the loop ends in: {error}")
    return verdict(6, "h and c are detached, both", faults, f"so in {len(calls) - 1} chunks")


def fresh_start(run: Callable[[Tensor], Tensor], one: Tensor, other: Tensor) -> Verdict:
    """(7) What `run` makes of one sample does not depend on what it was given before.

    `run` should draw nothing at random: use evaluation mode.
    """
    with torch.no_grad():
        before = run(one).clone()
        run(other)
        after = run(one)
    moved = gap(after, before)
    faults = [f"after another sample the same one gives something {moved:.2g} away"] * (moved > 0)
    return verdict(7, "no state is reused between samples", faults, "the same, before and after")


def _calls(model: nn.Module, loop: Loop) -> tuple[list[Call], str]:
    """The calls of the loop, and the complaint of a graph that was walked through twice."""
    error = ""
    with watched(model) as calls:
        try:
            loop()
        except RuntimeError as e:
            if "second time" not in str(e) and "modified by an inplace" not in str(e):
                raise
            error = str(e).split(".")[0]
    if len(calls) < 2:
        raise ValueError(f"Expected a loop over two chunks or more, got {len(calls)} calls.")
    return calls, error


def _pairs(calls: list[Call]) -> list[tuple[int, Call, Call]]:
    return [(k, calls[k], calls[k - 1]) for k in range(1, len(calls))]


def _faults(now: Call, before: Call) -> list[str]:
    if not now.entering:
        return ["starts without a state: what came before is forgotten"]
    faults = []
    if any(now.attached):
        faults.append("its state is still attached to the graph of the chunk before")
    moved = max(gap(e, left) for e, left in zip(now.entering, before.leaving, strict=True))
    if moved:
        faults.append(f"its state differs by {moved:.2g} from what left the chunk before")
    return faults
