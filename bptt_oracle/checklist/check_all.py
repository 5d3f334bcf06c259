"""All checks that apply to a model, and of the others why they do not, in one table."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .arguments import require_tensors
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
from .values import map_tensors, output_tensor

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
        x: tokens [B, T], integers, or numbers [B, T, D]; with batch_first=False [T, B, ·], and so
            is what your functions get and return, and targets.
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
        ValueError: x is not a tensor, or has fewer than two axes. What a check raises is in the
            table.
    """
    require_tensors(x=x)
    if x.dim() < 2:
        raise ValueError(f"Expected x [B, T] or [B, T, D], got {list(x.shape)}.")
    B, T = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
    given = _Given(
        model=model,
        x=x,
        targets=targets,
        vocab=vocab,
        lengths=[T] * B if lengths is None else lengths,
        run=run,
        state_run=state_run,
        split=split,
        loss=loss,
        pad=pad,
        loop=loop,
        optimizer=optimizer,
        step=step,
        max_norm=max_norm,
        generate=generate,
        decode=decode,
        reset_step=reset_step,
        state=state,
        reset=reset,
        new_step=new_step,
        causal=causal,
        batch_first=batch_first,
    )
    if causal is None:
        given = given._replace(causal=any(getattr(given, p) is not None for p in CAUSAL_PARTS))
    rows_first = given if batch_first else _rows_first(given)
    return CheckTable(tuple(_row(check, given, rows_first) for check in CHECKS))


class _Given(NamedTuple):
    """The arguments of `check_all`; None and False are not given."""

    model: Any
    x: Tensor
    targets: Any
    vocab: Any
    lengths: Lengths
    run: Any
    state_run: Any
    split: Any
    loss: Any
    pad: int | None
    loop: Any
    optimizer: Any
    step: Any
    max_norm: Any
    generate: Any
    decode: Any
    reset_step: Any
    state: Any
    reset: Any
    new_step: Any
    causal: bool | None
    batch_first: bool


def _rows_first(given: _Given) -> _Given:
    """What was given for x [T, B, ·], for the checks that take x [B, T, ·]: the user's functions
    get and return the layout that they know.
    """

    def run(x: Tensor, lengths: Any) -> Any:
        returned = given.run(_exchanged(x), lengths)
        return map_tensors(lambda result: _by_row(result, len(x)), returned)

    def new_step() -> Callable[[Any, Tensor], Tensor]:
        step = given.new_step()
        return lambda ids, x: _by_row(output_tensor(step(ids, _exchanged(x))), len(x))

    def generate(prompt: Tensor, steps: int) -> Any:
        return map_tensors(_exchanged, given.generate(_exchanged(prompt), steps))

    return given._replace(
        x=_exchanged(given.x),
        targets=_exchanged(given.targets),
        run=run,
        state_run=lambda x, lengths: given.state_run(_exchanged(x), lengths),
        loss=lambda logits, targets: given.loss(_exchanged(logits), _exchanged(targets)),
        generate=generate,
        decode=lambda targets: given.decode(_exchanged(targets)),
        new_step=new_step,
    )


def _exchanged(x: Any) -> Any:
    """[T, B, ·] of [B, T, ·], and the other way; what has fewer axes stays as it is."""
    return x.transpose(0, 1) if isinstance(x, Tensor) and x.dim() > 1 else x


def _by_row(result: Tensor, B: int) -> Any:
    """[B, T, ·] of a result [T, B, ·]; one without steps, [B, ·], stays as it is."""
    has_steps = result.dim() > 1 and result.shape[1] == B
    return _exchanged(result) if has_steps and (result.dim() > 2 or len(result) != B) else result


def _loss_of_model(given: _Given, rows_first: _Given) -> CheckResult:
    """The loss of the model's logits, with rows first unless they are flattened."""
    logits, targets = output_tensor(Caller(given.model)(given.x)), given.targets
    require_tensors(targets=targets)
    if targets.dim() < 2:
        return padding_loss(given.loss, logits, targets, given.pad or 0)
    by_row = logits if given.batch_first else _exchanged(logits)
    return padding_loss(rows_first.loss, by_row, rows_first.targets, given.pad or 0)


def _keeping_weights(check: Callable[[nn.Module, Any], CheckResult], given: _Given) -> CheckResult:
    """A check of the training loop, after which the model has its weights again."""
    weights = copy.deepcopy(given.model.state_dict())
    try:
        return check(given.model, given.loop)
    finally:
        given.model.load_state_dict(weights)


def _fresh_start(given: _Given, _: _Given) -> CheckResult:
    """The model alone as the function that reads a sample."""
    result = fresh_start(_in_evaluation(given.model), given.x, other_values(given.x))
    if not result and given.loop is not None:
        raise ValueError(
            "Expected a model without a state between calls, got one that keeps its state for "
            "the loop; call fresh_start with a function that resets it."
        )
    return result


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last steps of x [B, T, ·]. Raises ValueError if there is only one."""
    half = x.shape[1] // 2
    if not half:
        raise ValueError(f"Expected x of two steps or more, got {list(x.shape)}.")
    return x[:, :half], x[:, -half:]


class _Check(NamedTuple):
    """A line of the table, and how it is made of what was given and of the same, rows first."""

    point: int
    name: str
    needs: str
    run: Callable[[_Given, _Given], CheckResult]


CHECKS = (
    _Check(
        1, "label_shift", "split", lambda g, _: label_shift(g.split, g.x, batch_first=g.batch_first)
    ),
    _Check(
        2,
        "shapes",
        "targets vocab batch_first",
        lambda g, _: shapes(g.model, g.x, g.targets, g.vocab),
    ),
    _Check(3, "padding_loss", "loss targets", _loss_of_model),
    _Check(
        3,
        "padding_state",
        "state_run",
        lambda _, r: padding_state(r.state_run, r.x, r.lengths, r.pad),
    ),
    _Check(4, "last_valid_step", "run", lambda _, r: last_valid_step(r.run, r.x, r.lengths, r.pad)),
    _Check(5, "carry_and_detach", "loop", lambda g, _: _keeping_weights(carry_and_detach, g)),
    _Check(6, "both_detached", "loop", lambda g, _: _keeping_weights(both_detached, g)),
    _Check(7, "fresh_start", "", _fresh_start),
    _Check(
        8,
        "reset_leak",
        "reset_step state reset",
        lambda g, _: reset_leak(g.reset_step, g.x, g.state, g.reset, batch_first=g.batch_first),
    ),
    _Check(9, "routing", "new_step", lambda _, r: routing(r.new_step, *_halves(r.x))),
    _Check(
        10,
        "clipping",
        "optimizer step max_norm",
        lambda g, _: clipping(g.optimizer, g.step, g.max_norm),
    ),
    _Check(
        11, "generation", "generate", lambda _, r: generation(r.model, r.generate, _halves(r.x)[0])
    ),
    _Check(
        12,
        "teacher_forcing",
        "decode targets",
        lambda _, r: teacher_forcing(r.model, r.decode, r.targets, other_values(r.targets)),
    ),
    _Check(13, "causality", "causal batch_first", lambda g, _: causality(g.model, g.x)),
    _Check(14, "packed_order", "run", lambda _, r: packed_order(r.run, r.x, r.lengths, r.pad)),
    _Check(15, "row_alone", "", lambda g, _: row_alone(g.model, g.x, batch_first=g.batch_first)),
    _Check(
        16, "in_chunks", "causal", lambda g, _: in_chunks(g.model, g.x, batch_first=g.batch_first)
    ),
)


def _row(check: _Check, given: _Given, rows_first: _Given) -> Row:
    """The result of a check, or why there is none."""
    missing = [name for name in check.needs.split() if _absent(getattr(given, name))]
    if missing:
        return Row(check.point, check.name, "not asked", f"needs {', '.join(missing)}")
    try:
        result = check.run(given, rows_first)
    except (ValueError, TypeError) as e:
        return Row(check.point, check.name, "not shown", str(e))
    except Exception as e:  # of the user's function; the other checks go on
        return Row(check.point, check.name, "raised", f"{type(e).__name__}: {e}")
    return Row(check.point, check.name, "holds" if result else "FAILS", result.evidence)


def _absent(value: Any) -> bool:
    """Whether an argument was not given; a tensor cannot be compared with None by ==."""
    return value is None or value is False


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
