"""Point 11: generation feeds back what the model itself has written."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .verdict import Verdict, verdict
from .watch import Call, mode, watched


def generation(
    model: nn.Module, generate: Callable[[Tensor, int], Tensor], prompt: Tensor, steps: int = 8
) -> Verdict:
    """(11) `generate(prompt, steps)` feeds every token it writes to the model, with its past.

    prompt [B, T]; the result is [B, steps], or has the prompt before it. While it runs, the
    logits that `model` gives are replaced by random ones, so that what it writes cannot be
    guessed: only a loop that feeds it back can follow. Both ways of keeping the past are known:
    a state handed on, and the whole prefix fed again. Raises ValueError for fewer than two
    steps, and when `generate` stops early or does not call `model`.
    """
    if steps < 2:
        raise ValueError(f"Expected two steps or more, got {steps}: nothing would be fed back.")
    draws = torch.Generator().manual_seed(0)

    def shake(_: nn.Module, args: Any, output: Any) -> Any:
        logits = output[0] if isinstance(output, tuple) else output
        shaken = torch.randn(logits.shape, generator=draws).mul(9).to(logits)
        return (shaken, *output[1:]) if isinstance(output, tuple) else shaken

    handle = model.register_forward_hook(shake)
    try:
        with mode(model, training=False), torch.no_grad(), watched(model) as calls:
            tokens = generate(prompt, steps)[:, -steps:]
    finally:
        handle.remove()
    if not calls or tokens.shape[1] < steps:
        raise ValueError(
            f"Expected {steps} tokens made by calling the model, got {tokens.shape[1]} by "
            f"{len(calls)} calls; switch off what stops at ⟨eos⟩."
        )
    fed = torch.stack([call.x[:, -1] for call in calls], dim=1)
    follows = [
        n
        for n in (steps - 1, steps)
        if fed.shape[1] >= n and torch.equal(fed[:, fed.shape[1] - n :], tokens[:, :n])
    ]
    faults = []
    if not follows:
        faults.append(
            f"written was {tokens[0].tolist()} in row 0, fed {fed[0, -steps + 1 :].tolist()}"
        )
    elif not all(_knows_its_past(now, before) for before, now in pairwise(calls)):
        faults.append("a token is fed alone, without the state: what came before is forgotten")
    return verdict(
        11, "generation feeds back its own output", faults, f"{steps} tokens written, each fed back"
    )


def _knows_its_past(now: Call, before: Call) -> bool:
    return bool(now.entering) or now.x.shape[1] > before.x.shape[1]
