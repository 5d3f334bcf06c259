"""The measurements. Each is a row of a table: a dict whose keys are the column names."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .clock import PROCESSOR, WALL, median_ratio, time_rounds
from .contestants import GATES, Size, draw, floor, least, reference_net, torch_net
from .memory import measure_peak
from .peers import PEERS, installed_peers

Measurement = dict[str, Any]
WALL_COLUMNS = ("wall ms", "wall / torch")  # of both passes


def measure_speed(size: Size, dtype: str, seconds: float) -> Iterable[Measurement]:
    """Forward and both passes of the reference, against torch, the floor and `least`."""
    for cell in GATES:
        workload = draw(cell, size, dtype)
        makers = reference_net, torch_net, floor, least
        times = time_rounds([make(workload) for make in makers], seconds)
        to_torch, to_floor, to_least = (median_ratio(times, 0, k) for k in (1, 2, 3))
        ms = np.median(times[:, 0], axis=0)
        row: Measurement = {"size": tuple(size), "cell": cell, "dtype": dtype}
        for name, column in (("forward", 0), ("both", 1)):
            row |= {
                f"{name} ms": ms[PROCESSOR, column],
                f"{name} / torch": to_torch[PROCESSOR, column],
                f"{name} / floor": to_floor[PROCESSOR, column],
                f"{name} / least": to_least[PROCESSOR, column],
            }
        yield row | {
            "wall ms": ms[WALL, 1],
            "wall / torch": to_torch[WALL, 1],
            "rounds": len(times),
        }


def measure_peers(size: Size, seconds: float) -> Iterable[Measurement]:
    """Both passes of torch and of every installed peer, against the reference; float64."""
    names = installed_peers()
    for cell in GATES if names else ():
        workload = draw(cell, size)
        makers = reference_net, torch_net, *(PEERS[name] for name in names)
        times = time_rounds([make(workload) for make in makers], seconds)
        for k, name in enumerate(["torch", *names], start=1):
            ratio = median_ratio(times, 0, k)[:, 1]
            processor_ms, wall_ms = np.median(times[:, k, :, 1], axis=0)
            yield {
                "size": tuple(size),
                "cell": cell,
                "peer": name,
                "both ms": processor_ms,
                "ours / peer": ratio[PROCESSOR],
                "wall ms": wall_ms,
                "wall, ours / peer": ratio[WALL],
                "rounds": len(times),
            }


def measure_packed(size: Size, seconds: float) -> Iterable[Measurement]:
    """Both passes with lengths spread evenly over 1 … T, against length T for all; float64."""
    for cell in GATES:
        short, full = draw(cell, size, half_padding=True), draw(cell, size)
        times = time_rounds(
            [reference_net(short), reference_net(full), torch_net(short), torch_net(full)], seconds
        )
        rows = short.lengths.sum() / (size.T * size.B) if short.lengths is not None else 1
        yield {
            "size": tuple(size),
            "cell": cell,
            "rows kept": float(rows),
            "packed / dense": median_ratio(times, 0, 1)[PROCESSOR, 1],
            "torch's": median_ratio(times, 2, 3)[PROCESSOR, 1],
        }


def measure_linear(steps: Sequence[int], seconds: float) -> Iterable[Measurement]:
    """Time of both passes at (B, I, H) = (16, 32, 32) for several T, and the exponent of the fitted
    power of T; float64."""
    for cell in GATES:
        sizes = [Size(T, 16, 32, 32) for T in steps]
        times = time_rounds([reference_net(draw(cell, size)) for size in sizes], seconds)
        ms = np.median(times[:, :, PROCESSOR, 1], axis=0)
        exponent = np.polyfit(np.log(steps), np.log(ms), 1)[0]
        milliseconds = {f"T={T}": float(t) for T, t in zip(steps, ms, strict=True)}
        yield {"cell": cell, **milliseconds, "exponent": exponent}


def measure_memory(size: Size) -> Iterable[Measurement]:
    """Peak memory of both passes, in MB, float64."""
    for cell in GATES:
        mine, torch = (
            measure_peak(name, cell, size, "float64") for name in ("reference_net", "torch_net")
        )
        share = mine / torch if torch else float("nan")
        yield {
            "size": tuple(size),
            "cell": cell,
            "ours MB": mine,
            "torch MB": torch,
            "ours / torch": share,
        }


def compare_with_targets(results: dict[str, list[Measurement]]) -> list[Measurement]:
    """The targets of the project, in float64, each with the worst result and how many meet it."""
    doubles = [row for row in results["speed"] if row["dtype"] == "float64"]
    shares = [row["both / torch"] for row in doubles]
    wide = [row for row in doubles if row["size"][3] >= 128]
    mean = [{"mean": float(np.exp(np.mean(np.log(shares))))}]
    targets = [
        ("both passes / torch, geometric mean", 0.45, mean, "mean"),
        ("both passes / torch, geometric mean", 0.62, mean, "mean"),
        ("both passes / torch, each", 0.85, doubles, "both / torch"),
        ("both passes / torch, each", 0.9, doubles, "both / torch"),
        ("both passes / floor, H ≥ 128", 1.35, wide, "both / floor"),
        ("both passes / least, H ≥ 128", 1.2, wide, "both / least"),
        ("packed at half padding / dense", 0.6, results["packed"], "packed / dense"),
        ("exponent of T", 1.05, results["linear"], "exponent"),
        ("peak memory / torch's", 1.0, results["memory"], "ours / torch"),
        ("ms a result of check, small cases", 2.5, results["throughput"][1:], "ms a result"),
    ]
    rows: list[Measurement] = []
    for name, limit, of, column in targets:
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
