"""What is measured: each function yields rows, plain dicts whose keys name the columns."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .clock import ratio, rounds_of
from .contestants import GATES, Size, draw, floor, least, ours, theirs
from .memory import peak

Row = dict[str, Any]


def speed(size: Size, dtype: str, seconds: float) -> Iterable[Row]:
    """Ours against torch and against the least there is to do, forward and both passes."""
    for cell in GATES:
        problem = draw(cell, size, dtype)
        makers = ours, theirs, floor, least
        times = rounds_of([make(problem) for make in makers], seconds)
        (f_torch, torch), (f_floor, bare), (f_least, few) = (ratio(times, 0, k) for k in (1, 2, 3))
        f_ms, ms = np.median(times[:, 0], axis=0)
        yield {
            "size": tuple(size),
            "cell": cell,
            "dtype": dtype,
            "forward ms": f_ms,
            "forward / torch": f_torch,
            "forward / floor": f_floor,
            "forward / least": f_least,
            "both ms": ms,
            "both / torch": torch,
            "both / floor": bare,
            "both / least": few,
            "rounds": len(times),
        }


def packed(size: Size, seconds: float) -> Iterable[Row]:
    """Lengths spread evenly over 1 … T against T for all, forward and backward, float64."""
    for cell in GATES:
        short, full = draw(cell, size, half_padding=True), draw(cell, size)
        times = rounds_of([ours(short), ours(full), theirs(short), theirs(full)], seconds)
        rows = short.lengths.sum() / (size.T * size.B) if short.lengths is not None else 1
        yield {
            "size": tuple(size),
            "cell": cell,
            "rows kept": float(rows),
            "packed / dense": ratio(times, 0, 1)[1],
            "torch's": ratio(times, 2, 3)[1],
        }


def linear(steps: Sequence[int], seconds: float) -> Iterable[Row]:
    """Time against T at (B, I, H) = (16, 32, 32), float64: the exponent of the fitted power."""
    for cell in GATES:
        sizes = [Size(T, 16, 32, 32) for T in steps]
        times = rounds_of([ours(draw(cell, size)) for size in sizes], seconds)
        ms = np.median(times[:, :, 1], axis=0)
        exponent = np.polyfit(np.log(steps), np.log(ms), 1)[0]
        milliseconds = {f"T={T}": float(t) for T, t in zip(steps, ms, strict=True)}
        yield {"cell": cell, **milliseconds, "exponent": exponent}


def memory(size: Size) -> Iterable[Row]:
    """MB that forward and backward add to the process, float64."""
    for cell in GATES:
        mine, torch = (peak(who, cell, size, "float64") for who in ("ours", "theirs"))
        share = mine / torch if torch else float("nan")
        yield {
            "size": tuple(size),
            "cell": cell,
            "ours MB": mine,
            "torch MB": torch,
            "ours / torch": share,
        }


def targets(found: dict[str, list[Row]]) -> list[Row]:
    """What the project asks of itself, in float64, and the worst that was measured."""
    doubles = [row for row in found["speed"] if row["dtype"] == "float64"]
    shares = [row["both / torch"] for row in doubles]
    wide = [row for row in doubles if row["size"][3] >= 128]
    asked = [
        ("both passes / torch, each", 0.85, doubles, "both / torch"),
        ("both passes / floor, H ≥ 128", 1.35, wide, "both / floor"),
        ("packed at half padding / dense", 0.6, found["packed"], "packed / dense"),
        ("exponent of T", 1.05, found["linear"], "exponent"),
        ("peak memory / torch's", 1.0, found["memory"], "ours / torch"),
        ("ms a result of check, small cases", 2.5, found["throughput"][1:], "ms a result"),
    ]
    mean = float(np.exp(np.mean(np.log(shares))))
    rows: list[Row] = [
        {
            "target": "both passes / torch, geometric mean",
            "at most": 0.45,
            "worst": mean,
            "met by": f"{int(mean <= 0.45)} of 1",
        }
    ]
    for name, limit, of, column in asked:
        values = [row[column] for row in of if not np.isnan(row[column])]
        if values:
            met = sum(value <= limit for value in values)
            rows.append(
                {
                    "target": name,
                    "at most": limit,
                    "worst": max(values),
                    "met by": f"{met} of {len(values)}",
                }
            )
    return rows
