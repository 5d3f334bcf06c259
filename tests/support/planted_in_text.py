"""Mistakes planted in the text of `textbook_net`, each in its formulas forward and backward."""

import re
from functools import cache
from pathlib import Path

from bptt_oracle.cases.case import CELLS
from support import textbook_net
from support.plant import GATED, GRU, LSTM, RELU, Plant

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


def _mutant(name, cells, *replacements):
    net = textbook(tuple(replacements))
    return Plant(name, "numpy", cells, lambda case, problem, dtype: net(problem, dtype))


RNN = ("RNN_TANH",)
LSTM_A_C = "d_c = d_c + d_m * o * (1 - np.tanh(c_new) ** 2)"


def in_text():
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
    for name, gradient in {
        "the gradient of z has the wrong sign": "d_h * (n - h)",
        "h_t in place of h_{t−1} in the gradient of z": "d_h * (new - n)",
    }.items():
        yield _mutant(name, GRU, ("d_z = d_h * (h - n)", f"d_z = {gradient}"))
    yield _mutant(
        "z and 1 − z exchanged in the gradients",
        GRU,
        ("d_n = d_h * (1 - z)", "d_n = d_h * z"),
        ("d_h = d_h * z + p", "d_h = d_h * (1 - z) + p"),
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
    yield _mutant(
        "no gradient through c from step to step",
        LSTM,
        ("d_c = d_c * f", "d_c = 0 * d_c if t else d_c * f"),
    )
    yield _mutant("the gradient of c₋ lacks the factor f", LSTM, ("d_c = d_c * f", "d_c = d_c"))
    yield _mutant(
        "c_t in place of c_{t−1} in the gradient of f", LSTM, ("d_f = d_c * c", "d_f = d_c * c_new")
    )
    yield _mutant(
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
        yield _mutant(name, LSTM, *changes)
    yield _mutant(
        "c in place of tanh c in the gradient of o",
        LSTM,
        ("d_o = d_m * np.tanh(c_new)", "d_o = d_m * c_new"),
    )
    yield _mutant(
        "the gradient of c overwritten at each step, not added to",
        LSTM,
        (LSTM_A_C, LSTM_A_C.replace("d_c + ", "")),
    )
    for limit in (8, 10, 15, 20):
        sigma = "return 1 / (1 + np.exp(-a))"
        limited = sigma.replace("-a", f"-np.clip(a, -{limit}, {limit})")
        yield _mutant(f"net inputs limited to ±{limit}", GATED, (sigma, limited))
    for limit in (8, 10, 15):  # in float32, and for 20, 1 − y² of the limit is below the noise
        limited = f"new = np.tanh(np.clip(a, -{limit}, {limit})) if"
        mutant = _mutant(f"net inputs limited to ±{limit}", RNN, ("new = np.tanh(a) if", limited))
        yield mutant._replace(dtypes=("float64",))
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
    yield _mutant(
        "the gradient of h overwritten at each step, not added to",
        (cell,),
        in_back("d_h = d_h + d_ys[t]", "d_h = d_ys[t]"),
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
        "the gradient of a layer's input lacks the forward direction",
        every,
        (
            "d_below[:length, b] += d_xs",
            "d_below[:length, b] += d_xs if k == 1 or D == 1 else 0",
        ),
    )
    yield _mutant(
        "the gradients of h_n and c_n ignored",
        LSTM,
        ("    for k, given in enumerate(problem.d_state):\n", "    for k, given in []:\n"),
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
        "no gradient from a layer to the one below",
        every,
        ("d_y = d_below", "d_y = 0 * d_below if layer else d_below"),
    )
    yield _mutant(
        "lengths ignored, padding run like data",
        every,
        ("lengths = lengths or (T,) * B", "lengths = (T,) * B"),
    )
    yield _mutant(
        "the initial state ignored",
        every,
        ("start = [s[layer * D + k, b] for", "start = [0 * s[layer * D + k, b] for"),
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
