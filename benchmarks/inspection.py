"""What recording costs: a training step inside `record_norms` against the same step alone.

    python -m benchmarks.inspection

The model is one recurrent module of two layers in float32, I = H, B = 16, and a linear head on
every step; the loss reads every step, which is the dearer case, and Adam updates the weights. Both
take turns on one thread; the ratio is the median over the rounds of the ratio within a round, in
processor time.
"""

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from bptt_oracle.inspection import first_nonfinite, record_norms

from .clock import processor

SIZES = [(T, H) for T in (50, 100, 200) for H in (64, 128, 256)]
ROUNDS = 9


class Model(nn.Module):
    """A recurrent module and a head."""

    def __init__(self, kind: type[nn.Module], hidden: int) -> None:
        super().__init__()
        self.rnn, self.head = kind(hidden, hidden, num_layers=2), nn.Linear(hidden, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.rnn(x)[0])
        return y


def measure(kind: type[nn.Module], T: int, H: int, rounds: int = ROUNDS) -> np.ndarray:
    """Milliseconds [3]: a training step, inside `record_norms`, inside `first_nonfinite`; medians
    of the rounds, the last two as multiples of the first."""
    torch.manual_seed(0)
    model, x, target = Model(kind, H), torch.randn(T, 16, H), torch.randn(T, 16, H)
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), target).backward()
        optimizer.step()

    contestants = (
        step,
        lambda: record_norms(model, step),
        lambda: first_nonfinite(model, step),
    )
    times = np.empty((rounds + 1, len(contestants)))
    for k in range(rounds + 1):
        for c, contestant in enumerate(contestants):
            start = processor()
            contestant()
            times[k, c] = processor() - start
    times = times[1:]  # the first round warms up
    alone = float(np.median(times[:, 0]))
    return np.array([1e3 * alone, *np.median(times[:, 1:] / times[:, :1], axis=0)])


def main() -> None:
    """Print a table in Markdown."""
    torch.set_num_threads(1)
    print("| module | T | H | step, ms | record_norms | first_nonfinite |")
    print("| --- | --- | --- | --- | --- | --- |")
    with threadpool_limits(1):
        for kind in (nn.RNN, nn.GRU, nn.LSTM):
            for T, H in SIZES:
                step, norms, nonfinite = measure(kind, T, H)
                row = f"| {kind.__name__} | {T} | {H} | {step:.1f} "
                print(f"{row}| {norms:.2f} | {nonfinite:.2f} |", flush=True)


if __name__ == "__main__":
    main()
