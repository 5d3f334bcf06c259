"""How each framework stores the weights of one layer and direction, as data.

    G, H, I, P   gates, hidden width, input width, width of a projection

Gates have torch's letters. LSTM: i f g o, where other frameworks call the candidate g c. GRU:
r z n, where others call the candidate n h or c; z is the share of the old state in every framework
here. Only the reference's GRU_TEXTBOOK reads z as the share of the new (`Convention.flips_z`).

Sources: the documentation and code of Keras 3.15, the operators RNN, GRU and LSTM of ONNX opset 22,
flax 0.12 (flax.nnx), Equinox 0.13, Paddle 3.3 and torch.nn.
Page: docs/porting/porting.md
"""

from typing import NamedTuple

from reference.cells.table import CELL_TABLE

# How the two biases of torch, bias_ih and bias_hh [G·H], are stored.
TWO = "two arrays"
ROWS = "the rows of one array [2, G·H]"
JOINED = "joined, [2·G·H]"
SUM = "their sum"
SUM_AND_B_HN = "their sum, and b_hn apart"
SUM_WITHOUT_B_HN = "their sum, and no b_hn"


class Convention(NamedTuple):
    """How a framework stores the weights of one layer and direction of a cell."""

    gates: str  # the order of the blocks of H rows, in torch's letters
    names: dict[str, str]  # torch's name without its suffix, bias or b_hn → the framework's name
    biases: str  # one of the six above
    transposed: tuple[str, ...] = ()  # torch's names of what is stored transposed
    peepholes: str = ""  # the order of the blocks of the peepholes
    flips_z: bool = False  # z has the other meaning than in the reference: its rows change sign
    variant: str = ""  # the option of the framework that makes this cell


class Framework(NamedTuple):
    """A framework: how it holds the weights of a whole net, and the conventions of its cells."""

    title: str
    holds: str  # the form in which it holds them, a key of `containers.FORMS`
    cells: dict[str, Convention]
    always_biased: bool = False  # a net without biases is stored with biases of zeros


RNNS = ("RNN_TANH", "RNN_RELU")

_TWO_BIASES = {name: name for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
_OF_LSTM = {"weight_hr": "weight_hr"}
_OF_PEEPHOLES = {"weight_ch": "weight_ch"}


def _torch(cell: str) -> Convention:
    """Torch's names and gates, which are also those of the cells that only the reference has."""
    names = _TWO_BIASES | (_OF_LSTM if cell == "LSTM" else {})
    peepholes = "ifo" if cell == "LSTM_PEEPHOLE" else ""
    names |= _OF_PEEPHOLES if peepholes else {}
    return Convention("".join(CELL_TABLE[cell].gates), names, TWO, peepholes=peepholes)


_KERAS = {"weight_ih": "kernel", "weight_hh": "recurrent_kernel", "bias": "bias"}
_KERNELS = ("weight_ih", "weight_hh")
_ONNX = {"weight_ih": "W", "weight_hh": "R", "bias": "B"}
_FLAX = {"weight_ih": "dense_i.kernel", "weight_hh": "dense_h.kernel"}
_EQUINOX = {"weight_ih": "weight_ih", "weight_hh": "weight_hh", "bias": "bias"}

FRAMEWORKS = {
    "torch": Framework("torch", "net", {cell: _torch(cell) for cell in CELL_TABLE}),
    "keras": Framework(
        "Keras",
        "arrays",
        {cell: Convention("a", _KERAS, SUM, _KERNELS) for cell in RNNS}
        | {
            "GRU": Convention("zrn", _KERAS, ROWS, _KERNELS, variant="reset_after=True"),
            "GRU_TEXTBOOK": Convention(
                "zrn", _KERAS, SUM, _KERNELS, flips_z=True, variant="reset_after=False"
            ),
            "LSTM": Convention("ifgo", _KERAS, SUM, _KERNELS),
        },
    ),
    "onnx": Framework(
        "ONNX",
        "node",
        {cell: Convention("a", _ONNX, JOINED) for cell in RNNS}
        | {
            "GRU": Convention("zrn", _ONNX, JOINED, variant="linear_before_reset=1"),
            "GRU_TEXTBOOK": Convention(
                "zrn", _ONNX, JOINED, flips_z=True, variant="linear_before_reset=0"
            ),
            "LSTM": Convention("iofg", _ONNX, JOINED),
            "LSTM_PEEPHOLE": Convention(
                "iofg", _ONNX | {"weight_ch": "P"}, JOINED, peepholes="iof"
            ),
        },
    ),
    "flax.nnx": Framework(
        "flax.nnx",
        "cells",
        {
            cell: Convention(
                "a", _FLAX | {"bias": "dense_i.bias"}, SUM, _KERNELS, variant="SimpleCell"
            )
            for cell in RNNS
        }
        | {
            "GRU": Convention(
                "rzn",
                _FLAX | {"bias": "dense_i.bias"},
                SUM_WITHOUT_B_HN,
                _KERNELS,
                variant="GRUCell",
            ),
            "LSTM": Convention(
                "ifgo", _FLAX | {"bias": "dense_h.bias"}, SUM, _KERNELS, variant="OptimizedLSTMCell"
            ),
        },
        always_biased=True,
    ),
    "equinox": Framework(
        "Equinox",
        "cells",
        {
            "GRU": Convention("rzn", _EQUINOX | {"b_hn": "bias_n"}, SUM_AND_B_HN),
            "LSTM": Convention("ifgo", _EQUINOX, SUM),
        },
    ),
    "paddle": Framework(
        "Paddle",
        "net of cells",
        {cell: Convention("a", _TWO_BIASES, TWO) for cell in RNNS}
        | {
            "GRU": Convention("rzn", _TWO_BIASES, TWO),
            "LSTM": Convention(
                "ifgo", _TWO_BIASES | {"weight_hr": "weight_ho"}, TWO, ("weight_hr",)
            ),
        },
        always_biased=True,
    ),
}


def framework_of(framework: str) -> Framework:
    """The row of a framework. Raises ValueError if there is none."""
    if framework not in FRAMEWORKS:
        raise ValueError(
            f"Expected framework to be one of {', '.join(FRAMEWORKS)}, got {framework!r}."
        )
    return FRAMEWORKS[framework]


def convention_of(framework: str, cell: str) -> Convention:
    """The convention of a cell in a framework. Raises ValueError if either does not exist."""
    title, _, cells, _ = framework_of(framework)
    if cell not in cells:
        raise ValueError(f"Expected a cell of {title} ({', '.join(cells)}), got {cell!r}.")
    return cells[cell]
