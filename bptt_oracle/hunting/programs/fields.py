"""The fields of a random program: what can be drawn, what is plainer, and what made it fail.

A program is a dict of plain data, one value for each field of its subject. The first value of a
choice is the plainest, and so is the least size. A cause is what a smallest failing program has
that is not plain: for each choice the values that fail, and for each size the least that fails.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

Program = dict[str, Any]
Cause = dict[str, Any]  # a list of values for a choice, a number for a size


class Choice(NamedTuple):
    """One of some values, the plainest first; drawn with equal weights unless given."""

    values: tuple[Any, ...]
    weights: tuple[float, ...] = ()

    @property
    def plain(self) -> Any:
        """The plainest value."""
        return self.values[0]


class Size(NamedTuple):
    """A number from `plain` to `most`, small ones more often than large ones."""

    plain: int
    most: int


Fields = Mapping[str, Choice | Size]
SEED = "seed"  # of the numbers in the arrays; not a field, because it is not a part of a cause


def draw_program(fields: Fields, rng: np.random.Generator) -> Program:
    """A random value for every field, and a seed for the arrays."""
    program = {name: _draw(field, rng) for name, field in fields.items()}
    return program | {SEED: int(rng.integers(2**31))}


def _draw(field: Choice | Size, rng: np.random.Generator) -> Any:
    if isinstance(field, Size):
        above = math.exp(rng.uniform(0, math.log(field.most - field.plain + 2))) - 1
        return field.plain + int(above)
    if not field.weights:
        return field.values[int(rng.integers(len(field.values)))]
    weights = np.array(field.weights) / sum(field.weights)
    return field.values[int(rng.choice(len(field.values), p=weights))]


def simpler_programs(fields: Fields, program: Program) -> Iterator[Program]:
    """Programs with one field plainer, the greatest simplification first."""
    for name, field in fields.items():
        if isinstance(field, Choice):
            for value in field.values[: field.values.index(program[name])]:
                yield program | {name: value}
    for name, field in fields.items():
        if isinstance(field, Size):
            size, least = program[name], field.plain
            for value in sorted({least, least + 1, (size + least) // 2, size - 1}):
                if least <= value < size:
                    yield program | {name: value}


def conditions(fields: Fields, program: Program) -> Cause:
    """What of a program is not plain."""
    return {
        name: [program[name]] if isinstance(field, Choice) else program[name]
        for name, field in fields.items()
        if program[name] != field.plain
    }


def matches(cause: Cause, program: Program) -> bool:
    """Whether a program has everything that a cause names."""
    return all(
        program.get(name) in wanted if isinstance(wanted, list) else program.get(name, -1) >= wanted
        for name, wanted in cause.items()
    )
