"""The mistakes of `bptt_oracle.diagnosis`, planted by other means than its own.

    numpy   in the text of `textbook_net`, or in the arrays around it
    torch   in torch's own nets: in the tensors of a call, or in a step, by `faults.inject`

A plant returns None for a case that such a program could not compute, as a square transpose of a
weight that is not square.
"""

import re
from collections.abc import Callable
from functools import cache
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import linear

from bptt_oracle.cases.case import CELLS
from bptt_oracle.faults import FAULTS
from bptt_oracle.faults.fault import Fault, run_with_fault
from bptt_oracle.faults.inject import (
    change_gradient,
    change_parameters,
    replace_functions,
    run_layers,
    run_steps,
    run_steps_made_by,
)
from support import textbook_net
from torch_impl.nets.modules import manual_step

GATES = {"GRU": "rzn", "LSTM": "ifgo"}
GATED = ("GRU", "LSTM")
TANH = ("RNN_TANH", "GRU", "LSTM")
SIMPLE = ("RNN_TANH", "RNN_RELU")
GRU, LSTM, RELU = ("GRU",), ("LSTM",), ("RNN_RELU",)
SOURCE = Path(textbook_net.__file__).read_text(encoding="utf-8")


class Plant(NamedTuple):
    """A mistake by the name that it should be given, and a program that makes it."""

    name: str
    engine: str
    cells: tuple[str, ...]
    run: Callable[..., Any]  # (case, problem, dtype) → results by name, or None
    dtypes: tuple[str, ...] = ("float32", "float64")


def plants():
    """All plants."""
    return [*_numpy_texts(), *_parameters(), *_states(), *_results(), *_torch(), *_faults()]


# In the text


@cache
def textbook(replacements):
    """The textbook net with pieces of its text replaced; each must stand there exactly once."""
    text = SOURCE
    for old, new in replacements:
        assert text.count(old) == 1, f"{text.count(old)} times in textbook_net: {old}"
        text = text.replace(old, new)
    namespace = {}
    exec(compile(text, "textbook_net", "exec"), namespace)
    return namespace["net"]


def _mutant(name, cells, *replacements):
    net = textbook(tuple(replacements))
    return Plant(name, "numpy", cells, lambda case, problem, dtype: net(problem, dtype))


LSTM_A_C = "d_c = d_c + d_m * o * (1 - np.tanh(c_new) ** 2)"
D_TANH = {"RNN_TANH": "d_h * (1 - new**2) if", "GRU": "d_n * (1 - n**2)", "LSTM": "d_g * (1 - g**2)"}


def _numpy_texts():
    v_n = "r * v[2 * H :])"
    yield _mutant(
        "the reset gate before the product",
        GRU,
        (v_n, 'p["weight_hh"][2 * H :] @ (r * h) + p["bias_hh"][2 * H :])'),
        ("d_r = d_u_n * v[2 * H :]", 'd_rh = p["weight_hh"][2 * H :].T @ d_u_n; d_r = d_rh * h'),
        ("d_u_n * r])", "d_u_n])"),
        (
            "np.outer(d_v, h)",
            "np.concatenate([np.outer(d_v[: 2 * H], h), np.outer(d_u_n, r * h)])",
        ),
        ('p["weight_hh"].T @ d_v', 'p["weight_hh"][: 2 * H].T @ d_v[: 2 * H] + d_rh * r'),
    )
    yield _mutant(
        "b_n of bias_hh outside the reset gate",
        GRU,
        (v_n, 'r * (v[2 * H :] - p["bias_hh"][2 * H :]) + p["bias_hh"][2 * H :])'),
        ("d_r = d_u_n * v[2 * H :]", 'd_r = d_u_n * (v[2 * H :] - p["bias_hh"][2 * H :])'),
        ('d["bias_hh"] += d_v', 'd["bias_hh"] += d_u'),
    )
    yield _mutant(
        "the reset gate left out",
        GRU,
        (v_n, "v[2 * H :])"),
        ("d_r = d_u_n * v[2 * H :]", "d_r = 0 * d_u_n"),
        ("d_u_n * r])", "d_u_n])"),
    )
    yield _mutant(
        "the update gate flipped, z ⊙ n + (1 − z) ⊙ h₋",
        GRU,
        ("new = (1 - z) * n + z * h", "new = z * n + (1 - z) * h"),
        ("d_n = d_h * (1 - z)", "d_n = d_h * z"),
        ("d_z = d_h * (h - n)", "d_z = d_h * (n - h)"),
        ("d_h = d_h * z + p", "d_h = d_h * (1 - z) + p"),
    )
    yield _mutant(
        "the factor 1 − z left out",
        GRU,
        ("new = (1 - z) * n", "new = n"),
        ("d_n = d_h * (1 - z)", "d_n = d_h"),
        ("d_z = d_h * (h - n)", "d_z = d_h * h"),
    )
    yield _mutant("the gradient of z lacks n", GRU, ("d_z = d_h * (h - n)", "d_z = d_h * h"))
    yield _mutant(
        "the gradient of n lacks the factor r on the way to h₋ and weight_hh",
        GRU,
        ("d_u_n * r])", "d_u_n])"),
    )
    yield _mutant("no gradient through z ⊙ h₋", GRU, ("d_h = d_h * z + p", "d_h = p"))
    yield _mutant(
        "no gradient through the gate r", GRU, ("d_r = d_u_n * v[2 * H :]", "d_r = 0 * d_u_n")
    )
    yield _mutant(
        "bias_hh gets the gradient of bias_ih", GRU, ('d["bias_hh"] += d_v', 'd["bias_hh"] += d_u')
    )
    yield _mutant(
        "tanh of c left out, h = o ⊙ c",
        LSTM,
        ("m = o * np.tanh(c_new)", "m = o * c_new"),
        ("d_o = d_m * np.tanh(c_new)", "d_o = d_m * c_new"),
        (LSTM_A_C, "d_c = d_c + d_m * o"),
    )
    yield _mutant(
        "the forget gate left out",
        LSTM,
        ("c_new = f * c + i * g", "c_new = c + i * g"),
        ("d_f = d_c * c", "d_f = 0 * d_c"),
        ("d_c = d_c * f", "d_c = d_c"),
    )
    yield _mutant(
        "the input gate left out",
        LSTM,
        ("c_new = f * c + i * g", "c_new = f * c + g"),
        ("d_i = d_c * g", "d_i = 0 * d_c"),
        ("d_g = d_c * i", "d_g = d_c"),
    )
    yield _mutant(
        "1 − f in place of the input gate",
        LSTM,
        ("c_new = f * c + i * g", "c_new = f * c + (1 - f) * g"),
        ("d_i = d_c * g", "d_i = 0 * d_c"),
        ("d_f = d_c * c", "d_f = d_c * (c - g)"),
        ("d_g = d_c * i", "d_g = d_c * (1 - f)"),
    )
    yield _mutant(
        "1 added to the net input of the forget gate",
        LSTM,
        ("f = sigmoid(a[H : 2 * H])", "f = sigmoid(a[H : 2 * H] + 1)"),
    )
    yield _mutant("no gradient through c from step to step", LSTM, ("d_c = d_c * f", "d_c = 0 * d_c"))
    yield _mutant("no gradient through tanh of c", LSTM, (LSTM_A_C, "d_c = d_c"))
    for gate, product in (("i", "d_c * g"), ("f", "d_c * c"), ("g", "d_c * i")):
        yield _mutant(
            f"no gradient through the gate {gate}",
            LSTM,
            (f"d_{gate} = {product}", f"d_{gate} = 0 * d_c"),
        )
    yield _mutant(
        "no gradient through the gate o", LSTM, ("d_o = d_m * np.tanh(c_new)", "d_o = 0 * d_m")
    )
    yield from _slopes()
    for cell in CELLS:
        yield from _text_of_every_cell(cell)
    yield from _sequences()


def _slopes():
    tanh = {
        "1 − y in place of 1 − y² in the derivative of tanh": "(1 - {y})",
        "1 + y² in place of 1 − y² in the derivative of tanh": "(1 + {y} ** 2)",
        "y in place of 1 − y² in the derivative of tanh": "{y}",
        "the derivative of tanh taken at the value, 1 − tanh² y": "(1 - np.tanh({y}) ** 2)",
        "the derivative of tanh is that of σ, y (1 − y)": "{y} * (1 - {y})",
        "the derivative of tanh left out": "1",
    }
    c = "(1 - np.tanh(c_new) ** 2)"
    for name, slope in tanh.items():
        of_c, of_g = slope.format(y="np.tanh(c_new)"), slope.format(y="g")
        yield _mutant(name, ("RNN_TANH",), ("(1 - new**2)", slope.format(y="new")))
        yield _mutant(name, GRU, ("(1 - n**2)", slope.format(y="n")))
        yield _mutant(name, LSTM, (c, of_c), ("(1 - g**2)", of_g))
        yield _mutant(f"{name}, at tanh c", LSTM, (c, of_c))
        yield _mutant(f"{name}, at g", LSTM, ("(1 - g**2)", of_g))
    sigma = {
        "y in place of y (1 − y) in the derivative of σ": "{y}",
        "1 − y in place of y (1 − y) in the derivative of σ": "(1 - {y})",
        "y (1 + y) in place of y (1 − y) in the derivative of σ": "{y} * (1 + {y})",
        "the derivative of σ is that of tanh, 1 − y²": "(1 - {y} ** 2)",
        "the derivative of σ left out": "1",
    }
    for name, slope in sigma.items():
        for cell, gates in ((GRU, "rz"), (LSTM, "ifo")):
            new = {g: (f"{g} * (1 - {g})", slope.format(y=g)) for g in gates}
            yield _mutant(name, cell, *new.values())
            for gate in gates:
                yield _mutant(f"{name}, at {gate}", cell, new[gate])
    yield _mutant("the derivative of relu left out", RELU, ("else d_h * (new > 0)", "else d_h"))


def _text_of_every_cell(cell):
    """Mistakes in lines that every cell has, which differ a little."""
    kind = cell if cell in GATED else "RNN"
    delta = {"RNN": ("d_a", "h"), "GRU": ("d_v", "h"), "LSTM": ("d_a", "h")}[kind]
    start = {"RNN": "def rnn_back", "GRU": "def gru_back", "LSTM": "def lstm_back"}[kind]

    def in_back(old, new):
        """A replacement in the backward function of the cell: the whole function's text."""
        begin = SOURCE.index(start)
        end = SOURCE.index("\ndef ", begin + 1)
        function = SOURCE[begin:end]
        assert function.count(old) == 1, (cell, old)
        return function, function.replace(old, new)

    product = f"np.outer({delta[0]}, h)"
    yield _mutant(
        "h_t in place of h_{t−1} in the gradient of weight_hh",
        (cell,),
        in_back(product, product.replace("h)", "new)")),
    )
    yield _mutant(
        "h_0 left out of the gradient of weight_hh",
        (cell,),
        in_back(product, f"{product} * (t > 0)"),
    )
    for words, kept in (("first", "t == 0"), ("last", "t == len(steps) - 1")):
        function, _ = in_back("d_xs = []", "")
        new = re.sub(r'd\["(\w+)"\] \+= (.+)', rf'd["\1"] += ({kept}) * (\2)', function)
        mutant = _mutant(
            f"gradients of parameters from the {words} step run alone", (cell,), (function, new)
        )
        # Row by row, the first step of one is not the first of all if lengths differ.
        run = mutant.run
        yield mutant._replace(run=lambda c, p, d, run=run: None if c.lengths else run(c, p, d))


def _sequences():
    every = CELLS
    yield _mutant(
        "the output of the reverse direction not reversed back",
        every,
        ("                if k == 1:\n                    ys = ys[::-1]\n", ""),
        ("                if k == 1:\n                    d_ys = d_ys[::-1]\n", ""),
    )
    yield _mutant(
        "the gradient of a layer's input lacks the reverse direction",
        every,
        ("d_below[:length, b] += d_xs", "d_below[:length, b] += d_xs if k == 0 else 0"),
    )
    yield _mutant(
        "the gradient of h_n ignored",
        every,
        ("if given is not None:", "if given is not None and k != 0:"),
    )
    yield _mutant(
        "the gradient of c_n ignored",
        LSTM,
        ("if given is not None:", "if given is not None and k != 1:"),
    )
    yield _mutant(
        "the gradient of the output ignored",
        every,
        ("if problem.d_output is not None:", "if False:"),
    )
    yield _mutant(
        "no gradient from a layer to the one below", every, ("d_y = d_below", "d_y = 0 * d_below if layer else d_below")
    )
    padded = ("length = lengths[b]\n                xs =", "length = T\n                xs =")
    yield _mutant(
        "lengths ignored, padding run like data",
        every,
        ("lengths = lengths or (T,) * B", "lengths = (T,) * B"),
    )
    yield _mutant(
        "the initial state ignored", every, ("start = [s[layer * D + k, b] for", "start = [0 * s[layer * D + k, b] for")
    )
    yield _mutant(
        "the last step of the output in place of h_n of the reverse direction",
        every,
        (
            'results = {"output": as_given(y)}',
            'results = {"output": as_given(y)}\n    if D == 2:\n        final[0][-1] = y[-1, :, F:]'
            "\n        final[0][-2] = y[-1, :, :F]",
        ),
    )
    yield _mutant(
        "the last column of the output in place of h_n",
        every,
        (
            'results = {"output": as_given(y)}',
            'results = {"output": as_given(y)}\n    final[0][-D] = y[-1, :, :F]',
        ),
    )
    del padded


# In parameters: (name, p, params, net, cat) → p, in NumPy around the net and in torch inside it


def _parameter_changes():
    """Name, cells, change, and whether a case can be computed."""

    def always(case):
        return True

    def square(case):
        return case.I == case.H and case.layers == 1 and not case.P

    for cell, right in GATES.items():
        for scope, starts in (
            ("", ("weight_ih", "weight_hh", "bias")),
            (" of weight_ih", ("weight_ih",)),
            (" of weight_hh", ("weight_hh",)),
            (" of the biases", ("bias",)),
        ):
            for order in permutations(right):
                if order != tuple(right):
                    name = f"gate order{scope} {' '.join(order)} in place of {' '.join(right)}"
                    yield name, (cell,), _gate_order(right, order, starts), always
    for which, starts, possible in (
        ("weight_hh", ("weight_hh",), lambda case: not case.P),
        ("weight_ih", ("weight_ih",), square),
        ("weight_ih and weight_hh", ("weight_ih", "weight_hh"), square),
    ):
        yield f"{which} not transposed, gate by gate", CELLS, _transposed(starts), possible
    for which, starts in (
        ("weight_ih", ("weight_ih",)),
        ("weight_hh", ("weight_hh",)),
        ("weight_ih and weight_hh", ("weight_ih", "weight_hh")),
    ):
        cells = CELLS if which != "weight_hh" else GATED  # of a square matrix it is a transpose

        def reshaped(name, p, params, net, cat, starts=starts):
            return p.reshape(p.shape[1], p.shape[0]).T if name.startswith(starts) else p

        def back(name, p, params, net, cat, starts=starts):
            return p.T.reshape(p.shape) if name.startswith(starts) else p

        yield f"{which} reshaped in place of transposed", cells, reshaped, always
        yield f"{which} transposed and reshaped back", cells, back, always
    for words, change in (
        ("gates read as interleaved unit by unit", lambda p, G, H: [p[g::G] for g in range(G)]),
        ("units read as interleaved gate by gate", lambda p, G, H: [p[u::H] for u in range(H)]),
    ):

        def interleaved(name, p, params, net, cat, change=change):
            H = net.hidden_size
            return p if "_hr_" in name else cat(change(p, p.shape[0] // H, H))

        yield words, GATED, interleaved, always
    for which, starts in (
        ("bias_ih", "bias_ih"),
        ("bias_hh", "bias_hh"),
        ("both biases", "bias"),
    ):
        for words, factor in (("left out", 0), ("added twice", 2)):

            def scaled(name, p, params, net, cat, starts=starts, factor=factor):
                return factor * p if name.startswith(starts) else p

            yield f"{which} {words}", CELLS, scaled, always
    for old, new in (("bias_hh", "bias_ih"), ("bias_ih", "bias_hh")):

        def for_both(name, p, params, net, cat, old=old, new=new):
            return params[name.replace(old, new)]

        yield f"{new} in place of {old}", CELLS, for_both, always

    def b_n(name, p, params, net, cat):
        H = net.hidden_size
        return cat([p[: 2 * H], 0 * p[2 * H :]]) if name.startswith("bias_hh") else p

    yield "b_n of bias_hh left out", GRU, b_n, always

    def higher(name, p, params, net, cat):
        return 0 * p if name.startswith("bias") and "_l0" not in name else p

    yield "biases of layers above the first left out", CELLS, higher, always

    def first(name, p, params, net, cat):
        return params[re.sub(r"_l\d+", "_l0", name)] if name.startswith("bias") else p

    yield "the first layer's biases in every layer", CELLS, first, always

    def forward(name, p, params, net, cat):
        return params[name.removesuffix("_reverse")]

    yield "the forward direction's parameters in both directions", CELLS, forward, always

    def swapped(name, p, params, net, cat):
        other = name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse"
        return params.get(other, p)

    yield "the parameters of the two directions swapped", CELLS, swapped, always

    def no_hh(name, p, params, net, cat):
        return 0 * p if name.startswith("weight_hh") else p

    yield "weight_hh left out", CELLS, no_hh, always


def _gate_order(right, order, starts):
    def change(name, p, params, net, cat):
        if not name.startswith(starts):
            return p
        H = net.hidden_size
        blocks = {gate: p[k * H : (k + 1) * H] for k, gate in enumerate(order)}
        return cat([blocks[gate] for gate in right])

    return change


def _transposed(starts):
    def change(name, p, params, net, cat):
        H = net.hidden_size
        if not name.startswith(starts):
            return p
        return cat([p[k : k + H].T for k in range(0, len(p), H)])

    return change


def _parameters():
    for name, cells, change, possible in _parameter_changes():

        def run_numpy(case, problem, dtype, change=change, possible=possible):
            """Gradients stay in the order in which the parameters are read."""
            if not possible(case):
                return None
            params = {
                n: np.ascontiguousarray(
                    change(n, p, problem.params, problem.net, lambda parts: np.concatenate(parts))
                )
                for n, p in problem.params.items()
            }
            return textbook_net.net(problem._replace(params=params), dtype)

        def in_torch(call, forward, change=change):
            return forward(
                change_parameters(
                    call, lambda n, p: change(n, p, call.params, call.net, torch.cat).contiguous()
                )
            )

        yield Plant(name, "numpy", cells, run_numpy)
        yield torch_plant(name, cells, in_torch, possible)


def torch_plant(name, cells, change, possible=lambda case: True, dtypes=("float32", "float64")):
    """A plant in torch's forward pass, by a function change(call, forward)."""
    planted = Fault(name, "W", "", "", change, cells, lambda case: True, dtypes, "cpu-native")

    def run(case, problem, dtype):
        return run_with_fault(planted, case, problem, dtype, []) if possible(case) else None

    return Plant(name, "torch", tuple(cells), run, dtypes)


# In states


def _orders(L, D):
    return {
        "of the two directions swapped": [k * D + (D - 1 - d) for k in range(L) for d in range(D)],
        "of the layers in reverse order": [(L - 1 - k) * D + d for k in range(L) for d in range(D)],
        "ordered direction by direction": [d * L + k for k in range(L) for d in range(D)],
        "read direction by direction": [k * D + d for d in range(D) for k in range(L)],
    }


def _order(words, net):
    return _orders(net.num_layers, 1 + net.bidirectional)[words]


def _states():
    for words in _orders(1, 1):

        def initial(call, forward, words=words):
            state = None if call.state is None else [s[_order(words, call.net)] for s in call.state]
            return forward(call._replace(state=state))

        def final(call, forward, words=words):
            y, states = forward(call)
            return y, [s[_order(words, call.net)] for s in states]

        def initial_numpy(case, problem, dtype, words=words):
            if problem.state is None:
                return textbook_net.net(problem, dtype)
            order = _order(words, problem.net)
            results = textbook_net.net(
                problem._replace(state=tuple(s[order] for s in problem.state)), dtype
            )
            for name in ("d_h_0", "d_c_0"):
                if name in results:
                    d = np.empty_like(results[name])
                    d[order] = results[name]
                    results[name] = d
            return results

        def final_numpy(case, problem, dtype, words=words):
            results = textbook_net.net(problem, dtype)
            order = _order(words, problem.net)
            return results | {n: results[n][order] for n in ("h_n", "c_n") if n in results}

        yield torch_plant(f"initial states {words}", CELLS, initial)
        yield torch_plant(f"final states {words}", CELLS, final)
        yield Plant(f"initial states {words}", "numpy", CELLS, initial_numpy)
        yield Plant(f"final states {words}", "numpy", CELLS, final_numpy)

    def swap_0(call, forward):
        state = call.state
        return forward(call if state is None else call._replace(state=[state[1], state[0]]))

    def swap_n(call, forward):
        y, (h, c) = forward(call)
        return y, [c, h]

    def c_for_h(call, forward):
        y, (h, c) = forward(call)
        return y, [c, c]

    def unprojected(case):
        return not case.P

    yield torch_plant("h_0 and c_0 swapped", LSTM, swap_0, unprojected)
    yield torch_plant("h_n and c_n swapped", LSTM, swap_n, unprojected)
    yield torch_plant("c_n in place of h_n", LSTM, c_for_h, unprojected)


# In results, the values being right


def _results():
    factors = {
        "zero": lambda case: 0,
        "negated": lambda case: -1,
        "halved": lambda case: 0.5,
        "doubled": lambda case: 2,
        "divided by B": lambda case: 1 / case.B,
        "divided by T": lambda case: 1 / case.T,
        "multiplied by B": lambda case: case.B,
        "multiplied by T": lambda case: case.T,
        "divided by T·B": lambda case: 1 / (case.T * case.B),
    }
    names = ("x", "h_0", "c_0", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    groups = {f"the gradient of {name}": (f"d_{name}",) for name in names}
    groups |= {
        "every gradient": ("d_",),
        "gradients of parameters": ("d_weight", "d_bias"),
        "gradients of weights": ("d_weight",),
        "gradients of biases": ("d_bias",),
        "gradients of the initial state": ("d_h_0", "d_c_0"),
    }
    for group, starts in groups.items():
        only_lstm = starts[-1] in ("d_c_0", "d_weight_hr")
        for word, factor in factors.items():

            def scale(case, name, value, starts=starts, factor=factor):
                of_type = value.dtype.type
                return value * of_type(factor(case)) if name.startswith(starts) else value

            yield _changed_results(f"{group} {word}", LSTM if only_lstm else CELLS, scale)
    for cell, right in GATES.items():
        for order in permutations(right):
            if order != tuple(right):

                def reorder(case, name, value, right=right, order=order):
                    if not name.startswith(("d_weight_ih", "d_weight_hh", "d_bias")):
                        return value
                    blocks = dict(zip(right, np.split(value, len(right)), strict=True))
                    return np.concatenate([blocks[gate] for gate in order])

                name = f"gradients in gate order {' '.join(order)} in place of {' '.join(right)}"
                yield _changed_results(name, (cell,), reorder)

    def transposed(case, name, value):
        if not name.startswith("d_weight_hh"):
            return value
        return np.concatenate([value[k : k + case.H].T for k in range(0, len(value), case.H)])

    yield _changed_results(
        "the gradient of weight_hh not transposed, gate by gate",
        CELLS,
        transposed,
        lambda case: not case.P,
    )

    def backwards(case, name, value):
        axis = 1 if case.layout == "batch" else 0
        return np.ascontiguousarray(np.flip(value, axis)) if name == "d_x" else value

    yield _changed_results("the gradient of the input reversed in time", CELLS, backwards)


def _changed_results(name, cells, change, possible=lambda case: True):
    def run(case, problem, dtype):
        if not possible(case):
            return None
        results = textbook_net.net(problem, dtype)
        return {n: change(case, n, value) for n, value in results.items()}

    return Plant(name, "numpy", cells, run)


# In torch's steps


def _parts(params, suffix, x, h):
    u = linear(x, params[f"weight_ih{suffix}"], params.get(f"bias_ih{suffix}"))
    v = linear(h, params[f"weight_hh{suffix}"], params.get(f"bias_hh{suffix}"))
    return u, v


def _gru_step(rule):
    def change(call, forward):
        def step(net, params, suffix, x, state):
            u, v = _parts(params, suffix, x, state[0])
            bias = params.get(f"bias_hh{suffix}")
            H = net.hidden_size
            extra = SimpleNamespace(
                weight=params[f"weight_hh{suffix}"][2 * H :],
                bias=0 if bias is None else bias[2 * H :],
            )
            (u_r, u_z, u_n), (v_r, v_z, v_n) = u.chunk(3, -1), v.chunk(3, -1)
            r, z = torch.sigmoid(u_r + v_r), torch.sigmoid(u_z + v_z)
            return [rule(r, z, u_n, v_n, state[0], extra)]

        return run_steps(call, step)

    return change


def _lstm_step(rule):
    def change(call, forward):
        def step(net, params, suffix, x, state):
            u, v = _parts(params, suffix, x, state[0])
            m, c = rule(*(u + v).chunk(4, -1), state[1])
            return [linear(m, params[f"weight_hr{suffix}"]) if net.proj_size else m, c]

        return run_steps(call, step)

    return change


def _functions(**replacements):
    def change(call, forward):
        with replace_functions({getattr(torch, n): f for n, f in replacements.items()}):
            return run_steps(call)

    return change


def _entering(enter):
    """A change of the state that enters the k-th step."""

    def change(call, forward):
        def make_step(suffix):
            calls = iter(range(10**6))

            def step(net, params, suffix, x, state):
                return manual_step(net, params, suffix, x, enter(next(calls), state))

            return step

        return run_steps_made_by(call, make_step)

    return change


def _torch():
    s, tanh = torch.sigmoid, torch.tanh
    gru = {
        "the reset gate before the product": lambda r, z, u, v, h, e: (1 - z)
        * tanh(u + linear(r * h, e.weight) + e.bias)
        + z * h,
        "b_n of bias_hh outside the reset gate": lambda r, z, u, v, h, e: (1 - z)
        * tanh(u + r * (v - e.bias) + e.bias)
        + z * h,
        "the reset gate left out": lambda r, z, u, v, h, e: (1 - z) * tanh(u + v) + z * h,
        "the reset gate on the whole net input of n": lambda r, z, u, v, h, e: (1 - z)
        * tanh(r * (u + v))
        + z * h,
        "the reset gate flipped, 1 − r in place of r": lambda r, z, u, v, h, e: (1 - z)
        * tanh(u + (1 - r) * v)
        + z * h,
        "tanh of n left out": lambda r, z, u, v, h, e: (1 - z) * (u + r * v) + z * h,
        "the update gate flipped, z ⊙ n + (1 − z) ⊙ h₋": lambda r, z, u, v, h, e: z
        * tanh(u + r * v)
        + (1 - z) * h,
        "the factor 1 − z left out": lambda r, z, u, v, h, e: tanh(u + r * v) + z * h,
        "the factor z left out": lambda r, z, u, v, h, e: (1 - z) * tanh(u + r * v) + h,
        "the update gate left out, h = n": lambda r, z, u, v, h, e: tanh(u + r * v),
        "no gradient through z ⊙ h₋": lambda r, z, u, v, h, e: (1 - z) * tanh(u + r * v)
        + z * h.detach(),
        "no gradient through the gate z": lambda r, z, u, v, h, e: (1 - z.detach())
        * tanh(u + r * v)
        + z.detach() * h,
        "no gradient through the candidate n": lambda r, z, u, v, h, e: (1 - z)
        * tanh(u + r * v).detach()
        + z * h,
    }
    for name, rule in gru.items():
        yield torch_plant(name, GRU, _gru_step(rule))

    def lstm(cell, gated=lambda a_o, c: s(a_o) * tanh(c)):
        def rule(i, f, g, o, c):
            new = cell(s(i), s(f), g, c)
            return gated(o, new), new

        return _lstm_step(rule)

    def right(i, f, g, c):
        return f * c + i * tanh(g)

    for name, change in {
        "tanh of c left out, h = o ⊙ c": lstm(right, lambda o, c: s(o) * c),
        "the forget gate left out": lstm(lambda i, f, g, c: c + i * tanh(g)),
        "the input gate left out": lstm(lambda i, f, g, c: f * c + tanh(g)),
        "the output gate left out": lstm(right, lambda o, c: tanh(c)),
        "1 − f in place of the input gate": lstm(lambda i, f, g, c: f * c + (1 - f) * tanh(g)),
        "1 − i in place of the forget gate": lstm(lambda i, f, g, c: (1 - i) * c + i * tanh(g)),
        "the forget gate flipped, 1 − f in place of f": lstm(
            lambda i, f, g, c: (1 - f) * c + i * tanh(g)
        ),
        "σ in place of tanh in the output, h = o ⊙ σ(c)": lstm(right, lambda o, c: s(o) * s(c)),
        "the cell state clipped to ±1": lstm(
            lambda i, f, g, c: (f * c + i * tanh(g)).clamp(-1, 1)
        ),
        "σ in place of tanh at g": lstm(lambda i, f, g, c: f * c + i * s(g)),
        "tanh of g left out": lstm(lambda i, f, g, c: f * c + i * g),
        "1 added to the net input of the forget gate": _lstm_step(
            lambda i, f, g, o, c: _standard(i, f + 1, g, o, c)
        ),
        "h computed from the c before the step": _lstm_step(
            lambda i, f, g, o, c: (s(o) * tanh(c), _standard(i, f, g, o, c)[1])
        ),
    }.items():
        yield torch_plant(name, LSTM, change)
    for name, cells, change in (
        ("relu in place of tanh", TANH, _functions(tanh=torch.relu)),
        ("σ in place of tanh", ("RNN_TANH",), _functions(tanh=torch.sigmoid)),
        ("tanh in place of relu", RELU, _functions(relu=torch.tanh)),
        ("relu left out", RELU, _functions(relu=lambda a: a + 0)),
        ("tanh left out", ("RNN_TANH",), _functions(tanh=lambda a: a + 0)),
        ("tanh in place of σ", GATED, _functions(sigmoid=torch.tanh)),
        (
            "the hard sigmoid a/5 + ½ in place of σ",
            GATED,
            _functions(sigmoid=lambda a: (0.2 * a + 0.5).clamp(0, 1)),
        ),
    ):
        yield torch_plant(name, cells, change)
    for name, cells, enter in (
        ("the gradient through time cut at each step", CELLS, lambda k, s: _stop(s) if k else s),
        (
            "the gradient through time cut after two steps",
            CELLS,
            lambda k, s: _stop(s) if k and k % 2 == 0 else s,
        ),
        ("no gradient through c from step to step", LSTM, lambda k, s: [s[0], s[1].detach() if k else s[1]]),
        ("no gradient through h from step to step", LSTM, lambda k, s: [s[0].detach() if k else s[0], s[1]]),
        ("every step starts from a state of zeros", GATED, lambda k, s: [0 * f for f in s]),
    ):
        yield torch_plant(name, cells, _entering(enter))


def _stop(state):
    return [s.detach() for s in state]


def _standard(i, f, g, o, c):
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


# Faults of `bptt_oracle.faults` which are mistakes of the list

OF_FAULTS = {
    "bias_hh_zeroed": "bias_hh left out",
    "biases_of_higher_layers_lost": "biases of layers above the first left out",
    "bias_ih_for_both": "bias_ih in place of bias_hh",
    "bias_of_the_first_layer": "the first layer's biases in every layer",
    "reverse_weights_are_forward_ones": "the forward direction's parameters in both directions",
    "weight_hh_transposed": "weight_hh not transposed, gate by gate",
    "weight_ih_column_major": "weight_ih transposed and reshaped back",
    "leaky_relu": "leaky relu of slope 0.01 in place of relu",
    "relu_ends_at_6": "relu that ends at 6",
    "hard_sigmoid": "the hard sigmoid a/6 + ½ in place of σ",
    "sigmoid_cut_off": "the argument of σ limited to ±8",
    "tanh_for_relu": "tanh in place of relu",
    "layers_start_from_the_first_state": "the first layer's initial state in every layer",
    "reverse_starts_from_the_forward_state": "the forward direction's initial state in both "
    "directions",
    "state_ignored": "the initial state ignored",
    "c_0_ignored": "c_0 ignored, h_0 used",
    "h_0_ignored": "h_0 ignored, c_0 used",
    "state_not_permuted": "initial states not put in the order of the sorted rows",
    "lengths_one_short": "the last step of shorter rows not run",
    "padding_is_run": "lengths ignored, padding run like data",
    "reverse_starts_in_the_padding": "the reverse direction starts in the padding",
    "input_one_step_late": "the input of the step before in each step",
    "directions_interleaved": "the two directions of the output interleaved",
    "directions_swapped": "the two directions of the output swapped",
    "reverse_half_not_turned_back": "the output of the reverse direction not reversed back",
    "h_n_is_the_last_output": "the last step of the output in place of h_n of the reverse "
    "direction",
    "h_n_is_the_last_column": "the last column of the output in place of h_n",
    "final_states_of_the_last_layer": "the last layer's final state in every layer",
    "c_n_is_h_n": "h_n in place of c_n",
    "final_states_stay_sorted": "final states left in the order of the sorted rows",
    "higher_layers_read_the_forward_half": "layers above the first read only the forward "
    "direction",
    "d_h_n_ignored": "the gradient of h_n ignored",
    "d_c_n_ignored": "the gradient of c_n ignored",
    "bias_gradients_times_steps": "gradients of biases multiplied by T",
    "bias_hh_gradient_of_bias_ih": "bias_hh gets the gradient of bias_ih",
    "reverse_part_of_d_x_lost": "the gradient of a layer's input lacks the reverse direction",
    "gradient_stops_between_layers": "no gradient from a layer to the one below",
    "d_state_in_reverse_order": "gradients of the initial states in reverse order of layers and "
    "directions",
    "d_x_backwards_in_time": "the gradient of the input reversed in time",
    "gradients_averaged_over_the_batch": "gradients of parameters divided by B",
    "first_step_missing_in_d_weight_hh": "h_0 left out of the gradient of weight_hh",
    "sigmoid_derivative": "y in place of y (1 − y) in the derivative of σ",
    "tanh_derivative": "the derivative of tanh a is 1 − a²",
    "relu_derivative": "the derivative of relu left out",
    "tf32_in_float32": "TF32 or float16 precision inside float32",
    "float32_in_float64": "float32 precision inside float64",
    "float32_products_in_float64": "float32 precision inside float64",
    "tanh_loses_small_arguments": "no relative accuracy of tanh near zero, as in 2σ(2x) − 1",
}
NOT_IN_THE_LIST = (  # of which no name may be given
    "rational_tanh",
    "weights_of_eight_bits",
    "last_row_not_copied",
    "last_feature_dropped",
    "one_element_of_d_weight_hh",
    "gradients_clipped",
    "directions_summed",
    "peephole",
    "state_lost_between_chunks",
    "gate_order_in_one_layer",
    "units_updated_in_place",
)


def _faults():
    for fault_id, name in OF_FAULTS.items():
        yield _of_fault(fault_id, name)
    sigma = _functions(sigmoid=lambda a: 0.5 * torch.tanh(0.5 * a) + 0.5)
    yield torch_plant("zero where σ is small, as in ½ tanh(a/2) + ½", GATED, sigma)
    for dtype in ("float32", "float64"):
        planted = FAULTS["bfloat16_products"]._replace(applies_to=lambda case: True)
        yield _of_fault("bfloat16_products", f"bfloat16 precision inside {dtype}")._replace(
            dtypes=(dtype,)
        )
        del planted


IN_PART = {  # faults that are right in these cases, where the mistake is not
    "reverse_half_not_turned_back": lambda c: c.bidirectional and (c.lengths or c.layers > 1),
    "h_n_is_the_last_output": lambda c: c.bidirectional and c.lengths,
    "h_n_is_the_last_column": lambda c: c.bidirectional and c.lengths,
    "reverse_part_of_d_x_lost": lambda c: c.bidirectional and c.layers > 1,
    "reverse_starts_in_the_padding": lambda c: c.layers > 1 and c.lengths,
}


def _of_fault(fault_id, name):
    planted = FAULTS[fault_id]

    def run(case, problem, dtype):
        if IN_PART.get(fault_id, lambda case: False)(case):
            return None
        return run_with_fault(planted, case, problem, dtype, [])

    return Plant(name, "torch", planted.cells, run, planted.dtypes)


def unnamed():
    """Faults that are not in the list: they must be given no name."""
    return [_of_fault(fault_id, "")._replace(name="") for fault_id in NOT_IN_THE_LIST]


def unused():  # pragma: no cover
    return run_layers, change_gradient, SIMPLE, D_TANH
