"""torch.compile of a float32 LSTM with allow_rnn, x without a gradient: the call raises.
Needs a C++ compiler.

Expected twice: the net itself trains, and so does the compiled net in float64.
"""

import os
import sys
import tempfile
import warnings

import torch

warnings.simplefilter("ignore")
folder = tempfile.TemporaryDirectory()
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", folder.name)  # compiled code goes with it
torch._dynamo.config.allow_rnn = True


def trains(dtype, compiled):
    torch._dynamo.reset()
    net = torch.nn.LSTM(2, 2).to(dtype)
    call = torch.compile(net) if compiled else net
    try:
        call(torch.ones(2, 1, 2, dtype=dtype))[0].sum().backward()
    except Exception as error:
        print("raised", type(error).__name__, str(error).splitlines()[0][:90])
        return False
    return True


assert trains(torch.float32, False) and trains(torch.float64, True)
actual = trains(torch.float32, True)
print("expected True actual", actual)
sys.exit(not actual)
