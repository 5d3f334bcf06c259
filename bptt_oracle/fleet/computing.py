"""One computation of a fixed case on a device: by torch's module, or in steps that keep all values.

The module runs the kernel that training runs, and shows its results. The loop of steps also shows
the gates, the states and their gradients at every step, so that a wrong bit is found where it
arose and not only where it has spread to. Imports torch.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import linear

from torch_impl.execution.backend import flags, identify_kernel
from torch_impl.execution.calls import Call, Result, call_of, forward_of
from torch_impl.execution.dtypes import DTYPES, array_of
from torch_impl.execution.path import ANY, Path
from torch_impl.execution.precision import stored
from torch_impl.execution.problem import Problem

from .fixed_cases import inputs_of

Touch = Callable[[str, int, torch.Tensor], None]


class Computed(NamedTuple):
    """All values by name, in the order of computation, and the kernel that ran."""

    values: dict[str, np.ndarray]
    kernel: str


def compute(
    problem: Problem, dtype: str, device: str, in_steps: bool, touch: Touch | None = None
) -> Computed:
    """The inputs as they are on the device after the computation, then every result.

    Results have torch_impl's names: output, h_n, c_n, and d_ before the name of an input. In steps
    there are also gates [T, B, 4 H] (i, f, g, o), c [T, B, H], and d_gates, d_c and d_h. `touch` is
    called with the name, the step and the tensor of each weight before a step, and of gates, c and
    output after they are computed; it may change the tensor, to plant a fault.
    """
    target = torch.device(device)
    path = Path("preflight", target.type, "module", ANY)

    def tensor(array: np.ndarray, strided: bool = False) -> torch.Tensor:
        value = torch.from_numpy(stored(array, dtype))
        return value.to(target, DTYPES[dtype], copy=True)

    on_device: Any = torch.cuda.device(target) if target.type == "cuda" else nullcontext()
    with flags(path), on_device:
        call = call_of(problem, tensor, ())
        kept: dict[str, list[torch.Tensor]] = {}
        if in_steps:
            output, final = _run_steps(call, kept, touch)
        else:
            output, final = forward_of("module")(call)
        results = [output, *final]
        leaves = dict(zip(inputs_of(problem), [*call.params.values(), call.x], strict=False))
        leaves |= dict(zip(("h_0", "c_0"), call.state or (), strict=False))
        cotangents = [tensor(d) for d in (problem.d_output, *problem.d_state) if d is not None]
        wanted = [*leaves.values(), *(value for steps in kept.values() for value in steps)]
        grads = torch.autograd.grad(results, wanted, cotangents)
        kernel = identify_kernel(path, results)
    values = dict(leaves) | dict(zip(("output", "h_n", "c_n"), results, strict=False))
    values |= {f"d_{name}": d for name, d in zip(leaves, grads, strict=False)}
    position = len(leaves)
    for name, steps in kept.items():
        if name != "h":  # it is the output
            values[name] = torch.stack(steps)
        values[f"d_{name}"] = torch.stack(grads[position : position + len(steps)])
        position += len(steps)
    return Computed({name: array_of(value) for name, value in values.items()}, kernel)


def _run_steps(call: Call, kept: dict[str, list[torch.Tensor]], touch: Touch | None) -> Result:
    """An LSTM of one layer, step by step: output and final states. `kept` receives the gates, c and
    h of each step."""
    p, (h, c) = call.params, [s[0] for s in call.state or ()]

    def keep(name: str, t: int, value: torch.Tensor) -> torch.Tensor:
        if touch is not None:
            touch("output" if name == "h" else name, t, value)
        kept.setdefault(name, []).append(value)
        return value

    for t, x in enumerate(call.x):
        if touch is not None:
            for name, weight in p.items():
                touch(name, t, weight)
        u = linear(x, p["weight_ih_l0"], p["bias_ih_l0"])
        i, f, g, o = (u + linear(h, p["weight_hh_l0"], p["bias_hh_l0"])).chunk(4, -1)
        parts = [torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)]
        i, f, g, o = keep("gates", t, torch.cat(parts, -1)).chunk(4, -1)
        c = keep("c", t, f * c + i * g)
        h = keep("h", t, o * torch.tanh(c))
    return torch.stack(kept["h"]), [h[None], c[None]]
