"""torch.nn.functional.embedding and embedding_bag: padding_idx, frequencies, offsets, modes."""

from typing import Any

import numpy as np

from ..programs.fields import Choice, Program, Size
from ..programs.functions import Function
from ..programs.written import Arrays

FIELDS: dict[str, Any] = {
    "bag": Choice(("none", "sum", "mean", "max"), (3, 1, 1, 1)),
    "padding_idx": Choice((None, 1, -1)),
    "scale_grad_by_freq": Choice((False, True), (3, 1)),
    "sparse": Choice((False, True), (4, 1)),
    "index": Choice(("int64", "int32")),
    "per_sample_weights": Choice((False, True), (3, 1)),
    "include_last_offset": Choice((False, True), (3, 1)),
    "empty": Choice((False, True), (3, 1)),  # a bag without entries
    "repeated": Choice((False, True), (3, 1)),  # the same entry everywhere
    "entries": Size(3, 5),
    "features": Size(1, 18),
    "rows": Size(1, 5),
    "length": Size(1, 600),
}


def _tidy(program: Program) -> Program | None:
    if program["bag"] == "none":
        plain = {"per_sample_weights": False, "include_last_offset": False, "empty": False}
        program = program | plain
    if program["bag"] != "none" and program["road"] == "jvp":
        return None  # torch has no forward mode of bags
    if program["per_sample_weights"] and program["bag"] != "sum":
        return None
    if program["sparse"] and (program["bag"] == "max" or program["road"] != "backward"):
        return None
    if program["scale_grad_by_freq"]:
        if program["bag"] == "max" or program["per_sample_weights"] or program["sparse"]:
            return None
        if program["road"] != "backward" and program["road"] not in ("decomposed", "compiled"):
            return None  # it scales the gradient, and nothing else
    if program["bag"] == "max" and (program["road"] == "double" or program["length"] > 60):
        return None  # equal entries make kinks
    if program["rows"] * program["length"] * program["features"] > 700:
        return None
    return program


def _shapes(program: Program) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"weight": (program["entries"], program["features"])}
    if program["per_sample_weights"]:
        shapes["s"] = (program["rows"] * program["length"],)
    return shapes


def _others(program: Program, rng: np.random.Generator) -> Arrays:
    count = program["rows"] * program["length"]
    index = rng.integers(program["entries"], size=count)
    if program["repeated"]:
        index[:] = index[0]
    cuts = np.sort(rng.integers(0, count + 1, program["rows"] - 1))
    offsets = np.array([0, *cuts, count])
    if program["empty"]:
        offsets = np.array([0, *offsets])
    kind = program["index"]
    return {"index": index.astype(kind), "offsets": offsets.astype(kind)}


def _expression(program: Program) -> str:
    options = ""
    for name in ("padding_idx", "scale_grad_by_freq", "sparse"):
        if program[name] not in (None, False):
            options += f", {name}={program[name]}"
    if program["bag"] == "none":
        shape = program["rows"], program["length"]
        index = f"torch.tensor(index_values).reshape({shape})"
        return f"torch.nn.functional.embedding({index}, weight{options})"
    options += f", mode={program['bag']!r}"
    offsets = "offsets_values" if program["include_last_offset"] else "offsets_values[:-1]"
    if program["include_last_offset"]:
        options += ", include_last_offset=True"
    if program["per_sample_weights"]:
        options += ", per_sample_weights=s"
    index = "torch.tensor(index_values)"
    return f"torch.nn.functional.embedding_bag({index}, weight, torch.tensor({offsets}){options})"


def _formula(program: Program, inputs: Arrays) -> np.ndarray:
    weight, index, padding = (
        inputs["weight"],
        inputs["index"].astype(np.int64),
        program["padding_idx"],
    )
    if padding is not None:
        padding %= program["entries"]
    rows = weight[index]
    is_padding = index == padding if padding is not None else np.zeros(index.shape, bool)
    if program["bag"] == "none":
        stopped = np.real(rows)  # no gradient of the padding, and the values are kept
        rows = np.where(is_padding[:, None], stopped, rows)
        if program["scale_grad_by_freq"]:
            times = np.bincount(index, minlength=program["entries"])[index][:, None]
            rows = np.real(rows) + 1j * np.imag(rows) / times
        return rows.reshape(program["rows"], program["length"], -1)
    bags = []
    for start, end in zip(inputs["offsets"][:-1], inputs["offsets"][1:], strict=True):
        kept = [k for k in range(start, end) if not is_padding[k]]
        if not kept:
            bags.append(weight[0] * 0)
            continue
        entries = rows[kept]
        if program["scale_grad_by_freq"]:
            times = np.bincount(index, minlength=program["entries"])[index[kept]][:, None]
            entries = np.real(entries) + 1j * np.imag(entries) / times
        if program["per_sample_weights"]:
            entries = entries * inputs["s"][kept][:, None]
        if program["bag"] == "max":
            first = np.real(entries).argmax(0)
            bags.append(entries[first, np.arange(entries.shape[1])])
        else:
            bags.append(entries.sum(0) / (len(kept) if program["bag"] == "mean" else 1))
    return np.array(bags)


FUNCTION = Function(
    "embedding",
    FIELDS,
    _tidy,
    _shapes,
    _others,
    _expression,
    _formula,
    scale=lambda program, inputs: 8.0,
)
