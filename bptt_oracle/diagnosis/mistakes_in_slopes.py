"""Wrong derivatives of σ, tanh and relu: values are right."""

from collections.abc import Callable, Iterator

import numpy as np

from .equations import Equations
from .mistake import Change, Mistake, only_gradients
from .tape import Tape, Var

Slope = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of the argument and the value


def slope_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file: at all gates, or at one."""
    one: Slope = lambda a, y: y * 0 + 1  # noqa: E731
    tanh_slopes: dict[str, Slope] = {
        "1 − y in place of 1 − y² in the derivative of tanh": lambda a, y: 1 - y,
        "1 + y² in place of 1 − y² in the derivative of tanh": lambda a, y: 1 + y * y,
        "y in place of 1 − y² in the derivative of tanh": lambda a, y: y,
        "the derivative of tanh taken at the value, 1 − tanh² y": lambda a, y: 1 - np.tanh(y) ** 2,
        "the derivative of tanh a is 1 − a²": lambda a, y: 1 - a * a,
        "the derivative of tanh is that of σ, y (1 − y)": lambda a, y: y * (1 - y),
        "the derivative of tanh left out": one,
    }
    sigmoid_slopes: dict[str, Slope] = {
        "y in place of y (1 − y) in the derivative of σ": lambda a, y: y,
        "1 − y in place of y (1 − y) in the derivative of σ": lambda a, y: 1 - y,
        "y (1 + y) in place of y (1 − y) in the derivative of σ": lambda a, y: y * (1 + y),
        "the derivative of σ is that of tanh, 1 − y²": lambda a, y: 1 - y * y,
        "the derivative of σ left out": one,
    }
    for gates, slopes, kind in (
        (("RNN_TANH:a", "GRU:n", "LSTM:g", "LSTM:c"), tanh_slopes, "tanh"),
        (("GRU:r", "GRU:z", "LSTM:i", "LSTM:f", "LSTM:o"), sigmoid_slopes, "sigmoid"),
    ):
        for name, slope in slopes.items():
            cells = tuple(dict.fromkeys(gate.partition(":")[0] for gate in gates))
            yield only_gradients(name, Change(_with_slope(kind, slope)), cells)
            for cell, _, letter in (gate.partition(":") for gate in gates):
                if cell in ("LSTM", "GRU") and letter != "n":
                    at = "tanh c" if letter == "c" else letter
                    change = Change(_with_slope(kind, slope, letter))
                    yield only_gradients(f"{name}, at {at}", change, (cell,))
    yield only_gradients(
        "the derivative of relu left out",
        Change(Equations(relu=_sloped("relu", one))),
        ("RNN_RELU",),
    )


def _with_slope(kind: str, slope: Slope, at: str = "") -> Equations:
    function = _sloped(kind, slope, at)
    return Equations(sigmoid=function) if kind == "sigmoid" else Equations(tanh=function)


def _sloped(kind: str, slope: Slope, at: str = "") -> Callable[[Tape, Var, str], Var]:
    """σ, tanh or relu with another derivative, at one gate or at all."""

    def function(tape: Tape, a: Var, gate: str) -> Var:
        if at not in ("", gate):
            return tape.sigmoid(a) if kind == "sigmoid" else tape.tanh(a)
        value = getattr(tape.arithmetic, kind)(a.value)
        return tape.elementwise(a, value, lambda y: slope(a.value, y))

    return function
