"""Packed and padded sequences: every function of torch.nn.utils.rnn there and back, and methods.

A program pads or packs rows of random lengths, applies one method of PackedSequence, and comes
back. Truth is the rows themselves: nothing rounds.
"""

from typing import Any

import numpy as np

from ..programs.fields import Choice, Program, Size
from ..programs.layouts import LAYOUTS, tensor_source, values_in
from ..programs.written import Arrays, Move, Written

METHODS = {
    "none": "packed",
    "to copy": "packed.to(copy=True)",
    "to dtype": "packed.to(torch.float64)",
    "double": "packed.double()",
    "cpu": "packed.cpu()",
    "to other": "packed.to(packed.data)",
    "rebuilt": "torch.nn.utils.rnn.PackedSequence(*packed)",
    "replaced": "packed._replace(data=packed.data * 1)",
    "pickled": "pickle.loads(pickle.dumps(packed))",
    "copied": "copy.deepcopy(packed)",
}
FIELDS: dict[str, Any] = {
    "way": Choice(("pack_padded", "pack_sequence", "pad_sequence", "unpad", "unpack")),
    "method": Choice(tuple(METHODS), (4, *[0.5] * (len(METHODS) - 1))),
    "dtype": Choice(("float32", "float64", "bfloat16", "float16")),
    "layout": Choice(LAYOUTS, (3, 1, 1, 1, 1, 1)),
    "batch_first": Choice((False, True)),
    "sorted": Choice((True, False)),
    "lengths": Choice(("tensor", "list", "int32")),
    "padding_value": Choice((0.0, -1.5, float("inf"))),
    "padding_side": Choice(("right", "left"), (3, 1)),
    "total_length": Choice((0, 2), (3, 1)),  # more than the longest row
    "gradient": Choice((False, True)),
    "features": Choice((2, 1)),
    "T": Size(1, 6),
    "B": Size(1, 5),
}


def _tidy(program: Program) -> Program | None:
    way = program["way"]
    if way not in ("pack_padded", "pack_sequence"):
        program = program | {"method": "none", "total_length": 0, "sorted": False}
    if way != "pad_sequence":
        program = program | {"padding_side": "right"}
    if way != "pack_padded" and way != "unpad":
        program = program | {"lengths": "tensor"}
    if way in ("unpad", "unpack"):
        program = program | {"padding_value": 0.0}
    if way == "unpad" and program["gradient"]:
        return None  # known: it transposes its argument in place
    if way == "unpad" and program["lengths"] == "list":
        return None  # known: a list is not accepted
    if way in ("pack_sequence", "pad_sequence", "unpack") and program["layout"] != "contiguous":
        return None  # has no padded input
    if program["method"] in ("copied", "pickled") and program["gradient"]:
        return None  # only leaves can be copied
    return program


def _lengths(program: Program) -> np.ndarray:
    rng = np.random.default_rng(program["seed"] + 1)
    lengths = rng.integers(1, program["T"] + 1, program["B"])
    lengths[0] = program["T"]
    if program["sorted"]:
        return np.sort(lengths)[::-1].copy()
    return rng.permutation(lengths)


def _shape(program: Program) -> tuple[int, ...]:
    """Of the padded input."""
    T, B, F = program["T"], program["B"], program["features"]
    return (B, T, F) if program["batch_first"] else (T, B, F)


def _inputs(program: Program, rng: np.random.Generator) -> Arrays:
    x = values_in(program["layout"], _shape(program), rng)
    out = _truth_of_values(program, x)
    d_out = np.round(rng.uniform(-2, 2, out.shape), 2)
    return {"x": x, "lengths": _lengths(program), "d_out": d_out}


def _source(program: Program) -> str:
    dtype, first = program["dtype"], program["batch_first"]
    lines = "import copy\nimport pickle\n"
    lines += "rnn = torch.nn.utils.rnn\n"
    lines += tensor_source("x", program["layout"], _shape(program), dtype)
    if program["gradient"]:
        lines += "x.requires_grad_()\n"
    kind = {"list": "lengths_values.tolist()", "int32": "torch.tensor(lengths_values).int()"}
    lines += f"lengths = {kind.get(program['lengths'], 'torch.tensor(lengths_values)')}\n"
    lines += f"columns = {'x' if first else 'x.transpose(0, 1)'}\n"
    lines += "rows = [row[:n] for row, n in zip(columns, lengths_values.tolist())]\n"
    value = f"float({str(program['padding_value'])!r})"
    way, enforce = program["way"], program["sorted"]
    if way == "pad_sequence":
        lines += f"out = rnn.pad_sequence(rows, {first}, {value}, {program['padding_side']!r})\n"
    elif way == "unpad":
        lines += f"out = torch.cat(rnn.unpad_sequence(x, lengths, {first}))\n"
    elif way == "unpack":
        lines += "packed = rnn.pack_sequence(rows, enforce_sorted=False)\n"
        lines += "out = torch.cat(rnn.unpack_sequence(packed))\n"
    else:
        if way == "pack_padded":
            lines += f"packed = rnn.pack_padded_sequence(x, lengths, {first}, {enforce})\n"
        else:
            lines += f"packed = rnn.pack_sequence(rows, {enforce})\n"
        lines += f"packed = {METHODS[program['method']]}\n"
        total = f", {program['T'] + program['total_length']}" if program["total_length"] else ""
        lines += f"out, n = rnn.pad_packed_sequence(packed, {first}, {value}{total})\n"
    lines += "results = {'out': out}\n"
    if way in ("pack_padded", "pack_sequence"):
        lines += "results['lengths'] = n\n"
    if program["gradient"]:
        lines += "(d_x,) = torch.autograd.grad(out, x, torch.tensor(d_out_values).to(out.dtype))\n"
        lines += "results['d_x'] = d_x\n"
    return lines


def _mask(program: Program) -> np.ndarray:
    """Which elements of the padded input belong to rows, [B, T]."""
    mask: np.ndarray = np.arange(program["T"]) < _lengths(program)[:, None]
    return mask


def _truth_of_values(program: Program, x: np.ndarray) -> np.ndarray:
    rows = x if program["batch_first"] else x.swapaxes(0, 1)
    lengths = _lengths(program)
    if program["way"] in ("unpad", "unpack"):
        return np.concatenate([row[:n] for row, n in zip(rows, lengths, strict=True)])
    out = np.full(
        (program["B"], program["T"] + program["total_length"], program["features"]),
        program["padding_value"],
        x.dtype,
    )
    for k, n in enumerate(lengths):
        at = slice(program["T"] - n, None) if program["padding_side"] == "left" else slice(n)
        out[k, at] = rows[k, :n]
    return out if program["batch_first"] else out.swapaxes(0, 1)


def _truth(program: Program, inputs: Arrays, move: Move) -> Arrays:
    found = {"out": move(_truth_of_values(program, inputs["x"]))}
    if program["way"] in ("pack_padded", "pack_sequence"):
        found["lengths"] = _lengths(program).astype(np.float64)
    if program["gradient"]:
        x = inputs["x"]
        index = np.arange(x.size).reshape(x.shape).astype(np.float64) + 1
        places = _truth_of_values(program | {"padding_value": 0.0}, index).astype(int)
        d_x = np.zeros(x.size + 1, x.dtype)
        np.add.at(d_x, places.ravel(), inputs["d_out"].ravel())
        found["d_x"] = d_x[1:].reshape(x.shape)
    return found


WRITTEN = Written("packing", FIELDS, _tidy, _inputs, _source, _truth)
