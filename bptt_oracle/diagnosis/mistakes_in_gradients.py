"""Mistakes in the backward pass alone: values are right."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from torch_impl.execution.problem import Problem

from ..judging.evaluation import Results
from .mistake import Change, Mistake, for_each_gradient, only_gradients
from .mistakes_in_parameters import GATES, blocks_read, gate_orders
from .net import CELLS, Candidate, Equations, Fields, Moment
from .tape import Tape, Var

GRU, LSTM = ("GRU",), ("LSTM",)
Slope = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of the argument and the value


def gradient_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file."""
    yield from _cotangents()
    yield from _paths()
    yield from _weight_hh()
    yield from _slopes()
    yield from _layouts()
    yield from _factors()


def _cotangents() -> Iterator[Mistake]:
    def without(position: int) -> Callable[[Problem], Problem]:
        return lambda p: p._replace(
            d_state=tuple(None if k == position else d for k, d in enumerate(p.d_state))
        )

    yield only_gradients("the gradient of h_n ignored", Change(problem=without(0)))
    yield only_gradients("the gradient of c_n ignored", Change(problem=without(1)), LSTM)
    yield only_gradients(
        "the gradients of h_n and c_n ignored",
        Change(problem=lambda p: p._replace(d_state=(None,) * len(p.d_state))),
        LSTM,
    )
    yield only_gradients(
        "the gradient of the output ignored", Change(problem=lambda p: p._replace(d_output=None))
    )
    yield only_gradients(
        "the gradient of the output ignored except in the last step", Change(problem=_last_step)
    )


def _last_step(problem: Problem) -> Problem:
    if problem.d_output is None:
        return problem
    d, axis = np.zeros_like(problem.d_output), 0
    if problem.net.batch_first and problem.x.ndim == 3:
        axis = 1
    last = (slice(None),) * axis + (-1,)
    d[last] = problem.d_output[last]
    return problem._replace(d_output=d)


def _stop(tape: Tape, a: Var) -> Var:
    return tape.constant(a.value)


def _paths() -> Iterator[Mistake]:
    """Paths along which no gradient flows."""

    def through(name: str, cells: Sequence[str] = CELLS, **hooks: object) -> Mistake:
        return only_gradients(name, Change(Equations(**hooks)), cells)  # type: ignore[arg-type]

    def stop_fields(*stopped: int) -> Callable[[Tape, Fields, Moment], Fields]:
        return lambda tape, fields, moment: [
            _stop(tape, f) if k in stopped and moment.k else f for k, f in enumerate(fields)
        ]

    def every(steps: int) -> Callable[[Tape, Fields, Moment], Fields]:
        return lambda tape, fields, moment: [
            _stop(tape, f) if moment.k and moment.k % steps == 0 else f for f in fields
        ]

    def of_rows(*stopped: int) -> Callable[[Tape, Fields, Moment], Fields]:
        """Between the steps of each row, whose first step may be run later than that of others."""

        def before(tape: Tape, fields: Fields, moment: Moment) -> Fields:
            return [
                tape.with_gradient(f, lambda g: np.where(moment.first, g, g * 0))
                if k in stopped
                else f
                for k, f in enumerate(fields)
            ]

        return before

    def cut(name: str, cells: Sequence[str], *stopped: int) -> Mistake:
        hooks = stop_fields(*stopped), of_rows(*stopped)
        changes = tuple(Change(Equations(before=before)) for before in hooks)
        return Mistake(name, changes, cells, in_values=False)

    yield cut("the gradient through time cut at each step", CELLS, 0, 1)
    yield through("the gradient through time cut after two steps", before=every(2))
    yield cut("no gradient through c from step to step", LSTM, 1)
    yield cut("no gradient through h from step to step", LSTM, 0)
    yield through(
        "no gradient from a layer to the one below", between=lambda t, y, problem: _stop(t, y)
    )
    for direction, kind in enumerate(("forward", "reverse")):
        yield through(
            f"the gradient of a layer's input lacks the {kind} direction", enter=_lacking(direction)
        )
    for gate in "ifo":
        yield through(f"no gradient through the gate {gate}", LSTM, sigmoid=_stopped(gate))
    for gate in "rz":
        yield through(f"no gradient through the gate {gate}", GRU, sigmoid=_stopped(gate))
    yield through("no gradient through the gate g", LSTM, tanh=_stopped("g"))
    yield through("no gradient through the candidate n", GRU, tanh=_stopped("n"))
    yield through("no gradient through tanh of c", LSTM, tanh=_stopped("c"))
    yield through(
        "no gradient through z ⊙ h₋",
        GRU,
        blend=lambda tape, z, n, h: (1 - z) * n + z * _stop(tape, h),
    )
    yield through(
        "the gradient of n lacks the factor r on the way to h₋ and weight_hh",
        GRU,
        candidate=_without_r,
    )
    yield through(
        "the gradient of z lacks n",
        GRU,
        blend=lambda tape, z, n, h: n + z * h + _stop(tape, z) * n * -1,
    )
    yield through(
        "no gradient through h₋ W_hhᵀ to h₋",
        recurrent=lambda tape, h, weight, moment: _stop(tape, h) @ weight.T,
    )
    first, last = "the first step run", "the last step run"
    yield through(f"gradients of parameters from {first} alone", of_step=_only(first=True))
    yield through(f"gradients of parameters from {last} alone", of_step=_only(first=False))


def _lacking(lost: int) -> Callable[[Tape, Var, Problem, int, int], Var]:
    def enter(tape: Tape, x: Var, problem: Problem, layer: int, direction: int) -> Var:
        return _stop(tape, x) if problem.net.bidirectional and direction == lost else x

    return enter


def _stopped(stopped: str) -> Callable[[Tape, Var, str], Var]:
    """σ for a gate, tanh for g, n and c, without a gradient at one of them."""

    def function(tape: Tape, a: Var, gate: str) -> Var:
        a = _stop(tape, a) if gate == stopped else a
        return tape.tanh(a) if stopped in "gnc" else tape.sigmoid(a)

    return function


def _without_r(tape: Tape, c: Candidate, tanh: Callable[[Var], Var]) -> Var:
    v = c.v if c.bias is None else c.v + c.bias
    product = tape.record(c.r.value * v.value, (c.r, lambda g: g * v.value), (v, lambda g: g))
    return tanh(c.u + product)


def _only(first: bool) -> Callable[[Tape, Var, str, Moment], Var]:
    def of_step(tape: Tape, p: Var, name: str, moment: Moment) -> Var:
        kept = moment.k == 0 if first else moment.k == moment.T - 1
        return p if kept else _stopping(tape, p)

    return of_step


def _stopping(tape: Tape, p: Var) -> Var:
    return tape.with_gradient(p, lambda g: g * 0)


def _weight_hh() -> Iterator[Mistake]:
    def product(
        state: Callable[[Var, Moment], np.ndarray],
    ) -> Callable[[Tape, Var, Var, Moment], Var]:
        def recurrent(tape: Tape, h: Var, weight: Var, moment: Moment) -> Var:
            return tape.record(
                h.value @ weight.value.T,
                (h, lambda g: g @ weight.value),
                (weight, lambda g: g.T @ state(h, moment)),
            )

        return recurrent

    states: dict[str, Callable[[Var, Moment], np.ndarray]] = {
        "h_t in place of h_{t−1} in the gradient of weight_hh": lambda h, m: m.after[0],
        "h_0 left out of the gradient of weight_hh in the reverse direction": lambda h, m: (
            np.where(m.first, 0, h.value) if m.reverse else h.value
        ),
        "h_0 left out of the gradient of weight_hh in rows of the reverse direction that "
        "are shorter than the longest": lambda h, m: (
            np.where(m.first & (m.k > 0), 0, h.value) if m.reverse else h.value
        ),
    }
    for name, state in states.items():
        yield only_gradients(name, Change(Equations(recurrent=product(state))))
    yield Mistake(
        "h_0 left out of the gradient of weight_hh",
        (
            Change(Equations(recurrent=product(lambda h, m: np.where(m.first, 0, h.value)))),
            Change(Equations(of_step=_without_first)),
        ),
        in_values=False,
    )
    yield only_gradients(
        "weight_hh not transposed on the way back, δa W_hhᵀ in place of δa W_hh",
        Change(Equations(recurrent=_transposed_back)),
        ("RNN_TANH", "RNN_RELU"),
    )


def _without_first(tape: Tape, p: Var, name: str, moment: Moment) -> Var:
    return _stopping(tape, p) if name == "weight_hh" and moment.k == 0 else p


def _transposed_back(tape: Tape, h: Var, weight: Var, moment: Moment) -> Var:
    return tape.record(
        h.value @ weight.value.T,
        (h, lambda g: g @ weight.value.T),
        (weight, lambda g: g.T @ h.value),
    )


def _slopes() -> Iterator[Mistake]:
    """Wrong derivatives of σ, tanh and relu: everywhere, or at one gate."""
    one: Slope = lambda a, y: y * 0 + 1  # noqa: E731
    tanh_slopes: dict[str, Slope] = {
        "1 − y in place of 1 − y² in the derivative of tanh": lambda a, y: 1 - y,
        "1 + y² in place of 1 − y² in the derivative of tanh": lambda a, y: 1 + y * y,
        "y in place of 1 − y² in the derivative of tanh": lambda a, y: y,
        "the derivative of tanh taken at the value, 1 − tanh² y": lambda a, y: 1 - np.tanh(y) ** 2,
        "the derivative of tanh a is 1 − a²": lambda a, y: 1 - a * a,
        "the derivative of tanh is that of σ, y (1 − y)": lambda a, y: y * (1 - y),
        "the derivative of tanh left out": one,
    }
    sigmoid_slopes: dict[str, Slope] = {
        "y in place of y (1 − y) in the derivative of σ": lambda a, y: y,
        "1 − y in place of y (1 − y) in the derivative of σ": lambda a, y: 1 - y,
        "y (1 + y) in place of y (1 − y) in the derivative of σ": lambda a, y: y * (1 + y),
        "the derivative of σ is that of tanh, 1 − y²": lambda a, y: 1 - y * y,
        "the derivative of σ left out": one,
    }
    for gates, slopes, kind in (
        (("RNN_TANH:a", "GRU:n", "LSTM:g", "LSTM:c"), tanh_slopes, "tanh"),
        (("GRU:r", "GRU:z", "LSTM:i", "LSTM:f", "LSTM:o"), sigmoid_slopes, "sigmoid"),
    ):
        for name, slope in slopes.items():
            cells = tuple(dict.fromkeys(gate.partition(":")[0] for gate in gates))
            yield only_gradients(name, Change(_with_slope(kind, slope)), cells)
            for cell, _, letter in (gate.partition(":") for gate in gates):
                if cell in ("LSTM", "GRU") and gates.count(f"{cell}:{letter}") and letter != "n":
                    at = "tanh c" if letter == "c" else letter
                    change = Change(_with_slope(kind, slope, letter))
                    yield only_gradients(f"{name}, at {at}", change, (cell,))
    yield only_gradients(
        "the derivative of relu left out",
        Change(Equations(relu=_sloped("relu", one))),
        ("RNN_RELU",),
    )


def _with_slope(kind: str, slope: Slope, at: str = "") -> Equations:
    function = _sloped(kind, slope, at)
    return Equations(sigmoid=function) if kind == "sigmoid" else Equations(tanh=function)


def _sloped(kind: str, slope: Slope, at: str = "") -> Callable[[Tape, Var, str], Var]:
    """σ, tanh or relu with another derivative, at one gate or at all."""

    def function(tape: Tape, a: Var, gate: str) -> Var:
        if at not in ("", gate):
            return tape.sigmoid(a) if kind == "sigmoid" else tape.tanh(a)
        value = getattr(tape.arithmetic, kind)(a.value)
        return tape.elementwise(a, value, lambda y: slope(a.value, y))

    return function


def _layouts() -> Iterator[Mistake]:
    """Gradients in an order or layout of their own, although values are right."""
    for cell, gates in GATES.items():
        for order in gate_orders(cell):
            name = f"gradients in gate order {' '.join(order)} in place of {' '.join(gates)}"
            yield only_gradients(name, Change(results=_reordered(cell, order)), (cell,))
    for which in ("weight_ih", "weight_hh"):
        yield only_gradients(
            f"the gradient of {which} not transposed, gate by gate",
            Change(results=_changed(which, _transpose)),
        )
        yield Mistake(
            f"the gradient of {which} reshaped in place of transposed",
            (
                Change(results=_changed(which, lambda d, p: d.T.reshape(d.shape))),
                Change(results=_changed(which, lambda d, p: d.reshape(d.T.shape).T)),
            ),
            CELLS if which == "weight_ih" else tuple(GATES),  # of a square one it is a transpose
            in_values=False,
        )
    for name, indices in {
        "of the two directions swapped": lambda L, D: np.arange(L * D).reshape(L, D)[:, ::-1],
        "in reverse order of layers and directions": lambda L, D: np.arange(L * D)[::-1],
        "of the layers in reverse order": lambda L, D: np.arange(L * D).reshape(L, D)[::-1],
        "ordered direction by direction": lambda L, D: np.arange(L * D).reshape(L, D).T,
    }.items():
        yield only_gradients(
            f"gradients of the initial states {name}", Change(results=_states(indices))
        )
    yield only_gradients("the gradients of h_0 and c_0 swapped", Change(results=_swap), LSTM)
    yield only_gradients(
        "the gradient of the input reversed in time", Change(results=_changed("x", _flip))
    )
    for given, source in (("bias_hh", "bias_ih"), ("bias_ih", "bias_hh")):
        yield only_gradients(
            f"{given} gets the gradient of {source}",
            Change(results=lambda r, p, g=given, s=source: _copy(r, g, s)),  # type: ignore[misc]
            GRU,
        )
    yield only_gradients(
        "the gradients of bias_ih and bias_hh swapped",
        Change(results=lambda r, p: {n: r[_other(n)] for n in r}),
        GRU,
    )


def _flip(d: np.ndarray, problem: Problem) -> np.ndarray:
    return np.flip(d, 1 if problem.net.batch_first and problem.x.ndim == 3 else 0)


def _other(name: str) -> str:
    if "bias_ih" in name:
        return name.replace("bias_ih", "bias_hh")
    return name.replace("bias_hh", "bias_ih")


def _copy(results: Results, given: str, source: str) -> Results:
    return {name: results[name.replace(given, source)] for name in results}


def _swap(results: Results, problem: Problem) -> Results:
    if problem.state is None or problem.net.proj_size:
        return results
    return results | {"d_h_0": results["d_c_0"], "d_c_0": results["d_h_0"]}


def _reordered(cell: str, order: tuple[str, ...]) -> Callable[[Results, Problem], Results]:
    def change(name: str, d: np.ndarray, problem: Problem) -> np.ndarray:
        if not name.startswith(("weight_ih", "weight_hh", "bias")):
            return d
        # Block k of such a gradient is that of the gate order[k].
        return d[np.argsort(blocks_read(cell, order, len(d)))]

    return for_each_gradient(change)


def _changed(
    which: str, change: Callable[[np.ndarray, Problem], np.ndarray]
) -> Callable[[Results, Problem], Results]:
    return for_each_gradient(lambda n, d, p: change(d, p) if n.startswith(which) else d)


def _transpose(d: np.ndarray, problem: Problem) -> np.ndarray:
    H = problem.net.hidden_size
    if d.shape[-1] != H:
        return d
    return d.reshape(-1, H, H).swapaxes(1, 2).reshape(d.shape)


def _states(
    order: Callable[[int, int], np.ndarray],
) -> Callable[[Results, Problem], Results]:
    def change(name: str, d: np.ndarray, problem: Problem) -> np.ndarray:
        net = problem.net
        indices = order(net.num_layers, net.directions).ravel()
        return d[indices] if name in ("h_0", "c_0") else d

    return for_each_gradient(change)


FACTORS: dict[str, Callable[[int, int], float]] = {
    "zero": lambda T, B: 0.0,
    "negated": lambda T, B: -1.0,
    "halved": lambda T, B: 0.5,
    "doubled": lambda T, B: 2.0,
    "divided by B": lambda T, B: 1 / B,
    "divided by T": lambda T, B: 1 / T,
    "multiplied by B": lambda T, B: B,
    "multiplied by T": lambda T, B: T,
    "divided by T·B": lambda T, B: 1 / (T * B),
}
GROUPS: dict[str, tuple[str, ...]] = {  # beginnings of names, from the general to the special
    "every gradient": ("",),
    "gradients of parameters": ("weight", "bias"),
    "gradients of weights": ("weight",),
    "gradients of biases": ("bias",),
    "gradients of the initial state": ("h_0", "c_0"),
    **{
        f"the gradient of {name}": (name,)
        for name in ("x", "h_0", "c_0", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    },
}


def _factors() -> Iterator[Mistake]:
    for group, names in GROUPS.items():
        special = names[0] in ("c_0", "weight_hr") or len(names) == 2 and names[0] == "h_0"
        cells = LSTM if special else CELLS
        for word, factor in FACTORS.items():
            results = _scaled(names, factor)
            yield only_gradients(f"{group} {word}", Change(results=results), cells)


def scaled_by(group: str, names: tuple[str, ...], factor: float) -> Mistake:
    """Gradients of some names, or beginnings of names, multiplied by a factor that was found."""

    def change(name: str, d: np.ndarray, problem: Problem) -> np.ndarray:
        exactly = any(name == n for n in names)
        return d * factor if exactly or group in GROUPS and name.startswith(names) else d

    return only_gradients(
        f"{group} multiplied by {factor:.6g}", Change(results=for_each_gradient(change))
    )


def _scaled(
    names: tuple[str, ...], factor: Callable[[int, int], float]
) -> Callable[[Results, Problem], Results]:
    def change(name: str, d: np.ndarray, problem: Problem) -> np.ndarray:
        if not name.startswith(names):
            return d
        shape = problem.x.shape
        T, B = (shape[0], 1) if len(shape) == 2 else shape[:2]
        if len(shape) == 3 and problem.net.batch_first:
            T, B = B, T
        return d * d.dtype.type(factor(T, B)) if d.dtype != object else d * factor(T, B)

    return for_each_gradient(change)
