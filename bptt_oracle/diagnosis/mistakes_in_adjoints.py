"""Wrong factors in the adjoint of one step: values are right."""

from collections.abc import Callable, Iterator

import numpy as np

from .equations import CELLS, GRUS, LSTMS, Candidate, Equations
from .mistake import Change, Mistake, only_gradients
from .mistakes_in_paths import stop_between_steps, without_gradient_of
from .tape import Tape, Var

Array = np.ndarray
OfCell = Callable[[Array, Array, Array, Array, Array], tuple[Array, Array, Array, Array]]
OfBlend = Callable[[Array, Array, Array, Array, Array], tuple[Array, Array, Array]]


def adjoint_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file."""
    yield from _overwritten()
    yield from _of_cell()
    yield only_gradients(
        "c in place of tanh c in the gradient of o", Change(Equations(gated=_c_for_tanh_c)), LSTMS
    )
    yield from _of_blend()
    yield only_gradients(
        "the gradient of n lacks the factor r on the way to h₋ and weight_hh",
        Change(Equations(candidate=_without_r)),
        ("GRU",),
    )


def _of_cell() -> Iterator[Mistake]:
    """The factors of δc in δi, δf, δg and δc₋."""
    factors: dict[str, OfCell] = {
        "the gradient of c₋ lacks the factor f": lambda i, f, g, c, c_t: (g, c, i, 1 + 0 * f),
        "c_t in place of c_{t−1} in the gradient of f": lambda i, f, g, c, c_t: (g, c_t, i, f),
        "the gradients of i and g exchanged": lambda i, f, g, c, c_t: (i, c, g, f),
        "the gradients of i and f exchanged": lambda i, f, g, c, c_t: (c, g, i, f),
        "the gradient of i lacks the factor g": lambda i, f, g, c, c_t: (1 + 0 * i, c, i, f),
        "the gradient of f lacks the factor c₋": lambda i, f, g, c, c_t: (g, 1 + 0 * f, i, f),
        "the gradient of g lacks the factor i": lambda i, f, g, c, c_t: (g, c, 1 + 0 * g, f),
    }
    for name, of_cell in factors.items():
        yield only_gradients(name, Change(Equations(cell=_cell(of_cell))), LSTMS)


def _overwritten() -> Iterator[Mistake]:
    """Only the first step of a row, which is the last on the way back, leaves a δ; and the last
    step overwrites the gradient of the final state."""
    for k, (state, cells) in enumerate((("h", CELLS), ("c", LSTMS))):
        name = f"the gradient of {state} overwritten at each step, not added to"
        equations = Equations(before=stop_between_steps(k))
        yield only_gradients(name, Change(equations, problem=without_gradient_of(k)), cells)


def _of_blend() -> Iterator[Mistake]:
    """The factors of δh in δp, δn and δh₋, where h = q ⊙ n + p ⊙ h₋; p is z, or 1 − z in
    GRU_TEXTBOOK, and q is 1 − p."""
    factors: dict[str, OfBlend] = {
        "the gradient of z lacks n": lambda p, q, n, h, h_t: (h, q, p),
        "the gradient of z has the wrong sign": lambda p, q, n, h, h_t: (n - h, q, p),
        "h_t in place of h_{t−1} in the gradient of z": lambda p, q, n, h, h_t: (h_t - n, q, p),
        "z and 1 − z exchanged in the gradients": lambda p, q, n, h, h_t: (h - n, p, q),
    }
    for name, of_blend in factors.items():
        equations = Equations(
            blend=_blend(of_blend, p_is_z=True), blend_of_new=_blend(of_blend, p_is_z=False)
        )
        yield only_gradients(name, Change(equations), GRUS)


def _pull(factor: Array) -> Callable[[Array], Array]:
    return lambda d: d * factor


def _cell(factors: OfCell) -> Callable[[Tape, Var, Var, Var, Var], Var]:
    def cell(tape: Tape, i: Var, f: Var, g: Var, c: Var) -> Var:
        c_t = tape.round(f.value * c.value + i.value * g.value)
        of_i, of_f, of_g, of_c = map(_pull, factors(i.value, f.value, g.value, c.value, c_t))
        kept = tape.record(f.value * c.value, (f, of_f), (c, of_c))
        return kept + tape.record(i.value * g.value, (i, of_i), (g, of_g))

    return cell


def _c_for_tanh_c(tape: Tape, o: Var, c: Var, tanh: Callable[[Var], Var]) -> Var:
    tanh_c = tanh(c)
    return tape.record(o.value * tanh_c.value, (o, _pull(c.value)), (tanh_c, _pull(o.value)))


def _blend(factors: OfBlend, p_is_z: bool) -> Callable[[Tape, Var, Var, Var], Var]:
    def blend(tape: Tape, z: Var, n: Var, h: Var) -> Var:
        shares = z.value, 1 - z.value
        p, q = shares if p_is_z else shares[::-1]
        h_t = tape.round(q * n.value + p * h.value)
        of_p, of_n, of_h = factors(p, q, n.value, h.value, h_t)
        of_z = of_p if p_is_z else -of_p
        kept = tape.record(p * h.value, (z, _pull(of_z)), (h, _pull(of_h)))
        return tape.record(q * n.value, (n, _pull(of_n))) + kept

    return blend


def _without_r(tape: Tape, c: Candidate, tanh: Callable[[Var], Var]) -> Var:
    v = c.v if c.bias is None else c.v + c.bias
    product = tape.record(c.r.value * v.value, (c.r, _pull(v.value)), (v, lambda d: d))
    return tanh(c.u + product)
