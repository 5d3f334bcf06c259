"""Gradients that are wrong by a factor: one of a list, or one that is found from the results.

f = Σ value · truth / Σ truth²      over the elements of the wrong tensors of one case
"""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from torch_impl.execution.problem import Problem

from ..judging.evaluation import Results
from ..judging.wide import narrow
from .equations import CELLS, LSTMS
from .mistake import Change, Mistake, for_each_gradient, only_gradients

FACTORS: dict[str, Callable[[int, int], float]] = {
    "zero": lambda T, B: 0.0,
    "negated": lambda T, B: -1.0,
    "halved": lambda T, B: 0.5,
    "doubled": lambda T, B: 2.0,
    "divided by B": lambda T, B: 1 / B,
    "divided by T": lambda T, B: 1 / T,
    "multiplied by B": lambda T, B: B,
    "multiplied by T": lambda T, B: T,
    "divided by T·B": lambda T, B: 1 / (T * B),
}
FEWEST = 2  # elements that a factor is sought in
OF_ONE_CELL = {"weight_hr": "LSTM", "weight_ch": "LSTM_PEEPHOLE"}
TENSORS = ("x", "h_0", "c_0", "weight_ih", "weight_hh", "bias_ih", "bias_hh", *OF_ONE_CELL)
GROUPS: dict[str, tuple[str, ...]] = {  # beginnings of names, from the general to the special
    "every gradient": ("",),
    "gradients of parameters": ("weight", "bias"),
    "gradients of weights": ("weight",),
    "gradients of biases": ("bias",),
    "gradients of the initial state": ("h_0", "c_0"),
    **{f"the gradient of {name}": (name,) for name in TENSORS},
}


def factor_mistakes() -> Iterator[Mistake]:
    """The factors of the list."""
    for group, names in GROUPS.items():
        cells = CELLS
        if names[0] == "c_0" or len(names) == 2 and names[0] == "h_0":
            cells = LSTMS
        elif names[0] in OF_ONE_CELL:
            cells = (OF_ONE_CELL[names[0]],)
        for word, factor in FACTORS.items():
            results = _scaled(names, factor)
            yield only_gradients(f"{group} {word}", Change(results=results), cells)


def scaled_by(group: str, names: tuple[str, ...], factor: float) -> Mistake:
    """Gradients of some names, or beginnings of names, multiplied by a factor that was found."""

    def change(name: str, d: np.ndarray, problem: Problem) -> np.ndarray:
        begins = group in GROUPS and name.startswith(names)
        return d * factor if begins or name in names else d

    return only_gradients(
        f"{group} multiplied by {factor:.6g}", Change(results=for_each_gradient(change))
    )


def _scaled(
    names: tuple[str, ...], factor: Callable[[int, int], float]
) -> Callable[[Results, Problem], Results]:
    def change(name: str, d: np.ndarray, problem: Problem) -> np.ndarray:
        if not name.startswith(names):
            return d
        shape = problem.x.shape
        T, B = (shape[0], 1) if len(shape) == 2 else shape[:2]
        if len(shape) == 3 and problem.net.batch_first:
            T, B = B, T
        return d * d.dtype.type(factor(T, B)) if d.dtype != object else d * factor(T, B)

    return for_each_gradient(change)


def factors(
    results: Mapping[str, np.ndarray], truth: Results, wrong: tuple[str, ...]
) -> list[Mistake]:
    """Candidates for each group of gradients, and for each wrong gradient alone.

    The factor is tried in four digits first, because a program has a round one. It is not sought in
    fewer than FEWEST elements: some factor fits one element, whatever the mistake.
    """
    groups = GROUPS | {f"the gradient of {n[2:]}": (n[2:],) for n in wrong if n[2:] not in TENSORS}
    candidates = []
    for group, names in groups.items():
        own = [n for n in wrong if n[2:].startswith(names)]
        if sum(np.count_nonzero(narrow(truth[n])) for n in own) < FEWEST:
            continue
        value = sum(float((results[n] * narrow(truth[n])).sum()) for n in own)
        square = sum(float((narrow(truth[n]) ** 2).sum()) for n in own)
        if not square or not math.isfinite(value / square):
            continue
        found = value / square
        for factor in dict.fromkeys((float(f"{found:.4g}"), found)):
            candidates.append(scaled_by(group, names, factor))
    return candidates
