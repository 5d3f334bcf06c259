"""Long streams cut into chunks of K steps; no token is lost, and streams are never mixed.

    tokens  x_0 … x_{N−1} of one stream

    chunk j    inputs   x_{jK} … x_{jK+K−1}          the last chunk ends with the stream
               targets  x_{jK+1} … x_{jK+K}

Consecutive chunks overlap by one token: the last target of one is the first input of the next. So
every token but the last enters the state once, and every token but the first is predicted once.
With chunks x_{jK} … x_{jK+K−1} that do not overlap, the last token of a chunk is only a target and
never enters the state: from the second chunk on, the state is that of another stream.

Source: batches of continuous streams in Mikolov 2012, §3.3 and PyTorch's word language model.
Page: docs/streams/streams.md
"""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..arrays import check_token_type, check_tokens, is_token


class Chunk(NamedTuple):
    """A batch of B rows, one stream each, padded to the longest row."""

    ids: list[Hashable]  # the stream of each row
    inputs: np.ndarray  # [B, K]
    targets: np.ndarray  # [B, K]
    mask: np.ndarray  # [B, K], False on padding
    reset: np.ndarray  # [B], True if the stream begins in this chunk
    ended: list[Hashable]  # streams that end in this chunk: their states can be dropped


def chunks(
    streams: Mapping[Hashable, np.ndarray], rows: int, length: int, pad: int = 0
) -> Iterator[Chunk]:
    """Yield streams of tokens [N] in chunks of `length` steps, at most `rows` streams at a time.

    The chunks of a stream are consecutive. When a stream ends, the next one of the mapping takes
    its row; when none is left, the batch gets smaller and rows move up, so carry states by id. To
    shuffle, shuffle the order of the mapping; inside a stream the order is time.
    Raises ValueError for rows or length below 1, for a stream of fewer than 2 tokens, and for
    tokens or a pad that are not integers; TypeError for a masked array. Inputs and targets are
    intp, whatever the integer type of the streams; a stream is converted chunk by chunk.
    """
    if rows < 1 or length < 1:
        raise ValueError(f"Expected rows and length of at least 1, got {rows} and {length}.")
    if not is_token(pad):
        raise ValueError(f"Expected the pad to be a token, an integer, got {pad!r}.")
    for i, tokens in streams.items():
        if len(tokens) < 2:
            raise ValueError(
                f"Stream {i!r} has length {len(tokens)}; expected at least 2 tokens, an input and "
                "its target."
            )
        check_token_type(f"stream {i!r}", _array(tokens), ValueError)
    return _chunks(streams, rows, length, pad)


def _chunks(
    streams: Mapping[Hashable, np.ndarray], rows: int, length: int, pad: int
) -> Iterator[Chunk]:
    waiting = iter(streams)
    slots = [(i, 0) for _, i in zip(range(rows), waiting, strict=False)]
    while slots:
        yield _chunk(streams, slots, length, pad)
        following = [
            (next(waiting, _NONE_LEFT), 0)
            if _ends(streams[i], start, length)
            else (i, start + length)
            for i, start in slots
        ]
        slots = [slot for slot in following if slot[0] is not _NONE_LEFT]


def _chunk(
    streams: Mapping[Hashable, np.ndarray],
    slots: list[tuple[Hashable, int]],
    length: int,
    pad: int,
) -> Chunk:
    cuts = [(i, streams[i][start : start + length + 1]) for i, start in slots]
    tokens = [check_tokens(f"stream {i!r}", _array(t), ValueError) for i, t in cuts]
    K = max(len(t) for t in tokens) - 1
    inputs = np.full((len(slots), K), pad, np.intp)
    targets = inputs.copy()
    for row, t in enumerate(tokens):
        inputs[row, : len(t) - 1] = t[:-1]
        targets[row, : len(t) - 1] = t[1:]
    steps = np.array([len(t) - 1 for t in tokens])
    return Chunk(
        ids=[i for i, _ in slots],
        inputs=inputs,
        targets=targets,
        mask=np.arange(K) < steps[:, None],
        reset=np.array([start == 0 for _, start in slots]),
        ended=[i for i, start in slots if _ends(streams[i], start, length)],
    )


def _array(tokens: Any) -> np.ndarray:
    """A stream may be a list; a masked array is kept as it is, to be rejected."""
    return tokens if isinstance(tokens, np.ndarray) else np.asarray(tokens)


def _ends(tokens: np.ndarray, start: int, length: int) -> bool:
    """True if the chunk that begins at `start` holds the last target."""
    return start + length + 1 >= len(tokens)


_NONE_LEFT = object()
