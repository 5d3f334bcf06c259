"""What is wrong in one computation, by tensor, element and bits."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from torch_impl.execution.precision import stored

from ..judging.judge import LIMIT, Score, score
from ..judging.truth import Expected
from .fixed_cases import FixedCase, sample
from .sketch import BACKWARD, FORWARD, Sketch, causal_order, first_difference

INPUT = "input changed"  # what was given to the device is not what it holds afterwards
RUNS_DIFFER = "runs differ"  # the same computation gave other bits
WRONG = "wrong"  # further from the truth than rounding explains


class Finding(NamedTuple):
    """The first element that is wrong, in the order of computation."""

    kind: str
    tensor: str
    element: tuple[int, ...]
    expected: str  # bits, hexadecimal; of kind WRONG, those of the truth rounded to the dtype
    actual: str
    xor: str
    R: float  # the largest of all results of this computation

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON."""
        return self._asdict() | {"element": list(self.element)}


def bits(value: np.ndarray, dtype: str) -> int:
    """The bits of one number of a dtype; those of bfloat16 are the upper half of a float32."""
    word = int(value.view(f"<u{value.dtype.itemsize}"))
    return word >> 16 if dtype == "bfloat16" else word


def format_bits(word: int, dtype: str) -> str:
    """Bits with as many hexadecimal digits as the dtype has."""
    return f"0x{word:0{ {'float64': 16, 'float32': 8}.get(dtype, 4) }x}"


def difference(
    kind: str, tensor: str, expected: np.ndarray, actual: np.ndarray, step: int, dtype: str
) -> Finding:
    """The first element of a step in which two arrays of equal shape differ in a bit."""
    first = step if tensor in FORWARD + BACKWARD else 0
    unsigned = f"<u{expected.dtype.itemsize}"
    differs = np.ascontiguousarray(expected).view(unsigned) != np.ascontiguousarray(actual).view(
        unsigned
    )
    place = np.argwhere(differs[first:])[0]
    element = (first + int(place[0]), *map(int, place[1:]))
    return at_element(kind, tensor, element, expected[element], actual[element], dtype)


def at_element(
    kind: str,
    tensor: str,
    element: tuple[int, ...],
    expected: np.ndarray,
    actual: np.ndarray,
    dtype: str,
) -> Finding:
    """A finding at one element, without R."""
    old, new = (bits(np.asarray(value), dtype) for value in (expected, actual))
    texts = [format_bits(word, dtype) for word in (old, new, old ^ new)]
    return Finding(kind, tensor, element, texts[0], texts[1], texts[2], 0.0)


def changed_input(
    inputs: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray], dtype: str
) -> Finding | None:
    """The first input that the device no longer holds as it was given."""
    for name, given in inputs.items():
        expected = stored(given, dtype)
        if expected.tobytes() != values[name].tobytes():
            return difference(INPUT, name, expected, values[name], 0, dtype)
    return None


def between_runs(
    expected: tuple[Mapping[str, np.ndarray], Mapping[str, Sketch]],
    actual: tuple[Mapping[str, np.ndarray], Mapping[str, Sketch]],
    dtype: str,
) -> Finding:
    """Where a run first differs from another, each given by its values and their sketches."""
    first = first_difference(expected[1], actual[1])
    assert first is not None
    name, step = first
    return difference(RUNS_DIFFER, name, expected[0][name], actual[0][name], step, dtype)


def judge_copies(
    case: FixedCase, copies: int, values: Mapping[str, np.ndarray], expected: Expected, dtype: str
) -> tuple[Score, Finding | None]:
    """The largest R over all results and copies of the batch; and the first element that is wrong,
    None if no R is above the limit."""
    worst: Score | None = None
    wrong: list[tuple[Any, Finding]] = []
    for name, truth in expected.truth.items():
        for copy in range(copies if _has_batch(name) else 1):
            first_row = copy * case.B if _has_batch(name) else 0
            value = values[name]
            if _has_batch(name):
                value = value[:, first_row : first_row + case.B]
            places = sample(case, name, value.size)
            flat = value.reshape(-1)[places]
            if _is_divided(name):
                flat = flat * flat.dtype.type(copies)
            own = score(name, flat, truth, expected.noise[name], False, expected.elements.get(name))
            if own.ill:
                continue
            if worst is None or own.R > worst.R:
                worst = own
            if own.R > LIMIT:
                index = _first_wrong(name, flat, truth, expected, own, places, value.shape)
                place = np.unravel_index(int(places[index]), value.shape)
                element = (*map(int, place),)
                if _has_batch(name):
                    element = (element[0], element[1] + first_row, *element[2:])
                scale = copies if _is_divided(name) else 1
                rounded = stored(np.asarray(truth[index] / scale), dtype)
                found = at_element(WRONG, name, element, rounded, values[name][element], dtype)
                steps = value.shape[0] if name in FORWARD + BACKWARD else 1
                wrong.append((causal_order(name, element[0], steps), found))
    assert worst is not None, "no result has a noise below its values"
    return worst, min(wrong, key=lambda w: w[0])[1] if wrong else None


def _has_batch(name: str) -> bool:
    """Whether the second axis of a result is the batch."""
    return name in ("output", "h_n", "c_n", "d_x", "d_h_0", "d_c_0")


def _is_divided(name: str) -> bool:
    """Whether a result is that of one copy divided by their number."""
    return name in ("d_x", "d_h_0", "d_c_0")


def _first_wrong(
    name: str,
    value: np.ndarray,
    truth: np.ndarray,
    expected: Expected,
    own: Score,
    places: np.ndarray,
    shape: tuple[int, ...],
) -> int:
    """The index, in the sample, of the element that is wrong and computed first; that of the
    largest error if the elements are wrong only together."""
    with np.errstate(invalid="ignore"):
        ratios = np.abs(value - truth) / expected.elements[name].sizes
    above = np.flatnonzero(~(ratios <= LIMIT))
    if not above.size:
        return own.at[0]
    if name in BACKWARD:
        steps = places[above] // math.prod(shape[1:])
        return int(above[steps.argmax()])  # the first place of the last step
    return int(above[0])
