"""What differentiates an implementation: the vector–Jacobian product of each framework.

An engine takes a function of framework tensors by name, the arrays of these tensors (leaves), and
one cotangent for each value, and returns the values and the gradient of every leaf:

    δleaf = Σ_v (∂v/∂leaf)ᵀ δv

Frameworks are imported when an engine is used. A gradient that a framework says does not exist is
zero, as torch.autograd and jax.vjp define it for inputs that do not matter.

Page: docs/implementations/your_implementation.md
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

Leaves = Mapping[str, np.ndarray]
Function = Callable[[dict[str, Any]], Sequence[Any]]
Differentiated = tuple[Sequence[Any], dict[str, Any] | None]  # values, gradients if any


class Inputs(NamedTuple):
    """What a function is called and differentiated with."""

    leaves: Leaves
    cotangents: Sequence[np.ndarray]  # one for each value
    dtype: str
    device: str


class Engine(NamedTuple):
    """The operations of a framework that the harness needs.

    differentiate   (function, inputs) → values, gradients by name
    concatenate     a list of tensors [..., ·] joined along the last axis
    stack           a list of tensors joined along a new first axis
    to_array        a tensor as an array, and the name of its dtype; bfloat16 becomes float32
    """

    differentiate: Callable[[Function, Inputs], Differentiated]
    concatenate: Callable[[list[Any]], Any]
    stack: Callable[[list[Any]], Any]
    to_array: Callable[[Any], tuple[Any, str]]


def engine_named(name: str) -> Engine:
    """The engine of that name. Raises ValueError if there is none, and ImportError if its framework
    is not installed."""
    if name not in ENGINES:
        raise ValueError(f"there is no engine {name!r}; choose from {', '.join(ENGINES)}")
    return ENGINES[name]()


def _values_only() -> Engine:
    def differentiate(function: Function, given: Inputs) -> Differentiated:
        return function(dict(given.leaves)), None

    return Engine(differentiate, partial(np.concatenate, axis=-1), np.stack, numpy_array)


def _torch() -> Engine:
    import torch

    from torch_impl.execution.dtypes import DTYPES, array_of

    def differentiate(function: Function, given: Inputs) -> Differentiated:
        def tensor(value: np.ndarray) -> torch.Tensor:
            return torch.tensor(value, dtype=DTYPES[given.dtype], device=given.device)

        inputs = {name: tensor(value).requires_grad_() for name, value in given.leaves.items()}
        values = function(inputs)
        pairs = [
            (v, tensor(d))
            for v, d in zip(values, given.cotangents, strict=False)
            if isinstance(v, torch.Tensor) and v.requires_grad
        ]
        if not pairs:
            return values, None
        outputs, d_outputs = zip(*((v, d.to(v.dtype)) for v, d in pairs), strict=True)
        grads = torch.autograd.grad(
            outputs, [*inputs.values()], d_outputs, allow_unused=True, materialize_grads=True
        )
        return values, dict(zip(inputs, grads, strict=True))

    def to_array(value: Any) -> tuple[Any, str]:
        if not isinstance(value, torch.Tensor):
            return value, type(value).__name__
        return array_of(value), str(value.dtype).removeprefix("torch.")

    return Engine(differentiate, partial(torch.cat, dim=-1), torch.stack, to_array)


def _jax() -> Engine:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def differentiate(function: Function, given: Inputs) -> Differentiated:
        def values_and_gradients(leaves: Any, cotangents: Any) -> Any:
            values, pull_back = jax.vjp(function, leaves)
            typed = [d.astype(v.dtype) for v, d in zip(values, cotangents, strict=False)]
            return values, pull_back(typed)[0]

        kind = jnp.dtype(given.dtype)
        arrays = {name: jnp.asarray(value, kind) for name, value in given.leaves.items()}
        cotangents = [jnp.asarray(d, kind) for d in given.cotangents]
        values, grads = jax.jit(values_and_gradients)(arrays, cotangents)
        return values, grads

    def to_array(value: Any) -> tuple[Any, str]:
        name = str(value.dtype)
        return np.asarray(value.astype(jnp.float32) if name == "bfloat16" else value), name

    return Engine(differentiate, partial(jnp.concatenate, axis=-1), jnp.stack, to_array)


def _tensorflow() -> Engine:
    import tensorflow as tf

    def differentiate(function: Function, given: Inputs) -> Differentiated:
        inputs = {name: tf.constant(value, given.dtype) for name, value in given.leaves.items()}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for value in inputs.values():
                tape.watch(value)
            values = function(inputs)
        grads = tape.gradient(
            values,
            inputs,
            output_gradients=[
                tf.constant(d, v.dtype) for v, d in zip(values, given.cotangents, strict=False)
            ],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return values, {name: tf.convert_to_tensor(g) for name, g in grads.items()}

    def to_array(value: Any) -> tuple[Any, str]:
        name = value.dtype.name
        return (tf.cast(value, tf.float32) if name == "bfloat16" else value).numpy(), name

    return Engine(differentiate, partial(tf.concat, axis=-1), tf.stack, to_array)


def _mlx() -> Engine:
    import mlx.core as mx

    mx.set_default_device(mx.cpu)

    def differentiate(function: Function, given: Inputs) -> Differentiated:
        names, kind = [*given.leaves], getattr(mx, given.dtype)

        def positional(*arrays: Any) -> Any:
            return function(dict(zip(names, arrays, strict=True)))

        arrays = [mx.array(value, dtype=kind) for value in given.leaves.values()]
        cotangents_of_kind = [mx.array(d, dtype=kind) for d in given.cotangents]
        values, grads = mx.vjp(positional, arrays, cotangents_of_kind)
        mx.eval(values, grads)
        return values, dict(zip(names, grads, strict=True))

    def to_array(value: Any) -> tuple[Any, str]:
        name = str(value.dtype).removeprefix("mlx.core.")
        return np.array(value.astype(mx.float32) if name == "bfloat16" else value), name

    return Engine(differentiate, partial(mx.concatenate, axis=-1), mx.stack, to_array)


def _paddle() -> Engine:
    import paddle

    def differentiate(function: Function, given: Inputs) -> Differentiated:
        inputs = {
            name: paddle.to_tensor(value, dtype=given.dtype, stop_gradient=False)
            for name, value in given.leaves.items()
        }
        values = function(inputs)
        grads = paddle.grad(
            [*values],
            [*inputs.values()],
            [
                paddle.to_tensor(d, dtype=v.dtype)
                for v, d in zip(values, given.cotangents, strict=False)
            ],
            allow_unused=True,
        )
        pairs = zip(inputs.items(), grads, strict=True)
        return values, {n: paddle.zeros_like(i) if g is None else g for (n, i), g in pairs}

    def to_array(value: Any) -> tuple[Any, str]:
        name = str(value.dtype).removeprefix("paddle.")
        return (value.astype("float32") if name == "bfloat16" else value).numpy(), name

    return Engine(differentiate, partial(paddle.concat, axis=-1), paddle.stack, to_array)


def numpy_array(value: Any) -> tuple[Any, str]:
    """The value, and the name of its dtype; of what is not an array the name of its type."""
    kind = value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__
    return value, kind


ENGINES: dict[str, Callable[[], Engine]] = {
    "numpy": _values_only,  # gradients come from the implementation's own backward pass
    "torch": _torch,
    "jax": _jax,
    "tensorflow": _tensorflow,
    "mlx": _mlx,
    "paddle": _paddle,
    "none": _values_only,
}
