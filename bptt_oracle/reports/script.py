"""A case as a program that needs only torch and numpy, for a bug report."""

import inspect
import os
import pprint
from pathlib import Path as File
from typing import Any

import jinja2
import numpy as np

from torch_impl.execution.path import Path

from ..cases.case import Case, draw
from ..judging.truth import Expected

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(File(__file__).with_name("templates")),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


_IMPORT_OF_STEPS = "from ..cells.table import STEPS\n"


def script(case: Case, path: Path, dtype: str, expected: Expected) -> str:
    """A program that computes the case with the path's implementation, kernel and variant, and
    prints the error of every tensor against the truth, which it holds as numbers.

    Paths of the variant "subsets", which ask for gradients in turns, have no such program.
    """
    problem = draw(case)
    net = problem.net
    options: dict[str, Any] = {
        "num_layers": net.num_layers,
        "bias": net.bias,
        "batch_first": net.batch_first,
        "dropout": net.dropout,
        "bidirectional": net.bidirectional,
    }
    if net.cell.projection:
        options["proj_size"] = net.proj_size
    elif net.cell.torch == "RNN":
        options["nonlinearity"] = net.nonlinearity
    from torch_impl.execution.run import dropout_masks

    masks = dropout_masks(problem, dtype)
    return _TEMPLATES.get_template("script.py.j2").render(
        case=case.id,
        path=path,
        dtype=dtype,
        net=net,
        kind=type(net).__name__,
        options=options,
        problem=problem,
        names=["output", "h_n", "c_n"][: 1 + len(problem.d_state)],
        threads=max(2, os.cpu_count() or 1) if path.variant == "threads" else 1,
        source=_source(net.mode),
        masks=_literal(masks),
        tied=_tied(problem.params),
        params=_literal(problem.params),
        x=_literal(problem.x),
        state=_literal(problem.state),
        cotangents=_literal([problem.d_output, *problem.d_state]),
        truth=_literal(expected.truth),
        noise=pprint.pformat({name: noise[0] for name, noise in expected.noise.items()}),
    )


def implementation_script(case: Case, name: str, dtype: str, expected: Expected) -> str:
    """A program that computes the case with the implementation of that name, and prints the error
    of every tensor against the truth, which it holds as numbers."""
    problem = draw(case)
    first = {id(p): name for name, p in reversed(problem.params.items())}
    return _TEMPLATES.get_template("implementation_script.py.j2").render(
        case=case.id,
        implementation=name,
        dtype=dtype,
        names=["output", "h_n", "c_n"][: 1 + len(problem.d_state)],
        first_names={name: first[id(p)] for name, p in problem.params.items()},
        params=_literal(problem.params),
        x=_literal(problem.x),
        state=_literal(problem.state),
        cotangents=_literal([problem.d_output, *problem.d_state]),
        truth=_literal(expected.truth),
        noise=pprint.pformat({name: noise[0] for name, noise in expected.noise.items()}),
    )


def _source(mode: str) -> str:
    """The code that runs the net, and the step of a cell that torch.nn does not have."""
    import torch_impl.nets.modules
    from torch_impl.cells.table import STEPS

    step, steps = "", "{}"
    if mode in STEPS:
        step, steps = inspect.getsource(STEPS[mode]), f'{{"{mode}": step}}'
    defined = f"{step}\n\nSTEPS: dict[str, Any] = {steps}\n"
    return inspect.getsource(torch_impl.nets.modules).replace(_IMPORT_OF_STEPS, defined)


def _tied(params: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    """For each parameter that shares an earlier parameter's array, both names."""
    first = {id(p): name for name, p in reversed(params.items())}
    return [(name, first[id(p)]) for name, p in params.items() if first[id(p)] != name]


def _literal(value: Any) -> str:
    """Tuples, lists and dicts of arrays as Python literals with every digit."""

    def plain(item: Any) -> Any:
        if isinstance(item, np.ndarray) and item.dtype == np.longdouble:
            return np.vectorize(str, otypes=[object])(item).tolist()
        if isinstance(item, np.ndarray):
            return item.tolist()
        if isinstance(item, dict):
            return {name: plain(part) for name, part in item.items()}
        if isinstance(item, (list, tuple)):
            return [plain(part) for part in item]
        return item

    return pprint.pformat(plain(value), width=100, compact=True)
