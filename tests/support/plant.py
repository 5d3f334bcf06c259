"""What a planted mistake is; see `planted_mistakes`."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

from bptt_oracle.cases.masks import draw_masks
from bptt_oracle.faults.fault import Fault, run_with_fault
from support import textbook_net

GATES = {"GRU": "rzn", "LSTM": "ifgo"}
GATED = ("GRU", "LSTM")
TANH = ("RNN_TANH", "GRU", "LSTM")
GRU, LSTM, RELU = ("GRU",), ("LSTM",), ("RNN_RELU",)


class Plant(NamedTuple):
    """A mistake by the name that it should be given, and a program that makes it."""

    name: str
    engine: str
    cells: tuple[str, ...]
    run: Callable[..., Any]  # (case, problem, dtype) → results by name, or None
    dtypes: tuple[str, ...] = ("float32", "float64")
    dropout: bool = False  # whether its program has dropout between layers


def wrong_orders(right):
    """The wrong orders of a string of gates."""
    return [order for order in itertools.permutations(right) if order != tuple(right)]


def torch_plant(name, cells, change, possible=lambda case: True, dtypes=("float32", "float64")):
    """A plant in torch's forward pass, by a function change(call, forward)."""
    planted = Fault(name, "W", "", "", change, cells, lambda case: True, dtypes, "cpu-native")

    def run(case, problem, dtype):
        masks = draw_masks(problem, dtype)
        return run_with_fault(planted, case, problem, dtype, masks) if possible(case) else None

    return Plant(name, "torch", tuple(cells), run, dtypes)


def changed_results(name, cells, change, possible=lambda case: True):
    """A plant in the results of the textbook net: change(case, name, value)."""

    def run(case, problem, dtype):
        if not possible(case):
            return None
        results = textbook_net.net(problem, dtype)
        return {n: change(case, n, value) for n, value in results.items()}

    return Plant(name, "numpy", cells, run)
