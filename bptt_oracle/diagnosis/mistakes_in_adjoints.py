"""Wrong factors in the adjoint of one step: values are right."""

from collections.abc import Callable, Iterator

import numpy as np

from .equations import GRUS, LSTMS, Candidate, Equations, Fields, Moment
from .mistake import Change, Mistake, only_gradients
from .tape import Tape, Var

Array = np.ndarray
OfCell = Callable[[Array, Array, Array, Array], tuple[Array, Array, Array, Array]]
OfBlend = Callable[[Array, Array, Array, Array], tuple[Array, Array, Array]]


def adjoint_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file."""
    cells: dict[str, OfCell] = {  # the factors of δc in δi, δf, δg and δc₋
        "the gradient of c₋ lacks the factor f": lambda i, f, g, c: (g, c, i, np.ones_like(f)),
        "c_t in place of c_{t−1} in the gradient of f": lambda i, f, g, c: (g, f * c + i * g, i, f),
        "the gradients of i and g exchanged, δc ⊙ i and δc ⊙ g": lambda i, f, g, c: (i, c, g, f),
    }
    for name, of_cell in cells.items():
        yield only_gradients(name, Change(Equations(cell=_cell(of_cell))), LSTMS)
    lost = Change(
        Equations(before=_overwritten),
        problem=lambda p: p._replace(d_state=(p.d_state[0], *[None] * (len(p.d_state) - 1))),
    )
    yield only_gradients("the gradient of c overwritten at each step, not added to", lost, LSTMS)
    yield only_gradients(
        "c in place of tanh c in the gradient of o", Change(Equations(gated=_c_for_tanh_c)), LSTMS
    )
    blends: dict[str, OfBlend] = {  # the factors of δh in δz, δn and δh₋
        "the gradient of z lacks n": lambda z, n, h, new: (h, 1 - z, z),
        "the gradient of z has the wrong sign": lambda z, n, h, new: (n - h, 1 - z, z),
        "h_t in place of h_{t−1} in the gradient of z": lambda z, n, h, new: (new - n, 1 - z, z),
        "z and 1 − z exchanged in the gradients of n and h₋": lambda z, n, h, new: (
            h - n,
            z,
            1 - z,
        ),
    }
    for name, of_blend in blends.items():
        equations = Equations(blend=_blend(of_blend), blend_of_new=_blend_of_new(of_blend))
        yield only_gradients(name, Change(equations), GRUS)
    yield only_gradients(
        "the gradient of n lacks the factor r on the way to h₋ and weight_hh",
        Change(Equations(candidate=_without_r)),
        ("GRU",),
    )


def _pull(factor: Array) -> Callable[[Array], Array]:
    return lambda d: d * factor


def _cell(factors: OfCell) -> Callable[[Tape, Var, Var, Var, Var], Var]:
    def cell(tape: Tape, i: Var, f: Var, g: Var, c: Var) -> Var:
        of_i, of_f, of_g, of_c = map(_pull, factors(i.value, f.value, g.value, c.value))
        kept = tape.record(f.value * c.value, (f, of_f), (c, of_c))
        return kept + tape.record(i.value * g.value, (i, of_i), (g, of_g))

    return cell


def _overwritten(tape: Tape, fields: Fields, moment: Moment) -> Fields:
    """Only the first step of a row, which is the last on the way back, leaves a δc."""
    h, c = fields
    return [h, tape.with_gradient(c, lambda d: np.where(moment.first, d, d * 0))]


def _c_for_tanh_c(tape: Tape, o: Var, c: Var, tanh: Callable[[Var], Var]) -> Var:
    tanh_c = tanh(c)
    return tape.record(o.value * tanh_c.value, (o, _pull(c.value)), (tanh_c, _pull(o.value)))


def _blend(factors: OfBlend) -> Callable[[Tape, Var, Var, Var], Var]:
    def blend(tape: Tape, z: Var, n: Var, h: Var) -> Var:
        new = tape.round((1 - z.value) * n.value + z.value * h.value)
        of_z, of_n, of_h = map(_pull, factors(z.value, n.value, h.value, new))
        entered = tape.record((1 - z.value) * n.value, (n, of_n))
        return entered + tape.record(z.value * h.value, (z, of_z), (h, of_h))

    return blend


def _blend_of_new(factors: OfBlend) -> Callable[[Tape, Var, Var, Var], Var]:
    """That of GRU_TEXTBOOK, whose z is 1 − z of GRU."""
    return lambda tape, z, n, h: _blend(factors)(tape, 1 - z, n, h)


def _without_r(tape: Tape, c: Candidate, tanh: Callable[[Var], Var]) -> Var:
    v = c.v if c.bias is None else c.v + c.bias
    product = tape.record(c.r.value * v.value, (c.r, _pull(v.value)), (v, lambda d: d))
    return tanh(c.u + product)
