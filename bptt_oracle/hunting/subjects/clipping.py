"""clip_grad_norm_ and clip_grad_value_: norms of every order, layouts, sizes of the numbers.

Truth is the norm of all gradients as one vector, and g · min(1, c / (norm + 10⁻⁶)). A limit that is
negative or NaN must be rejected.
"""

from typing import Any

import numpy as np

from ..programs.fields import Choice, Program, Size
from ..programs.layouts import WRITABLE, canaries, canary_source, tensor_source, values_in
from ..programs.written import Arrays, Move, Written

FIELDS: dict[str, Any] = {
    "norm_type": Choice((2.0, 1.0, float("inf"), 0.0)),
    "foreach": Choice((False, True)),
    "dtype": Choice(("float32", "float64", "bfloat16", "float16")),
    "layout": Choice(WRITABLE, (3, 1, 1, 1)),
    "limit": Choice(("0.5", "1000", "0", "-1", "nan"), (5, 1, 1, 0.5, 0.5)),
    "values": Choice(("ordinary", "large", "tiny", "with zeros"), (3, 1, 1, 1)),
    "by": Choice(("norm", "value"), (3, 1)),
    "params": Size(1, 4),
    "rows": Size(1, 40),
    "columns": Size(1, 40),
}
LARGE = {"float32": 1e25, "float64": 1e200, "bfloat16": 1e25, "float16": 2e4}


def _tidy(program: Program) -> Program | None:
    if program["by"] == "value":
        if _invalid(program):
            return None
        program = program | {"norm_type": 2.0}
    if program["values"] == "tiny" and program["dtype"] == "float16":
        return None
    return program


def _inputs(program: Program, rng: np.random.Generator) -> Arrays:
    dtype, shape = program["dtype"], (program["rows"], program["columns"])
    found = {}
    for k in range(program["params"]):
        g = values_in(program["layout"], shape, rng)
        if program["values"] == "with zeros":
            g = np.where(np.abs(g) < 1, 0, g)
        if program["values"] == "large":
            g = g * LARGE[dtype]
        found[f"g{k}"] = g / LARGE[dtype] if program["values"] == "tiny" else g
    return found


def _source(program: Program) -> str:
    shape = program["rows"], program["columns"]
    lines = "params = []\n"
    for k in range(program["params"]):
        lines += tensor_source(f"g{k}", program["layout"], shape, program["dtype"])
        lines += f"params.append(torch.nn.Parameter(torch.zeros_like(g{k})))\n"
        lines += f"params[-1].grad = g{k}\n"
    options = f"foreach={program['foreach']}"
    limit = f"float({program['limit']!r})"
    if program["by"] == "value":
        lines += f"torch.nn.utils.clip_grad_value_(params, {limit}, {options})\nresults = {{}}\n"
    else:
        order = f"float({str(program['norm_type'])!r})"
        lines += f"norm = torch.nn.utils.clip_grad_norm_(params, {limit}, {order}, {options})\n"
        lines += "results = {'norm': norm}\n"
    for k in range(program["params"]):
        lines += f"results['clipped g{k}'] = params[{k}].grad\n"
        lines += canary_source(f"g{k}", program["layout"], shape)
    return lines


def _truth(program: Program, inputs: Arrays, move: Move) -> Arrays:
    names = [f"g{k}" for k in range(program["params"])]
    limit, order = np.longdouble(program["limit"]), program["norm_type"]
    found: Arrays = {}
    scale: Any = None
    if program["by"] == "norm":
        flat = np.abs(np.concatenate([inputs[n].ravel() for n in names]))
        if order == 0:
            norm = np.longdouble((flat != 0).sum())
        elif np.isinf(order):
            norm = flat.max()
        else:
            norm = (flat ** np.longdouble(order)).sum() ** (1 / np.longdouble(order))
        found["norm"] = np.asarray(move(norm))
        scale = np.minimum(1, limit / (found["norm"] + np.longdouble(1e-6)))
    for name in names:
        g = inputs[name]
        clipped = g * scale if scale is not None else np.clip(g, -limit, limit)
        found[f"clipped {name}"] = move(clipped)
        found |= canaries(name, program["layout"], (program["rows"], program["columns"]))
    return found


def _invalid(program: Program) -> str:
    return "" if float(program["limit"]) >= 0 else f"a limit of {program['limit']}"


WRITTEN = Written("clipping", FIELDS, _tidy, _inputs, _source, _truth, _invalid)
