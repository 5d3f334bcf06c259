"""Point 9: states follow stream ids, not batch rows."""

from collections.abc import Callable, Sequence

from torch import Tensor

from .arguments import require_functions, require_tensors
from .calls import Caller
from .check_result import CheckResult
from .comparison import require_numbers
from .values import output_tensor


def routing(
    new_step: Callable[[], Callable[[Sequence[int], Tensor], object]],
    first_chunk: Tensor,
    second_chunk: Tensor,
) -> CheckResult:
    """(9) States follow stream ids, not batch rows.

    Args:
        new_step: new_step() -> step, a function without history. step(ids, x) -> output [B, ·],
            alone, in a tuple, or in a dict or object; it keeps the states of the streams it has
            processed, by id. The modules that these functions refer to run in evaluation mode.
        first_chunk: [B, T] tokens or [B, T, D] numbers of B ≥ 2 streams, batch first.
        second_chunk: the next chunk of the same streams, with the same shape and dtype.

    Returns:
        Holds: streams that change rows between the chunks give the same results, a new stream in a
        used row starts without history, and a new stream among old ones changes none of them.
        Fails: reports which of these is violated and by how much, or that no state is kept at all.

    Raises:
        ValueError: fewer than two streams, or another number of them in the second chunk; a step
            that new_step() has just made remembers streams; the results are NaN, random, the same
            for all streams, or do not depend on the chunk.
        TypeError: a step does not return a tensor, or a tuple, dict or object with one.
    """
    require_functions(new_step=new_step)
    require_tensors(first_chunk=first_chunk, second_chunk=second_chunk)
    if not first_chunk.dim() or not second_chunk.dim() or len(first_chunk) != len(second_chunk):
        raise ValueError(
            f"Expected two chunks [B, T, ·] of the same B streams, got {list(first_chunk.shape)} "
            f"and {list(second_chunk.shape)}."
        )
    B = len(first_chunk)
    if B < 2:
        raise ValueError(f"Expected two or more streams, got {B}.")
    caller = Caller(_Streams(new_step))
    ids = list(range(B))
    rotated = [*ids[1:], 0]
    new_ids = [i + B for i in ids]
    mixed = [B, *ids[1:]]
    first = (ids, first_chunk)
    caller.require_repeatable([first])
    expected = caller([first, (ids, second_chunk)])
    require_numbers([expected], "step")
    again = caller([first, (ids, second_chunk)])
    if caller.difference(again, expected):
        raise ValueError("Expected new_step() to make a step without history, got one with some.")
    actual = caller([first, (rotated, second_chunk[rotated])])
    in_used_rows = caller([first, (new_ids, second_chunk)])
    among_old = caller([first, (mixed, second_chunk)])
    back = caller([first, (rotated, second_chunk[rotated]), first])
    unmoved = caller([first, (ids, second_chunk), first])
    without_history = caller([(new_ids, second_chunk)])
    second_only = caller([(ids, second_chunk)])
    if not caller.difference(second_only, caller([(ids, second_chunk.roll(1, 0))])):
        raise ValueError(
            "Expected results that depend on the chunk and differ by stream, got results that do "
            "not: nothing can be seen."
        )
    failures = []
    if change := caller.disagreement(actual, expected[rotated]):
        failures.append(f"streams that change rows change their results, by {change:.2g}")
    elif change := caller.disagreement(back, unmoved):
        failures.append(f"streams that change rows and back change their results, by {change:.2g}")
    if leak := caller.disagreement(in_used_rows, without_history):
        failures.append(f"a new stream in a used row inherits its state: it differs by {leak:.2g}")
    if not failures and (leak := caller.difference(among_old[:1], without_history[:1])):
        failures.append(f"a new stream among old ones inherits a state: it differs by {leak:.2g}")
    if not failures and (change := caller.difference(among_old[1:], expected[1:])):
        failures.append(f"a new stream changes the results of old ones, by {change:.2g}")
    kept = [b for b in range(B) if caller.difference(expected[b], second_only[b])]
    if not kept:
        failures.append("no state is kept: the second chunk does not depend on the first")
    elif len(kept) < B:
        lost = [b for b in range(B) if b not in kept]
        failures.append(f"no state is kept of the streams in rows {lost}")
    return CheckResult.from_failures(
        9, "states follow streams, not rows", failures, f"{B} streams changed rows"
    )


class _Streams:
    """Several chunks in a row with a new step; the result of the last."""

    def __init__(self, new_step: Callable[[], Callable[[Sequence[int], Tensor], object]]) -> None:
        self.new_step = new_step

    def __call__(self, chunks: Sequence[tuple[list[int], Tensor]]) -> Tensor:
        step = self.new_step()
        returned: object = None
        for ids, x in chunks:
            returned = step(list(ids), x.clone())
        return output_tensor(returned)
