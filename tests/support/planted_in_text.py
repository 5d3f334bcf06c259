"""Mistakes planted in the text of `textbook_net`, each in its formulas forward and backward."""

import re
from functools import cache
from pathlib import Path

from bptt_oracle.cases.case import CELLS
from support import textbook_net
from support.plant import GATED, GRU, LSTM, Plant

SOURCE = Path(textbook_net.__file__).read_text(encoding="utf-8")


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


def plant_in_text(name, cells, *replacements):
    """A plant in the text of the net: pairs of a piece of it and what replaces it."""
    net = textbook(tuple(replacements))
    return Plant(name, "numpy", cells, lambda case, problem, dtype: net(problem, dtype))


RNN = ("RNN_TANH",)
LSTM_A_C = "d_c = d_c + d_m * o * (1 - np.tanh(c_new) ** 2)"


def in_text():
    v_n = "r * v[2 * H :])"
    yield plant_in_text(
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
    yield plant_in_text(
        "b_n of bias_hh outside the reset gate",
        GRU,
        (v_n, 'r * (v[2 * H :] - p["bias_hh"][2 * H :]) + p["bias_hh"][2 * H :])'),
        ("d_r = d_u_n * v[2 * H :]", 'd_r = d_u_n * (v[2 * H :] - p["bias_hh"][2 * H :])'),
        ('d["bias_hh"] += d_v', 'd["bias_hh"] += d_u'),
    )
    yield plant_in_text(
        "the reset gate left out",
        GRU,
        (v_n, "v[2 * H :])"),
        ("d_r = d_u_n * v[2 * H :]", "d_r = 0 * d_u_n"),
        ("d_u_n * r])", "d_u_n])"),
    )
    yield plant_in_text(
        "the update gate flipped, z ⊙ n + (1 − z) ⊙ h₋",
        GRU,
        ("new = (1 - z) * n + z * h", "new = z * n + (1 - z) * h"),
        ("d_n = d_h * (1 - z)", "d_n = d_h * z"),
        ("d_z = d_h * (h - n)", "d_z = d_h * (n - h)"),
        ("d_h = d_h * z + p", "d_h = d_h * (1 - z) + p"),
    )
    yield plant_in_text(
        "the factor 1 − z left out",
        GRU,
        ("new = (1 - z) * n", "new = n"),
        ("d_n = d_h * (1 - z)", "d_n = d_h"),
        ("d_z = d_h * (h - n)", "d_z = d_h * h"),
    )
    yield plant_in_text("the gradient of z lacks n", GRU, ("d_z = d_h * (h - n)", "d_z = d_h * h"))
    yield plant_in_text(
        "the gradient of n lacks the factor r on the way to h₋ and weight_hh",
        GRU,
        ("d_u_n * r])", "d_u_n])"),
    )
    for name, gradient in {
        "the gradient of z has the wrong sign": "d_h * (n - h)",
        "h_t in place of h_{t−1} in the gradient of z": "d_h * (new - n)",
    }.items():
        yield plant_in_text(name, GRU, ("d_z = d_h * (h - n)", f"d_z = {gradient}"))
    yield plant_in_text(
        "z and 1 − z exchanged in the gradients",
        GRU,
        ("d_n = d_h * (1 - z)", "d_n = d_h * z"),
        ("d_h = d_h * z + p", "d_h = d_h * (1 - z) + p"),
    )
    yield plant_in_text("no gradient through z ⊙ h₋", GRU, ("d_h = d_h * z + p", "d_h = p"))
    yield plant_in_text(
        "no gradient through the gate r", GRU, ("d_r = d_u_n * v[2 * H :]", "d_r = 0 * d_u_n")
    )
    yield plant_in_text(
        "bias_hh gets the gradient of bias_ih", GRU, ('d["bias_hh"] += d_v', 'd["bias_hh"] += d_u')
    )
    yield plant_in_text(
        "tanh of c left out, h = o ⊙ c",
        LSTM,
        ("m = o * np.tanh(c_new)", "m = o * c_new"),
        ("d_o = d_m * np.tanh(c_new)", "d_o = d_m * c_new"),
        (LSTM_A_C, "d_c = d_c + d_m * o"),
    )
    yield plant_in_text(
        "the forget gate left out",
        LSTM,
        ("c_new = f * c + i * g", "c_new = c + i * g"),
        ("d_f = d_c * c", "d_f = 0 * d_c"),
        ("d_c = d_c * f", "d_c = d_c"),
    )
    yield plant_in_text(
        "the input gate left out",
        LSTM,
        ("c_new = f * c + i * g", "c_new = f * c + g"),
        ("d_i = d_c * g", "d_i = 0 * d_c"),
        ("d_g = d_c * i", "d_g = d_c"),
    )
    yield plant_in_text(
        "1 − f in place of the input gate",
        LSTM,
        ("c_new = f * c + i * g", "c_new = f * c + (1 - f) * g"),
        ("d_i = d_c * g", "d_i = 0 * d_c"),
        ("d_f = d_c * c", "d_f = d_c * (c - g)"),
        ("d_g = d_c * i", "d_g = d_c * (1 - f)"),
    )
    yield plant_in_text(
        "1 added to the net input of the forget gate",
        LSTM,
        ("f = sigmoid(a[H : 2 * H])", "f = sigmoid(a[H : 2 * H] + 1)"),
    )
    yield plant_in_text(
        "no gradient through c from step to step",
        LSTM,
        ("d_c = d_c * f", "d_c = 0 * d_c if t else d_c * f"),
    )
    yield plant_in_text(
        "the gradient of c₋ lacks the factor f", LSTM, ("d_c = d_c * f", "d_c = d_c")
    )
    yield plant_in_text(
        "c_t in place of c_{t−1} in the gradient of f", LSTM, ("d_f = d_c * c", "d_f = d_c * c_new")
    )
    yield plant_in_text(
        "the gradients of i and g exchanged",
        LSTM,
        ("d_i = d_c * g", "d_i = d_c * i"),
        ("d_g = d_c * i", "d_g = d_c * g"),
    )
    for name, replaced in {
        "the gradients of i and f exchanged": {
            "d_i = d_c * g": "d_c * c",
            "d_f = d_c * c": "d_c * g",
        },
        "the gradient of i lacks the factor g": {"d_i = d_c * g": "d_c"},
        "the gradient of f lacks the factor c₋": {"d_f = d_c * c": "d_c"},
        "the gradient of g lacks the factor i": {"d_g = d_c * i": "d_c"},
    }.items():
        changes = ((old, f"{old[:6]}{new}") for old, new in replaced.items())
        yield plant_in_text(name, LSTM, *changes)
    yield plant_in_text(
        "c in place of tanh c in the gradient of o",
        LSTM,
        ("d_o = d_m * np.tanh(c_new)", "d_o = d_m * c_new"),
    )
    yield plant_in_text(
        "the gradient of c overwritten at each step, not added to",
        LSTM,
        (LSTM_A_C, LSTM_A_C.replace("d_c + ", "")),
    )
    for limit in (8, 10, 15, 20):
        sigma = "return 1 / (1 + np.exp(-a))"
        limited = sigma.replace("-a", f"-np.clip(a, -{limit}, {limit})")
        yield plant_in_text(f"net inputs limited to ±{limit}", GATED, (sigma, limited))
    for limit in (8, 10, 15):  # in float32, and for 20, 1 − y² of the limit is below the noise
        limited = f"new = np.tanh(np.clip(a, -{limit}, {limit})) if"
        mutant = plant_in_text(
            f"net inputs limited to ±{limit}", RNN, ("new = np.tanh(a) if", limited)
        )
        yield mutant._replace(dtypes=("float64",))
    yield plant_in_text("no gradient through tanh of c", LSTM, (LSTM_A_C, "d_c = d_c"))
    for gate, product in (("i", "d_c * g"), ("f", "d_c * c"), ("g", "d_c * i")):
        yield plant_in_text(
            f"no gradient through the gate {gate}",
            LSTM,
            (f"d_{gate} = {product}", f"d_{gate} = 0 * d_c"),
        )
    yield plant_in_text(
        "no gradient through the gate o", LSTM, ("d_o = d_m * np.tanh(c_new)", "d_o = 0 * d_m")
    )
    for cell in CELLS:
        yield from _text_of_every_cell(cell)
    yield from _sequences()


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
    yield plant_in_text(
        "h_t in place of h_{t−1} in the gradient of weight_hh",
        (cell,),
        in_back(product, product.replace("h)", "new)")),
    )
    yield plant_in_text(
        "h_0 left out of the gradient of weight_hh",
        (cell,),
        in_back(product, f"{product} * (t > 0)"),
    )
    yield plant_in_text(
        "the gradient of h overwritten at each step, not added to",
        (cell,),
        in_back("d_h = d_h + d_ys[t]", "d_h = d_ys[t]"),
    )
    cut = "(t + 1 != len(steps) // 2)"
    mutant = plant_in_text(
        "the gradient through time cut in the middle",
        (cell,),
        in_back(
            "d_h = d_h + d_ys[t]",
            f"d_h = {cut} * d_h + d_ys[t]" + f"; d_c = {cut} * d_c" * (kind == "LSTM"),
        ),
    )
    yield _of_equal_lengths(mutant)
    for words, kept in (("first", "t == 0"), ("last", "t == len(steps) - 1")):
        function, _ = in_back("d_xs = []", "")
        new = re.sub(r'd\["(\w+)"\] \+= (.+)', rf'd["\1"] += ({kept}) * (\2)', function)
        mutant = plant_in_text(
            f"gradients of parameters from the {words} step run alone", (cell,), (function, new)
        )
        yield _of_equal_lengths(mutant)


def _of_equal_lengths(mutant):
    """The plant for rows of one length: else the first step of a row is not the first of all."""
    run = mutant.run
    return mutant._replace(run=lambda c, p, d: None if c.lengths else run(c, p, d))


def _sequences():
    every = CELLS
    to_final = "field[layer * D + k, b] = value\n        y = out"
    to_start = "field[layer * D + k, b] = value\n                for name"
    yield plant_in_text(
        "the state set to zero in the padding",
        every,
        (to_final, to_final.replace("value", "value * (k == 1 or length == T)")),
        (to_start, to_start.replace("value", "value * (k == 0 or length == T)")),
        (
            "start = [s[layer * D + k, b] for s in state]",
            "start = [s[layer * D + k, b] * (k == 0 or length == T) for s in state]",
        ),
        (
            "d_end = [s[layer * D + k, b] for s in d_final]",
            "d_end = [s[layer * D + k, b] * (k == 1 or length == T) for s in d_final]",
        ),
    )
    yield plant_in_text(
        "the output of the reverse direction not reversed back",
        every,
        ("                if k == 1:\n                    ys = ys[::-1]\n", ""),
        ("                if k == 1:\n                    d_ys = d_ys[::-1]\n", ""),
    )
    yield plant_in_text(
        "the gradient of a layer's input lacks the reverse direction",
        every,
        ("d_below[:length, b] += d_xs", "d_below[:length, b] += d_xs if k == 0 else 0"),
    )
    yield plant_in_text(
        "the gradient of a layer's input lacks the forward direction",
        every,
        (
            "d_below[:length, b] += d_xs",
            "d_below[:length, b] += d_xs if k == 1 or D == 1 else 0",
        ),
    )
    yield plant_in_text(
        "the gradients of h_n and c_n ignored",
        LSTM,
        ("    for k, given in enumerate(problem.d_state):\n", "    for k, given in []:\n"),
    )
    yield plant_in_text(
        "the gradient of h_n ignored",
        every,
        ("if given is not None:", "if given is not None and k != 0:"),
    )
    yield plant_in_text(
        "the gradient of c_n ignored",
        LSTM,
        ("if given is not None:", "if given is not None and k != 1:"),
    )
    yield plant_in_text(
        "the gradient of the output ignored",
        every,
        ("if problem.d_output is not None:", "if False:"),
    )
    yield plant_in_text(
        "no gradient from a layer to the one below",
        every,
        ("d_y = d_below", "d_y = 0 * d_below if layer else d_below"),
    )
    yield plant_in_text(
        "lengths ignored, padding run like data",
        every,
        ("lengths = lengths or (T,) * B", "lengths = (T,) * B"),
    )
    yield plant_in_text(
        "the initial state ignored",
        every,
        ("start = [s[layer * D + k, b] for", "start = [0 * s[layer * D + k, b] for"),
    )
    yield plant_in_text(
        "the last step of the output in place of h_n of the reverse direction",
        every,
        (
            'results = {"output": as_given(y)}',
            'results = {"output": as_given(y)}\n    if D == 2:\n        final[0][-1] = y[-1, :, F:]'
            "\n        final[0][-2] = y[-1, :, :F]",
        ),
    )
    yield plant_in_text(
        "the last column of the output in place of h_n",
        every,
        (
            'results = {"output": as_given(y)}',
            'results = {"output": as_given(y)}\n    final[0][-D] = y[-1, :, :F]',
        ),
    )
