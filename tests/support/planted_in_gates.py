"""Mistakes in the gradients of gates, planted in the text of `textbook_net`."""

from support.plant import GRU, LSTM, RELU, wrong_orders
from support.planted_in_text import plant_in_text


def in_gates():
    """All of them."""
    yield from _gates()
    yield from _slopes()


def _gates():
    """Gradients of gates in a wrong order, exchanged, or of the wrong sign."""
    for right, cell, texts in (
        ("ifgo", LSTM, ("d_a = np.concatenate([d_a_i, d_a_f, d_a_g, d_a_o])",)),
        (
            "rzn",
            GRU,
            (
                "d_u = np.concatenate([d_a_r, d_a_z, d_u_n])",
                "d_v = np.concatenate([d_a_r, d_a_z, d_u_n * r])",
            ),
        ),
    ):
        for order in wrong_orders(right):
            name = f"gradients of net inputs packed {' '.join(order)} in place of {' '.join(right)}"
            yield plant_in_text(
                name, cell, *((text, _reordered(text, right, order)) for text in texts)
            )
    of_gate = {
        "i": ("d_i * i * (1 - i)", "d_i"),
        "f": ("d_f * f * (1 - f)", "d_f"),
        "g": ("d_g * (1 - g**2)", "d_g"),
        "o": ("d_o * o * (1 - o)", "d_o"),
        "r": ("d_r * r * (1 - r)", "d_r"),
        "z": ("d_z * z * (1 - z)", "d_z"),
    }
    for pair, cell in (("rz", GRU), ("io", LSTM), ("fg", LSTM), ("fo", LSTM), ("go", LSTM)):
        yield plant_in_text(
            f"the gradients of {pair[0]} and {pair[1]} exchanged",
            cell,
            *(
                (of_gate[k][0], of_gate[k][0].replace(of_gate[k][1], of_gate[other][1], 1))
                for k, other in (pair, pair[::-1])
            ),
        )
    for gate in "ifgor":
        name = f"the gradient of {gate} has the wrong sign"
        yield plant_in_text(
            name, GRU if gate == "r" else LSTM, (of_gate[gate][0], f"-{of_gate[gate][0]}")
        )
    yield plant_in_text(
        "the gradient of n has the wrong sign", GRU, ("d_n = d_h * (1 - z)", "d_n = d_h * (z - 1)")
    )


def _reordered(text, right, order):
    """The text of a concatenation with its blocks in another order."""
    begin, blocks, end = text.partition("[")[0] + "[", text[text.index("[") + 1 : -2], "])"
    of_gate = dict(zip(right, blocks.split(", "), strict=True))
    return begin + ", ".join(of_gate[k] for k in order) + end


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
        yield plant_in_text(name, ("RNN_TANH",), ("(1 - new**2)", slope.format(y="new")))
        yield plant_in_text(name, GRU, ("(1 - n**2)", slope.format(y="n")))
        yield plant_in_text(name, LSTM, (c, of_c), ("(1 - g**2)", of_g))
        yield plant_in_text(f"{name}, at tanh c", LSTM, (c, of_c))
        yield plant_in_text(f"{name}, at g", LSTM, ("(1 - g**2)", of_g))
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
            yield plant_in_text(name, cell, *new.values())
            for gate in gates:
                yield plant_in_text(f"{name}, at {gate}", cell, new[gate])
    yield plant_in_text(
        "the derivative of relu left out", RELU, ("else d_h * (new > 0)", "else d_h")
    )
