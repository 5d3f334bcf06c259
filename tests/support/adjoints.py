"""What to say when ⟨ȳ, J u⟩ = ⟨Jᵀȳ, u⟩ fails: the inputs, gates and equations in question.

An input is one of the named arrays: x, h_0, c_0 or a parameter. The identity is tried with a
direction u that is zero outside of one input, or outside of the rows of one gate of a packed
parameter. The equations come from the planted mistakes of `support.mutants`: those that break the
identity for the same inputs and gates as the failure.
"""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from bptt_oracle.doors.complex_step import adjoint_gap
from reference.cells.table import CELL_TABLE
from support.mutants import MUTANTS
from support.planting import SOURCE, broken_equation, imported_from, plant

ROOT = Path(__file__).parents[2]


def relative_gap(cotangents, moved, pulled, direction):
    """The first number of `adjoint_gap` over the second, 0 where all products are 0."""
    gap, scale = adjoint_gap(cotangents, moved, pulled, direction)
    return gap / scale if scale else gap


def failing_parts(push, cotangents, pulled, direction, tolerance, mode=""):
    """The (input, gate) for which the identity fails when only that part is perturbed.

    `push(direction)` returns J u by name. The gate is "" for an input without packed gates, and for
    one that fails only as a whole.
    """

    def fails(name, mask=1):
        part = {n: u * (mask if n == name else 0) for n, u in direction.items()}
        return not relative_gap(cotangents, push(part), pulled, part) <= tolerance

    found = []
    for name in direction:
        if fails(name):
            gates = [g for g, mask in _gate_masks(name, direction[name], mode) if fails(name, mask)]
            found += [(name, gate) for gate in gates or [""]]
    return found


def _gate_masks(name, value, mode):
    """A mask of the rows of each gate of a parameter whose rows are packed by gate."""
    gates = CELL_TABLE[mode].gates if mode else ()
    if len(gates) < 2 or not name.startswith(("weight_ih", "weight_hh", "bias_")):
        return []
    rows = np.repeat(np.arange(len(gates)), len(value) // len(gates))
    return [(g, (rows == k).reshape(-1, *[1] * (value.ndim - 1))) for k, g in enumerate(gates)]


def message(gap, parts, mode=""):
    """One sentence for the size of the difference, one for the inputs, one for the equations."""
    by_input = {}
    for name, gate in parts:
        by_input.setdefault(name, []).append(gate)
    listed = [name + (f" ({', '.join(g)})" if any(g) else "") for name, g in by_input.items()]
    text = f"⟨ȳ, J u⟩ and ⟨Jᵀȳ, u⟩ differ by {gap:.3g} of their terms."
    if listed:
        text += f" The identity fails for these inputs (gates): {', '.join(listed)}."
    equations = suspected_equations(parts, mode)
    if equations:
        text += f" Planted mistakes with this effect are in {', '.join(equations)}."
    return text


def suspected_equations(parts, mode):
    """The primed equations, as "cells/lstm.py (3′)", whose planted mistakes fit best.

    In a deep net a mistake shows below the layer that makes it, too: only the topmost failing layer
    is compared.
    """
    if not mode or SOURCE.parent != ROOT:  # no search from within a planted copy
        return []
    observed = _topmost(parts)
    fits = {}
    for equation, effect in _effects(mode):
        if any("_l" in name for name, _ in parts):
            effect = {(n, g) for n, g in effect if n not in ("x", "h_0", "c_0")}
        fit = len(observed & effect) / (len(observed | effect) or 1)
        fits[equation] = max(fit, fits.get(equation, 0))
    best = max(fits.values(), default=0)
    return [equation for equation, fit in fits.items() if fit == best >= 0.5]


def _topmost(parts):
    """The parts of the topmost failing layer, without its suffix; all those of a cell."""
    layers = [name.partition("_l")[2] for name, _ in parts if "_l" in name]
    if not layers:
        return set(parts)
    top = max(layers, key=lambda suffix: int(suffix.partition("_")[0]))
    return {(name.partition("_l")[0], g) for name, g in parts if name.endswith(f"_l{top}")}


@cache
def _effects(mode):
    """(equation, failing parts) of each planted mistake in a primed equation of this cell."""
    from support.verdicts import failing_parts_of  # which imports this module

    cell = CELL_TABLE[mode]
    file = f"cells/{cell.step.__module__.rpartition('.')[2]}.py"
    sizes = [{}, {"proj_size": 2}] if cell.projection else [{}]
    found = []
    for mutant in MUTANTS:
        if mutant.file not in (file, "sequences/unroll.py"):
            continue
        try:
            equation = broken_equation(mutant)
            if "′" not in equation:
                continue
            with tempfile.TemporaryDirectory() as folder:
                plant(mutant, Path(folder))
                with imported_from(folder) as copy:
                    net = copy.nets.modules.RecurrentNet
                    effects = [failing_parts_of(net(mode, 4, 3, **size)) for size in sizes]
        except Exception:  # the line is not there any more, or the mistake makes it raise
            continue
        for parts in filter(None, effects):
            effect = {(name.partition("_l")[0], gate) for name, gate in parts}
            found.append((f"{mutant.file} ({equation})", effect))
    return found
