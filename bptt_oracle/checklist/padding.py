"""Points 3 (state), 4 and 14: padding counts nowhere, and results are in the order of the batch.

All are checked in the same way: a row in a padded batch must give what the same row gives in a
batch of its own, without padding. `run(x, lengths)` is your own function. The modules that it
refers to are put in evaluation mode.

A row that gives the same alone proves nothing if its result never changes, so that the last valid
step of each row is replaced too, and results must follow.
"""

from torch import Tensor

from .arguments import require_functions, require_tensors
from .calls import Caller
from .check_result import CheckResult
from .padded_rows import Batch, Lengths, RowResults, Run, padding_of


def padding_state(run: Run, x: Tensor, lengths: Lengths, pad: float | None = None) -> CheckResult:
    """(3) Padding does not change the final state.

    Args:
        run: run(x, lengths) -> final state [L, B, H] or [B, H], or a tuple, list or dict of such.
        x: [B, T] tokens or [B, T, D] numbers, batch first, padded on the right.
        lengths: [B], integers from 1 to T, a tensor or a list; `run` gets the same kind. If all are
            T, the check shortens rows itself.
        pad: the padding of rows that the check shortens; None: the padding_idx of an embedding that
            `run` refers to, or 0.

    Returns:
        Holds: each row's state is that of the row alone, without padding. Fails: names the rows
        that differ, by how much, and what of the padding changes them.

    Raises:
        ValueError: no row can have padding; the state is NaN, random, or does not change when a
            row's last valid step does; or rows shortened by the check have the wrong state because
            `run` does not read `lengths`.
    """
    failures, batch = _check_rows(run, x, lengths, pad, preferred_axis=1)
    return CheckResult.from_failures(
        3, "padding does not change the final state", failures, _rows_agree(batch)
    )


def last_valid_step(run: Run, x: Tensor, lengths: Lengths, pad: float | None = None) -> CheckResult:
    """(4) The result of a row is that of its valid steps up to the last one; padding is left out.

    Args:
        run: run(x, lengths) -> [B, ·], for example logits of a classifier, alone, in a tuple, or in
            a dict or object.
        x: [B, T] tokens or [B, T, D] numbers, batch first, padded on the right.
        lengths: [B], integers from 1 to T, a tensor or a list; `run` gets the same kind. If all are
            T, the check shortens rows itself.
        pad: the padding of rows that the check shortens; None: the padding_idx of an embedding that
            `run` refers to, or 0.

    Returns:
        Holds: each row's result is that of the row alone, without padding, and depends on its last
        valid step. Fails: names the rows that differ, by how much, and what of the padding changes
        them; or an earlier step that is read in place of the last.

    Raises:
        ValueError: as for `padding_state`; or the result has an axis of steps.
    """
    failures, batch = _check_rows(run, x, lengths, pad, preferred_axis=0, one_result=True)
    return CheckResult.from_failures(
        4,
        "the result is that of the row's own steps up to the last valid one",
        failures,
        _rows_agree(batch),
    )


def packed_order(run: Run, x: Tensor, lengths: Lengths, pad: float | None = None) -> CheckResult:
    """(14) After packing, row b of the result belongs to row b of x.

    Args:
        run: run(x, lengths) -> [B, ·] or [B, T, ·], alone, in a tuple, or in a dict or object.
        x: [B, T] tokens or [B, T, D] numbers, batch first, padded on the right, two rows or more.
        lengths: [B], integers from 1 to T, a tensor or a list; `run` gets the same kind. Rows in
            descending order are reordered by the check; if all lengths are T, it shortens rows.
        pad: the padding of rows that the check shortens; None: the padding_idx of an embedding that
            `run` refers to, or 0.

    Returns:
        Holds: each row's result is that of the row alone, without padding. Fails: names the rows
        that differ, and the row in which their result is found.

    Raises:
        ValueError: as for `padding_state`; or fewer than two rows; or rows that give the same
            results, so that their order cannot be seen; or `run` takes sorted rows only.
    """
    require_tensors(x=x)
    if x.dim() < 2 or len(x) < 2:
        raise ValueError(f"Expected two rows or more, got x {list(x.shape)}: one row has no order.")
    failures, batch = _check_rows(run, x, lengths, pad, preferred_axis=0, reorder=True)
    return CheckResult.from_failures(
        14, "after packing, results are in the order of the batch", failures, _rows_agree(batch)
    )


def _check_rows(
    run: Run,
    x: Tensor,
    lengths: Lengths,
    pad: float | None,
    preferred_axis: int,
    reorder: bool = False,
    one_result: bool = False,
) -> tuple[list[str], Batch]:
    """The rows whose result in the batch is not that of the row alone, and the batch."""
    require_functions(run=run)
    require_tensors(x=x)
    caller = Caller(run)
    own_pad = padding_of(caller.modules) if pad is None else pad
    batch = Batch.of(x, lengths, 0 if own_pad is None else own_pad, reorder)
    results = RowResults(caller, preferred_axis, one_result, len(batch.x))
    try:
        caller.require_repeatable(*batch.arguments())
    except RuntimeError as e:
        if reorder and "sorted" in str(e):
            raise ValueError(
                "Expected a function that takes rows of any lengths, got one for sorted rows, in "
                "which nothing is reordered."
            ) from e
        raise
    failures = results.failures(batch)
    if failures and batch.shortened:
        own_content = batch._replace(x=x.flip(0) if reorder else x)
        if not results.failures(own_content):
            failures, batch = [], own_content
        elif not results.reads_lengths(batch):
            raise ValueError(
                "Expected a function that reads `lengths`, got one that ignores them, and rows of "
                "equal lengths, of which the last column is the last valid step; pass rows with "
                "padding."
            )
        elif own_pad is None and not x.is_floating_point() and results.reads_padding(batch):
            raise ValueError(
                "Expected rows with padding, got rows of equal lengths that were filled with 0, "
                "which changes the result; pass pad=, or rows with your own padding."
            )
    if not failures:
        failures = results.unseen_steps(batch, one_result)
    if not failures and reorder:
        results.require_different_rows(batch)
    return failures, batch


def _rows_agree(batch: Batch) -> str:
    made = "shortened to " if batch.shortened else "of "
    return (
        f"rows {made}lengths {batch.lengths} give the same alone and in the batch, and follow "
        "their last valid step"
    )
