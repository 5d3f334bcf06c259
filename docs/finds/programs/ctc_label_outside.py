"""ctc_loss on the CPU accepts labels that are not classes and reads log_probs beyond the row.

Expected twice: nll_loss rejects the same labels, and the loss does not depend on other memory.
"""

import sys

import torch

F = torch.nn.functional
label, steps = torch.tensor([[9, 2]]), torch.tensor([1])


def accepted(call):
    try:
        return call().item()
    except (IndexError, RuntimeError) as error:
        print("rejected:", str(error).splitlines()[0])
        return None


assert accepted(lambda: F.nll_loss(torch.zeros(1, 4), torch.tensor([9]))) is None
losses = []
for fill in (-1.0, -5.0):  # what lies behind log_probs
    memory = torch.full((64,), fill)
    memory[:24] = torch.zeros(6, 4).log_softmax(-1).flatten()
    log_probs = memory[:24].view(6, 1, 4)
    losses.append(accepted(lambda x=log_probs: F.ctc_loss(x, label, steps * 6, steps * 2)))
print("expected: rejected; actual", losses)
sys.exit(losses != [None, None])
