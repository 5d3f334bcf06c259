"""A case: one frozen description of a computation, from which its arrays are drawn.

    GRU.T6.B3.I4.H5.L2.bi.nobias.packed-4-6-1.h0.strided.drop0_3.output+h_n.wide.s17

is both its name and all there is to know of it: `parse(name)` gives the case back, `draw(case)`
the arrays, the same on every machine. The same case serves a property test, a check, a record
and a replay. Arrays come from numpy's default_rng(seed) in float64; none is zero or constant.
"""

import re
from typing import Any, NamedTuple

import numpy as np

import reference
from reference.cells.table import CELL_TABLE
from torch_impl.execution.problem import Problem

CELLS = tuple(name for name, cell in CELL_TABLE.items() if cell.torch)  # of the corpus
LAYOUTS = ("time", "batch", "unbatched", "sorted", "packed")
REGIMES = ("generic", "saturated", "cancelling", "wide", "tiny", "exact")
COTANGENTS = ("output", "h_n", "c_n")
LARGEST = 10**8  # of what is kept in float64, longdouble, and by torch


class Case(NamedTuple):
    """What is computed; `draw` says with which numbers."""

    cell: str
    T: int
    B: int
    I: int  # noqa: E741  the input size, as in every equation
    H: int
    layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    P: int = 0  # the LSTM's projection; 0 for none
    layout: str = "time"
    lengths: tuple[int, ...] = ()  # of a packed batch, T the longest
    tied: bool = False  # weights, and biases, of one layer and of one shape: one parameter
    state: bool = True
    strided: bool = False  # input, state and cotangents not contiguous
    dropout: float = 0.0
    cotangents: tuple[str, ...] = ("output", "h_n")
    regime: str = "generic"
    seed: int = 0

    @property
    def id(self) -> str:
        """The case spelled out; `parse` reads it back."""
        lengths = "-".join(map(str, self.lengths))
        parts = [
            self.cell,
            f"T{self.T}.B{self.B}.I{self.I}.H{self.H}.L{self.layers}",
            "bi" * self.bidirectional,
            "nobias" * (not self.bias),
            f"P{self.P}" * bool(self.P),
            "tied" * self.tied,
            f"{self.layout}-{lengths}" if lengths else self.layout,
            "h0" * self.state,
            "strided" * self.strided,
            f"drop{_digits(self.dropout)}" * bool(self.dropout),
            "+".join(self.cotangents),
            self.regime,
            f"s{self.seed}",
        ]
        return ".".join(part for part in parts if part)


def _digits(number: float) -> str:
    """All the digits there are, without an exponent, so that the number is read back."""
    return np.format_float_positional(number, trim="-").replace(".", "_")


_ID = re.compile(
    rf"(?P<cell>{'|'.join(CELL_TABLE)})"
    r"\.T(?P<T>\d+)\.B(?P<B>\d+)\.I(?P<I>\d+)\.H(?P<H>\d+)\.L(?P<layers>\d+)"
    r"(?P<bidirectional>\.bi)?(?P<nobias>\.nobias)?(\.P(?P<P>\d+))?(?P<tied>\.tied)?"
    rf"\.(?P<layout>{'|'.join(LAYOUTS)})(?P<lengths>(-\d+)*)"
    r"(?P<state>\.h0)?(?P<strided>\.strided)?(\.drop(?P<dropout>\d(_\d+)?))?"
    r"\.(?P<cotangents>(output|h_n|c_n)(\+(h_n|c_n))*)"
    rf"\.(?P<regime>{'|'.join(REGIMES)})\.s(?P<seed>\d+)"
)


def parse(name: str) -> Case:
    """The case of that id. Raises ValueError for a name that is none."""
    found = _ID.fullmatch(name)
    if found is None:
        raise ValueError(
            f"{name!r} is not a case id; one reads like {Case('GRU', 6, 3, 4, 5).id!r}, "
            "and `bptt-oracle check` prints them"
        )
    part = found.groupdict()
    lengths = tuple(int(n) for n in part["lengths"].split("-") if n)
    case = Case(
        cell=part["cell"],
        **{name: int(part[name]) for name in ("T", "B", "I", "H", "layers", "seed")},
        bidirectional=bool(part["bidirectional"]),
        bias=not part["nobias"],
        P=int(part["P"] or 0),
        tied=bool(part["tied"]),
        layout=part["layout"],
        lengths=lengths,
        state=bool(part["state"]),
        strided=bool(part["strided"]),
        dropout=float((part["dropout"] or "0").replace("_", ".")),
        cotangents=tuple(part["cotangents"].split("+")),
        regime=part["regime"],
    )
    reason = contradiction(case)
    if reason:
        raise ValueError(f"{name!r} describes no computation: {reason}")
    if case.id != name:
        raise ValueError(f"{name!r} is not how the case is spelled: {case.id!r} is")
    return case


def contradiction(case: Case) -> str:
    """Why a case describes no computation; empty when it does."""
    packed = case.layout in ("sorted", "packed")
    if min(case.T, case.B, case.I, case.H, case.layers) < 1:
        return "sizes start at 1"
    if max(case.T, case.B, case.I, case.H, case.layers) > 4096:
        return "sizes end at 4096"
    if _numbers(case) > LARGEST:
        return f"its arrays have some {_numbers(case):.0e} numbers, and {LARGEST:.0e} are the most"
    if case.seed >= 2**64:
        return "seeds end at 2**64 - 1"
    if case.P and (not CELL_TABLE[case.cell].projection or case.P >= case.H):
        return "a projection belongs to an LSTM and is narrower than its hidden state"
    if case.tied and not case.bias:
        return "what is tied in every net is its biases"
    if case.cotangents != tuple(name for name in COTANGENTS if name in case.cotangents):
        return f"each cotangent is named once, in the order {', '.join(COTANGENTS)}"
    if "c_n" in case.cotangents and not _has_cell_state(case):
        return "only an LSTM has c_n"
    if packed != bool(case.lengths):
        return "packed data has lengths, and other data has none"
    if packed and (len(case.lengths) != case.B or max(case.lengths) != case.T):
        return "there is one length for each of the B rows, T the longest"
    if packed and min(case.lengths) < 1:
        return "lengths start at 1"
    if case.layout == "sorted" and list(case.lengths) != sorted(case.lengths, reverse=True):
        return "sorted lengths never grow"
    if case.layout == "unbatched" and case.B != 1:
        return "an unbatched input is one sequence"
    if not 0 <= case.dropout <= 1:
        return "dropout is a probability"
    if case.dropout and case.layers == 1:
        return "dropout lies between layers, so there are at least two"
    if case.regime == "exact" and case.cell != "RNN_RELU":
        return "only the relu net is linear enough to be exact"
    return ""


def _has_cell_state(case: Case) -> bool:
    return len(CELL_TABLE[case.cell].State._fields) == 2


def _numbers(case: Case) -> int:
    """How many numbers its weights and gates are, roughly."""
    D = 1 + case.bidirectional
    wide = case.I + case.layers * D * case.H
    return 4 * D * case.H * (case.layers * case.T * case.B + wide)


def net_of(case: Case) -> Any:
    """The reference's configuration of the case."""
    options: dict[str, Any] = {
        "num_layers": case.layers,
        "bias": case.bias,
        "batch_first": case.layout == "batch",
        "dropout": case.dropout,
        "bidirectional": case.bidirectional,
    }
    if case.cell == "LSTM":
        return reference.LSTM(case.I, case.H, proj_size=case.P, **options)
    if case.cell == "GRU":
        return reference.GRU(case.I, case.H, **options)
    if CELL_TABLE[case.cell].torch == "RNN":
        return reference.RNN(case.I, case.H, nonlinearity=case.cell[4:].lower(), **options)
    return reference.RecurrentNet(case.cell, case.I, case.H, **options)


def draw(case: Case) -> Problem:
    """The arrays of a case, float64."""
    rng = np.random.default_rng([case.seed, case.T, case.B, case.I, case.H, case.layers])
    net = net_of(case)
    numbers = _REGIMES[case.regime]
    params = {
        name: numbers(rng, "bias" if name.startswith("bias") else "weight", shape, case)
        for name, shape in net.parameter_shapes().items()
    }
    for name in params if case.tied else ():
        of_input = name.replace("_hh_", "_ih_")
        if params.get(of_input, params[name]).shape == params[name].shape:
            params[name] = params.get(of_input, params[name])
    D, F = 1 + case.bidirectional, case.P or case.H
    x = numbers(rng, "x", _batch(case, case.I), case)
    rows = () if case.layout == "unbatched" else (case.B,)
    widths = net.state_sizes
    shapes = [(case.layers * D, *rows, width) for width in widths]
    state = [numbers(rng, "state", shape, case) for shape in shapes]
    d_output = numbers(rng, "cotangent", _batch(case, D * F), case)
    d_state = [numbers(rng, "cotangent", shape, case) for shape in shapes]
    wanted = case.cotangents
    return Problem(
        net=net,
        params=params,
        x=x,
        lengths=case.lengths or None,
        enforce_sorted=case.layout == "sorted",
        state=tuple(state) if case.state else None,
        d_output=d_output if "output" in wanted else None,
        d_state=tuple(
            d if name in wanted else None for name, d in zip(COTANGENTS[1:], d_state, strict=False)
        ),
        strided=case.strided,
        seed=case.seed,
    )


def _batch(case: Case, width: int) -> tuple[int, ...]:
    """The shape of a batch in the case's layout, packed ones padded [T, B, ·]."""
    if case.layout == "unbatched":
        return case.T, width
    return (case.B, case.T, width) if case.layout == "batch" else (case.T, case.B, width)


def _generic(rng: np.random.Generator, what: str, shape: tuple[int, ...], case: Case) -> np.ndarray:
    """Every gate at work: weights such that net inputs are of order one."""
    scale = 1.2 / np.sqrt(shape[-1]) if what == "weight" else 0.7
    return scale * rng.standard_normal(shape)


def _saturated(
    rng: np.random.Generator, what: str, shape: tuple[int, ...], case: Case
) -> np.ndarray:
    """Gates at their ends: net inputs up to some ±40."""
    scale = {"weight": 3.0, "bias": 12.0}.get(what, 1.0)
    return scale * rng.standard_normal(shape)


def _cancelling(
    rng: np.random.Generator, what: str, shape: tuple[int, ...], case: Case
) -> np.ndarray:
    """Sums whose terms are far larger than they are: pairs of opposite sign along an axis."""
    values = _generic(rng, what, shape, case)
    pairs = shape[-1] // 2
    if what in ("weight", "cotangent") and pairs:
        opposite = -values[..., :pairs] * (1 + rng.uniform(-1, 1, (*shape[:-1], pairs)) / 1024)
        values[..., pairs : 2 * pairs] = opposite
        values *= 4
    return values


def _wide(rng: np.random.Generator, what: str, shape: tuple[int, ...], case: Case) -> np.ndarray:
    """Magnitudes over six decades."""
    return _generic(rng, what, shape, case) * 10.0 ** rng.uniform(-5, 1, shape)


def _tiny(rng: np.random.Generator, what: str, shape: tuple[int, ...], case: Case) -> np.ndarray:
    """Near zero, where tanh is nearly the identity."""
    scale = {"x": 1e-6, "state": 1e-6, "bias": 1e-6}.get(what, 1.0)
    return scale * _generic(rng, what, shape, case)


def _exact(rng: np.random.Generator, what: str, shape: tuple[int, ...], case: Case) -> np.ndarray:
    """Small dyadic numbers: no sum or product of a short linear net rounds."""
    if what == "weight":
        return rng.choice([-1.0, 0.0, 0.0, 1.0], shape)
    return rng.integers(1, 8, shape) / 4 * rng.choice([-1.0, 1.0], shape)


_REGIMES = {
    "generic": _generic,
    "saturated": _saturated,
    "cancelling": _cancelling,
    "wide": _wide,
    "tiny": _tiny,
    "exact": _exact,
}
