"""Point 16: a sequence in chunks gives what it gives in one piece."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .arguments import require_functions, require_tensors
from .calls import Caller
from .check_result import CheckResult
from .comparison import require_numbers
from .truth import LIMIT, known_net, measure
from .values import named_values, output_tensor, state_tensors

STATE_NAMES = ("state", "states", "hidden", "hidden_state", "h", "carry", "cache")


def in_chunks(
    model: Callable[..., Any],
    x: Tensor,
    *,
    reset: Tensor | None = None,
    batch_first: bool = True,
) -> CheckResult:
    """(16) A sequence in chunks, the state passed on, gives what it gives in one piece.

    The model runs in evaluation mode. If it is an nn.RNN, nn.GRU or nn.LSTM, the output of the
    chunks is judged by the reference as well, in units of rounding noise, R; otherwise the bound is
    1000 · eps of the largest magnitude, in half types 16 · eps.

    Args:
        model: model(x, state) -> (output, state), or a dict or object that holds the state by the
            name state, states, hidden, hidden_state, h, carry or cache; state None starts anew.
            With `reset`, model(x, state, reset). A model of x alone keeps its state inside.
        x: numbers [B, T, D] or [B, T], or tokens [B, T], T ≥ 3; with batch_first=False [T, B, ·].
        reset: [T, B], bool, True where a new stream begins; some of them after the first step.
        batch_first: whether the first axis of x holds the rows. This says what you mean; a model
            that takes the axes otherwise fails.

    Returns:
        Holds: outputs and final state are those of the whole sequence, for several ways to cut it;
        with resets, a row from a reset on is what it is alone from a fresh start. A result per row
        is compared after the last chunk. Fails: names the cut and the largest difference; time
        taken for batch; the reset that is ignored; or R above 16.

    Raises:
        ValueError: T < 3; the model returns no state and keeps none; no reset after the first step;
            the results are NaN, random, or do not depend on the state.
        TypeError: the model does not return a tensor, or a tuple, dict or object with one.
    """
    require_functions(model=model)
    require_tensors(x=x)
    if reset is not None:
        require_tensors(reset=reset)
    time = 1 if batch_first else 0
    if x.dim() < 2 or x.shape[time] < 3:
        raise ValueError(f"Expected x of three steps or more, got {list(x.shape)}.")
    T, B = x.shape[time], x.shape[1 - time]
    if reset is not None and (reset.shape != (T, B) or not reset[1:].any()):
        raise ValueError(
            f"Expected reset [T, B] = [{T}, {B}] with one after the first step, got "
            f"{list(reset.shape)}."
        )
    chunked = _Chunked(model, x, reset, time)
    whole, state = chunked.run((T,))
    require_numbers([whole, *state], "the model")
    chunked.caller.require_repeatable((T,))
    failures = chunked.rows_are_steps()
    R = 0.0
    net = known_net(model, x) if reset is None else None
    for lengths in () if failures else _cuts(T):
        output, final = chunked.run(lengths)
        if net is not None:
            R = max(R, measure(net, x, output, batch_first))
        if net is not None and R <= LIMIT:
            continue
        if change := chunked.difference([output, *final], [whole, *state]):
            failures.append(f"in chunks of {list(lengths)} steps it differs by {change:.2g}")
            break
    if net is not None and not failures and not R <= LIMIT:
        failures.append(f"the chunks differ from the truth: R = {R:.3g}, the limit is {LIMIT:g}")
    if not failures and reset is not None:
        failures += chunked.ignored_resets(whole)
    if not failures:
        chunked.require_memory(whole, state)
    measured = f"R = {R:.2g}, where above {LIMIT:g} is a fault"
    if net is None:
        measured = "within 1000 eps" if chunked.caller.eps < 1e-4 else "within 16 eps"
    return CheckResult.from_failures(
        16,
        "a sequence in chunks gives what it gives in one piece",
        failures,
        f"{len(_cuts(T))} ways to cut {T} steps, {measured}",
    )


def _cuts(T: int) -> list[tuple[int, ...]]:
    """Lengths of chunks that sum to T."""
    cuts: set[tuple[int, ...]] = {(1, T - 1), (T - 1, 1), (T // 2, T - T // 2)}
    if T <= 8:
        cuts.add((1,) * T)
    return sorted(cuts)


class _Chunked:
    """The model, run over pieces of x in turn."""

    def __init__(self, model: Any, x: Tensor, reset: Tensor | None, time: int) -> None:
        self.model, self.x, self.reset, self.time = model, x, reset, time
        self.takes_state = reset is not None or _binds(model, 2)
        self.follows_steps: bool | None = None
        self.caller = Caller(self.pieces)
        self.caller.modules = Caller(model).modules

    def pieces(self, lengths: tuple[int, ...], *replaced: Any) -> tuple[list[Any], Any]:
        """The output of each piece, and the final state."""
        x, reset = replaced or (self.x, self.reset)
        outputs: list[Any] = []
        state, start = None, 0
        for length in lengths:
            piece = x.narrow(self.time, start, length).clone()
            resets = [] if reset is None else [reset[start : start + length].clone()]
            returned = self.model(piece, state, *resets) if self.takes_state else self.model(piece)
            state = _state_of(returned)
            if self.takes_state and not state_tensors(state):
                self.takes_state = not _binds(self.model, 1)  # a state may be kept inside
                if self.takes_state or outputs:
                    raise ValueError(
                        "Expected a model that returns its output and its state, got "
                        f"{type(returned).__name__} without a state."
                    )
            outputs.append(output_tensor(returned))
            start += length
        return outputs, state

    def run(self, lengths: tuple[int, ...], *replaced: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output of all pieces, or of the last one if it has no steps; and the final state."""
        outputs, state = self.caller(lengths, *replaced)
        return self.joined(outputs), state_tensors(state)

    def joined(self, outputs: list[Tensor]) -> Tensor:
        if not self.has_steps():
            return outputs[-1]
        return torch.cat(outputs, dim=self.time)

    def has_steps(self) -> bool:
        """Whether the output has an axis that follows the steps."""
        if self.follows_steps is None:
            shapes = [self.caller((n,))[0][0].shape for n in (1, 2)]
            self.follows_steps = shapes[0] != shapes[1]
        return self.follows_steps

    def difference(self, actual: list[Tensor], expected: list[Tensor]) -> float:
        if len(actual) != len(expected):
            return float("inf")
        pairs = zip(actual, expected, strict=True)
        return max(self.caller.disagreement(a, e) for a, e in pairs)

    def rows_are_steps(self) -> list[str]:
        """The failure that the state has a row for each step, whatever their number is."""
        B = self.x.shape[1 - self.time]
        length, other = [n for n in (2, 1, 3) if n != B][:2]
        if self.has_as_many_rows(length) and self.has_as_many_rows(other):
            cause = "time is taken for the batch, as without batch_first"
            if not self.time:
                cause = "the batch is taken for time, as with batch_first"
            return [f"the state has {length} rows after {length} steps of {B} rows: {cause}"]
        return []

    def has_as_many_rows(self, length: int) -> bool:
        """Whether the state after so many steps has as many rows."""
        _, state = self.caller((length,))
        states = [tensor for tensor in state_tensors(state) if tensor.dim() > 1]
        return bool(states) and all(t.shape[1 if t.dim() > 2 else 0] == length for t in states)

    def ignored_resets(self, whole: Tensor) -> list[str]:
        """The first reset after which a row is not what it is from a fresh start."""
        assert self.reset is not None
        T = self.x.shape[self.time]
        no_reset, _ = self.run((T,), self.x, torch.zeros_like(self.reset))
        if not self.caller.difference(no_reset, whole):
            return ["resets change nothing: they are ignored"]
        if whole.dim() <= self.time or whole.shape[self.time] != T:
            return self.ignored_last_resets(whole)
        for t, b in self.reset[1:].nonzero().tolist():
            start = t + 1
            later = self.reset[start + 1 :, b].nonzero()[:, 0].tolist()
            end = start + 1 + later[0] if later else T
            alone = self.fresh(b, start, end)
            actual = whole.narrow(self.time, start, end - start).narrow(1 - self.time, b, 1)
            if change := self.caller.disagreement(actual, alone):
                return [
                    f"row {b}, reset at step {start}, differs by {change:.2g} from a fresh start"
                ]
        return []

    def ignored_last_resets(self, whole: Tensor) -> list[str]:
        """The same for one result per row: from the last reset of each row on."""
        assert self.reset is not None
        T = self.x.shape[self.time]
        for b in range(self.reset.shape[1]):
            starts = self.reset[:, b].nonzero()[:, 0].tolist()
            if starts:
                alone = self.fresh(b, starts[-1], T)
                if change := self.caller.disagreement(whole[b : b + 1], alone):
                    return [
                        f"row {b}, reset at step {starts[-1]}, differs by {change:.2g} from a "
                        "fresh start"
                    ]
        return []

    def fresh(self, b: int, start: int, end: int) -> Tensor:
        """The output of steps of one row, alone and from no state."""
        assert self.reset is not None
        x = self.x.narrow(1 - self.time, b, 1).narrow(self.time, start, end - start)
        reset = torch.zeros_like(self.reset[start:end, b : b + 1])
        return self.run((end - start,), x, reset)[0]

    def require_memory(self, whole: Tensor, state: tuple[Tensor, ...]) -> None:
        """Raise ValueError if the last part does not depend on the state that enters it."""
        T = self.x.shape[self.time]
        last = self.x.narrow(self.time, T - 1, 1)
        reset = None if self.reset is None else torch.zeros_like(self.reset[T - 1 :])
        output, final = self.run((1,), last, reset)
        expected = whole
        if whole.dim() > self.time and whole.shape[self.time] == T:
            expected = whole.narrow(self.time, T - 1, 1)
        pairs = zip([output, *final], [expected.reshape(output.shape), *state], strict=True)
        if not any(self.caller.difference(a, e) for a, e in pairs):
            raise ValueError(
                "Expected a model whose output depends on its state, got one whose last step is "
                "the same from a fresh start: nothing can be seen."
            )


def _binds(model: Any, arguments: int) -> bool:
    """Whether a model can be called with so many arguments."""
    function = model.forward if isinstance(model, nn.Module) else model
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except TypeError:
        return False
    except ValueError:  # no signature
        return True
    return True


def _state_of(returned: Any) -> Any:
    """The state in what a model returned; None if there is none."""
    named = named_values(returned)
    if named:
        return next((named[name] for name in STATE_NAMES if named.get(name) is not None), None)
    if isinstance(returned, tuple | list):
        return returned[1] if len(returned) == 2 else tuple(returned[1:])
    return None
