"""All checks that apply to a model, and of the others why they do not, in one table."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .batching import row_alone
from .calls import Caller, set_mode
from .carrying import both_detached, carry_and_detach, fresh_start
from .causality import causality
from .check_result import CheckResult
from .chunking import in_chunks
from .clipping import clipping
from .generating import generation
from .labels import label_shift, shapes
from .padded_rows import Lengths
from .padding import last_valid_step, packed_order, padding_state
from .padding_loss import padding_loss
from .replacement import other_values
from .resetting import reset_leak
from .routing import routing
from .teaching import teacher_forcing
from .values import output_tensor

CAUSAL_PARTS = ("split", "generate", "loop", "new_step", "reset_step")
WIDTH = 100


class Row(NamedTuple):
    """One check: holds, FAILS, not shown (why), or not asked (for want of which arguments)."""

    point: int
    check: str
    verdict: str
    text: str


class CheckTable(NamedTuple):
    """True if something held and nothing failed."""

    rows: tuple[Row, ...]

    def __bool__(self) -> bool:
        """Whether at least one check holds and none fails."""
        verdicts = [row.verdict for row in self.rows]
        return "FAILS" not in verdicts and "raised" not in verdicts and "holds" in verdicts

    def __str__(self) -> str:
        """One line for each check."""
        return "\n".join(
            f"{row.point:>2}  {row.check:<17} {row.verdict:<9} {_shortened(row.text)}"
            for row in self.rows
        )


def check_all(
    model: nn.Module,
    x: Tensor,
    *,
    targets: Tensor | None = None,
    vocab: int | None = None,
    lengths: Lengths | None = None,
    run: Callable[..., Any] | None = None,
    state_run: Callable[..., Any] | None = None,
    split: Callable[..., Any] | None = None,
    loss: Callable[..., Any] | None = None,
    pad: int | None = None,
    loop: Callable[[], object] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    step: Callable[[], object] | None = None,
    max_norm: float | None = None,
    generate: Callable[..., Any] | None = None,
    decode: Callable[..., Any] | None = None,
    reset_step: Callable[..., Any] | None = None,
    state: Any = None,
    reset: Tensor | None = None,
    new_step: Callable[..., Any] | None = None,
    causal: bool | None = None,
    batch_first: bool = True,
) -> CheckTable:
    """Run every check whose arguments are given.

    Args:
        model: model(x) -> output, or (output, state).
        x: tokens [B, T], integers, or numbers [B, T, D]; with batch_first=False [T, B, ·].
        targets, vocab: for `shapes`; targets, loss and pad for `padding_loss`.
        lengths, run, state_run: run(x, lengths) -> a result per row, for `last_valid_step` and
            `packed_order`; state_run(x, lengths) -> final state, for `padding_state`.
        split: split(x) -> (inputs, targets), for `label_shift`.
        loop: for `carry_and_detach` and `both_detached`; the weights are put back afterwards.
        optimizer, step, max_norm: for `clipping`.
        generate: generate(prompt, steps), for `generation`; the prompt is the first half of x.
        decode: decode(targets), for `teacher_forcing`.
        reset_step, state, reset: for `reset_leak`.
        new_step: for `routing`; the chunks are the halves of x.
        causal: whether an output may not depend on later inputs. None: it may not if split,
            generate, loop, new_step or reset_step is given; a bidirectional encoder is right.

    Returns:
        A table: of each check whether it holds or FAILS, with the evidence; that it cannot be shown
        with this case, and why; or which arguments it needs.

    Raises:
        Nothing of its own: what a check raises is in the table.
    """
    given = {name for name, value in locals().items() if value is not None}
    if causal or (causal is None and not given.isdisjoint(CAUSAL_PARTS)):
        given.add("causal")
    else:
        given.discard("causal")
    if not batch_first:
        given.discard("batch_first")
    g: dict[str, Any] = dict(locals())  # what a check needs is there when it is called

    def keeping_weights(check: Callable[[nn.Module, Any], CheckResult]) -> CheckResult:
        weights = copy.deepcopy(model.state_dict())
        try:
            return check(model, loop)
        finally:
            model.load_state_dict(weights)

    def loss_of_model() -> CheckResult:
        logits = output_tensor(Caller(model)(x))
        return padding_loss(g["loss"], logits, g["targets"], pad or 0)

    def fresh() -> CheckResult:
        result = fresh_start(_in_evaluation(model), x, other_values(x))
        if not result and loop is not None:
            raise ValueError(
                "Expected a model without a state between calls, got one that keeps its state for "
                "the loop; call fresh_start with a function that resets it."
            )
        return result

    def teach() -> CheckResult:
        return teacher_forcing(model, g["decode"], g["targets"], other_values(g["targets"]))

    half = x.shape[1] // 2
    table: list[tuple[int, str, str, Callable[[], CheckResult]]] = [
        (1, "label_shift", "split", lambda: label_shift(g["split"], x, batch_first=batch_first)),
        (2, "shapes", "targets vocab", lambda: shapes(model, x, g["targets"], g["vocab"])),
        (3, "padding_loss", "loss targets", loss_of_model),
        (
            3,
            "padding_state",
            "state_run",
            lambda: padding_state(g["state_run"], x, all_lengths, pad),
        ),
        (4, "last_valid_step", "run", lambda: last_valid_step(g["run"], x, all_lengths, pad)),
        (5, "carry_and_detach", "loop", lambda: keeping_weights(carry_and_detach)),
        (6, "both_detached", "loop", lambda: keeping_weights(both_detached)),
        (7, "fresh_start", "", fresh),
        (
            8,
            "reset_leak",
            "reset_step state reset",
            lambda: reset_leak(g["reset_step"], x, state, g["reset"]),
        ),
        (9, "routing", "new_step", lambda: routing(g["new_step"], x[:, :half], x[:, -half:])),
        (
            10,
            "clipping",
            "optimizer step max_norm",
            lambda: clipping(g["optimizer"], g["step"], g["max_norm"]),
        ),
        (11, "generation", "generate", lambda: generation(model, g["generate"], x[:, :half])),
        (12, "teacher_forcing", "decode targets", teach),
        (13, "causality", "causal batch_first", lambda: causality(model, x)),
        (14, "packed_order", "run", lambda: packed_order(g["run"], x, all_lengths, pad)),
        (15, "row_alone", "", lambda: row_alone(model, x, batch_first=batch_first)),
        (16, "in_chunks", "causal", lambda: in_chunks(model, x, batch_first=batch_first)),
    ]
    all_lengths: Lengths = [x.shape[1]] * len(x) if lengths is None else lengths
    return CheckTable(tuple(_row(point, name, needs, given, c) for point, name, needs, c in table))


def _row(
    point: int, name: str, needs: str, given: set[str], check: Callable[[], CheckResult]
) -> Row:
    """The result of a check, or why there is none."""
    missing = [argument for argument in needs.split() if argument not in given]
    if missing:
        return Row(point, name, "not asked", f"needs {', '.join(missing)}")
    try:
        result = check()
    except (ValueError, TypeError) as e:
        return Row(point, name, "not shown", str(e))
    except Exception as e:  # of the user's function; the other checks go on
        return Row(point, name, "raised", f"{type(e).__name__}: {e}")
    return Row(point, name, "holds" if result else "FAILS", result.evidence)


def _in_evaluation(model: nn.Module) -> Callable[[Any], Any]:
    """The model as a function that puts it in evaluation mode, and back."""

    def call(sample: Any) -> Any:
        with set_mode(model, training=False):
            return model(sample)

    return call


def _shortened(text: str) -> str:
    """The first line, of at most WIDTH characters."""
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"
