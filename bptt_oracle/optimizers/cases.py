"""The cases of optimisers: what is run, spelled by an identifier.

    Adam.amsgrad.n3.zero.columns.expanded.unit.s17

    optimizer, options   a row of torch_impl/optimizers/table.py and a label of its options
    n3                   the number of steps: 1, 3 or 20
    zero, generic        the start. From zero the parameter *is* the step: from elsewhere, an error
                         of the step that is less than a rounding of the parameter does not show
    columns, expanded    the layouts of the parameters and of the gradients
    unit, small          the magnitude of the gradients: spread around 1, or far below it
    s17                  the seed of the values

Every case has a matrix, an array of four axes, a vector and a number without axes.
"""

from typing import NamedTuple

import numpy as np

from torch_impl.execution.precision import stored
from torch_impl.optimizers.layouts import GRADIENT_LAYOUTS, LAYOUTS
from torch_impl.optimizers.run import OptimizerProblem
from torch_impl.optimizers.table import OPTIMIZERS

SHAPES: dict[str, tuple[int, ...]] = {
    "weight": (6, 11),
    "kernel": (2, 3, 4, 5),
    "bias": (19,),
    "scale": (),
}
STEPS = (1, 3, 20)
STARTS = ("zero", "generic")
MAGNITUDES = ("unit", "small")
_SPREAD = {"float16": 1.0}  # decades below and above 1, because float16 has few; 3 in the others
_SMALL = {"float64": 2.0**-540, "float32": 2.0**-70, "bfloat16": 2.0**-70, "float16": 2.0**-13}
_LEAST = {"float16": 2.0**-11}  # of magnitude 1: the product of smaller ones is 0, as of `small`
CONTIGUOUS = ("contiguous", "offset")
START = 1807


class OptimizerCase(NamedTuple):
    """What an optimiser is run on."""

    optimizer: str
    options: str
    steps: int
    start: str
    layout: str
    gradient_layout: str
    magnitude: str
    seed: int

    @property
    def id(self) -> str:
        """The identifier."""
        return (
            f"{self.optimizer}.{self.options}.n{self.steps}.{self.start}.{self.layout}."
            f"{self.gradient_layout}.{self.magnitude}.s{self.seed}"
        )


def parse(identifier: str) -> OptimizerCase:
    """The case of an identifier. Raises ValueError, in one sentence, for what is none."""
    parts = identifier.split(".")
    try:
        optimizer, options, steps, start, layout, gradient_layout, magnitude, seed = parts
        case = OptimizerCase(
            optimizer,
            options,
            int(steps.removeprefix("n")),
            start,
            layout,
            gradient_layout,
            magnitude,
            int(seed.removeprefix("s")),
        )
        known = (
            options in OPTIMIZERS[optimizer].options
            and case.steps > 0
            and case.seed >= 0
            and start in STARTS
            and layout in LAYOUTS
            and gradient_layout in GRADIENT_LAYOUTS
            and magnitude in MAGNITUDES
        )
    except (ValueError, KeyError):
        known = False
    if not known or case.id != identifier:
        raise ValueError(
            f"{identifier!r} names no case of an optimizer; expected for example "
            "Adam.amsgrad.n3.zero.columns.expanded.unit.s17"
        )
    return case


def optimizer_cases(
    count: int, seed: int = 0, optimizers: tuple[str, ...] = tuple(OPTIMIZERS)
) -> list[OptimizerCase]:
    """The first `count` cases of a seed; the optimisers take turns.

    In a third of the cases all memory is contiguous; in a third the gradients have the layout of
    the parameters, as after a backward pass; in a third both are drawn.
    """
    return [_draw(seed, index, optimizers) for index in range(count)]


def _draw(seed: int, index: int, optimizers: tuple[str, ...]) -> OptimizerCase:
    rng = np.random.default_rng([START, seed, index])
    turn, which = divmod(index, len(optimizers))
    optimizer = optimizers[which]
    labels = list(OPTIMIZERS[optimizer].options)

    def one_of(values: tuple[str, ...]) -> str:
        return str(values[rng.integers(len(values))])

    kind = rng.integers(3)
    layout = one_of(CONTIGUOUS if kind == 0 else LAYOUTS)
    others = (CONTIGUOUS, (layout,), GRADIENT_LAYOUTS)[kind]
    return OptimizerCase(
        optimizer,
        labels[turn % len(labels)],
        int(STEPS[rng.integers(len(STEPS))]),
        one_of(STARTS),
        layout,
        one_of(others),
        "small" if rng.integers(6) == 0 else "unit",
        seed * 1_000_000 + index,
    )


def draw(case: OptimizerCase, dtype: str) -> OptimizerProblem:
    """The arrays of a case, float64, rounded to a dtype.

    Each element has gradients of its own magnitude, over six powers of ten; two in float16, which
    holds no more of their squares, and none below 2⁻¹¹ unless they are small. An expanded gradient
    is constant along its first axis.
    """
    rng = np.random.default_rng([START, case.seed])
    spread = _SPREAD.get(dtype, 3.0)
    small = case.magnitude == "small"
    size, least = (_SMALL[dtype], 0.0) if small else (1.0, _LEAST.get(dtype, 0.0))

    def rounded(value: np.ndarray) -> np.ndarray:
        return np.asarray(stored(np.asarray(value), dtype), dtype=np.float64)

    theta, scales = {}, {}
    for name, shape in SHAPES.items():
        value = rng.standard_normal(shape)
        theta[name] = rounded(np.zeros(shape) if case.start == "zero" else value)
        scales[name] = 10.0 ** rng.uniform(-spread, spread, shape) * size
    grads = []
    for _ in range(case.steps):
        drawn = {n: scales[n] * rng.standard_normal(s) for n, s in SHAPES.items()}
        drawn = {n: np.copysign(np.maximum(np.abs(g), least), g) for n, g in drawn.items()}
        if case.gradient_layout == "expanded":
            drawn = {n: np.broadcast_to(g[:1], g.shape) if g.ndim else g for n, g in drawn.items()}
        grads.append({n: rounded(g) for n, g in drawn.items()})
    options = OPTIMIZERS[case.optimizer].options[case.options]
    return OptimizerProblem(
        case.optimizer, options, theta, grads, case.layout, case.gradient_layout
    )
