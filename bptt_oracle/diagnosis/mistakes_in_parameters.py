"""Mistakes in weights and biases: their order, layout, and which of them are used."""

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np

from torch_impl.execution.problem import Problem

from .equations import CELLS, GRUS, LSTMS, Params
from .mistake import Mistake, for_each, in_parameters
from .tape import Tape, Var

GATES = dict.fromkeys(GRUS, "rzn") | dict.fromkeys(LSTMS, "ifgo")
SCOPES = {  # beginnings of names of parameters with gates
    "": ("weight_ih", "weight_hh", "bias"),
    " of weight_ih": ("weight_ih",),
    " of weight_hh": ("weight_hh",),
    " of the biases": ("bias",),
}


def parameter_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file."""
    yield from _gate_orders()
    yield from _layouts()
    yield from _biases()
    yield from _sharing()
    for order in permutations("ifo"):
        if order != tuple("ifo"):
            name = f"peepholes in the order {' '.join(order)} in place of i f o"
            yield in_parameters(name, _reorder_peepholes(order), ("LSTM_PEEPHOLE",))


def gate_orders(cell: str) -> list[tuple[str, ...]]:
    """The wrong orders of a cell's gates."""
    right = tuple(GATES[cell])
    return [order for order in permutations(right) if order != right]


def blocks_read(cell: str, order: tuple[str, ...], size: int) -> np.ndarray:
    """The row of torch's parameter that each row is read from, if blocks are read in an order."""
    H = size // len(order)
    blocks = [order.index(gate) for gate in GATES[cell]]
    return np.concatenate([np.arange(H) + block * H for block in blocks])


def _gate_orders() -> Iterator[Mistake]:
    for cells in (GRUS, LSTMS):
        gates = " ".join(GATES[cells[0]])
        for scope, names in SCOPES.items():
            for order in gate_orders(cells[0]):
                name = f"gate order{scope} {' '.join(order)} in place of {gates}"
                yield in_parameters(name, _reorder(cells[0], order, names), cells)


def _reorder(
    cell: str, order: tuple[str, ...], names: tuple[str, ...]
) -> Callable[[Tape, Params, Problem], Params]:
    def change(name: str, p: Var, problem: Problem) -> Var:
        return p[blocks_read(cell, order, len(p.value))] if name.startswith(names) else p

    return for_each(change)


def _reorder_peepholes(order: tuple[str, ...]) -> Callable[[Tape, Params, Problem], Params]:
    def change(name: str, p: Var, problem: Problem) -> Var:
        if not name.startswith("weight_ch"):
            return p
        H = problem.net.hidden_size
        blocks = [order.index(gate) for gate in "ifo"]
        return p[np.concatenate([np.arange(H) + block * H for block in blocks])]

    return for_each(change)


def _layouts() -> Iterator[Mistake]:
    for scope in ("weight_ih", "weight_hh", "weight"):
        which = {"weight": "weight_ih and weight_hh"}.get(scope, scope)
        names = ("weight_ih", "weight_hh") if scope == "weight" else (scope,)
        yield in_parameters(f"{which} not transposed, gate by gate", _transpose(names))
        for layout, indices in (
            ("reshaped in place of transposed", _reshaped),
            ("transposed and reshaped back", _reshaped_back),
        ):
            # of a square matrix it is a transpose
            cells = tuple(GATES) if scope == "weight_hh" else CELLS
            yield in_parameters(f"{which} {layout}", _rearrange(names, indices), cells)
    yield in_parameters(
        "weight_hr reshaped in place of transposed",
        _rearrange(("weight_hr",), _reshaped),
        ("LSTM",),
    )
    for layout, rows in (
        ("gates read as interleaved unit by unit", _interleaved),
        ("units read as interleaved gate by gate", _interleaved_back),
    ):
        yield in_parameters(layout, _rearrange_rows(rows), tuple(GATES))


def _transpose(names: tuple[str, ...]) -> Callable[[Tape, Params, Problem], Params]:
    def change(name: str, p: Var, problem: Problem) -> Var:
        H = problem.net.hidden_size
        if not name.startswith(names) or p.value.shape[-1] != H:
            return p
        index = np.arange(p.value.size).reshape(-1, H, H).transpose(0, 2, 1).ravel()
        return p.reshape(-1)[index].reshape(*p.value.shape)

    return for_each(change)


def _reshaped(rows: int, columns: int) -> np.ndarray:
    """Numbers of [rows, columns] read as [columns, rows], then transposed."""
    return np.arange(rows * columns).reshape(columns, rows).T


def _reshaped_back(rows: int, columns: int) -> np.ndarray:
    """Numbers of the transpose read as [rows, columns]."""
    return np.arange(rows * columns).reshape(rows, columns).T


def _rearrange(
    names: tuple[str, ...], indices: Callable[[int, int], np.ndarray]
) -> Callable[[Tape, Params, Problem], Params]:
    def change(name: str, p: Var, problem: Problem) -> Var:
        if not name.startswith(names):
            return p
        shape = p.value.shape
        return p.reshape(-1)[indices(*shape).ravel()].reshape(*shape)

    return for_each(change)


def _interleaved(gates: int, H: int) -> np.ndarray:
    return np.arange(gates * H).reshape(H, gates).T.ravel()


def _interleaved_back(gates: int, H: int) -> np.ndarray:
    return np.arange(gates * H).reshape(gates, H).T.ravel()


def _rearrange_rows(
    indices: Callable[[int, int], np.ndarray],
) -> Callable[[Tape, Params, Problem], Params]:
    def change(name: str, p: Var, problem: Problem) -> Var:
        H = problem.net.hidden_size
        if name.startswith("weight_hr"):
            return p
        return p[indices(len(p.value) // H, H)]

    return for_each(change)


def _biases() -> Iterator[Mistake]:
    for which, names in (
        ("bias_ih", ("bias_ih",)),
        ("bias_hh", ("bias_hh",)),
        ("both biases", ("bias",)),
    ):
        yield in_parameters(f"{which} left out", _scale_biases(names, 0))
        yield in_parameters(f"{which} added twice", _scale_biases(names, 2))
    yield in_parameters("bias_ih in place of bias_hh", _replace("bias_hh", "bias_ih"))
    yield in_parameters("bias_hh in place of bias_ih", _replace("bias_ih", "bias_hh"))

    def of_higher_layers(name: str, p: Var, problem: Problem) -> Var:
        return p * 0 if name.startswith("bias") and not _in_layer_0(name) else p

    yield in_parameters("biases of layers above the first left out", for_each(of_higher_layers))

    def b_hn(name: str, p: Var, problem: Problem) -> Var:
        H = problem.net.hidden_size
        if not name.startswith("bias_hh"):
            return p
        return p.tape.join([p[: 2 * H], p[2 * H :] * 0], 0)

    yield in_parameters("b_n of bias_hh left out", for_each(b_hn), ("GRU",))


def _in_layer_0(name: str) -> bool:
    return "_l0" in name


def _scale_biases(names: tuple[str, ...], factor: int) -> Callable[..., Params]:
    def change(name: str, p: Var, problem: Problem) -> Var:
        return p * factor if name.startswith(names) else p

    return for_each(change)


def _replace(old: str, new: str) -> Callable[[Tape, Params, Problem], Params]:
    """The parameters named `old` are those named `new`, in the shape that they agree in."""
    return lambda tape, params, problem: {name: params[name.replace(old, new)] for name in params}


def _sharing() -> Iterator[Mistake]:
    def forward_only(tape: Tape, params: Params, problem: Problem) -> Params:
        return {name: params[name.removesuffix("_reverse")] for name in params}

    yield in_parameters("the forward direction's parameters in both directions", forward_only)

    def swapped(tape: Tape, params: Params, problem: Problem) -> Params:
        def other(name: str) -> str:
            if name.endswith("_reverse"):
                return name.removesuffix("_reverse")
            return f"{name}_reverse" if f"{name}_reverse" in params else name

        return {name: params[other(name)] for name in params}

    yield in_parameters("the parameters of the two directions swapped", swapped)

    def first_biases(tape: Tape, params: Params, problem: Problem) -> Params:
        def first(name: str) -> str:
            head, _, tail = name.partition("_l")
            reverse = "_reverse" * tail.endswith("_reverse")
            return f"{head}_l0{reverse}" if name.startswith("bias") else name

        return {name: params[first(name)] for name in params}

    yield in_parameters("the first layer's biases in every layer", first_biases)
    yield in_parameters("weight_hh left out", for_each(_without_weight_hh))


def _without_weight_hh(name: str, p: Var, problem: Problem) -> Var:
    return p * 0 if name.startswith("weight_hh") else p
