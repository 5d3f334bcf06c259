"""A problem with its hidden units and input features renumbered: the same function, other sums.

Nothing in a recurrent net depends on the order of its hidden units or input features, so the
renumbered problem has the same results, renumbered. Every product sums its terms in another order,
and rounds differently. What differs between two such evaluations is rounding, and nothing else.

    unit j of layer k and direction d becomes unit π_kd(j); input feature i becomes feature ρ(i)
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from reference.arithmetic import Arithmetic
from torch_impl.execution.problem import Direction, Problem

from .evaluation import Results, evaluate


class Renumbering(NamedTuple):
    """The old indices in their new order; of units by layer and direction."""

    inputs: np.ndarray  # [I]
    hidden: list[np.ndarray]  # [F] of h, index layer·D + direction
    cells: list[np.ndarray]  # [H] of c and of the gates


def draw_renumbering(problem: Problem, rng: np.random.Generator) -> Renumbering:
    """Random permutations; the units of h and c are the same unless h is a projection."""
    net = problem.net
    cells = [rng.permutation(net.hidden_size) for _ in range(net.num_layers * net.directions)]
    hidden = [rng.permutation(net.output_size) for _ in cells] if net.proj_size else cells
    return Renumbering(rng.permutation(net.input_size), hidden, cells)


def evaluate_renumbered(
    problem: Problem,
    dtype: Any,
    masks: Sequence[np.ndarray],
    arithmetic: Arithmetic,
    rng: np.random.Generator,
) -> Results:
    """The results of `evaluate`, computed with units and features in another order."""
    net = problem.net
    order = draw_renumbering(problem, rng)
    columns = [_output_columns(net, order, layer) for layer in range(net.num_layers)]
    indices = _parameter_indices(net, order, columns)
    renumbered = problem._replace(
        params={name: p[indices[name]] for name, p in problem.params.items()},
        x=problem.x[..., order.inputs],
        state=None if problem.state is None else _take_state(order, problem.state),
        d_output=None if problem.d_output is None else problem.d_output[..., columns[-1]],
        d_state=_take_state(order, problem.d_state),
        direction=_renumbered_direction(problem.direction, order, indices),
    )
    permuted_masks = [mask[..., columns[layer]] for layer, mask in enumerate(masks)]
    results = evaluate(renumbered, dtype, permuted_masks, arithmetic)
    restored = {}
    for full_name, value in results.items():
        name = full_name.removeprefix("t_")
        name = f"d_{name[3:]}" if name.startswith("hv_") else name
        original = np.empty_like(value)
        if name in ("h_n", "d_h_0", "c_n", "d_c_0"):
            for index, units in enumerate(order.hidden if "h" in name else order.cells):
                original[index][..., units] = value[index]
        elif name == "output":
            original[..., columns[-1]] = value
        elif name == "d_x":
            original[..., order.inputs] = value
        else:
            original[indices[name.removeprefix("d_")]] = value
        restored[full_name] = original
    return restored


def _renumbered_direction(
    direction: Direction | None, order: Renumbering, indices: dict[str, tuple[np.ndarray, ...]]
) -> Direction | None:
    """The direction of the renumbered problem."""
    if direction is None:
        return None
    return Direction(
        {name: v[indices[name]] for name, v in direction.params.items()},
        direction.x[..., order.inputs],
        None if direction.state is None else _take_state(order, direction.state),
    )


def _output_columns(net: Any, order: Renumbering, layer: int) -> np.ndarray:
    """The old columns of a layer's output, in their new order."""
    F, D = net.output_size, net.directions
    return np.concatenate([d * F + order.hidden[layer * D + d] for d in range(D)])


def _parameter_indices(
    net: Any, order: Renumbering, columns: Sequence[np.ndarray]
) -> dict[str, tuple[np.ndarray, ...]]:
    """The old indices of every parameter, in their new order."""
    H, D = net.hidden_size, net.directions
    indices: dict[str, tuple[np.ndarray, ...]] = {}
    for name, shape in net.parameter_shapes().items():
        kind, _, rest = name.partition("_l")
        layer, d = int(rest.split("_")[0]), int(rest.endswith("_reverse"))
        cells, hidden = order.cells[layer * D + d], order.hidden[layer * D + d]
        gates = 0 if kind == "weight_hr" else shape[0] // H
        rows = np.concatenate([g * H + cells for g in range(gates)] or [cells])
        inputs = order.inputs if layer == 0 else columns[layer - 1]
        if kind == "weight_ih":
            indices[name] = np.ix_(rows, inputs)
        elif kind == "weight_hh":
            indices[name] = np.ix_(rows, hidden)
        elif kind == "weight_hr":
            indices[name] = np.ix_(hidden, cells)
        else:  # biases and peepholes
            indices[name] = (rows,)
    return indices


def _take_state(order: Renumbering, state: Sequence[np.ndarray | None]) -> tuple[Any, ...]:
    """A state, or its cotangents, with units in the new order."""
    taken: list[np.ndarray | None] = []
    for field, orders in zip(state, (order.hidden, order.cells), strict=False):
        if field is None:
            taken.append(None)
            continue
        taken.append(np.stack([field[i][..., units] for i, units in enumerate(orders)]))
    return tuple(taken)
