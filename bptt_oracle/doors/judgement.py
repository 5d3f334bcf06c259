"""`bptt_oracle.judge`: a module or function judged on the caller's own weights and numbers.

Page: docs/implementations/your_implementation.md
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import reference
from reference.cells.table import CELL_TABLE
from torch_impl.execution.problem import Problem

from ..diagnosis.diagnose import listed
from ..judging.judge import LIMIT
from ..judging.judge import judge as judge_results
from ..judging.truth import expect
from .naming import NOTHING, diagnose_call, reason_not_to_compare
from .torch_calls import arrays_of, as_array, call_on_tensors, is_tensor, parameters_of
from .values import NAMES, lengths_of_rows, named_values, pair_of


class Judgement(NamedTuple):
    """R of every tensor that was returned. It is true if all of them agree."""

    verdict: str  # agree, fault, or untrusted if the numbers cannot decide
    R: dict[str, float]  # by tensor; above 16 it is a fault; nan if the tensor cannot be judged
    worst: str  # the tensor with the largest R
    at: tuple[int, ...]  # the index of its worst element
    not_returned: tuple[str, ...]  # tensors that could not be judged because they did not come
    mistakes: tuple[str, ...] = ()  # that give these results; several if the numbers fit them all
    values_only: bool = False  # the values are those of the mistakes, and the gradients are not
    not_compared: str = ""  # why a fault was not compared with the known mistakes

    def __bool__(self) -> bool:
        return self.verdict == "agree"

    def __str__(self) -> str:
        lines = [f"{name:<24}{R:>12.3g}" for name, R in self.R.items()]
        place = f"{self.worst}{list(self.at)}"
        last = f"{self.verdict}: the worst is {place}; R above {LIMIT:g} is a fault"
        if self.not_returned:
            lines.append(f"not judged, because they did not come: {', '.join(self.not_returned)}")
        if self.mistakes:
            what = "the values are" if self.values_only else "this is"
            last += f"; {what} what a net gives with {listed(self.mistakes)}"
            last += ", but the gradients are not" * self.values_only
        if self.not_compared:
            last += f"; it was not compared with the known mistakes, because {self.not_compared}"
        if self.verdict == "untrusted":
            last = "untrusted: rounding, or NaN in the truth, hides whether these numbers are right"
        return "\n".join([*lines, last])


def judge(
    function: Any,
    x: Any,
    *,
    state: Any = None,
    lengths: Sequence[int] | None = None,
    params: Mapping[str, Any] | None = None,
    cell: str | None = None,
    batch_first: bool | None = None,
    d_output: Any = None,
    d_state: Any = None,
    seed: int = 0,
) -> Judgement:
    """Judge `function` on these numbers, in the dtype of the parameters.

    function     a torch.nn.Module with torch's parameter names, called as nn.LSTM is called, or a
                 function of x, or of x and state, that returns the output [T, B, D·H], or the
                 output and the final state: h_n, or (h_n, c_n), each [L·D, B, H]
    x            [T, B, I], [B, T, I] with batch_first, or [T, I]; a tensor for a module or function
                 of torch, an array for one of NumPy
    state        h_0, for an LSTM (h_0, c_0); None for zeros
    lengths      of the B rows, the longest T; a module then gets a PackedSequence, and `at` counts
                 as [T, B, ·]
    params       of a function, by torch's names, as arrays or tensors
    cell         RNN_TANH, RNN_RELU, GRU or LSTM; needed unless the module's class says it
    d_output, d_state    the cotangents; drawn from `seed` if None

    Gradients are judged if torch can differentiate what is returned; NumPy functions have none
    here, see `check_adjoint` and `Implementation`. The gradients of the caller's tensors (.grad)
    stay as they are. The known mistakes that give the results of a fault are named, in float32 and
    float64, if the net is small: 32 steps of all layers and directions, and 500,000 products of
    inputs or states with weights. Raises ValueError, in one sentence, for arguments that contradict
    each other.
    """
    if not callable(function):
        raise ValueError(f"a {type(function).__name__} came; expected a module or a function of x")
    if isinstance(function, type):
        raise ValueError(f"the class {function.__name__} came; give an instance of it")
    if params is None:
        params, cell, batch_first = parameters_of(function, cell, batch_first)
    if not isinstance(params, Mapping):
        raise ValueError(
            f"params is a {type(params).__name__}; give arrays or tensors by torch's names"
        )
    if not params:
        raise ValueError("the function has no parameters by torch's names; give params=")
    if "weight_ih_l0" not in params or "weight_hh_l0" not in params:
        raise ValueError(
            f"the parameters are {', '.join(map(str, params))}; expected torch's names, "
            "weight_ih_l0 [G·H, I], weight_hh_l0 [G·H, H] …; see docs/porting/porting.md"
        )
    if hasattr(x, "batch_sizes"):
        raise ValueError("x is a PackedSequence; give the padded batch [T, B, I] and lengths=")
    x = as_array(x)
    if x.ndim not in (2, 3) or not len(x):
        raise ValueError(
            f"x has shape {list(x.shape)}; expected [T, B, I], [B, T, I] with batch_first, or "
            "[T, I], of one step or more"
        )
    if lengths is not None:
        lengths = lengths_of_rows(lengths, x, bool(batch_first))
    if lengths is not None and batch_first:  # a pack has no layout; here it is [T, B, ·]
        x, batch_first = x.swapaxes(0, 1), False
        d_output = None if d_output is None else _time_major(as_array(d_output))
    arrays, dtype = arrays_of(params)
    net = net_of_parameters({n: a.shape for n, a in arrays.items()}, cell, bool(batch_first))
    own_state = None if state is None else tuple(map(as_array, pair_of(net, state)))
    for name, own, size in zip(("h_0", "c_0"), own_state or (), net.state_sizes, strict=False):
        rows = () if x.ndim == 2 else (x.shape[0 if batch_first else 1],)
        shape = [net.num_layers * net.directions, *rows, size]
        if list(own.shape) != shape:
            raise ValueError(f"{name} has shape {list(own.shape)}, expected {shape}")
    if x.shape[-1] != net.input_size:
        raise ValueError(
            f"x has shape {list(x.shape)}, expected {net.input_size} features, because "
            f"weight_ih_l0 is {list(arrays['weight_ih_l0'].shape)}"
        )
    of_x, x_dtype = arrays_of({"x": x})
    if x_dtype != dtype:
        raise ValueError(f"x is {x_dtype}, and the parameters are {dtype}; convert one of them")
    problem = Problem(
        net,
        arrays,
        of_x["x"],
        lengths,
        False,
        None if own_state is None else tuple(arrays_of(dict(enumerate(own_state)))[0].values()),
        None,
        (),
        strided=False,
        seed=seed,
    )
    problem = _with_cotangents(problem, d_output, d_state)
    if is_tensor(x) or any(map(is_tensor, params.values())):
        results = call_on_tensors(function, problem, params, x, own_state)
    else:
        results = _call_numpy(function, problem, x, state)
    return _judgement(problem, results, dtype)


def _judgement(problem: Problem, results: dict[str, np.ndarray], dtype: str) -> Judgement:
    """The judgement of results by name; a value that did not come has no cotangent."""
    cotangents = [
        d if name in results else None
        for name, d in zip(NAMES, (problem.d_output, *problem.d_state), strict=False)
    ]
    problem = problem._replace(d_output=cotangents[0], d_state=tuple(cotangents[1:]))
    expected = expect(problem, dtype)
    for name, value in results.items():
        true = expected.truth[name]
        if str(value.dtype) != ("float32" if dtype == "bfloat16" else dtype):
            raise ValueError(f"{name} is {value.dtype}, and the parameters are {dtype}")
        if value.shape != true.shape:
            raise ValueError(
                f"{name} has shape {list(value.shape)}, expected {list(true.shape)} for x of shape "
                f"{list(problem.x.shape)}"
            )
    returned = expected.of(name for name in expected.truth if name in results)
    word, worst, scores = judge_results(results, returned)
    undecided = {s.tensor for s in scores if s.ill}
    undecided |= {  # both have NaN or the same infinity everywhere
        s.tensor
        for s in scores
        if not s.R and results[s.tensor].size and not np.isfinite(results[s.tensor]).any()
    }
    if word == "agree" and len(undecided) == len(scores):
        word = "untrusted"
    R = {s.tensor: math.nan if s.tensor in undecided else s.R for s in scores}
    missing = tuple(name for name in expected.truth if name not in results)
    if word != "fault":
        return Judgement(word, R, worst.tensor, worst.at, missing)
    reason = reason_not_to_compare(problem, results, dtype)
    found = NOTHING if reason else diagnose_call(problem, results, dtype)
    return Judgement(
        word, R, worst.tensor, worst.at, missing, found.names, found.values_only, reason
    )


def net_of_parameters(
    shapes: Mapping[str, tuple[int, ...]], cell: str | None, batch_first: bool
) -> Any:
    """The reference's net whose parameters have these names and shapes. Raises ValueError if there
    is none."""
    if not isinstance(cell, str) or cell not in CELL_TABLE:
        raise ValueError(f"the cell is {cell!r}; give cell=, one of {', '.join(CELL_TABLE)}")
    for name in ("weight_ih_l0", "weight_hr_l0"):
        if name in shapes and len(shapes[name]) != 2:
            raise ValueError(f"{name} has shape {list(shapes[name])}, expected two dimensions")
    rows, I = shapes["weight_ih_l0"]  # noqa: E741  the input size, as in every equation
    H, remainder = divmod(rows, len(CELL_TABLE[cell].gates))
    if remainder:
        raise ValueError(
            f"weight_ih_l0 has {rows} rows, which the {len(CELL_TABLE[cell].gates)} gates of "
            f"{cell} cannot share"
        )
    projection = {"proj_size": shapes["weight_hr_l0"][0]} if "weight_hr_l0" in shapes else {}
    options: dict[str, Any] = {
        "num_layers": sum(map(_is_layer, map(str, shapes))),
        "bias": "bias_ih_l0" in shapes,
        "batch_first": batch_first,
        "bidirectional": "weight_ih_l0_reverse" in shapes,
        **projection,
    }
    if cell == "LSTM":
        net: Any = reference.LSTM(I, H, **options)
    elif cell == "GRU":
        net = reference.GRU(I, H, **options)
    elif CELL_TABLE[cell].torch == "RNN":
        net = reference.RNN(I, H, nonlinearity=cell[4:].lower(), **options)
    else:
        net = reference.RecurrentNet(cell, I, H, **options)
    expected = {name: tuple(shape) for name, shape in net.parameter_shapes().items()}
    if missing := [name for name in expected if name not in shapes]:
        raise ValueError(f"the parameter {missing[0]} {list(expected[missing[0]])} is missing")
    if unknown := [name for name in shapes if name not in expected]:
        raise ValueError(f"{unknown[0]} came, and the parameters are {', '.join(expected)}")
    if wrong := [name for name in expected if tuple(shapes[name]) != expected[name]]:
        raise ValueError(
            f"{wrong[0]} has shape {list(shapes[wrong[0]])}, expected {list(expected[wrong[0]])}, "
            f"because weight_ih_l0 {[rows, I]} is that of input_size {I} and hidden_size {H}"
        )
    return net


def _is_layer(name: str) -> bool:
    """Whether a name is that of the forward input weights of a layer."""
    return name.startswith("weight_ih_l") and not name.endswith("_reverse")


def _with_cotangents(problem: Problem, d_output: Any, d_state: Any) -> Problem:
    """The problem with cotangents: those given, or random ones."""
    net, rng = problem.net, np.random.default_rng(problem.seed)
    batch_shape = problem.x.shape[:-1]
    rows = () if problem.x.ndim == 2 else (problem.x.shape[0 if net.batch_first else 1],)
    shapes = [(net.num_layers * net.directions, *rows, width) for width in net.state_sizes]
    drawn = rng.standard_normal((*batch_shape, net.directions * net.output_size))
    states = [rng.standard_normal(shape) for shape in shapes]
    if d_output is not None:
        (drawn,) = _given("d_output", [d_output], [drawn.shape])
    if d_state is not None:
        states = _given("d_state", pair_of(net, d_state, "d_state"), shapes)
    return problem._replace(d_output=drawn, d_state=tuple(states))


def _given(name: str, values: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """The cotangents of the caller, as many as shapes. Raises ValueError if a shape is another."""
    arrays = [*arrays_of(dict(enumerate(values)))[0].values()]
    for array, shape in zip(arrays, shapes, strict=True):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {list(array.shape)}, expected {list(shape)}")
    return arrays


def _time_major(d_output: Any) -> Any:
    """[T, B, ·] of [B, T, ·]; what has fewer dimensions fits no output, and is reported later."""
    return d_output.swapaxes(0, 1) if d_output.ndim > 1 else d_output


def _call_numpy(function: Any, problem: Problem, x: Any, state: Any) -> dict[str, np.ndarray]:
    """Values of a function on arrays."""
    returned = function(x) if state is None else function(x, state)
    results = named_values(problem, returned)
    for name, value in results.items():
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{name} is a {type(value).__name__}, expected an array")
    return results
