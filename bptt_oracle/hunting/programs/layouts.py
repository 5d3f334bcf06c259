"""Layouts of a tensor in memory, as source code, with canaries in the memory around it.

Every layout holds the values of an array `NAME_values`. Where the tensor is a part of a larger
buffer, the rest of the buffer is CANARY, and must be so afterwards.
"""

from collections.abc import Sequence

import numpy as np

LAYOUTS: tuple[str, ...] = (
    "contiguous",
    "transposed",
    "columns",
    "every second",
    "expanded",
    "overlapping",
)
WRITABLE = LAYOUTS[:4]  # of which no two elements share memory
CANARY = 7.0


def _product(sizes: Sequence[int]) -> int:
    """1 if there are none."""
    product = 1
    for size in sizes:
        product *= size
    return product


def values_in(layout: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random numbers of two decimals that the layout can hold: an expanded tensor has equal rows,
    an overlapping one is a window that moves by one element."""
    if layout == "expanded" and shape and shape[0]:
        return np.broadcast_to(_numbers((1, *shape[1:]), rng), shape).copy()
    if layout == "overlapping" and _product(shape):
        row = _product(shape[1:])
        base = _numbers((shape[0] - 1 + row,), rng)
        return np.array([base[i : i + row] for i in range(shape[0])]).reshape(shape)
    return _numbers(shape, rng)


def _numbers(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return np.round(rng.uniform(-2, 2, shape), 2)


def tensor_source(name: str, layout: str, shape: tuple[int, ...], dtype: str) -> str:
    """Lines that define the tensor `name` from the array `name_values`."""
    values = f"torch.tensor({name}_values, dtype=torch.{dtype})"
    if layout == "contiguous" or not shape or not _product(shape):
        return f"{name} = {values}\n"
    if layout == "transposed":
        axes = ", ".join(map(str, reversed(range(len(shape)))))
        return f"{name} = {values}.permute({axes}).contiguous().permute({axes})\n"
    full = f"torch.full({{}}, {CANARY}, dtype=torch.{dtype})"
    if layout == "columns":
        base, view = (*shape[:-1], shape[-1] + 3), f"[..., :{shape[-1]}]"
    elif layout == "every second":
        base, view = (2 * shape[0], *shape[1:]), "[::2]"
    elif layout == "expanded":
        row = _product(shape[1:])
        lines = f"{name}_base = {full.format((row + 3 * _product(shape),))}\n"
        lines += f"{name}_base[:{row}] = {values}[0].reshape(-1)\n"
        return lines + f"{name} = {name}_base[:{row}].reshape({shape[1:]}).expand({shape})\n"
    else:
        row = _product(shape[1:])
        length = shape[0] - 1 + row
        lines = f"{name}_base = {full.format((3 * _product(shape) + length,))}\n"
        lines += f"{name}_base[:{row}] = {values}[0].reshape(-1)\n"
        lines += f"{name}_base[{row - 1}:{length}] = {values}.reshape({shape[0]}, {row})[:, -1]\n"
        strides = (1, *(_product(shape[k + 1 :]) for k in range(1, len(shape))))
        return lines + f"{name} = {name}_base.as_strided({shape}, {strides})\n"
    return (
        f"{name}_base = {full.format(base)}\n{name} = {name}_base{view}\n{name}.copy_({values})\n"
    )


def canary_source(name: str, layout: str, shape: tuple[int, ...]) -> str:
    """Lines that keep the memory around a writable tensor as the result `outside NAME`."""
    if not shape or not _product(shape):
        return ""
    part = {"columns": f"[..., {shape[-1]}:]", "every second": "[1::2]"}.get(layout)
    return f'results["outside {name}"] = {name}_base{part}\n' if part else ""


def canaries(name: str, layout: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What `canary_source` must find."""
    if not shape or not _product(shape) or layout not in ("columns", "every second"):
        return {}
    rest = (*shape[:-1], 3) if layout == "columns" else shape
    return {f"outside {name}": np.full(rest, CANARY)}
