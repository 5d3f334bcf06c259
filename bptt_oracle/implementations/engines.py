"""What differentiates an implementation: the vector–Jacobian product of each framework.

An engine takes a function of framework tensors by name, the arrays of these tensors (leaves), and
one cotangent for each value, and returns the values and the gradient of every leaf:

    δleaf = Σ_v (∂v/∂leaf)ᵀ δv

Frameworks are imported when an engine is used. A gradient that a framework says does not exist is
zero, as torch.autograd and jax.vjp define it for inputs that do not matter.

Page: docs/implementations/your_implementation.md
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Leaves = Mapping[str, np.ndarray]
Function = Callable[[dict[str, Any]], Sequence[Any]]
Differentiated = tuple[Sequence[Any], dict[str, Any] | None]  # values, gradients if any


class Engine(NamedTuple):
    """The operations of a framework that the harness needs.

    differentiate   (function, leaves, cotangents, dtype, device) → values, gradients by name
    concatenate     tensors [..., ·] joined along the last axis
    stack           tensors joined along a new first axis
    to_array        a tensor as an array, and the name of its dtype; bfloat16 becomes float32
    """

    differentiate: Callable[[Function, Leaves, Sequence[np.ndarray], str, str], Differentiated]
    concatenate: Callable[[Sequence[Any]], Any]
    stack: Callable[[Sequence[Any]], Any]
    to_array: Callable[[Any], tuple[Any, str]]


def engine_named(name: str) -> Engine:
    """The engine of that name. Raises ValueError if there is none, and ImportError if its framework
    is not installed."""
    if name not in ENGINES:
        raise ValueError(f"there is no engine {name!r}; choose from {', '.join(ENGINES)}")
    return ENGINES[name]()


def _values_only() -> Engine:
    def differentiate(
        function: Function,
        leaves: Leaves,
        cotangents: Sequence[np.ndarray],
        dtype: str,
        device: str,
    ) -> Differentiated:
        return function(dict(leaves)), None

    def concatenate(parts: Sequence[Any]) -> Any:
        return np.concatenate(parts, axis=-1)

    return Engine(differentiate, concatenate, np.stack, numpy_array)


def _torch() -> Engine:
    import torch

    from torch_impl.execution.dtypes import DTYPES, array_of

    def differentiate(
        function: Function,
        leaves: Leaves,
        cotangents: Sequence[np.ndarray],
        dtype: str,
        device: str,
    ) -> Differentiated:
        def tensor(value: np.ndarray) -> torch.Tensor:
            return torch.tensor(value, dtype=DTYPES[dtype], device=device)

        inputs = {name: tensor(value).requires_grad_() for name, value in leaves.items()}
        values = function(inputs)
        pairs = [
            (v, tensor(d))
            for v, d in zip(values, cotangents, strict=False)
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

    def concatenate(parts: Sequence[Any]) -> Any:
        return torch.cat([*parts], dim=-1)

    def stack(parts: Sequence[Any]) -> Any:
        return torch.stack([*parts])

    return Engine(differentiate, concatenate, stack, to_array)


def _jax() -> Engine:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def differentiate(
        function: Function,
        leaves: Leaves,
        cotangents: Sequence[np.ndarray],
        dtype: str,
        device: str,
    ) -> Differentiated:
        def values_and_gradients(leaves: Any, cotangents: Any) -> Any:
            values, pull_back = jax.vjp(function, leaves)
            typed = [d.astype(v.dtype) for v, d in zip(values, cotangents, strict=False)]
            return values, pull_back(typed)[0]

        kind = jnp.dtype(dtype)
        arrays = {name: jnp.asarray(value, kind) for name, value in leaves.items()}
        with_dtype = [jnp.asarray(d, kind) for d in cotangents]
        values, grads = jax.jit(values_and_gradients)(arrays, with_dtype)
        return values, grads

    def to_array(value: Any) -> tuple[Any, str]:
        name = str(value.dtype)
        return np.asarray(value.astype(jnp.float32) if name == "bfloat16" else value), name

    def concatenate(parts: Sequence[Any]) -> Any:
        return jnp.concatenate([*parts], axis=-1)

    def stack(parts: Sequence[Any]) -> Any:
        return jnp.stack([*parts])

    return Engine(differentiate, concatenate, stack, to_array)


def _tensorflow() -> Engine:
    import tensorflow as tf

    def differentiate(
        function: Function,
        leaves: Leaves,
        cotangents: Sequence[np.ndarray],
        dtype: str,
        device: str,
    ) -> Differentiated:
        inputs = {name: tf.constant(value, dtype) for name, value in leaves.items()}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for value in inputs.values():
                tape.watch(value)
            values = function(inputs)
        grads = tape.gradient(
            values,
            inputs,
            output_gradients=[
                tf.constant(d, v.dtype) for v, d in zip(values, cotangents, strict=False)
            ],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return values, {name: tf.convert_to_tensor(g) for name, g in grads.items()}

    def to_array(value: Any) -> tuple[Any, str]:
        name = value.dtype.name
        return (tf.cast(value, tf.float32) if name == "bfloat16" else value).numpy(), name

    def concatenate(parts: Sequence[Any]) -> Any:
        return tf.concat([*parts], axis=-1)

    def stack(parts: Sequence[Any]) -> Any:
        return tf.stack([*parts])

    return Engine(differentiate, concatenate, stack, to_array)


def _mlx() -> Engine:
    import mlx.core as mx

    mx.set_default_device(mx.cpu)

    def differentiate(
        function: Function,
        leaves: Leaves,
        cotangents: Sequence[np.ndarray],
        dtype: str,
        device: str,
    ) -> Differentiated:
        names, kind = [*leaves], getattr(mx, dtype)

        def positional(*arrays: Any) -> Any:
            return function(dict(zip(names, arrays, strict=True)))

        arrays = [mx.array(value, dtype=kind) for value in leaves.values()]
        cotangents_of_kind = [mx.array(d, dtype=kind) for d in cotangents]
        values, grads = mx.vjp(positional, arrays, cotangents_of_kind)
        mx.eval(values, grads)
        return values, dict(zip(names, grads, strict=True))

    def to_array(value: Any) -> tuple[Any, str]:
        name = str(value.dtype).removeprefix("mlx.core.")
        return np.array(value.astype(mx.float32) if name == "bfloat16" else value), name

    def concatenate(parts: Sequence[Any]) -> Any:
        return mx.concatenate([*parts], axis=-1)

    def stack(parts: Sequence[Any]) -> Any:
        return mx.stack([*parts])

    return Engine(differentiate, concatenate, stack, to_array)


def _paddle() -> Engine:
    import paddle

    def differentiate(
        function: Function,
        leaves: Leaves,
        cotangents: Sequence[np.ndarray],
        dtype: str,
        device: str,
    ) -> Differentiated:
        inputs = {
            name: paddle.to_tensor(value, dtype=dtype, stop_gradient=False)
            for name, value in leaves.items()
        }
        values = function(inputs)
        grads = paddle.grad(
            [*values],
            [*inputs.values()],
            [paddle.to_tensor(d, dtype=v.dtype) for v, d in zip(values, cotangents, strict=False)],
            allow_unused=True,
        )
        pairs = zip(inputs.items(), grads, strict=True)
        return values, {n: paddle.zeros_like(i) if g is None else g for (n, i), g in pairs}

    def to_array(value: Any) -> tuple[Any, str]:
        name = str(value.dtype).removeprefix("paddle.")
        return (value.astype("float32") if name == "bfloat16" else value).numpy(), name

    def concatenate(parts: Sequence[Any]) -> Any:
        return paddle.concat([*parts], axis=-1)

    def stack(parts: Sequence[Any]) -> Any:
        return paddle.stack([*parts])

    return Engine(differentiate, concatenate, stack, to_array)


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
