"""A net of any depth made of one layer in one direction, by the operations of an engine.

For the engine numpy the layers' own backward passes are composed in reverse order:

    y_0 = x,   y_{k+1} = [forward layer(y_k); reverse layer(y_k)]
    δy_k = Σ over directions of the layer's δx, from its half of δy_{k+1}
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .engines import Engine
from .implementation import Layer, Lengths


class WrongReturn(TypeError):
    """A function of an implementation returned something else than its description says."""


def net_of_layers(layer: Layer, engine: Engine) -> Callable[..., Any]:
    """The `net` function of a `layer`; its third value composes the layers' backward passes, and is
    missing if one layer has none."""

    def run_net(
        net: Any, params: Mapping[str, Any], x: Any, state: Sequence[Any] | None, lengths: Lengths
    ) -> Any:
        D, y, finals = net.directions, x, []
        backs: list[list[Any]] = []
        for k in range(net.num_layers):
            outputs = []
            backs.append([])
            for d, suffix in enumerate(net.suffixes(k)):
                p = {n: params[n + suffix] for n in net.cell.Params._fields if n + suffix in params}
                own = None if state is None else [s[k * D + d] for s in state]
                output, final, back = unpack(layer(net.mode, p, y, own, lengths, bool(d)), "layer")
                outputs.append(output)
                finals.append(final)
                backs[-1].append(back)
            y = engine.concatenate(outputs) if D == 2 else outputs[0]
        stacked = [engine.stack(list(parts)) for parts in zip(*finals, strict=True)]
        if any(back is None for of_layer in backs for back in of_layer):
            return y, stacked
        return y, stacked, _back(net, backs)

    return run_net


def _back(net: Any, backs: Sequence[Sequence[Any]]) -> Callable[..., Any]:
    """back(d_output, d_final) → (d_params, d_x, d_state) of a net, from those of its layers."""

    def back(d_output: np.ndarray, d_final: Sequence[np.ndarray]) -> Any:
        D, d_y = net.directions, d_output
        d_params: dict[str, Any] = {}
        d_states: dict[int, Sequence[Any]] = {}
        for k in reversed(range(net.num_layers)):
            parts = np.split(d_y, D, axis=-1)
            d_inputs = []
            for d, suffix in enumerate(net.suffixes(k)):
                index = k * D + d
                d_p, d_x, d_states[index] = backs[k][d](parts[d], [s[index] for s in d_final])
                d_params |= {name + suffix: value for name, value in d_p.items()}
                d_inputs.append(d_x)
            d_y = sum(d_inputs[1:], d_inputs[0])
        in_order = [d_states[index] for index in sorted(d_states)]
        return d_params, d_y, [np.stack(parts) for parts in zip(*in_order, strict=True)]

    return back


def unpack(returned: Any, function: str) -> tuple[Any, Sequence[Any], Any]:
    """Output, final states and backward pass or None, of what `layer` or `net` returned. Raises
    WrongReturn if it is not two or three values, the second a sequence."""
    if not isinstance(returned, (tuple, list)) or len(returned) not in (2, 3):
        count = f" of {len(returned)}" if isinstance(returned, (tuple, list)) else ""
        raise WrongReturn(
            f"{function} returned a {type(returned).__name__}{count}; expected (output, final), "
            "where final is the list [h] or [h, c], or (output, final, back)"
        )
    output, final, *back = returned
    if not isinstance(final, (tuple, list)):
        raise WrongReturn(
            f"{function} returned a {type(final).__name__} as its second value; "
            "expected the list [h] or [h, c] of final states"
        )
    return output, final, back[0] if back else None
