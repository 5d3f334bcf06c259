"""Gradients of gates that are packed in a wrong order, exchanged, or of the wrong sign: values are
right."""

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

from .equations import GRUS, LSTMS, Equations
from .mistake import Change, Mistake, only_gradients
from .mistakes_in_parameters import GATES, blocks_read, gate_orders
from .mistakes_in_paths import at_gate
from .tape import Tape, Var

NAMED_IN_ADJOINTS = {("i", "f"), ("i", "g")}  # with the factors of δc


def gate_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file."""
    for cell, cells in (("GRU", ("GRU",)), ("LSTM", LSTMS)):
        for order in gate_orders(cell):
            words = " ".join(order), " ".join(GATES[cell])
            name = "gradients of net inputs packed {} in place of {}".format(*words)
            change = Change(Equations(packed=_packed(cell, order)))
            yield only_gradients(name, change, cells)
    for letters, cells in (("rz", GRUS), ("ifgo", ("LSTM",))):
        for pair in combinations(letters, 2):
            if pair not in NAMED_IN_ADJOINTS:
                name = "the gradients of {} and {} exchanged".format(*pair)
                change = Change(Equations(gates=_exchanged(*map(letters.index, pair))))
                yield only_gradients(name, change, cells)
    for letters, cells in (("rn", GRUS), ("ifgo", LSTMS)):
        for gate in letters:
            name = f"the gradient of {gate} has the wrong sign"
            yield only_gradients(name, Change(at_gate(gate, _negated)), cells)


def _packed(cell: str, order: tuple[str, ...]) -> Callable[[Tape, Var], Var]:
    def packed(tape: Tape, a: Var) -> Var:
        # Block k of the gradient is that of the gate order[k].
        blocks = blocks_read(cell, order, a.value.shape[-1])
        return tape.with_gradient(a, lambda g: g[..., np.argsort(blocks)])

    return packed


def _exchanged(first: int, second: int) -> Callable[[Tape, list[Var]], list[Var]]:
    def exchanged(tape: Tape, gates: list[Var]) -> list[Var]:
        order = list(range(len(gates)))
        order[first], order[second] = second, first
        joined = tape.with_gradient(tape.stack(gates), lambda g: g[order])
        return [joined[k] for k in range(len(gates))]

    return exchanged


def _negated(tape: Tape, a: Var) -> Var:
    return tape.with_gradient(a, np.negative)
