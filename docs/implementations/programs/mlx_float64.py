"""MLX in float64 on the CPU: exp and sigmoid have the accuracy of float32.

Exits with 1 while the mistake exists.
"""

import sys

import mlx.core as mx
import numpy as np

mx.set_default_device(mx.cpu)
a = np.random.default_rng(0).standard_normal(1000) * 2
x = mx.array(a, dtype=mx.float64)
wrong = False
for name, value, true in (
    ("exp", mx.exp(x), np.exp(a)),
    ("sigmoid", mx.sigmoid(x), 1 / (1 + np.exp(-a))),
    ("tanh", mx.tanh(x), np.tanh(a)),
):
    error = np.abs(np.array(value) / true - 1).max()
    wrong |= bool(error > 1e-12)
    print(f"{name:10}{value.dtype}  largest relative error {error:.1e}")
sys.exit(wrong)
