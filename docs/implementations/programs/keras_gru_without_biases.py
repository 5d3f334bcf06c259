"""Keras on JAX with jax_enable_x64: GRU(use_bias=False) in float32 raises TypeError.

With biases, or with reset_after=False, it works. Exits with 1 while the mistake exists.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

jax.config.update("jax_enable_x64", True)
x, wrong = np.zeros((2, 3, 5), np.float32), False
for use_bias in (True, False):
    layer = keras.layers.GRU(4, use_bias=use_bias, dtype="float32")
    try:
        print(f"use_bias={use_bias!s:5}", layer(x).dtype)
    except TypeError as error:
        wrong = True
        message = next(line for line in str(error).splitlines() if "carry" in line)
        print(f"use_bias={use_bias!s:5} TypeError", message.strip())
sys.exit(wrong)
