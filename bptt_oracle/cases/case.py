"""A case: an immutable description of one computation, from which its arrays are drawn.

Its id spells out every field:

    GRU.T6.B3.I4.H5.L2.bi.nobias.packed-4-6-1.h0.strided.drop0_3.output+h_n.wide.s17

`parse(id)` returns the case, and `draw(case)` returns its arrays, the same ones on every machine.
Property tests, checks, records and replays share these cases. Lengths may be given by a rule, as in
"packed-uniform1" (`lengths`). Arrays are drawn in float64 from
NumPy's default_rng, seeded by the seed and the sizes; no array is constant or all zero.

Page: docs/cases/own_cases.md
"""

import re
from typing import Any, NamedTuple

import numpy as np

import reference
from reference.cells.table import CELL_TABLE
from reference.nets.modules import Module
from torch_impl.execution.problem import Problem

from .lengths import PATTERN, lengths_by_rule
from .regimes import DISTRIBUTIONS

CELLS = tuple(name for name, cell in CELL_TABLE.items() if cell.torch)  # of the corpus
LAYOUTS = ("time", "batch", "unbatched", "sorted", "packed")
REGIMES = tuple(DISTRIBUTIONS)
COTANGENTS = ("output", "h_n", "c_n")
LARGEST_SIZE = 4096  # of T, B, I, H and L


class Case(NamedTuple):
    """A net, the layout of its input, the cotangents, and how `draw` draws the numbers.

    `layout` is "time" [T, B, I], "batch" [B, T, I], "unbatched" [T, I], or a packed batch, with
    lengths in descending order ("sorted") or in any order ("packed"). `cotangents` names the
    outputs with a gradient. `regime` selects the distribution of the numbers.
    """

    cell: str
    T: int
    B: int
    I: int  # noqa: E741  the input size, as in every equation
    H: int
    layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    P: int = 0  # proj_size of an LSTM; 0: no projection
    layout: str = "time"
    lengths: tuple[int, ...] = ()  # of a packed batch; the longest is T
    rule: str = ""  # that makes the lengths, and stands for them in the id; empty: none
    tied: bool = False  # *_hh is the same parameter as *_ih of its layer, where the shapes agree
    state: bool = True  # an initial state is given
    strided: bool = False  # input, state and cotangents are not contiguous
    dropout: float = 0.0
    cotangents: tuple[str, ...] = ("output", "h_n")
    regime: str = "generic"
    seed: int = 0

    @property
    def id(self) -> str:
        """Every field spelled out; the inverse of `parse`."""
        lengths = self.rule or "-".join(map(str, self.lengths))
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
    """The shortest digits that read back as this number, without an exponent; "_" is the point."""
    return np.format_float_positional(number, trim="-").replace(".", "_")


_PARTS = (  # of an id, in order; those that end in "?" may be missing
    rf"(?P<cell>{'|'.join(CELL_TABLE)})",
    r"\.T(?P<T>\d+)",
    r"\.B(?P<B>\d+)",
    r"\.I(?P<I>\d+)",
    r"\.H(?P<H>\d+)",
    r"\.L(?P<layers>\d+)",
    r"(?P<bidirectional>\.bi)?",
    r"(?P<nobias>\.nobias)?",
    r"(\.P(?P<P>\d+))?",
    r"(?P<tied>\.tied)?",
    rf"\.(?P<layout>{'|'.join(LAYOUTS)})(?:-(?P<rule>{PATTERN})|(?P<lengths>(?:-\d+)*))",
    r"(?P<state>\.h0)?",
    r"(?P<strided>\.strided)?",
    r"(\.drop(?P<dropout>\d(_\d+)?))?",
    r"\.(?P<cotangents>(output|h_n|c_n)(\+(h_n|c_n))*)",
    rf"\.(?P<regime>{'|'.join(REGIMES)})",
    r"\.s(?P<seed>\d+)",
)
_ID = re.compile("".join(_PARTS))


def parse(name: str) -> Case:
    """The case with that id. Raises ValueError if the name is not the id of a possible case."""
    match = _ID.fullmatch(name)
    if match is None:
        example = Case("GRU", 6, 3, 4, 5).id
        raise ValueError(
            f"{name!r} is not a case id{_wrong_part(name)}; an example is {example!r}, and "
            "`bptt-oracle check` prints others"
        )
    part = match.groupdict()
    lengths = tuple(int(n) for n in (part["lengths"] or "").split("-") if n)
    case = Case(
        cell=part["cell"],
        **{name: int(part[name]) for name in ("T", "B", "I", "H", "layers", "seed")},
        bidirectional=bool(part["bidirectional"]),
        bias=not part["nobias"],
        P=int(part["P"] or 0),
        tied=bool(part["tied"]),
        layout=part["layout"],
        lengths=lengths,
        rule="",
        state=bool(part["state"]),
        strided=bool(part["strided"]),
        dropout=float((part["dropout"] or "0").replace("_", ".")),
        cotangents=tuple(part["cotangents"].split("+")),
        regime=part["regime"],
    )
    try:
        case = with_rule(case, part["rule"] or "")
    except ValueError as error:
        raise ValueError(f"{name!r} is not a possible case: {error}") from None
    if case.id != name:
        raise ValueError(f"{name!r} must be spelled {case.id!r}")
    return case


def with_rule(case: Case, rule: str) -> Case:
    """The case with lengths by a rule; with its own if the rule is empty. Raises ValueError if this
    is not a possible case."""
    if reason := _size_contradiction(case):  # before arrays of these sizes are made
        raise ValueError(reason)
    if rule:
        case = case._replace(rule=rule, lengths=_lengths_by(rule, case))
    if reason := contradiction(case):
        raise ValueError(reason)
    return case


def _lengths_by(rule: str, case: Case) -> tuple[int, ...]:
    return lengths_by_rule(rule, case.T, case.B, case.seed, case.layout == "sorted")


def _wrong_part(name: str) -> str:
    """From where on a name does not continue as an id does."""
    end = 0
    for part in _PARTS:
        match = re.compile(rf"{part}(?![^.])").match(name, end)
        end = end if match is None else match.end()
        if match is None and not part.endswith("?"):
            break
    return f": it is wrong from {name[end:]!r} on" if 0 < end < len(name) else ""


def contradiction(case: Case) -> str:
    """Why the fields of a case contradict each other; empty if they do not."""
    packed = case.layout in ("sorted", "packed")
    if reason := _size_contradiction(case):
        return reason
    if case.seed >= 2**64:
        return "a seed must be at most 2**64 - 1"
    if case.P and (not CELL_TABLE[case.cell].projection or case.P >= case.H):
        return "only an LSTM has a projection, and it must be narrower than H"
    if case.tied and not case.bias:
        return "tied parameters include the biases, so a tied net must have them"
    if case.cotangents != tuple(name for name in COTANGENTS if name in case.cotangents):
        return f"each cotangent must be named once, in the order {', '.join(COTANGENTS)}"
    if "c_n" in case.cotangents and not _has_cell_state(case):
        return "only an LSTM has c_n"
    if packed != bool(case.lengths):
        return "packed layouts have lengths, and other layouts have none"
    if packed and (len(case.lengths) != case.B or max(case.lengths) != case.T):
        return "there must be one length for each of the B rows, and the longest must be T"
    if case.rule and case.lengths != _lengths_by(case.rule, case):
        return f"its lengths are not those of the rule {case.rule}"
    if packed and min(case.lengths) < 1:
        return "lengths must be at least 1"
    if case.layout == "sorted" and list(case.lengths) != sorted(case.lengths, reverse=True):
        return "sorted lengths must never increase"
    if case.layout == "unbatched" and case.B != 1:
        return "an unbatched input is one sequence, so B must be 1"
    if not 0 <= case.dropout <= 1:
        return "dropout is a probability, so it must be at most 1"
    if case.dropout and case.layers == 1:
        return "dropout acts between layers, so L must be at least 2"
    if case.regime == "exact" and case.cell != "RNN_RELU":
        return "only RNN_RELU computes without rounding, so only it has the exact regime"
    return ""


def _has_cell_state(case: Case) -> bool:
    return len(CELL_TABLE[case.cell].State._fields) == 2


def _size_contradiction(case: Case) -> str:
    """Why its sizes are impossible; empty if they are not."""
    sizes = case.T, case.B, case.I, case.H, case.layers
    if min(sizes) < 1:
        return "T, B, I, H and L must be at least 1"
    if max(sizes) > LARGEST_SIZE:
        return f"T, B, I, H and L must be at most {LARGEST_SIZE}"
    return ""


def net_of(case: Case) -> Module:
    """The reference's net for the case."""
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
    """The net of a case and its arrays, in float64."""
    rng = np.random.default_rng([case.seed, case.T, case.B, case.I, case.H, case.layers])
    net = net_of(case)
    draw_array = DISTRIBUTIONS[case.regime]
    params = {
        name: draw_array(rng, "bias" if name.startswith("bias") else "weight", shape)
        for name, shape in net.parameter_shapes().items()
    }
    if case.tied:
        for name in params:
            input_param = params.get(name.replace("_hh_", "_ih_"), params[name])
            if input_param.shape == params[name].shape:
                params[name] = input_param
    D, F = 1 + case.bidirectional, case.P or case.H
    x = draw_array(rng, "x", _batch(case, case.I))
    rows = () if case.layout == "unbatched" else (case.B,)
    widths = net.state_sizes
    shapes = [(case.layers * D, *rows, width) for width in widths]
    state = [draw_array(rng, "state", shape) for shape in shapes]
    d_output = draw_array(rng, "cotangent", _batch(case, D * F))
    d_state = [draw_array(rng, "cotangent", shape) for shape in shapes]
    return Problem(
        net=net,
        params=params,
        x=x,
        lengths=case.lengths or None,
        enforce_sorted=case.layout == "sorted",
        state=tuple(state) if case.state else None,
        d_output=d_output if "output" in case.cotangents else None,
        d_state=tuple(
            d if name in case.cotangents else None
            for name, d in zip(COTANGENTS[1:], d_state, strict=False)
        ),
        strided=case.strided,
        seed=case.seed,
    )


def _batch(case: Case, width: int) -> tuple[int, ...]:
    """The shape of a batch in the case's layout; packed layouts are padded [T, B, width]."""
    if case.layout == "unbatched":
        return case.T, width
    return (case.B, case.T, width) if case.layout == "batch" else (case.T, case.B, width)
