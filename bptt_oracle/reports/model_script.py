"""A call inside a user's model as a program that needs only torch and numpy, for a bug report."""

import base64
import pprint
import zlib
from pathlib import Path

import jinja2
import numpy as np

from reference.cells.table import CELL_TABLE

from ..inspection.record_model import WorstCall
from ..runs.files import printable

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def model_script(worst: WorstCall) -> str:
    """A program that repeats the call alone, and prints the error of every tensor against the
    truth, which it holds as numbers."""
    call, judged = worst.call, worst.judged
    problem, net = judged.problem, judged.problem.net
    kind = CELL_TABLE[call.mode].torch + "Cell" * call.is_cell
    options: dict[str, object] = {"bias": net.bias}
    if kind.startswith("RNN"):
        options["nonlinearity"] = call.mode[4:].lower()
    if not call.is_cell:
        options["bidirectional"] = net.bidirectional
        if net.cell.projection and net.proj_size:
            options["proj_size"] = net.proj_size
    return _TEMPLATES.get_template("model_script.py.j2").render(
        case=printable(worst.row.case),  # in a comment, because it has names of the user
        kernel=worst.row.kernel,
        kind=kind,
        cell=call.is_cell,
        device=call.device,
        dtype=judged.dtype,
        sizes=(net.input_size, net.hidden_size),
        options=options,
        lengths=problem.lengths,
        params={name: _array(value) for name, value in problem.params.items()},
        x=_array(problem.x),
        state=[_array(value) for value in problem.state or ()],
        cotangents=[
            None if value is None else _array(value)
            for value in (problem.d_output, *problem.d_state)
        ],
        truth={name: _sum(value) for name, value in judged.expected.truth.items()},
        recorded={name: _array(value) for name, value in judged.results.items()},
        noise=pprint.pformat({name: noise[0] for name, noise in judged.expected.noise.items()}),
    )


def _array(value: np.ndarray) -> str:
    """A call of the program's `array` that returns the value, exactly; in float32 where that
    suffices."""
    narrow = value.astype(np.float32)
    same = np.array_equal(narrow.astype(value.dtype), value, equal_nan=True)
    value = narrow if same else value.astype(np.float64)
    content = base64.b85encode(zlib.compress(value.tobytes())).decode()
    return f'array("{value.dtype.str}", {list(value.shape)}, "{content}")'


def _sum(value: np.ndarray) -> str:
    """The value as a sum of two arrays, because a true value may be longer than float64."""
    first = value.astype(np.float64)
    with np.errstate(invalid="ignore"):
        rest = (value - first).astype(np.float64)
    rest = np.where(np.isfinite(first), rest, 0)
    return f"{_array(first)} + np.longdouble(1) * {_array(rest)}" if rest.any() else _array(first)
