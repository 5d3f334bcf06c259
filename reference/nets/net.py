"""The base classes of nets: sizes, the row of the cell, names and shapes of the parameters.

Page: docs/nets/modules.md
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..cells.cell import Cell
from ..cells.table import CELL_TABLE, CellParams

Params = dict[str, np.ndarray]


class Grads(NamedTuple):
    """Gradients, each in the layout of the array that it belongs to."""

    x: Any  # an array, or a PackedSequence
    state: Any  # an array, or the pair (h, c)
    params: Params


class Configuration:
    """The common base of nets and single-step cells; a frozen dataclass adds the fields."""

    input_size: int
    hidden_size: int
    bias: bool

    @property
    def mode(self) -> str:
        """The name of the cell's row in the cell table."""
        raise NotImplementedError

    @property
    def cell(self) -> Cell:
        """The cell's row of the cell table."""
        return CELL_TABLE[self.mode]

    @property
    def output_size(self) -> int:
        """Features of h, which are those of the output in one direction."""
        return self.hidden_size

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Features of h, and of c if the cell has one."""
        return (self.output_size, self.hidden_size)[: len(self.cell.State._fields)]

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, in torch's order."""
        raise NotImplementedError

    def init(self, rng: np.random.Generator) -> Params:
        """Every parameter drawn from U(−1/√H, 1/√H), in torch's order, float64."""
        bound = max(self.hidden_size, 1) ** -0.5
        return {
            name: rng.uniform(-bound, bound, shape)
            for name, shape in self.parameter_shapes().items()
        }

    def cell_params(self, params: Mapping[str, np.ndarray], suffix: str = "") -> CellParams:
        """The parameters whose names end in `suffix`, as the Params of the cell."""
        kind = self.cell.Params
        weights: CellParams = kind(*[params.get(name + suffix) for name in kind._fields])
        return weights


class Net(Configuration):
    """A net of any depth, in one or two directions."""

    num_layers: int
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int | None

    @property
    def directions(self) -> int:
        """D, 1 or 2."""
        return 1 + self.bidirectional

    @property
    def output_size(self) -> int:
        """Features of h, which are those of the output in one direction."""
        return self.proj_size or self.hidden_size

    @property
    def dropout_scale(self) -> float:
        """1 / (1 − p), the factor of the values that are not dropped; 0 if p = 1."""
        return 1 / (1 - self.dropout) if self.dropout < 1 else 0.0

    def suffixes(self, layer: int) -> list[str]:
        """The ends of a layer's parameter names, one for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.directions]

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, in torch's order."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            width = self.input_size if layer == 0 else self.directions * self.output_size
            of_layer = self.cell.parameter_shapes(
                width, self.hidden_size, self.bias, self.proj_size or 0
            )
            for suffix in self.suffixes(layer):
                shapes |= {name + suffix: shape for name, shape in of_layer.items()}
        return shapes
