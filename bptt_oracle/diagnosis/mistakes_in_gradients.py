"""Gradients in an order or layout of their own: values are right."""

from collections.abc import Callable, Iterator

import numpy as np

from torch_impl.execution.problem import Problem

from ..judging.evaluation import Results
from .equations import CELLS, GRUS, LSTMS
from .mistake import Change, Mistake, for_each_gradient, only_gradients
from .mistakes_in_parameters import GATES, blocks_read, gate_orders

GRU = ("GRU",)


def gradient_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file."""
    for cells in (GRUS, LSTMS):
        for order in gate_orders(cells[0]):
            right = " ".join(GATES[cells[0]])
            name = f"gradients in gate order {' '.join(order)} in place of {right}"
            yield only_gradients(name, Change(results=_reordered(cells[0], order)), cells)
    for which in ("weight_ih", "weight_hh"):
        yield only_gradients(
            f"the gradient of {which} not transposed, gate by gate",
            Change(results=_changed(which, _transpose)),
        )
        yield Mistake(
            f"the gradient of {which} reshaped in place of transposed",
            (
                Change(results=_changed(which, lambda d, p: d.T.reshape(d.shape))),
                Change(results=_changed(which, lambda d, p: d.reshape(d.T.shape).T)),
            ),
            CELLS if which == "weight_ih" else tuple(GATES),  # of a square one it is a transpose
            in_values=False,
        )
    for name, indices in {
        "of the two directions swapped": lambda L, D: np.arange(L * D).reshape(L, D)[:, ::-1],
        "in reverse order of layers and directions": lambda L, D: np.arange(L * D)[::-1],
        "of the layers in reverse order": lambda L, D: np.arange(L * D).reshape(L, D)[::-1],
        "ordered direction by direction": lambda L, D: np.arange(L * D).reshape(L, D).T,
    }.items():
        yield only_gradients(
            f"gradients of the initial states {name}", Change(results=_states(indices))
        )
    yield only_gradients("the gradients of h_0 and c_0 swapped", Change(results=_swap), LSTMS)
    yield only_gradients(
        "the gradient of the input reversed in time", Change(results=_changed("x", _flip))
    )
    for given, source in (("bias_hh", "bias_ih"), ("bias_ih", "bias_hh")):
        yield only_gradients(
            f"{given} gets the gradient of {source}",
            Change(results=lambda r, p, g=given, s=source: _copy(r, g, s)),  # type: ignore[misc]
            GRU,
        )
    yield only_gradients(
        "the gradients of bias_ih and bias_hh swapped",
        Change(results=lambda r, p: {n: r[_other(n)] for n in r}),
        GRU,
    )


def _flip(d: np.ndarray, problem: Problem) -> np.ndarray:
    return np.flip(d, 1 if problem.net.batch_first and problem.x.ndim == 3 else 0)


def _other(name: str) -> str:
    if "bias_ih" in name:
        return name.replace("bias_ih", "bias_hh")
    return name.replace("bias_hh", "bias_ih")


def _copy(results: Results, given: str, source: str) -> Results:
    return {name: results[name.replace(given, source)] for name in results}


def _swap(results: Results, problem: Problem) -> Results:
    if problem.state is None or problem.net.proj_size:
        return results
    return results | {"d_h_0": results["d_c_0"], "d_c_0": results["d_h_0"]}


def _reordered(cell: str, order: tuple[str, ...]) -> Callable[[Results, Problem], Results]:
    def change(name: str, d: np.ndarray, problem: Problem) -> np.ndarray:
        if not name.startswith(("weight_ih", "weight_hh", "bias")):
            return d
        # Block k of such a gradient is that of the gate order[k].
        return d[np.argsort(blocks_read(cell, order, len(d)))]

    return for_each_gradient(change)


def _changed(
    which: str, change: Callable[[np.ndarray, Problem], np.ndarray]
) -> Callable[[Results, Problem], Results]:
    return for_each_gradient(lambda n, d, p: change(d, p) if n.startswith(which) else d)


def _transpose(d: np.ndarray, problem: Problem) -> np.ndarray:
    H = problem.net.hidden_size
    if d.shape[-1] != H:
        return d
    return d.reshape(-1, H, H).swapaxes(1, 2).reshape(d.shape)


def _states(
    order: Callable[[int, int], np.ndarray],
) -> Callable[[Results, Problem], Results]:
    def change(name: str, d: np.ndarray, problem: Problem) -> np.ndarray:
        net = problem.net
        indices = order(net.num_layers, net.directions).ravel()
        return d[indices] if name in ("h_0", "c_0") else d

    return for_each_gradient(change)
