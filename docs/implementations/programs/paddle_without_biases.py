"""paddle.nn.LSTM without biases: two layers raise IndexError, and one layer ends the process.

Exits with 1 while the mistake exists; the second part runs in a process of its own.
"""

import subprocess
import sys

ONE_LAYER = """
import paddle
paddle.nn.LSTM(3, 4, bias_ih_attr=False, bias_hh_attr=False)(paddle.ones([1, 2, 3]))
"""

import paddle  # noqa: E402

wrong = False
try:
    paddle.nn.LSTM(3, 4, num_layers=2, bias_ih_attr=False, bias_hh_attr=False)
except IndexError as error:
    wrong = True
    print("two layers: IndexError:", error)
status = subprocess.run([sys.executable, "-c", ONE_LAYER], capture_output=True).returncode
print("one layer: exit status", status)
sys.exit(wrong or status != 0)
