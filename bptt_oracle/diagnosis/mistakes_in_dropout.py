"""Mistakes of dropout between layers: in its scale, in its masks, and in its gradient.

The masks are given (`cases.masks`). An implementation that draws others has no truth.
"""

from collections.abc import Callable, Iterator

import numpy as np

from .equations import Dropout, Equations, Fields, Moment
from .mistake import Change, Mistake, only_gradients
from .tape import Tape, Var

Drop = Callable[[Tape, Var, Dropout, int], Var]


def dropout_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file."""
    yield from _scales()
    yield from _masks()
    yield from _gradients()


def _between(*rules: Drop) -> tuple[Change, ...]:
    """Changes of what enters a layer above the first."""

    def change(rule: Drop) -> Change:
        def drop(tape: Tape, y: Var, dropout: Dropout, layer: int) -> Var:
            return rule(tape, y, dropout, layer) if layer < len(dropout.masks) else y

        return Change(Equations(drop=drop))

    return tuple(map(change, rules))


def _scales() -> Iterator[Mistake]:
    def scaled(scale: Callable[[Dropout], float]) -> Drop:
        return lambda tape, y, dropout, layer: y * (dropout.masks[layer] * scale(dropout))

    def inverted(scale: Callable[[Dropout], float]) -> Drop:
        return lambda tape, y, dropout, layer: y * ((1 - dropout.masks[layer]) * scale(dropout))

    yield Mistake("dropout not scaled by 1 / (1 − p)", _between(scaled(lambda d: 1.0)))
    yield Mistake("dropout scaled by 1 / (1 − p) twice", _between(scaled(lambda d: d.scale**2)))
    yield Mistake("dropout scaled by 1 / p in place of 1 / (1 − p)", _between(scaled(_one_by_p)))
    yield Mistake(
        "dropout of the units that it should keep",
        _between(inverted(lambda d: d.scale), inverted(_one_by_p), inverted(lambda d: 1.0)),
    )
    yield Mistake("dropout left out", _between(lambda tape, y, dropout, layer: y))
    yield Mistake(
        "the factor 1 − p in place of dropout",
        _between(lambda tape, y, dropout, layer: y * (1 - dropout.p)),
    )


def _one_by_p(dropout: Dropout) -> float:
    return 1 / dropout.p


def _masks() -> Iterator[Mistake]:
    def masked(mask: Callable[[list[np.ndarray], int, int], np.ndarray]) -> Drop:
        """Dropout by mask(masks of the layers, the layer, directions)."""

        def rule(tape: Tape, y: Var, dropout: Dropout, layer: int) -> Var:
            values = [m.value for m in dropout.masks]
            other = np.broadcast_to(mask(values, layer, dropout.directions), y.value.shape)
            return y * (tape.constant(other) * dropout.scale)

        return rule

    def forward(masks: list[np.ndarray], layer: int, directions: int) -> np.ndarray:
        F = masks[layer].shape[-1] // directions
        return np.concatenate([masks[layer][..., :F]] * directions, -1)

    for name, mask in {
        "the dropout mask of the first step in every step": lambda m, layer, D: m[layer][:1],
        "the dropout mask of the first row in every row": lambda m, layer, D: m[layer][:, :1],
        "the dropout mask of the first layer in every layer": lambda m, layer, D: m[0],
        "the dropout masks of the layers in reverse order": lambda m, layer, D: m[-1 - layer],
        "the forward direction's dropout mask in both directions": forward,
    }.items():
        yield Mistake(name, _between(masked(mask)))
    yield Mistake("dropout after the last layer too", (_after_the_last(-1), _after_the_last(0)))
    entering = (
        Change(Equations(before=lambda tape, state, moment: _dropped(state, moment))),
        Change(
            Equations(
                before=lambda tape, state, moment: _dropped(state, moment) if moment.k else state
            )
        ),
    )
    carried = Change(Equations(carry=lambda tape, state, moment: _dropped(state, moment)))
    yield Mistake("dropout of the state carried in time too", (carried, *entering))


def _after_the_last(mask: int) -> Change:
    """The output dropped too, by the mask of the first layer or of the last that has one."""

    def drop(tape: Tape, y: Var, dropout: Dropout, layer: int) -> Var:
        k = layer if layer < len(dropout.masks) else mask
        return y * (dropout.masks[k] * dropout.scale)

    return Change(Equations(drop=drop))


def _dropped(state: Fields, moment: Moment) -> Fields:
    """A state whose h is multiplied by the mask of the step's output."""
    return state if moment.mask is None else [state[0] * moment.mask, *state[1:]]


def _gradients() -> Iterator[Mistake]:
    def pulled(factor: Callable[[np.ndarray, float], np.ndarray | float]) -> Drop:
        """Dropout whose gradient is multiplied by factor(mask, scale)."""

        def rule(tape: Tape, y: Var, dropout: Dropout, layer: int) -> Var:
            mask, scale = dropout.masks[layer].value, dropout.scale
            return tape.record(y.value * (mask * scale), (y, lambda g: g * factor(mask, scale)))

        return rule

    for name, rules in {
        "the dropout mask ignored in the gradient": (
            pulled(lambda mask, scale: 1.0),
            pulled(lambda mask, scale: scale),
        ),
        "the gradient of dropout not scaled by 1 / (1 − p)": (pulled(lambda mask, scale: mask),),
        "the gradient of dropout scaled by 1 / (1 − p) twice": (
            pulled(lambda mask, scale: mask * scale**2),
        ),
    }.items():
        yield only_gradients(name, Change())._replace(changes=_between(*rules))
