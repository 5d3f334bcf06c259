"""torch.nn.functional.ctc_loss after log_softmax: lengths, blanks, reductions, zero_infinity.

Truth is the reference, the sum over all alignments (Graves et al. 2006). A label that is the blank,
or no class, must be rejected.
"""

from typing import Any

import numpy as np

from reference.activations import log_softmax
from reference.models.ctc import ctc, mean_per_label

from ..programs.fields import Choice, Program, Size
from ..programs.functions import Function
from ..programs.written import Arrays

FIELDS: dict[str, Any] = {
    "normalized": Choice((True, False), (3, 1)),  # False: log_probs are the leaf
    "labels": Choice(("valid", "repeated", "outside"), (4, 2, 0.5)),
    "reduction": Choice(("mean", "sum", "none")),
    "blank": Choice((0, 1)),
    "zero_infinity": Choice((False, True), (3, 1)),
    "lengths": Choice(("full", "shorter", "too few steps", "no labels"), (3, 2, 1, 1)),
    "targets": Choice(("padded", "concatenated"), (3, 1)),
    "size": Choice(("ordinary", "large"), (4, 1)),
    "T": Size(2, 9),
    "B": Size(1, 3),
    "classes": Size(2, 4),
    "S": Size(1, 4),
}


def _tidy(program: Program) -> Program | None:
    if program["labels"] == "repeated" and program["S"] == 1:
        return None
    if program["dtype"] in ("bfloat16", "float16"):
        return None  # torch has no CTC loss for them
    if program["lengths"] != "too few steps" and program["T"] < 2 * program["S"]:
        return None
    if program["lengths"] == "too few steps" and not program["zero_infinity"]:
        return None  # the loss is infinite, and has no gradient
    if program["road"] in ("double", "jvp"):
        return None  # torch has neither
    return program


def _shapes(program: Program) -> dict[str, tuple[int, ...]]:
    return {"x": (program["T"], program["B"], program["classes"])}


def _adapt(program: Program, inputs: Arrays) -> Arrays:
    if program["size"] == "large":
        inputs["x"] = inputs["x"] * 16
    if not program["normalized"]:
        inputs["x"] = np.round(log_softmax(inputs["x"]), 3)
    return inputs


def _others(program: Program, rng: np.random.Generator) -> Arrays:
    T, B, C, S = (program[n] for n in ("T", "B", "classes", "S"))
    labels = [c for c in range(C) if c != program["blank"]]
    t = rng.choice(labels, size=(B, S))
    if program["labels"] == "repeated":
        t[:] = t[:, :1]
    if program["labels"] == "outside":
        t[0, 0] = rng.choice([C, C + 3, -1])
    lengths, label_lengths = np.full(B, T), np.full(B, S)
    if program["lengths"] == "shorter":
        lengths, label_lengths = rng.integers(2 * S, T + 1, B), rng.integers(1, S + 1, B)
    if program["lengths"] == "too few steps":
        lengths[0] = min(T, S - 1)
    if program["lengths"] == "no labels":
        label_lengths[0] = 0
    return {"t": t, "lengths": lengths, "label_lengths": label_lengths}


def _expression(program: Program) -> str:
    x = "x.log_softmax(-1)" if program["normalized"] else "x"
    t = "torch.tensor(t_values)"
    if program["targets"] == "concatenated":
        t = "torch.tensor(np.concatenate([r[:n] for r, n in zip(t_values, label_lengths_values)]))"
    options = f", blank={program['blank']}, reduction={program['reduction']!r}"
    if program["zero_infinity"]:
        options += ", zero_infinity=True"
    return (
        f"torch.nn.functional.ctc_loss({x}, {t}, torch.tensor(lengths_values), "
        f"torch.tensor(label_lengths_values){options})"
    )


def _formula(program: Program, inputs: Arrays) -> np.ndarray:
    y = log_softmax(inputs["x"]) if program["normalized"] else inputs["x"]
    if program["labels"] == "outside":
        return np.zeros(program["B"] if program["reduction"] == "none" else ())
    steps, lengths = inputs["lengths"], inputs["label_lengths"]
    losses, _ = ctc(y, inputs["t"], np.maximum(steps, 1), lengths, program["blank"])
    # The reference rejects a row without steps; only without labels is there a path.
    losses = np.where(steps > 0, losses, np.where(lengths > 0, np.inf, 0))
    if program["zero_infinity"]:
        losses = np.where(np.isinf(np.real(losses)), 0, losses)
    if program["reduction"] == "mean":
        return np.asarray(mean_per_label(losses, lengths))
    return np.asarray(losses.sum()) if program["reduction"] == "sum" else losses


def _invalid(program: Program) -> str:
    return "a label that is not a class" if program["labels"] == "outside" else ""


FUNCTION = Function(
    "ctc_loss",
    FIELDS,
    _tidy,
    _shapes,
    _others,
    _expression,
    _formula,
    _adapt,
    _invalid,
    scale=lambda program, inputs: 8 * float(np.abs(inputs["x"]).max(initial=1)) * program["T"],
)
