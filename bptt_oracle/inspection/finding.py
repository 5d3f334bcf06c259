"""What is not finite: the result of `first_nonfinite`, and the search inside one recorded layer.

c, δh and δc of torch's kernels are not visible. They are computed again in float64, from recorded
values that are finite up to there; one above the largest number of the kernel's dtype is infinite
in the kernel.

Page: docs/inspection/nonfinite.md
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from reference.cells.fields import make
from reference.cells.table import CellState
from reference.sequences.unroll import schedule

from .layer_call import LayerCall
from .replay import DIRECTIONS, cotangents_of, error_signals, replay, steps_and_rows


class NonFinite(NamedTuple):
    """The first value that is not finite.

    Call, layer, direction, step and row are None where the tensor has none; `position` is the index
    in a tensor outside of the recurrent modules.
    """

    phase: str  # forward or backward
    module: str  # its name in the model; "step()" for what step() returned
    tensor: str
    value: float  # nan, inf or -inf
    call: int | None = None  # of the recurrent module, since step() began
    layer: int | None = None
    direction: str | None = None  # forward or reverse
    step: int | None = None  # of the input
    row: int | None = None  # of the batch, in the caller's order
    position: tuple[int, ...] | None = None
    run: int = 0  # which call of step()

    def __str__(self) -> str:
        fields = {
            name: getattr(self, name) for name in ("call", "layer", "direction", "step", "row")
        }
        places = [f"{name} {value}" for name, value in fields.items() if value is not None]
        places += [] if self.position is None else [f"at {list(self.position)}"]
        where = ", ".join([f"{self.tensor} of {self.module}", *places])
        return f"{self.phase}: {where} is {self.value}"


def forward_finding(call: LayerCall) -> NonFinite | None:
    """The first value of a layer's forward pass that is not finite: weight, x, state, c or h."""
    for direction, params in enumerate(call.params):
        for name, weight in params._asdict().items():
            if weight is not None and not np.isfinite(weight).all():
                value, where = float(weight[~np.isfinite(weight)][0]), DIRECTIONS[direction]
                return NonFinite(
                    "forward", call.module, name, value, call.number, call.layer, where
                )
    for name, array in (("x", call.x), *zip(("h_0", "c_0"), call.initial, strict=False)):
        what = array_finding(call, "forward", name, array)
        if what is not None:
            return what
    if all(np.isfinite(array).all() for array in (call.output, *call.final)):
        return None
    exact, candidates = _in_float64(call), []
    for direction in range(call.directions):
        h, *c = _as_held(replay(exact, direction).after, call.dtype)
        candidates += [Candidate("c", direction, c[0])] if c else []  # c_t is older than h_t
        candidates.append(Candidate("h", direction, h))
    return _earliest(call, "forward", candidates)


def backward_finding(call: LayerCall) -> NonFinite | None:
    """The first δ of a layer that is not finite, of those that arose in the layer itself: None if
    what arrived at the layer is not finite already."""
    if not all(np.isfinite(d).all() for d in call.cotangents.values()):
        return None
    exact, candidates = _in_float64(call), []
    for direction in range(call.directions):
        (signals,) = error_signals(replay(exact, direction), cotangents_of(exact, direction))
        fields = _as_held(signals.of_states, call.dtype)
        candidates += [
            Candidate(f"δ{name}", direction, field)
            for name, field in zip("hc", fields, strict=False)
        ]
    return _earliest(call, "backward", candidates)


def array_finding(call: LayerCall, phase: str, name: str, array: np.ndarray) -> NonFinite | None:
    """The first element that is not finite of x, output, a state, or the gradient of one."""
    if np.isfinite(array).all():
        return None
    if name in ("x", "output"):
        reversal = schedule(call.batch_sizes).reversal
        halves = [array] if name == "x" else [call.half(array, d) for d in range(call.directions)]
        what = _earliest(
            call, phase, [Candidate(name, d, h[reversal] if d else h) for d, h in enumerate(halves)]
        )
        return what and what._replace(direction=None if name == "x" else what.direction)
    direction, row, unit = np.argwhere(~np.isfinite(array))[0].tolist()
    value = float(array[direction, row, unit])
    where = DIRECTIONS[direction]
    return NonFinite(
        phase, call.module, name, value, call.number, call.layer, where, row=_caller_row(call, row)
    )


class Candidate(NamedTuple):
    """A tensor of one direction, in the order in which the direction reads its rows."""

    name: str
    direction: int
    values: np.ndarray  # [N, ·]


def _earliest(call: LayerCall, phase: str, candidates: list[Candidate]) -> NonFinite | None:
    """The first candidate that is not finite, by the time at which its step is computed."""
    steps, rows = steps_and_rows(call.batch_sizes)
    lengths = np.bincount(rows)
    found: list[tuple[int, NonFinite]] = []
    for name, direction, values in candidates:
        bad = ~np.isfinite(values)
        at = np.flatnonzero(bad.any(axis=1))
        if not len(at):
            continue
        time = steps[at] if phase == "forward" else -steps[at]
        first = at[time.argmin()]
        t, b = int(steps[first]), int(rows[first])
        what = NonFinite(
            phase,
            call.module,
            name,
            float(values[first][bad[first]][0]),
            call.number,
            call.layer,
            DIRECTIONS[direction],
            int(lengths[b]) - 1 - t if direction else t,
            _caller_row(call, b),
        )
        found.append((int(time.min()), what))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _caller_row(call: LayerCall, row: int) -> int:
    """The row of the batch before it was sorted for packing."""
    return row if call.order is None else int(call.order[row])


def _in_float64(call: LayerCall) -> LayerCall:
    """The same call with every array in float64, exactly."""
    return replace(
        call,
        params=[
            make(p, [None if w is None else w.astype(np.float64) for w in p]) for p in call.params
        ],
        x=call.x.astype(np.float64),
        initial=[field.astype(np.float64) for field in call.initial],
        output=call.output.astype(np.float64),
        cotangents={name: d.astype(np.float64) for name, d in call.cotangents.items()},
    )


def _as_held(state: CellState, dtype: torch.dtype) -> list[np.ndarray]:
    """The fields of a state, infinite where the dtype cannot hold them."""
    # Up to half a unit in the last place more is rounded to the largest number.
    largest = torch.finfo(dtype).max * (1 + torch.finfo(dtype).eps / 4)
    return [np.where(np.abs(field) > largest, np.copysign(np.inf, field), field) for field in state]
