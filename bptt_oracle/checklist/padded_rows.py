"""A padded batch, and the result of each of its rows in the batch and alone."""

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .calls import Caller
from .comparison import require_numbers
from .values import batch_axis, named_values, output_tensor, tensors_in

Lengths = Tensor | Sequence[int]
Run = Callable[[Tensor, Any], object]
REPLACEMENTS = 8  # of the last valid step


class Batch(NamedTuple):
    """Rows with padding, as the check runs them."""

    x: Tensor
    lengths: list[int]
    own_lengths: Any  # as the user gave them: a tensor or a list
    shortened: bool  # by the check

    @classmethod
    def of(cls, x: Tensor, lengths: Lengths, pad: float, reorder: bool) -> "Batch":
        given = _whole_numbers(lengths)
        if x.dim() < 2 or len(given) != len(x) or not all(1 <= n <= x.shape[1] for n in given):
            raise ValueError(
                f"Expected x [B, T] or [B, T, D] and B lengths from 1 to T, got {list(x.shape)} "
                f"and {given}."
            )
        B, T = x.shape[:2]
        shortened = all(n == T for n in given)
        if shortened:
            if T < 2:
                raise ValueError("Expected rows that can have padding, got rows of one step.")
            given = [max(1, T - b - (B == 1)) for b in range(B)]  # descending: packs as it is
            valid = torch.arange(T, device=x.device) < torch.tensor(given, device=x.device)[:, None]
            x = torch.where(valid.reshape(B, T, *[1] * (x.dim() - 2)), x, torch.full_like(x, pad))
        descending = all(a >= b for a, b in zip(given, given[1:], strict=False))
        if reorder and descending:
            x, given = x.flip(0), given[::-1]
        return cls(x, given, cls._like(lengths, given), shortened)

    @staticmethod
    def _like(lengths: Lengths, values: list[int]) -> Any:
        if isinstance(lengths, Tensor):
            return torch.tensor(values, dtype=lengths.dtype, device=lengths.device)
        return type(lengths)(values)  # type: ignore[call-arg]

    def alone(self, b: int, columns: int | None = None) -> "Batch":
        """Row b without its padding, or with that of the first `columns`."""
        n = self.lengths[b]
        return Batch(
            self.x[b : b + 1, : columns or n], [n], self.own_lengths[b : b + 1], self.shortened
        )

    def arguments(self) -> tuple[Tensor, Any]:
        """Copies, because a function may change its arguments."""
        own = self.own_lengths
        return self.x.clone(), own.clone() if isinstance(own, Tensor) else type(own)(own)


def _whole_numbers(lengths: object) -> list[int]:
    """The lengths as integers. Raises ValueError if they are not."""
    values = lengths.tolist() if isinstance(lengths, Tensor) else lengths
    if not isinstance(values, list | tuple) or not all(isinstance(n, Integral) for n in values):
        raise ValueError(
            f"Expected lengths as a tensor, list or tuple of integers, got {lengths!r:.60}."
        )
    return [int(n) for n in values]


class RowResults:
    """Results by row."""

    def __init__(self, caller: Caller, preferred_axis: int, one_result: bool, B: int) -> None:
        self.caller = caller
        self.preferred_axis = preferred_axis
        self.one_result = one_result
        self.B = B
        self.axes: list[int] = []  # of the rows, in every tensor of a result

    def rows(self, batch: Batch) -> list[list[Tensor]]:
        """The tensors of each row."""
        tensors = self.tensors(batch)
        if not self.axes:
            longest = max(range(len(batch.x)), key=lambda b: batch.lengths[b])
            alone = self.tensors(batch.alone(longest))
            self.axes = [self.row_axis(t, a) for t, a in zip(tensors, alone, strict=True)]
        pairs = list(zip(tensors, self.axes, strict=True))
        return [[t.select(axis, b) for t, axis in pairs] for b in range(len(batch.x))]

    def row_axis(self, tensor: Tensor, alone: Tensor) -> int:
        """The axis that has B places in the batch and one of a row alone, because layers or steps
        may be B in number too.
        """
        preferred = self.preferred_axis if tensor.dim() > 2 else 0
        for axis in (preferred, 1 - preferred):
            if tensor.shape[axis : axis + 1] == (self.B,) and alone.shape[axis : axis + 1] == (1,):
                return axis
        return batch_axis(tensor, self.B, preferred)

    def tensors(self, batch: Batch) -> list[Tensor]:
        """What the function returns of a batch."""
        returned = self.caller(*batch.arguments())
        if self.preferred_axis == 0 and (
            named_values(returned) or isinstance(returned, PackedSequence)
        ):
            returned = output_tensor(returned)
        tensors = [t for t in tensors_in(returned) if t.dim()]
        if not tensors:
            raise ValueError("Expected a tensor with one result per row, got none.")
        return tensors

    def failures(self, batch: Batch) -> list[str]:
        """The rows whose result differs from that of the row alone."""
        rows = self.rows(batch)
        failures = []
        for b, actual in enumerate(rows):
            (expected,) = self.rows(batch.alone(b))
            require_numbers(expected, "a row alone")
            if self.one_result:
                self.require_no_steps(actual, expected, batch.lengths[b])
            change = self.difference(actual, expected, self.caller.disagreement)
            if not change:
                continue
            matches = [
                k for k, row in enumerate(rows) if k != b and not self.difference(row, expected)
            ]
            failures.append(
                f"row {b}, of length {batch.lengths[b]}, differs by {change:.2g} from the row alone"
                + "".join(f": its result is in row {k}" for k in matches[:1])
                + ("" if matches else self.cause(batch, b))
            )
        return failures

    def difference(
        self,
        actual: list[Tensor],
        expected: list[Tensor],
        compare: Callable[[Tensor, Tensor], float] | None = None,
    ) -> float:
        """The difference over the steps of `expected`, which has no padding."""
        compare = compare or self.caller.difference
        return max(
            compare(a[: len(e)] if a.dim() and a.shape != e.shape else a, e)
            for a, e in zip(actual, expected, strict=True)
        )

    def require_no_steps(self, actual: list[Tensor], expected: list[Tensor], n: int) -> None:
        """Raise ValueError if the first result has an axis of steps."""
        a, e = actual[0], expected[0]
        if a.dim() and a.shape != e.shape and e.shape[0] == n:
            raise ValueError(
                f"Expected one result per row, [B, ·], got results with {n} steps of a row of "
                f"length {n}."
            )

    def cause(self, batch: Batch, b: int) -> str:
        """What of the padding changes the result of row b."""
        n, T = batch.lengths[b], batch.x.shape[1]
        if n == T:
            return ": other rows or their padding change it"
        before = self.rows(batch)[b]
        if self.follows_padding(batch, b):
            return (
                ": what stands in the padding changes it, as with the last column, or a mean, "
                "maximum or attention without a mask"
            )
        changed = batch.x.clone()
        changed[b, :n] = batch.x[b, :n].flip(0) + (0 if batch.x.dim() == 2 else 1)
        after = self.rows(batch._replace(x=changed))[b]
        if not any(self.caller.difference(a, e) for a, e in zip(after, before, strict=True)):
            return ": it does not depend on the row's own steps, as with the last column"
        return (
            ": the number of columns changes it, as with a mean, maximum or attention without a "
            "mask"
        )

    def follows_padding(self, batch: Batch, b: int) -> bool:
        """Whether the result of row b depends on what stands in its padding."""
        n = batch.lengths[b]
        other = batch.x.clone()
        other[b, n:] = batch.x[b, :1] if batch.x.dim() == 2 else batch.x[b, :1] + 1
        before, after = self.rows(batch)[b], self.rows(batch._replace(x=other))[b]
        return any(self.caller.difference(a, e) for a, e in zip(after, before, strict=True))

    def reads_padding(self, batch: Batch) -> bool:
        """Whether any result depends on what stands in the padding of its row."""
        padded = [b for b, n in enumerate(batch.lengths) if n < batch.x.shape[1]]
        return any(self.follows_padding(batch, b) for b in padded)

    def reads_lengths(self, batch: Batch) -> bool:
        """Whether the result depends on the lengths, of the same x."""
        full = [batch.x.shape[1]] * len(batch.x)
        longer = batch._replace(own_lengths=Batch._like(batch.own_lengths, full))
        return any(
            self.caller.difference(a, e)
            for row, same in zip(self.rows(longer), self.rows(batch), strict=True)
            for a, e in zip(row, same, strict=True)
        )

    def unseen_steps(self, batch: Batch, must_be_last: bool) -> list[str]:
        """The failure that an earlier step is read in place of the last valid one.

        Raises ValueError if no result of a row with padding follows the row's last valid step.
        """
        followed = self.followed(batch, -1)
        padded = [b for b, n in enumerate(batch.lengths) if n < batch.x.shape[1]]
        longer = [b for b, n in enumerate(batch.lengths) if n > 1]
        if any(followed[b] for b in padded) and any(followed[b] for b in longer or padded):
            return []
        if must_be_last and longer and not any(followed[b] for b in longer):
            for step, name in ((-2, "the step before it"), (0, "the first step")):
                earlier = self.followed(batch, step)
                if all(earlier[b] for b in longer):
                    return [f"no row depends on its last valid step, all do on {name}"]
        raise ValueError(
            "Expected results that follow a row's last valid step, got results that do not change "
            "beyond rounding when it does: nothing can be seen."
        )

    def followed(self, batch: Batch, step: int) -> list[bool]:
        """Whether each row's result follows one of its valid steps, counted from its end if < 0."""
        before = self.rows(batch)
        seen = [False] * len(before)
        for k in range(REPLACEMENTS):
            x = batch.x.clone()
            for b, n in enumerate(batch.lengths):
                t = step if step >= 0 else max(0, n + step)
                x[b, t] = _replacement(batch, b, t, k)
            for b, row in enumerate(self.rows(batch._replace(x=x))):
                pairs = zip(row, before[b], strict=True)
                seen[b] |= any(self.caller.difference(a, e) > 0 for a, e in pairs)
            if all(seen):
                break
        return seen

    def require_different_rows(self, batch: Batch) -> None:
        """Raise ValueError if two rows give the same result."""
        rows = [self.rows(batch.alone(b))[0] for b in range(len(batch.x))]
        for b, row in enumerate(rows):
            for k in range(b):
                if not self.difference(row[:1], rows[k][:1]):
                    raise ValueError(
                        f"Expected rows with different results, got the same of rows {k} and {b}: "
                        "their order cannot be seen."
                    )


def padding_of(modules: Sequence[nn.Module]) -> int | None:
    """The padding_idx of the first embedding that has one."""
    for module in modules:
        for part in module.modules():
            if isinstance(part, nn.Embedding) and part.padding_idx is not None:
                return int(part.padding_idx)
    return None


def _replacement(batch: Batch, b: int, t: int, k: int) -> Tensor:
    """The k-th other value of step t of row b: a token of the batch, or other numbers."""
    old = batch.x[b, t]
    if batch.x.is_floating_point():
        generator = torch.Generator().manual_seed(k)
        noise = torch.randn(old.shape, generator=generator).to(old)
        other: Tensor = noise * 2.0**k
        return other
    valid = torch.cat([row[:n] for row, n in zip(batch.x, batch.lengths, strict=True)])
    tokens = [token for token in valid.unique() if token != old]
    if not tokens:
        raise ValueError("Expected rows of different tokens, got one token everywhere.")
    token: Tensor = tokens[k % len(tokens)]
    return token
