"""Keras in float64 computes some operations in float32.

On torch ops.matmul and ops.dot, on JAX ops.tanh. KERAS_BACKEND chooses the backend. Exits with 1
while the mistake exists.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "torch")
if os.environ["KERAS_BACKEND"] == "jax":
    import jax

    jax.config.update("jax_enable_x64", True)

import keras
import numpy as np

keras.config.set_floatx("float64")
rng = np.random.default_rng(0)
a, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 5))
p, q = (keras.ops.convert_to_tensor(v, dtype="float64") for v in (a, b))
wrong = False
for name, value, true in (
    ("matmul", keras.ops.matmul(p, q), a @ b),
    ("dot", keras.ops.dot(p, q), a @ b),
    ("add", keras.ops.add(p, p), a + a),
    ("multiply", keras.ops.multiply(p, p), a * a),
    ("tanh", keras.ops.tanh(p), np.tanh(a)),
    ("sigmoid", keras.ops.sigmoid(p), 1 / (1 + np.exp(-a))),
):
    error = np.abs(keras.ops.convert_to_numpy(value) - true).max()
    wrong |= bool(error > 1e-12)
    print(f"{name:10}{keras.backend.standardize_dtype(value.dtype)}  largest error {error:.1e}")
sys.exit(wrong)
