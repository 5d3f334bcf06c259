"""Tensors of a layout within a buffer whose other elements are guards.

    contiguous    rows one after another, from the start of the buffer
    offset        the same, from the second element
    transposed    the last axis has the largest stride
    columns       the first columns of wider rows; every second element of a vector
    permuted      the second of three or more axes is the innermost, as in channels_last; of two
                  axes, the first columns of a wider transposed matrix
    expanded      stride 0 along the first axis, as the gradient of a sum; gradients only

The buffer goes on after the last element by as many guards as a read of contiguous memory of the
tensor's size would touch.
"""

from math import prod
from typing import NamedTuple

import numpy as np
import torch

LAYOUTS = ("contiguous", "offset", "transposed", "columns", "permuted")
GRADIENT_LAYOUTS = (*LAYOUTS, "expanded")
MORE = 3  # columns that the tensor does not have
GUARDS = torch.tensor([0.71875, -1.28125, 2.4375, 0.0859375, -0.65625])  # exact in every dtype
AFTER = 64  # guards beyond the size of the tensor
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Placed(NamedTuple):
    """A tensor and the buffer that holds it."""

    tensor: torch.Tensor
    buffer: torch.Tensor
    inside: torch.Tensor  # bool, which elements of the buffer are the tensor's

    def bits(self) -> torch.Tensor:
        """The bits of the whole buffer, a copy."""
        return self.buffer.detach().view(_BITS[self.buffer.element_size()]).clone()


def strides_of(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The strides of a tensor of this shape."""
    axes = list(range(len(shape)))
    sizes = list(shape)
    if layout == "transposed":
        axes.reverse()
    elif layout == "permuted" and len(shape) > 2:
        axes.append(axes.pop(1))
    elif layout == "permuted":
        axes.reverse()
    if axes and layout in ("columns", "permuted"):
        sizes[axes[-1]] += MORE
    strides = [prod(sizes[b] for b in axes[k + 1 :]) for k in range(len(axes))]
    by_axis = [strides[axes.index(axis)] for axis in range(len(shape))]
    if len(shape) == 1 and layout in ("columns", "transposed", "permuted"):
        by_axis = [2]
    if layout == "expanded" and shape:
        by_axis = [0, *(prod(shape[k + 2 :]) for k in range(len(shape) - 1))]
    return tuple(by_axis)


def place(values: torch.Tensor, layout: str, guards: torch.Tensor) -> Placed:
    """A copy of `values` in a layout; `guards`, repeated, fill the other elements of the buffer."""
    shape, strides = tuple(values.shape), strides_of(tuple(values.shape), layout)
    offset = 1 if layout == "offset" else 0
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    size = max(last + 1, offset + values.numel()) + values.numel() + AFTER
    buffer = guards.to(values.dtype).repeat(-(-size // len(guards)))[:size].clone()
    inside = torch.zeros(size, dtype=torch.bool)
    inside.as_strided(shape, strides, offset).fill_(True)
    tensor = buffer.as_strided(shape, strides, offset)
    if layout == "expanded" and shape:
        tensor.select(0, 0).copy_(values.select(0, 0))
    else:
        tensor.copy_(values)
    return Placed(tensor, buffer, inside)


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """A copy in float64."""
    array: np.ndarray = tensor.detach().clone().double().numpy()
    return array
