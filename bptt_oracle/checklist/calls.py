"""Call a function as checks need it: repeatable, in evaluation mode, and without a trace.

A check calls a model several times and compares what it returns. The modules that a function
refers to are put in evaluation mode, so that dropout is off; random numbers start from one seed;
a state that a module keeps is put back after every call; TF32 is off. The coarsest type in which a
module computes is noted, because under autocast results in float32 are rounded like bfloat16.
"""

import functools
import inspect
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from .comparison import change, difference, disagreement, epsilon, largest_difference
from .kept_state import kept_state
from .values import map_tensors, tensors_in

SEARCH_DEPTH = 4  # functions, methods and objects on the way to a module
NOISE_FACTOR, COARSE_NOISE_FACTOR = 16, 2  # as R; a half type moves weights far
LARGEST_CONTAINER = 100  # items in which modules are looked for; data sets are longer


class Caller:
    """Calls a function of the user, and compares what it returns."""

    def __init__(self, function: Callable[..., Any], training: bool | None = False) -> None:
        self.function = function
        self.modules = modules_of(function)
        self.training = training  # None leaves every module in its own mode
        self.eps = 0.0  # of the coarsest type seen
        self.first_arguments: tuple[Any, ...] | None = None

    def __call__(self, *args: Any, seed: int = 0) -> Any:
        """What the function returns, without a graph."""
        if self.first_arguments is None:
            self.first_arguments = args
        with ExitStack() as stack:
            for module in self.modules:
                stack.enter_context(kept_state(module))
                if self.training is not None:
                    stack.enter_context(set_mode(module, self.training))
            stack.enter_context(fixed_seed(seed))
            stack.enter_context(full_precision())
            stack.enter_context(torch.no_grad())
            dtypes = stack.enter_context(record_dtypes())
            returned = map_tensors(lambda t: t.detach().clone(), self.function(*args))
        self.eps = max([self.eps, *map(epsilon, dtypes)])
        return returned

    def difference(self, actual: Tensor, expected: Tensor) -> float:
        """0 within rounding, of the coarsest type seen."""
        return difference(actual, expected, self.eps)

    def disagreement(self, actual: Tensor, expected: Tensor) -> float:
        """The difference of two results that should be the same.

        Raises ValueError if a half type is so coarse that it decides nothing, or if weights moved
        by one rounding change the first result as much, as in a chaotic net.
        """
        found = disagreement(actual, expected, self.eps)
        if math.isfinite(found) and found and found <= (noise := self.noise()):
            raise ValueError(
                f"Expected results that agree or clearly differ, got a difference of {found:.2g} "
                f"where rounding the weights once may cause {noise:.2g}; use float64, shorter "
                "sequences or smaller weights."
            )
        return found

    def noise(self) -> float:
        """A multiple of the change of the first result when every weight is rounded once more."""
        assert self.first_arguments is not None
        before = tensors_in(self(*self.first_arguments))
        with moved_weights(self.modules):
            after = tensors_in(self(*self.first_arguments))
        changes = [largest_difference(a, b) for a, b in zip(after, before, strict=True)]
        factor = COARSE_NOISE_FACTOR if self.eps > 1e-4 else NOISE_FACTOR
        return factor * max(filter(math.isfinite, changes), default=0.0)

    def change(self, actual: Tensor, expected: Tensor) -> float:
        """0 if equal to the bit. Raises ValueError if rounding may be the cause."""
        return change(actual, expected, self.eps)

    def require_repeatable(self, *args: Any) -> None:
        """Raise ValueError if two calls with the same arguments do not return the same."""
        first, again, other = self(*args), self(*args), self(*args, seed=1)
        if not same_tensors(first, again):
            raise ValueError(
                "Expected the same result twice from the same input, got two results: a state is "
                "kept between calls."
            )
        if not same_tensors(first, other):
            raise ValueError(
                "Expected a result without random numbers, got one that depends on the seed; call "
                "eval() on the model, or switch dropout off."
            )


def same_tensors(one: Any, other: Any) -> bool:
    """Whether the tensors in two values are equal, to the bit."""
    pairs = zip(tensors_in(one), tensors_in(other), strict=True)
    return not any(largest_difference(a, b) for a, b in pairs)


def modules_of(function: Any, depth: int = SEARCH_DEPTH) -> list[nn.Module]:
    """The modules that a function, method, partial or object refers to; a module is its own."""
    if isinstance(function, nn.Module):
        return [function]
    if depth == 0 or function is None or isinstance(function, type):
        return []
    if isinstance(function, functools.partial):
        found: list[Any] = [function.func, *function.args, *function.keywords.values()]
    elif inspect.ismethod(function):
        found = [function.__self__, function.__func__]
    elif inspect.isfunction(function):
        found = [*_referred_to(function), *(function.__defaults__ or ())]
        found += (function.__kwdefaults__ or {}).values()
    elif isinstance(function, tuple | list | dict):
        items = function.values() if isinstance(function, dict) else function
        found = list(islice(items, LARGEST_CONTAINER))
    else:
        own = type(function).__module__ not in ("builtins", "torch")
        found = list(vars(function).values()) if own and hasattr(function, "__dict__") else []
        if inspect.isfunction(getattr(type(function), "__call__", None)):  # noqa: B004
            found.append(type(function).__call__)
    modules: list[nn.Module] = []
    for item in found:
        if inspect.ismodule(item):
            continue
        modules += [m for m in modules_of(item, depth - 1) if all(m is not n for n in modules)]
    return modules


def _referred_to(function: Callable[..., Any]) -> list[Any]:
    """What a function written in Python reads from the scopes around it."""
    try:
        scope = inspect.getclosurevars(function)
    except (TypeError, ValueError):  # an empty cell, or a function that is not written in Python
        return []
    return [*scope.nonlocals.values(), *scope.globals.values()]


@contextmanager
def set_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put the model in training or evaluation mode inside the block.

    Afterwards every submodule is in its own earlier mode again.
    """
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def moved_weights(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Move every weight of the modules by one unit roundoff, up or down, inside the block."""
    generator = torch.Generator().manual_seed(0)
    parameters = {p: p.detach().clone() for module in modules for p in module.parameters()}
    with torch.no_grad():
        try:
            for p, copy in parameters.items():
                if p.is_floating_point():
                    signs = torch.randint(0, 2, p.shape, generator=generator).to(copy) * 2 - 1
                    p.copy_(copy * (1 + 0.5 * epsilon(p.dtype) * signs.double()))
            yield
        finally:
            for p, copy in parameters.items():
                p.copy_(copy)


@contextmanager
def fixed_seed(seed: int = 0) -> Iterator[None]:
    """Start the random numbers of torch, NumPy and Python from a seed inside the block, and
    restore them afterwards.
    """
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            torch.default_generator.manual_seed(seed)
            if torch.cuda.is_initialized():
                torch.cuda.manual_seed_all(seed)
            random.seed(seed)
            np.random.seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def full_precision() -> Iterator[None]:
    """Switch TF32 off inside the block, because it rounds coarser than float32."""
    if not torch.cuda.is_available():
        yield
        return
    before, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = cudnn


@contextmanager
def record_dtypes() -> Iterator[set[torch.dtype]]:
    """The dtypes in which the modules called inside the block compute."""
    dtypes: set[torch.dtype] = set()

    def record(_: nn.Module, args: Any, output: Any) -> None:
        if torch.compiler.is_compiling():
            return
        for tensor in tensors_in(output):
            dtypes.add(tensor.dtype)
            kind = tensor.device.type
            if torch.is_autocast_enabled(kind):
                dtypes.add(torch.get_autocast_dtype(kind))

    handle = register_module_forward_hook(record)
    try:
        yield dtypes
    finally:
        handle.remove()
