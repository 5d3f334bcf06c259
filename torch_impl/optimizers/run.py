"""Run torch's optimisers in their forms.

    loop             one operation after another, for each parameter
    foreach          one operation for all parameters
    fused            one kernel for the whole step; SGD, Adam, AdamW and Adagrad on the CPU
    differentiable   operations that autograd records; gradients that require grad
    capturable       scalars are tensors; torch rejects it on the CPU outside of a compiler
    compiled         the loop form through torch.compile; minutes for many cases
    compiled-capturable     the same with capturable=True

A run raises WrongKernel unless its first step called the operations that the form names.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..execution.path import WrongKernel
from .layouts import GUARDS, Placed, array_of, place
from .table import OPTIMIZERS, Options, slots_of

FORMS = ("loop", "foreach", "fused", "differentiable", "capturable")
COMPILED_FORMS = ("compiled", "compiled-capturable")
_FLAGS: dict[str, dict[str, bool]] = {
    "loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "differentiable": {"differentiable": True},
    "capturable": {"foreach": False, "capturable": True},
    "compiled": {"foreach": False},
    "compiled-capturable": {"foreach": False, "capturable": True},
}
_NAN = torch.tensor([torch.nan])
OUTSIDE, GRADIENTS = "memory outside the parameters", "memory of the gradients"


class OptimizerProblem(NamedTuple):
    """What an optimiser is run on: arrays by name, rounded to the tested dtype."""

    optimizer: str
    options: Options
    theta: dict[str, np.ndarray]
    grads: list[dict[str, np.ndarray]]  # of each step
    layout: str
    gradient_layout: str


class Answer(NamedTuple):
    """Parameters and states after the last step, and which memory was changed against the rules."""

    results: dict[str, np.ndarray]
    kernel: str
    damaged: dict[str, bool]


def forms_of(optimizer: str) -> tuple[str, ...]:
    """The forms of an optimiser, compiled ones at the end."""
    row = OPTIMIZERS[optimizer]
    lacks = {"fused"} if not row.fused else set()
    if optimizer in ("SGD", "Adagrad"):
        lacks |= {"capturable", "compiled-capturable"}
    return tuple(form for form in (*FORMS, *COMPILED_FORMS) if form not in lacks)


def exclusion_reason(form: str) -> str:
    """Why a form cannot run on the CPU; empty if it can."""
    return "torch rejects capturable on the CPU" if form == "capturable" else ""


def run(problem: OptimizerProblem, dtype: str, form: str) -> Answer:
    """The parameters and states after all steps. Raises what torch raises, and WrongKernel."""
    kind = getattr(torch, dtype)
    placed = {
        n: place(torch.tensor(v, dtype=kind), problem.layout, GUARDS)
        for n, v in problem.theta.items()
    }
    differentiable = form == "differentiable"
    tensors = {n: p.tensor if differentiable else _leaf(p.tensor) for n, p in placed.items()}
    before = {n: p.bits() for n, p in placed.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of .grad of a tensor that is not a leaf, of the compiler
        optimizer = getattr(torch.optim, problem.optimizer)(
            list(tensors.values()), **problem.options, **_FLAGS[form]
        )
        step = _step_of(optimizer, form)
        called: set[str] = set()
        gradients_changed = False
        for number, arrays in enumerate(problem.grads):
            gradients = {
                n: place(torch.tensor(v, dtype=kind), problem.gradient_layout, _NAN)
                for n, v in arrays.items()
            }
            bits = [g.bits() for g in gradients.values()]
            for n, tensor in tensors.items():
                gradient = gradients[n].tensor
                tensor.grad = _leaf(gradient) if differentiable else gradient
            with _recorded(called if number == 0 and form not in COMPILED_FORMS else None):
                step()
            gradients_changed |= any(
                bool((g.bits() != b).any()) for g, b in zip(gradients.values(), bits, strict=True)
            )
    kernel = _kernel_of(called, form)
    outside = any(bool((p.bits() != before[n])[~p.inside].any()) for n, p in placed.items())
    results = _results(problem, optimizer, tensors, placed)
    return Answer(results, kernel, {OUTSIDE: outside, GRADIENTS: gradients_changed})


def _leaf(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().requires_grad_()


def _step_of(optimizer: torch.optim.Optimizer, form: str) -> Any:
    if form not in COMPILED_FORMS:
        return optimizer.step
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    return torch.compile(lambda: optimizer.step(), fullgraph=False)


def _results(
    problem: OptimizerProblem,
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, torch.Tensor],
    placed: dict[str, Placed],
) -> dict[str, np.ndarray]:
    """θ by name, and every array and number of the state by the name of θ, a dot, and torch's."""
    numbers = OPTIMIZERS[problem.optimizer].numbers(1, problem.options)
    slots = [s.name for s in slots_of(problem.optimizer, problem.options) if s is not None]
    results = {}
    for name, tensor in tensors.items():
        results[name] = array_of(placed[name].tensor)
        state = optimizer.state[tensor]
        for key in (*slots, *numbers):
            value = state.get(key)
            results[f"{name}.{key}"] = (
                array_of(torch.as_tensor(value)) if value is not None else np.empty(0)
            )
    return results


class _Recorder(TorchDispatchMode):
    """Adds the names of the operations that are called to a set."""

    def __init__(self, names: set[str]):
        super().__init__()  # type: ignore[no-untyped-call]
        self.names = names

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


@contextmanager
def _recorded(names: set[str] | None) -> Iterator[None]:
    if names is None:
        yield
        return
    with _Recorder(names):
        yield


def _kernel_of(called: set[str], form: str) -> str:
    """The form that ran. Raises WrongKernel if it is another than the one named."""
    if form in COMPILED_FORMS:
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        if not graphs:
            raise WrongKernel(f"the form {form} compiled nothing")
        return f"{graphs} graphs"
    ran = "loop"
    for name in ("foreach", "fused"):
        if any(f"._{name}_" in op for op in called):
            ran = name
    if ran != {"differentiable": "loop", "capturable": "loop"}.get(form, form):
        raise WrongKernel(f"the form {form} ran the {ran} form")
    return ran
