"""fused=True on the CPU trains an LSTM with columns cut off its weights to another loss.

Exits with 1 while the mistake exists.
"""

import sys

import torch


def train(fused):
    """The last loss, and whether the columns that were cut off changed."""
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(8, 16)
    whole = lstm.weight_ih_l0.detach().clone()
    before = whole.clone()
    lstm.weight_ih_l0 = torch.nn.Parameter(whole[:, :5])
    lstm.input_size = 5
    x, y = torch.randn(7, 4, 5), torch.randn(7, 4, 16)
    optimizer = torch.optim.Adam(lstm.parameters(), lr=1e-2, fused=fused, foreach=False)
    for _ in range(30):
        optimizer.zero_grad()
        loss = (lstm(x)[0] - y).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item(), not torch.equal(whole[:, 5:], before[:, 5:])


loop, fused = train(False), train(True)
for name, (loss, changed) in (("loop", loop), ("fused", fused)):
    print(f"{name:6} loss {loss:.4f}, columns that were cut off changed: {changed}")
sys.exit(abs(loop[0] - fused[0]) > 1e-3 or fused[1])
