"""torch.nn.functional.cross_entropy: classes and probabilities, weights, smoothing, ignore_index.

Truth is the reference, which has the equations of torch.nn.CrossEntropyLoss's documentation.
"""

from typing import Any

import numpy as np

from reference.models.soft_labels import soft_cross_entropy

from ..programs.fields import Choice, Program, Size
from ..programs.functions import Function
from ..programs.written import Arrays

FIELDS: dict[str, Any] = {
    "target": Choice(("classes", "probabilities"), (3, 1)),
    "reduction": Choice(("mean", "sum", "none")),
    "weight": Choice((False, True)),
    "smoothing": Choice((0.0, 0.25)),
    "ignore": Choice(("none", "some", "all"), (4, 2, 1)),
    "ignore_index": Choice((-100, 0)),
    "size": Choice(("ordinary", "large"), (4, 1)),
    "places": Choice((0, 3), (3, 1)),  # positions of a row, each with a class; 0: no such axis
    "classes": Size(2, 6),
    "rows": Size(1, 8),
}


def _tidy(program: Program) -> Program | None:
    if program["target"] == "probabilities":
        program = program | {"ignore": "none"}
    if program["ignore"] == "none":
        program = program | {"ignore_index": -100}
    if program["ignore"] == "all" and program["reduction"] == "mean":
        return None  # 0/0, documented to be NaN
    return program


def _shapes(program: Program) -> dict[str, tuple[int, ...]]:
    places = (program["places"],) if program["places"] else ()
    x = (program["rows"], program["classes"], *places)
    return {"x": x} | ({"t": x} if program["target"] == "probabilities" else {})


def _adapt(program: Program, inputs: Arrays) -> Arrays:
    if program["size"] == "large":
        inputs["x"] = inputs["x"] * 16
    if "t" in inputs:
        inputs["t"] = np.abs(inputs["t"])
    return inputs


def _others(program: Program, rng: np.random.Generator) -> Arrays:
    shape = (program["rows"],) + ((program["places"],) if program["places"] else ())
    found = {}
    if program["target"] == "classes":
        t = rng.integers(program["classes"], size=shape)
        ignored = rng.random(shape) < {"none": 0, "some": 0.4, "all": 2}[program["ignore"]]
        if program["ignore"] == "some":
            ignored.flat[0] = False
            t[(t == program["ignore_index"]) & ~ignored] = 1
        found["t"] = np.where(ignored, program["ignore_index"], t)
    if program["weight"]:
        found["weight"] = np.round(rng.uniform(0.25, 2, program["classes"]), 2)
    return found


def _expression(program: Program) -> str:
    t = "t" if program["target"] == "probabilities" else "torch.tensor(t_values)"
    options = f"reduction={program['reduction']!r}"
    if program["weight"]:
        options += f", weight=torch.tensor(weight_values, dtype=torch.{program['dtype']})"
    if program["smoothing"]:
        options += f", label_smoothing={program['smoothing']}"
    if program["ignore_index"] != -100:
        options += f", ignore_index={program['ignore_index']}"
    return f"torch.nn.functional.cross_entropy(x, {t}, {options})"


def _formula(program: Program, inputs: Arrays) -> np.ndarray:
    o = np.moveaxis(inputs["x"], 1, -1)
    t = np.moveaxis(inputs["t"], 1, -1) if program["target"] == "probabilities" else inputs["t"]
    weights = np.asarray(inputs.get("weight", np.ones(program["classes"])), np.longdouble)
    smoothing: Any = np.longdouble(program["smoothing"])

    def loss(o: np.ndarray, t: np.ndarray, reduction: str) -> Any:
        options = (weights, smoothing, program["ignore_index"], reduction)
        return soft_cross_entropy(o, t, *options)[0]

    if program["reduction"] == "none":  # the sum over one place each
        places = np.ndindex(o.shape[:-1])
        losses = [loss(o[place][None], t[place][None], "sum") for place in places]
        return np.array(losses).reshape(o.shape[:-1])
    return np.asarray(loss(o, t, program["reduction"]))


def _scale(program: Program, inputs: Arrays) -> float:
    """Log-probabilities are differences of numbers as large as the inputs, and are added up."""
    largest = float(np.abs(inputs["x"]).max(initial=1)) * float(
        np.abs(inputs["cotangent"]).max(initial=1)
    )
    return 2 * largest * (program["rows"] if program["reduction"] == "sum" else 1)


FUNCTION = Function(
    "cross_entropy", FIELDS, _tidy, _shapes, _others, _expression, _formula, _adapt, scale=_scale
)
