"""Digests and sketches: four sums of bits that locate one changed element without its value.

    w_i  words of 32 bits        x = XOR of w_i        s_k = Σ (i + 1)ᵏ w_i  mod 2⁶⁴,  k = 0, 1, 2

If two arrays differ in one word, Δs₀ is δ = w′ − w, and Δs₁ = (i + 1) δ, Δs₂ = (i + 1)² δ; the XOR
of the two x is the mask of the changed bits. So i = Δs₁ / Δs₀ − 1. If they differ in more words,
Δs₂ is another, and δ almost never agrees with the mask; two bits alone can agree with it. A tensor
with a time axis has one sketch for each step: what is wrong at one step is many elements later,
but one element there.

Source: the P and Q of RAID 6, which locate one damaged disk: Anvin 2004, "The mathematics of
RAID-6", section 4. # Differs: integers instead of a Galois field, because Δs₀ is small and exact.
Page: docs/fleet/fleet.md
"""

import base64
import binascii
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..runs.row import array_digest, digest

FORWARD = ("gates", "c", "output")  # of each step, in the order in which they are computed
BACKWARD = ("d_h", "d_c", "d_gates", "d_x")  # of each step, from the last step to the first
FINAL = ("h_n", "c_n")


class Sketch(NamedTuple):
    """The digest of an array, and its sums x, s₀, s₁, s₂: [steps, 4] or [1, 4], uint64."""

    digest: str
    shape: tuple[int, ...]
    dtype: str  # of the values, "float32" or "float64"; bfloat16 is held in float32
    sums: np.ndarray


class Change(NamedTuple):
    """The one element in which two arrays differ, and the bits that differ."""

    element: tuple[int, ...]
    mask: int


def sketch(name: str, value: np.ndarray) -> Sketch:
    """The digest and sums of a result, float32 or float64."""
    words = _words(value).reshape(steps_of(name, value.shape), -1)
    weights = np.arange(1, words.shape[1] + 1, dtype=np.uint64)
    sums = np.empty((len(words), 4), np.uint64)
    for row, block in zip(sums, words, strict=True):  # one at a time: 64 bits of all is too much
        wide = block.astype(np.uint64)
        weighted = wide * weights
        row[:3] = np.bitwise_xor.reduce(wide), wide.sum(), weighted.sum()
        row[3] = (weighted * weights).sum()
    return Sketch(array_digest(value), value.shape, str(value.dtype), sums)


def _words(value: np.ndarray) -> np.ndarray:
    """The bits of all elements, as words of 32 bits, the lower half of an element first."""
    little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
    return little.reshape(-1).view("<u4")


def steps_of(name: str, shape: tuple[int, ...]) -> int:
    """The number of steps of a result with a time axis, else 1."""
    return shape[0] if name in FORWARD + BACKWARD else 1


def causal_order(name: str, step: int, steps: int) -> tuple[int, int, int, str]:
    """A key that sorts parts of results by when they are computed: inputs, the steps, the final
    states, the steps backward, then the gradients."""
    if name in FORWARD:
        return 1, step, FORWARD.index(name), name
    if name in BACKWARD:
        return 3, steps - 1 - step, BACKWARD.index(name), name
    return (2 if name in FINAL else 4 if name.startswith("d_") else 0), 0, 0, name


def first_difference(
    expected: Mapping[str, Sketch], actual: Mapping[str, Sketch]
) -> tuple[str, int] | None:
    """The result and the step that differ first, in the order of computation; None if none does.

    Results that one of the two lacks, or has in another shape, are not compared."""
    differing = (
        causal_order(name, int(step), len(one.sums))
        for name, one in expected.items()
        if name in actual and (one.shape, one.dtype) == (actual[name].shape, actual[name].dtype)
        for step in np.flatnonzero((one.sums != actual[name].sums).any(axis=1))
    )
    first = min(differing, default=None)
    if first is None:
        return None
    kind, step, _, name = first
    return name, len(expected[name].sums) - 1 - step if kind == 3 else step


def locate(expected: Sketch, actual: Sketch, step: int) -> Change | None:
    """The element of one step in which two arrays differ, and the mask of its bits; None if they
    differ in several words of 32 bits."""
    old, new = (tuple(map(int, one.sums[step])) for one in (expected, actual))
    mask, delta = old[0] ^ new[0], new[1] - old[1]
    first = (new[2] - old[2] + 2**63) % 2**64 - 2**63  # its size is below 2⁶³
    second = new[3] - old[3]
    per_element = 2 if expected.dtype == "float64" else 1
    count = math.prod(expected.shape) // len(expected.sums)
    position = first // delta if delta else 0  # i + 1
    if not 0 < position <= count * per_element or position * delta != first:
        return None
    if (position * first - second) % 2**64:
        return None
    # w′ = w ^ mask, so δ = mask − 2 (w & mask), and w & mask has no bit outside of the mask
    if (mask - delta) % 2 or not 0 <= (mask - delta) // 2 <= mask or (mask - delta) // 2 & ~mask:
        return None
    word = position - 1
    flat = step * count + word // per_element
    element = tuple(map(int, np.unravel_index(flat, expected.shape)))
    return Change(element, mask << 32 * (word % per_element))


def encode(sums: np.ndarray) -> str:
    """The sums as text."""
    return base64.b64encode(sums.astype("<u8").tobytes()).decode("ascii")


def decode(text: str) -> np.ndarray:
    """The sums [n, 4] of a text. Raises ValueError."""
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if not content or len(content) % 32:
        raise ValueError("not a whole number of sketches")
    return np.frombuffer(content, "<u8").reshape(-1, 4)


def digest_of(sketches: Mapping[str, Sketch]) -> str:
    """One digest of several results: of their names and digests, in the order of the names."""
    return digest(*(f"{name} {sketches[name].digest}\n".encode() for name in sorted(sketches)))
