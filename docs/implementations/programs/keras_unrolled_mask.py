"""Keras, Bidirectional with a mask: unroll=True zeroes real outputs of the reverse direction.

On the TensorFlow backend the reverse loop reads the mask in forward order; on the torch backend it
raises AttributeError. KERAS_BACKEND chooses the backend. Exits with 1 while the mistake exists.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np

x = keras.ops.convert_to_tensor(np.array([[[0.5], [0.25], [9.0]]], "float32"))
mask = keras.ops.convert_to_tensor(np.array([[True, True, False]]))
h = np.tanh(0.25)
by_hand = [np.tanh(0.5 + h), h]
print("by hand        ", np.round(by_hand, 4))
wrong = False
for unroll in (False, True):
    one_way = keras.layers.SimpleRNN(1, return_sequences=True, unroll=unroll, use_bias=False)
    layer = keras.layers.Bidirectional(one_way)
    layer.build((1, 3, 1))
    layer.set_weights([np.ones((1, 1), "float32")] * 4)
    try:
        output = keras.ops.convert_to_numpy(layer(x, mask=mask))[0, :2, 1]
    except AttributeError as error:
        wrong = True
        print(f"unroll={unroll!s:5}   AttributeError", str(error).splitlines()[0])
        continue
    wrong |= bool(np.abs(output - by_hand).max() > 1e-6)
    print(f"unroll={unroll!s:5}   ", np.round(output, 4))
sys.exit(wrong)
