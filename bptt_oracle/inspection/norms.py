"""Norms of the states of recurrent modules, and of the gradients that reach them.

    h_t, c_t    [T]  ‖·‖ of the state after step t, over rows and units
    δh_t, δc_t  [T]  ‖·‖ of the total gradient ∂L/∂h_t, ∂L/∂c_t, over every path to the loss
    credit      [K]  what arrives d steps before the last step that the loss reads, see `credit`

Page: docs/inspection/norms.md
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import nn

from reference.cells.table import CellState
from reference.dynamics.diagnostics import Finding, diagnose

from .credit import signals_and_credit, squared_norms
from .layer_call import LayerCall
from .layer_calls import record_layer_calls
from .recurrent_modules import NOT_SEEN
from .replay import DIRECTIONS, Trajectory, cotangents_of, replay

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEEPING = ("f", "z")  # the gate that keeps the old state, of an LSTM and of a GRU
OPEN = ("i", "f", "o", "r", "z")  # the gates that are a σ


class Norms(NamedTuple):
    """The norms of one layer in one direction of one module; index t is the step of the input.

    Calls that carry the state on, as chunks or single steps do, are one record: their steps follow
    one another. c and delta_c are None for cells without c. delta_h, delta_c and credit are None
    if no gradient reached the calls.
    """

    module: str
    calls: tuple[int, ...]  # which calls of the module within the step
    layer: int
    direction: str  # forward or reverse
    rows: np.ndarray  # [T] the number of sequences that have step t
    h: np.ndarray  # [T]
    c: np.ndarray | None  # [T]
    delta_h: np.ndarray | None  # [T]
    delta_c: np.ndarray | None  # [T]
    gates: dict[str, np.ndarray]  # [T] the mean of σ over rows and units, by gate
    credit: np.ndarray | None  # [K] by distance from the last step that the loss reads

    def diagnose(self, span: float = 1e3) -> list[Finding]:
        """The likely issues, by `reference.dynamics.diagnostics`; none for a healthy net.

        ‖h_t‖ is taken per row, in the order in which the direction reads. The remedy for vanishing
        credit in a gated cell is its gate. Raises ValueError for a single step, which cannot grow
        or decay, and if no gradient reached the calls.
        """
        if len(self.h) < 2:
            raise ValueError(f"{self.name} was recorded for one step: expected two or more.")
        if self.credit is None:
            raise ValueError(f"no gradient reached {self.name}: its loss was not differentiated.")
        hidden = self.h / np.sqrt(self.rows)
        hidden = hidden[::-1] if self.direction == "reverse" else hidden
        return [self._for_this_cell(one) for one in diagnose(self.credit, hidden, span)]

    def _for_this_cell(self, finding: Finding) -> Finding:
        """A finding whose remedy does not ask for a gate that the cell has."""
        keeping = next((gate for gate in KEEPING if gate in self.gates), None)
        if finding.issue != "vanishing credit" or keeping is None:
            return finding
        mean = self.gates[keeping].mean()
        remedy = f"raise the bias of gate {keeping}, whose mean is {mean:.2f}, or shorten sequences"
        return finding._replace(remedy=remedy)

    @property
    def name(self) -> str:
        """The module, layer, direction and calls in words."""
        calls = f"call {self.calls[0]}" if len(self.calls) == 1 else f"{len(self.calls)} calls"
        return f"{self.module} layer {self.layer} {self.direction} ({calls})"

    def __str__(self) -> str:
        parts = [f"{self.name}, {len(self.h)} steps: ‖h‖ {self.h[0]:.3g} … {self.h[-1]:.3g}"]
        if self.delta_h is not None and self.credit is not None:
            parts.append(f"‖δh‖ {self.delta_h[0]:.3g} … {self.delta_h[-1]:.3g}")
            parts.append(f"credit over {len(self.credit) - 1} steps {self.credit[-1]:.3g}")
        parts += [f"{name} {value.mean():.2f}" for name, value in self.gates.items()]
        return ", ".join(parts)


def record_norms(model: nn.Module, step: Callable[[], object]) -> list[Norms]:
    """The norms of every nn.RNN, nn.GRU, nn.LSTM and recurrent cell inside `model`, for one step.

    model   any module; its weights are those before `step` changes them
    step    takes no arguments, and runs the forward and the backward pass of your training step;
            it may also update the weights

    Any layers, directions, projection, packed or padded, batch_first, several calls, dropout in
    training, half precision and autocast. One record for each module, layer, direction and run of
    calls that carry the state on. Several backward passes add up. With a GradScaler the gradients
    contain its scale. Steps are inspected in float64, from the values that the model computed.

    Raises TypeError if `model` is not a module; ValueError if it contains no recurrent module, is
    in DataParallel, if `step` calls none of its recurrent modules (as if it were
    scripted), or if no gradient reaches any of them. An error of `step` itself is passed on.
    """
    with record_layer_calls(model) as calls:
        step()
    if not calls:
        raise ValueError(NOT_SEEN)
    if not any(call.cotangents for call in calls):
        raise ValueError(
            "no gradient reached a recurrent module: step() should call backward(), on a loss that "
            "depends on one of their outputs, outside of no_grad() and reentrant checkpoints."
        )
    return [
        _norms(stream, direction)
        for stream in _streams(calls)
        for direction in range(stream[0].directions)
    ]


def _streams(calls: Sequence[LayerCall]) -> list[list[LayerCall]]:
    """Calls of one module and layer, joined where the state that left one enters the next."""
    streams: list[list[LayerCall]] = []
    latest: dict[tuple[str, int], list[LayerCall]] = {}
    for call in calls:
        key = call.module, call.layer
        if key in latest and _carries_on(latest[key][-1], call):
            latest[key].append(call)
        else:
            latest[key] = [call]
            streams.append(latest[key])
    return streams


def _carries_on(earlier: LayerCall, later: LayerCall) -> bool:
    """Whether `later` starts with the state that left `earlier`, of the same full rows."""
    for call in (earlier, later):
        if call.directions == 2 or call.order is not None or np.ptp(call.batch_sizes):
            return False
    pairs = zip(earlier.final, later.initial, strict=True)
    is_same = all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
    return is_same and bool(later.initial[0].any())  # zeros are a fresh state


def _norms(calls: Sequence[LayerCall], direction: int) -> Norms:
    """The record of one direction of calls that carry the state on."""
    trajectories = [replay(call, direction) for call in calls]
    h, *c = _norms_of_fields(trajectories, direction, [t.after for t in trajectories])
    delta: list[np.ndarray] = []
    credit = None
    if any(call.cotangents for call in calls):
        cotangents = [cotangents_of(call, direction) for call in calls]
        signals, credit = signals_and_credit(calls, trajectories, cotangents)
        delta = _norms_of_fields(trajectories, direction, [s.of_states for s in signals])
    return Norms(
        module=calls[0].module,
        calls=tuple(call.number for call in calls),
        layer=calls[0].layer,
        direction=DIRECTIONS[direction],
        rows=np.concatenate([call.batch_sizes for call in calls]),
        h=h,
        c=c[0] if c else None,
        delta_h=delta[0] if delta else None,
        delta_c=delta[1] if len(delta) > 1 else None,
        gates=_openness(trajectories, direction),
        credit=credit,
    )


def _norms_of_fields(
    trajectories: Sequence[Trajectory], direction: int, states: Sequence[CellState]
) -> list[np.ndarray]:
    """The norms [T] of every field of states with rows [N, ·], those of all calls in a row."""
    norms = []
    for of_calls in zip(*states, strict=True):
        sums = [
            _sum_by_step(trajectory, direction, squared_norms(rows))
            for trajectory, rows in zip(trajectories, of_calls, strict=True)
        ]
        norms.append(np.sqrt(np.concatenate(sums)))
    return norms


def _sum_by_step(trajectory: Trajectory, direction: int, values: np.ndarray) -> np.ndarray:
    """Sums [T] of values [N] over the rows of each step of the input."""
    rows = trajectory.schedule
    values = values[rows.reversal] if direction else values
    sums: np.ndarray = np.add.reduceat(values, [step.start for step in rows.steps])
    return sums


def _openness(trajectories: Sequence[Trajectory], direction: int) -> dict[str, np.ndarray]:
    """The mean [T] over rows and units of each gate that is a σ, by its name."""
    means: dict[str, np.ndarray] = {}
    for k, name in enumerate(trajectories[0].cell.gates):
        if name in OPEN:
            means[name] = np.concatenate(
                [
                    _sum_by_step(t, direction, t.tape.gates[k].mean(axis=1))
                    / [step.stop - step.start for step in t.schedule.steps]
                    for t in trajectories
                ]
            )
    return means


def plot_norms(norms: Sequence[Norms]) -> "Figure":
    """Three pictures over time, one line for each record: states, gradients, gates.

    Needs matplotlib: raises ImportError without it.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7), layout="constrained")
    states, gradients, gates = figure.subplots(3, sharex=True)
    for record in norms:
        for axes, series in (
            (states, {"h": record.h, "c": record.c}),
            (gradients, {"δh": record.delta_h, "δc": record.delta_c}),
            (gates, record.gates),
        ):
            for symbol, values in series.items():
                if values is not None:
                    axes.plot(values, label=f"{symbol} {record.module}.{record.layer}")
    for axes, label in ((states, "‖h‖, ‖c‖"), (gradients, "‖δh‖, ‖δc‖"), (gates, "open gates")):
        axes.set_ylabel(label)
    if any((line.get_ydata() > 0).any() for line in gradients.lines):
        gradients.set_yscale("log")
    gates.set_xlabel("step t")
    states.legend(fontsize="small")
    return figure
