"""Mistakes planted in parameters, states and results: around a NumPy net, within torch's."""

import re

import numpy as np
import torch

from bptt_oracle.cases.case import CELLS
from bptt_oracle.faults.inject import change_parameters
from support import textbook_net
from support.plant import GATED, GATES, GRU, LSTM, Plant, changed_results, torch_plant, wrong_orders


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
            for order in wrong_orders(right):
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


def _whole_results(name, cells, change, possible=lambda case: True):
    """A plant in the results of the textbook net: change(results)."""

    def run(case, problem, dtype):
        return change(textbook_net.net(problem, dtype)) if possible(case) else None

    return Plant(name, "numpy", cells, run)


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


def in_parameters():
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


def in_peepholes():
    """The order of the peepholes, which torch's nets do not have."""
    for order in wrong_orders("ifo"):

        def run(case, problem, dtype, order=order):
            params = dict(problem.params)
            for name in params:
                if name.startswith("weight_ch"):
                    blocks = dict(zip(order, np.split(params[name], 3), strict=True))
                    params[name] = np.concatenate([blocks[gate] for gate in "ifo"])
            return textbook_net.net(problem._replace(params=params), dtype)

        name = f"peepholes in the order {' '.join(order)} in place of i f o"
        yield Plant(name, "numpy", ("LSTM_PEEPHOLE",), run)


def _orders(L, D):
    return {
        "of the two directions swapped": [k * D + (D - 1 - d) for k in range(L) for d in range(D)],
        "of the layers in reverse order": [(L - 1 - k) * D + d for k in range(L) for d in range(D)],
        "read direction by direction": [d * L + k for k in range(L) for d in range(D)],
        "ordered direction by direction": [k * D + d for d in range(D) for k in range(L)],
    }


def _order(words, net):
    return _orders(net.num_layers, 1 + net.bidirectional)[words]


def in_states():
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


def in_results():
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
    for word, factor in factors.items():

        def scale_peepholes(case, name, value, factor=factor):
            of_type = value.dtype.type
            return value * of_type(factor(case)) if name.startswith("d_weight_ch") else value

        name = f"the gradient of weight_ch {word}"
        yield changed_results(name, ("LSTM_PEEPHOLE",), scale_peepholes)
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

            yield changed_results(f"{group} {word}", LSTM if only_lstm else CELLS, scale)
    for cell, right in GATES.items():
        for order in wrong_orders(right):

            def reorder(case, name, value, right=right, order=order):
                if not name.startswith(("d_weight_ih", "d_weight_hh", "d_bias")):
                    return value
                blocks = dict(zip(right, np.split(value, len(right)), strict=True))
                return np.concatenate([blocks[gate] for gate in order])

            name = f"gradients in gate order {' '.join(order)} in place of {' '.join(right)}"
            yield changed_results(name, (cell,), reorder)

    def transposed(case, name, value):
        if not name.startswith("d_weight_hh"):
            return value
        return np.concatenate([value[k : k + case.H].T for k in range(0, len(value), case.H)])

    yield changed_results(
        "the gradient of weight_hh not transposed, gate by gate",
        CELLS,
        transposed,
        lambda case: not case.P,
    )

    def columns(case, name, value):
        return value.T.reshape(value.shape) if name.startswith("d_weight_ih") else value

    yield changed_results(
        "the gradient of weight_ih reshaped in place of transposed", CELLS, columns
    )

    def order_of_states(words):
        def change(case, name, value):
            if name not in ("d_h_0", "d_c_0"):
                return value
            return value[_orders(case.layers, 1 + case.bidirectional)[words]]

        return change

    for words in (
        "of the two directions swapped",
        "of the layers in reverse order",
        "ordered direction by direction",
    ):
        name = f"gradients of the initial states {words}"
        yield changed_results(name, CELLS, order_of_states(words))

    def swap(results):
        other = {"d_h_0": "d_c_0", "d_c_0": "d_h_0"}
        return {name: results[other.get(name, name)] for name in results}

    def biases(old, new):
        return lambda results: {n: results[n.replace(old, new)] for n in results}

    def both(results):
        ih, hh = biases("bias_hh", "bias_ih")(results), biases("bias_ih", "bias_hh")(results)
        return {n: (ih if "bias_hh" in n else hh)[n] for n in results}

    yield _whole_results("the gradients of h_0 and c_0 swapped", LSTM, swap, lambda c: not c.P)
    yield _whole_results("bias_ih gets the gradient of bias_hh", GRU, biases("bias_ih", "bias_hh"))
    yield _whole_results("the gradients of bias_ih and bias_hh swapped", GRU, both)

    def backwards(case, name, value):
        axis = 1 if case.layout == "batch" else 0
        return np.ascontiguousarray(np.flip(value, axis)) if name == "d_x" else value

    yield changed_results("the gradient of the input reversed in time", CELLS, backwards)
