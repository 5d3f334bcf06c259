"""The learning rate of a step: a linear warm-up, then a cosine.

    t  number of the step     W, T  steps of the warm-up, of the decay     s  share at the start

    (1)  η = η₁ (s + (1 − s) t/W)                               t = 0 … W−1, from s η₁
    (2)  η = η₀ + (η₁ − η₀)(1 + cos(π (t − W)/T)) / 2           t = W … W+T, from η₁ to η₀

Source: torch.optim.lr_scheduler.LinearLR's documentation (1); Loshchilov & Hutter 2017, SGDR (2).
Page: docs/models/optim.md
"""

import math


def warmup_cosine(
    t: int, peak: float, floor: float, decay: int, warmup: int = 0, start: float = 0.01
) -> float:
    """The learning rate of step t = 0, 1, …: `warmup` steps up to `peak`, `decay` steps to `floor`.

    After t = warmup + decay the cosine rises again, as in torch.
    """
    if t < warmup:
        return peak * (start + (1 - start) * t / warmup)  # (1)
    return floor + (peak - floor) * (1 + math.cos(math.pi * (t - warmup) / decay)) / 2  # (2)
