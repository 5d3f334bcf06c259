"""A problem computed by torch on one execution path."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .backend import flags, identify_kernel
from .calls import (
    Call,
    Derivatives,
    Forward,
    Leaves,
    Prepared,
    call_of,
    forward_of,
    leaves_of,
    seed,
    time_major,
    with_leaves,
)
from .dtypes import DTYPES, array_of
from .path import ANY, Path
from .precision import stored
from .problem import Problem
from .variants import VARIANTS


class Outcome(NamedTuple):
    """The arrays that a path returned, by name, and the kernel that computed them."""

    results: dict[str, np.ndarray]
    kernel: str


def run(
    path: Path,
    problem: Problem,
    dtype: str,
    masks: Sequence[np.ndarray] = (),
    wrap: Callable[[Forward], Forward] | None = None,
    prepare: Callable[[Call], Prepared] | None = None,
) -> Outcome:
    """Outputs, final states and all gradients by name, computed on that path.

    The names are output, h_n, c_n, d_x, d_h_0, d_c_0, and d_ before a parameter's name; t_ before
    that of an output is its derivative along the problem's direction, hv_ in the place of d_ that
    of a gradient. `masks`
    are `dropout_masks` of the same problem. `wrap` wraps the path's Forward, to plant a fault.
    `prepare` replaces the path's implementation and variant: how a road calls nets (`roads`).
    Raises WrongKernel if torch ran another kernel than the path's, and TypeError if a result is
    not of the net's dtype.
    """
    tensor = _tensors(path, dtype)
    variant = VARIANTS[path.variant]
    kernels = []
    with flags(path):
        call = call_of(problem, tensor, masks)
        if prepare is None:
            forward, evaluate = forward_of(path.implementation), variant.evaluate
        else:
            forward, call, evaluate = prepare(call)
        if wrap is not None:
            forward = wrap(forward)
        if variant.wrap_call is not None:
            forward = variant.wrap_call(forward)
        if variant.call_before is not None:
            variant.call_before(forward, call)
        state, params = call.state or [], call.params
        leaves = leaves_of(call)
        cotangents = [
            None if d is None else tensor(d, problem.strided)
            for d in (problem.d_output, *problem.d_state)
        ]

        def forward_pass(others: Leaves | None = None) -> list[torch.Tensor]:
            if problem.net.dropout:
                seed(problem.seed, path.device)
            output, final = forward(call if others is None else with_leaves(call, others))
            values = [output, *final]
            if torch.is_grad_enabled() and others is None:
                used = [v for v, d in zip(values, cotangents, strict=True) if d is not None]
                kernels.append(identify_kernel(path, used))
            return values

        computed = Derivatives(*evaluate(forward_pass, leaves, cotangents))
    names = ["x", *["h_0", "c_0"][: len(state)], *params]
    results = {}
    for name, value in _by_name(computed, leaves, names).items():
        if value.dtype != DTYPES[dtype] and not path.variant.startswith("autocast"):
            raise TypeError(f"{name} of a {dtype} net has dtype {value.dtype}")
        results[name] = array_of(value)
    return Outcome(results, kernels[-1] if kernels else ANY)


def _by_name(
    computed: Derivatives, leaves: Leaves, names: Sequence[str]
) -> dict[str, torch.Tensor]:
    """The tensors that were computed, by name; a gradient that is None is 0."""
    outputs = ["output", "h_n", "c_n"][: len(computed.outputs)]
    found = dict(zip(outputs, computed.outputs, strict=True))
    for prefix, grads in (("d_", computed.grads), ("hv_", computed.products)):
        for name, grad, leaf in zip(names, grads or (), leaves, strict=False):
            found[f"{prefix}{name}"] = torch.zeros_like(leaf) if grad is None else grad
    tangents = zip(outputs, computed.tangents or (), strict=False)
    return found | {f"t_{name}": value for name, value in tangents}


def dropout_masks(problem: Problem, dtype: str) -> list[np.ndarray]:
    """The dropout masks of zeros and ones that torch's CPU code draws for a problem.

    One mask for each layer except the last, in the layout of the padded output.
    """
    net = problem.net
    if not net.dropout:
        return []
    T, B = time_major(problem, problem.x).shape[:2]
    padded_shape = (T, B, net.directions * net.output_size)
    shape: tuple[int, ...] = padded_shape
    packed = None
    if problem.lengths is not None:
        packed = pack_padded_sequence(
            torch.zeros(padded_shape),
            torch.tensor(problem.lengths),
            enforce_sorted=problem.enforce_sorted,
        )
        shape = tuple(packed.data.shape)
    seed(problem.seed, "cpu")
    masks = []
    for _ in range(net.num_layers - 1):
        drawn = torch.nn.functional.dropout(torch.ones(shape, dtype=DTYPES[dtype]), net.dropout)
        if packed is not None:
            drawn, _ = pad_packed_sequence(packed._replace(data=drawn))
        mask = (drawn != 0).double().numpy()
        mask = mask[:, 0] if problem.x.ndim == 2 else mask
        masks.append(mask.swapaxes(0, 1) if net.batch_first and mask.ndim == 3 else mask)
    return masks


def _tensors(path: Path, dtype: str) -> Callable[..., torch.Tensor]:
    """A function (array, strided) → tensor on the path's device.

    A strided tensor is not contiguous and has an offset in its storage, which holds NaN before
    and between the tensor's elements.
    """
    torch_dtype, device = DTYPES[dtype], torch.device(path.device)

    def tensor(array: np.ndarray, strided: bool = False) -> torch.Tensor:
        value = torch.from_numpy(stored(array, dtype))
        value = value.to(device, torch_dtype, copy=True)  # aligned: MKL's bits may depend on it
        if strided and value.dim() > 1:
            wider = torch.stack([torch.full_like(value, float("nan")), value], dim=-1)
            value = wider.transpose(0, 1).contiguous().transpose(0, 1)[..., 1]
        return value

    return tensor
