"""Point 11: generation feeds the model's own tokens back to it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .arguments import require_functions, require_modules, require_tensors
from .calls import fixed_seed, set_mode
from .check_result import CheckResult
from .comparison import require_numbers
from .kept_state import kept_state
from .recorded_calls import arguments_in_order, eager
from .replacement import other_values
from .values import output_tensor, replace_output, tensors_in

SEEDS = 16  # of random logits, tried until none of them stops the generator early


def generation(
    model: nn.Module, generate: Callable[[Tensor, int], Any], prompt: Tensor, steps: int = 8
) -> CheckResult:
    """(11) `generate` feeds every token it writes back to the model, together with the past.

    While it runs, the model is in evaluation mode and its logits are replaced by random ones, so
    that the written tokens cannot be predicted: only a loop that feeds them back can match them.
    Whether the past is read is seen in the model's own logits: they must change with the prompt,
    and with the token written two steps before.

    Args:
        model: model(x) or model(x, state), x [B, ·] tokens, or [·, B], or [B]; returns logits
            [B, ·, V], [·, B, V] or [B, V], alone, in a tuple with a state, or in a dict or object.
            A state that it keeps inside is put back afterwards.
        generate: generate(prompt, steps) -> tokens [B, steps], or [B, T + steps] after the prompt,
            alone or in a tuple, dict or object. It calls `model`, and does not stop early at an
            end token.
        prompt: tokens [B, T], integers, not all the same.
        steps: how many tokens to write, at least 3.

    Returns:
        Holds: the last token fed in each call is the token written before it, and the logits depend
        on the past. Fails: reports written and fed tokens of row 0, or that the past is forgotten.

    Raises:
        ValueError: steps < 3, or no prompt; `generate` writes fewer tokens than asked, or never
            calls `model`, or calls it with other numbers of rows, as a beam search does; or the
            model's own logits are NaN or do not depend on its tokens.
    """
    require_modules(model=model)
    require_functions(generate=generate)
    require_tensors(prompt=prompt)
    if prompt.dim() < 2 or not prompt.numel():
        raise ValueError(f"Expected a prompt [B, T], got {list(prompt.shape)}.")
    if steps < 3:
        raise ValueError(f"Expected three or more steps, got {steps}: too little is fed back.")
    run, seed = _first_whole_run(model, generate, prompt, steps)
    tokens = run.tokens
    fed = torch.stack(run.fed, dim=1)
    offset = next(
        (
            fed.shape[1] - n
            for n in (steps - 1, steps)  # a generator may feed the last token too
            if fed.shape[1] >= n and torch.equal(fed[:, fed.shape[1] - n :], tokens[:, :n])
        ),
        None,
    )
    failures = []
    if offset is None:
        failures.append(
            f"in row 0, {tokens[0].tolist()} was written, {fed[0, -steps + 1 :].tolist()} was fed"
        )
    else:
        failures += _forgotten(model, generate, prompt, steps, run, seed, offset)
    return CheckResult.from_failures(
        11,
        "generation feeds back its own output",
        failures,
        f"{steps} tokens were written, and each was fed back with its past",
    )


class _Run(NamedTuple):
    """One run of the generator."""

    tokens: Tensor  # [B, steps]
    fed: list[Tensor]  # the last token of each row in each call
    logits: list[Tensor]  # the model's own, at the last step of each call


def _first_whole_run(
    model: nn.Module, generate: Callable[[Tensor, int], Any], prompt: Tensor, steps: int
) -> tuple[_Run, int]:
    """A run that writes all tokens, and the seed of its logits. ValueError if there is none."""
    for seed in range(SEEDS):
        run = _run(model, generate, prompt, steps, seed)
        if run.fed and run.tokens.shape[1] == steps:
            return run, seed
    raise ValueError(
        f"Expected {steps} tokens made by calling the model, got {run.tokens.shape[1]} by "
        f"{len(run.fed)} calls; switch off stopping at ⟨eos⟩."
    )


def _run(
    model: nn.Module,
    generate: Callable[[Tensor, int], Any],
    prompt: Tensor,
    steps: int,
    seed: int,
    other_call: int = -1,
    other_seed: int = 0,
) -> _Run:
    """Run the generator with random logits, those of one call drawn from another seed."""
    fed: list[Tensor] = []
    logits: list[Tensor] = []

    def randomize(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        own_seed = 1000 * seed + len(fed)
        if len(fed) == other_call:
            own_seed = 1000 * (SEEDS + other_seed)
        fed.append(_tokens(tensors_in(arguments_in_order(module, args, kwargs))[0]))
        own = output_tensor(output)
        logits.append(own.detach())
        generator = torch.Generator().manual_seed(own_seed)
        return replace_output(output, torch.randn(own.shape, generator=generator).mul(9).to(own))

    handle = model.register_forward_hook(randomize, with_kwargs=True)
    try:
        with (
            eager(),
            kept_state(model),
            set_mode(model, training=False),
            fixed_seed(),
            torch.no_grad(),
        ):
            returned = generate(prompt.clone(), steps)
    finally:
        handle.remove()
    tokens = next(iter(tensors_in(returned)), None)
    if tokens is None or tokens.numel() % len(prompt):
        raise ValueError(
            f"Expected generate(prompt, steps) to return tokens of {len(prompt)} rows, got "
            f"{type(returned).__name__ if tokens is None else list(tokens.shape)}."
        )
    B = len(prompt)
    steps_first = any(x.dim() > 1 and x.shape[0] != B == x.shape[1] for x in fed)
    return _Run(
        tokens.reshape(B, -1)[:, -steps:],
        [_last_tokens(x, B, steps_first) for x in fed],
        [_last_logits(own, steps_first) for own in logits],
    )


def _tokens(x: Tensor) -> Tensor:
    """A copy of the tokens that the model was called with; one-hot rows are read too."""
    if x.is_floating_point():
        if x.dim() < 2 or not torch.equal(
            x, nn.functional.one_hot(x.argmax(-1), x.shape[-1]).to(x)
        ):
            raise ValueError("Expected calls of the model with tokens, got other numbers.")
        x = x.argmax(-1)
    return x.detach().clone()


def _last_tokens(x: Tensor, B: int, steps_first: bool) -> Tensor:
    """[B]: the last token of each row of x, [B, n], [n, B] or [B]."""
    if x.dim() < 2:
        x = x.reshape(-1)
        x = x[-1:] if B == 1 else x
    else:
        x = x[-1] if steps_first else x[:, -1]
    if x.shape != (B,):
        raise ValueError(
            f"Expected calls of the model with {B} rows, got one with x {list(x.shape)}, as in a "
            "beam search, whose tokens cannot be followed."
        )
    return x


def _last_logits(own: Tensor, steps_first: bool) -> Tensor:
    """The logits of the last step, of [B, n, V], [n, B, V] or [B, V]."""
    if own.dim() < 3:
        return own
    return own[-1] if steps_first else own[:, -1]


def _forgotten(
    model: nn.Module,
    generate: Callable[[Tensor, int], Any],
    prompt: Tensor,
    steps: int,
    run: _Run,
    seed: int,
    offset: int,
) -> list[str]:
    """What of the past the model's own logits do not follow. `offset` is the call that got the
    first written token."""
    require_numbers(run.logits[-1:], "the model")
    writer = max(offset - 1, 0)
    for other_seed in range(SEEDS):
        other = _run(model, generate, prompt, steps, seed, writer, other_seed)
        if len(other.fed) == len(run.fed):
            rows = other.fed[writer + 1] != run.fed[writer + 1]  # another token, then the same
            rows &= other.fed[writer + 2] == run.fed[writer + 2]
            if rows.any():
                break
    else:
        raise ValueError("Expected a generator that follows its logits, got one that does not.")
    if torch.equal(other.logits[writer + 1][rows], run.logits[writer + 1][rows]):
        raise ValueError("Expected logits that depend on the tokens, got logits that do not.")
    if torch.equal(other.logits[writer + 2][rows], run.logits[writer + 2][rows]):
        return ["a written token is forgotten two steps later: it is fed without state or prefix"]
    if offset == 0:
        raise ValueError("Expected a generator that reads the prompt, got one that does not.")
    changed = prompt.clone()
    changed[:, -1] = other_values(prompt)[:, -1]
    other = _run(model, generate, changed, steps, seed)
    if len(other.logits) == len(run.logits) and torch.equal(
        other.logits[offset], run.logits[offset]
    ):
        return ["the prompt is forgotten: a token is fed without state or prefix"]
    return []
