"""Point 11: generation feeds the model's own tokens back to it."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .check_result import CheckResult
from .model_calls import ModelCall, record_calls, set_mode


def generation(
    model: nn.Module, generate: Callable[[Tensor, int], Tensor], prompt: Tensor, steps: int = 8
) -> CheckResult:
    """(11) `generate` feeds every token it writes back to the model, together with the past.

    While it runs, the model is in evaluation mode and its logits are replaced by random ones, so
    that the written tokens cannot be predicted: only a loop that feeds them back can match them.
    The past may be a state passed on, or the whole prefix fed again.

    Args:
        model: model(x) or model(x, state), x [B, ·] tokens; returns logits [B, ·, V], alone or in a
            tuple with a state.
        generate: generate(prompt, steps) -> tokens [B, steps], or [B, T + steps] after the prompt.
            It calls `model`, and does not stop early at an end token.
        prompt: tokens [B, T], integers.
        steps: how many tokens to write, at least 2.

    Returns:
        Holds: the last column fed in each call is the token written before it, and each call gets
        a state or a longer prefix. Fails: reports written and fed tokens of row 0, or that a token
        was fed without its past.

    Raises:
        ValueError: steps < 2; `generate` writes fewer tokens than asked; or it never calls
            `model`.
    """
    if steps < 2:
        raise ValueError(f"Expected two or more steps, got {steps}: nothing would be fed back.")
    generator = torch.Generator().manual_seed(0)

    def randomize(_: nn.Module, args: Any, output: Any) -> Any:
        logits = output[0] if isinstance(output, tuple) else output
        random_logits = torch.randn(logits.shape, generator=generator).mul(9).to(logits)
        return (random_logits, *output[1:]) if isinstance(output, tuple) else random_logits

    handle = model.register_forward_hook(randomize)
    try:
        with set_mode(model, training=False), torch.no_grad(), record_calls(model) as calls:
            tokens = generate(prompt, steps)[:, -steps:]
    finally:
        handle.remove()
    if not calls or tokens.shape[1] < steps:
        raise ValueError(
            f"Expected {steps} tokens made by calling the model, got {tokens.shape[1]} by "
            f"{len(calls)} calls; switch off stopping at ⟨eos⟩."
        )
    fed = torch.stack([call.x[:, -1] for call in calls], dim=1)
    fed_back = any(
        fed.shape[1] >= n and torch.equal(fed[:, fed.shape[1] - n :], tokens[:, :n])
        for n in (steps - 1, steps)  # a generator may feed the last token too
    )
    failures = []
    if not fed_back:
        failures.append(
            f"in row 0, {tokens[0].tolist()} was written, {fed[0, -steps + 1 :].tolist()} was fed"
        )
    elif not all(_has_past(call, previous) for previous, call in pairwise(calls)):
        failures.append("a token is fed without state or prefix: the past is forgotten")
    return CheckResult.from_failures(
        11,
        "generation feeds back its own output",
        failures,
        f"{steps} tokens were written, and each was fed back",
    )


def _has_past(call: ModelCall, previous: ModelCall) -> bool:
    """Whether the call gets a state, or a longer prefix than the call before."""
    return bool(call.entering) or call.x.shape[1] > previous.x.shape[1]
