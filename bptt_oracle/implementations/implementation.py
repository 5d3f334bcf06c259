"""An implementation of recurrent nets, described by functions. Imports no framework.

One of four functions is enough. Parameters have torch's names, shapes and gate order; a framework
with another convention permutes them inside the function, where its own engine differentiates the
permutation, so that no inverse is written.

    layer    one layer in one direction
    net      a whole net
    run      everything, gradients too
    module   a class with the constructor and the parameter names of torch.nn.RNN, GRU or LSTM

Whatever every adapter would repeat is done around these functions (`compute`): casting, the batch
axis, padding in outputs and cotangents, tied parameters, layers and directions, and the
vector–Jacobian product.

Page: docs/implementations/your_implementation.md
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from torch_impl.execution.problem import Problem

from ..cases.case import Case
from ..judging.deviation_entries import Deviation

Lengths = tuple[int, ...] | None
Layer = Callable[[str, Mapping[str, Any], Any, Sequence[Any] | None, Lengths, bool], Any]
Net = Callable[[Any, Mapping[str, Any], Any, Sequence[Any] | None, Lengths], Any]
Run = Callable[[Problem, str], Any]


class Answer(NamedTuple):
    """What an implementation returned for a problem.

    results       by name: output, h_n, c_n, d_x, d_h_0, d_c_0, d_weight_ih_l0 …
    kernel        that computed them, where it is known
    errors        by name, what is wrong with a tensor: its dtype, its shape, or that it is missing
    not_returned  tensors that are not judged
    """

    results: dict[str, np.ndarray]
    kernel: str = ""
    errors: dict[str, str] = {}
    not_returned: tuple[str, ...] = ()


def _no_version() -> str:
    return ""


class Implementation(NamedTuple):
    """What is judged, and which nets it can compute; cases are fitted to that (`fitting`).

    layer   (mode, p, x, state, lengths, reverse) → (y, final)
            mode     RNN_TANH, RNN_RELU, GRU or LSTM
            p        weight_ih [G·H, I], weight_hh [G·H, H], bias_ih and bias_hh [G·H] if any
            x        [T, B, I];  y  [T, B, H]
            state    [h] or [h, c], each [B, H]; None for zeros;  final  the same at the end
            lengths  of the B rows; None if all are T
            reverse  whether time runs from the last step of every row to its first
    net     (net, params, x, state, lengths) → (output, final)
            net      its options, as attributes: mode, input_size, hidden_size, num_layers, bias,
                     bidirectional, proj_size
            params   by torch's names: weight_ih_l0, weight_hh_l0_reverse …
            x        [T, B, I];  output  [T, B, D·H];  states  [h] or [h, c], each [L·D, B, H]
    run     (problem, dtype) → {name of the tensor: array}, see `Answer`
            problem  a `Problem`: net, params, x, lengths, state, d_output and d_state, float64
    module  called as nn.LSTM(input_size, hidden_size, num_layers=…, …), with only those options
            that differ from torch's defaults

    With the engine "numpy", layer and net return a third value, the backward pass:
    back(d_y, d_final) → (d_p, d_x, d_state) for a layer, where d_final and d_state are lists like
    `final`, and back(d_output, d_final) → (d_params, d_x, d_state) for a net. Arrays are given
    read-only. The engine "none" judges values only. The engine of a module is torch.
    """

    name: str
    layer: Layer | None = None
    net: Net | None = None
    run: Run | None = None
    module: Callable[..., Any] | None = None
    engine: str = "numpy"  # what differentiates, a key of `engines.ENGINES`; none: only values
    cells: tuple[str, ...] = ("RNN_TANH", "RNN_RELU", "GRU", "LSTM")
    dtypes: tuple[str, ...] = ("float32", "float64")
    device: str = "cpu"  # of the engine torch
    layers: bool = True  # more than one
    bidirectional: bool = True
    biases: bool = True  # False: nets without biases only
    no_biases: bool = True  # False: nets with biases only
    lengths: bool = True  # rows of different lengths
    projection: bool = False
    dropout: bool = False  # of `run` alone: with the masks of `cases.masks.draw_masks`
    tied: bool = False  # of `run` alone: it adds the gradients of one array under two names
    state: bool = True  # an initial state can be given
    fit: Callable[[Case], Case | None] | None = None  # what else a case must be; None: no such case
    constrain: Callable[[Problem], Problem] | None = None  # parameters that it lacks set to 0
    not_returned: tuple[str, ...] = ()  # beginnings of names of tensors that it does not return
    exclusion_reason: Callable[[Problem, str], str] | None = None  # why it cannot compute a problem
    precision: Callable[[str], str] | None = None  # that of products in a dtype; default the dtype
    deviations: Path | tuple[Deviation, ...] = ()  # that are expected, or a file of them
    version: Callable[[], str] = _no_version

    def usual_dtypes(self) -> tuple[str, ...]:
        """float32 and float64 as far as it has them; all that it has if it has neither."""
        usual = tuple(d for d in ("float32", "float64") if d in self.dtypes)
        return usual or self.dtypes

    def product_precision(self, dtype: str) -> str:
        """The precision of products in a dtype: that of `precision`, or the dtype."""
        return dtype if self.precision is None else self.precision(dtype)
