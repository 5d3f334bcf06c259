"""Mistakes planted in the text of `textbook_variants`: the GRU of the papers, and peepholes."""

from pathlib import Path

from support import textbook_net, textbook_variants
from support.plant import Plant

SOURCE = Path(textbook_variants.__file__).read_text(encoding="utf-8")
TEXTBOOK, PEEPHOLE = ("GRU_TEXTBOOK",), ("LSTM_PEEPHOLE",)


def _mutant(name, cells, *replacements):
    text = SOURCE
    for old, new in replacements:
        assert text.count(old) == 1, f"{text.count(old)} times in textbook_variants: {old}"
        text = text.replace(old, new)
    namespace = {}
    exec(compile(text, "textbook_variants", "exec"), namespace)

    def run(case, problem, dtype):
        tables = namespace["FORWARD"], namespace["BACKWARD"]
        return textbook_net.net(problem, dtype, *tables)

    return Plant(name, "numpy", cells, run)


def in_text_of_variants():
    """All of them, each in its formulas forward and backward."""
    flipped = (
        ("new = (1 - z) * h + z * n", "new = z * h + (1 - z) * n"),
        ("d_u_n = d_h * z *", "d_u_n = d_h * (1 - z) *"),
        ("d_h * (n - h)", "d_h * (h - n)"),
        ("d_h = d_h * (1 - z) + d_q", "d_h = d_h * z + d_q"),
    )
    b = 'p["bias_hh"][2 * H :]'
    inside = (
        ("u[2 * H :] + W[2 * H :] @ q", f"u[2 * H :] - {b} + r * (W[2 * H :] @ h + {b})"),
        ("d_q = W[2 * H :].T @ d_u_n", "d_q = W[2 * H :].T @ (d_u_n * r)"),
        ("d_q * h * r * (1 - r)", f"d_u_n * (W[2 * H :] @ h + {b}) * r * (1 - r)"),
        ("np.outer(d_u_n, q)", "np.outer(d_u_n * r, h)"),
        (
            'd["bias_hh"] += d_u\n        d_xs.insert(0, p["weight_ih"].T @ d_u)\n',
            'd["bias_hh"] += np.concatenate([d_u[: 2 * H], d_u_n * r])\n'
            '        d_xs.insert(0, p["weight_ih"].T @ d_u)\n',
        ),
        ("+ d_q * r + W", "+ d_q + W"),
    )
    yield _mutant("the update gate flipped, as in torch", TEXTBOOK, *flipped)
    yield _mutant("the reset gate after the product, as in torch", TEXTBOOK, *inside)
    product = "d_h = d_h * (1 - z) + d_q * r + W"
    both = flipped[:3] + inside[:5] + ((product, "d_h = d_h * z + d_q + W"),)
    yield _mutant("torch's GRU", TEXTBOOK, *both)
    yield _mutant(
        "the reset gate left out",
        TEXTBOOK,
        ("q = r * h", "q = h"),
        ("d_u_r = d_q * h * r * (1 - r)", "d_u_r = 0 * r"),
        ("+ d_q * r + W", "+ d_q + W"),
    )
    yield _mutant(
        "the peepholes ignored",
        PEEPHOLE,
        (
            '    p_i, p_f, p_o = np.split(p["weight_ch"], 3)\n    steps',
            "    p_i = p_f = p_o = 0\n    steps",
        ),
        (
            '    p_i, p_f, p_o = np.split(p["weight_ch"], 3)\n    d =',
            "    p_i = p_f = p_o = 0\n    d =",
        ),
        ('d["weight_ch"] += np', 'd["weight_ch"] += 0 * np'),
    )
    yield _mutant(
        "the peephole of the output gate reads the old cell state",
        PEEPHOLE,
        ("p_o * c_new)", "p_o * c)"),
        ("** 2) + d_a_o * p_o", "** 2)"),
        ("d_a_o * c_new]", "d_a_o * c]"),
        ("+ d_a_f * p_f", "+ d_a_f * p_f + d_a_o * p_o"),
    )
    yield _mutant(
        "the gradient of c₋ lacks the factor f", PEEPHOLE, ("d_c = d_c * f +", "d_c = d_c +")
    )
    for name, gradient in {
        "the gradient of z lacks n": "-d_h * h",
        "the gradient of z has the wrong sign": "d_h * (h - n)",
        "h_t in place of h_{t−1} in the gradient of z": "d_h * (n - new)",
    }.items():
        yield _mutant(name, TEXTBOOK, ("d_h * (n - h)", gradient))
    yield _mutant(
        "z and 1 − z exchanged in the gradients",
        TEXTBOOK,
        ("d_u_n = d_h * z *", "d_u_n = d_h * (1 - z) *"),
        ("d_h = d_h * (1 - z) + d_q", "d_h = d_h * z + d_q"),
    )
    yield _mutant(
        "the gradient of c overwritten at each step, not added to",
        PEEPHOLE,
        ("d_c = d_c + d_h", "d_c = d_h"),
    )
    for gate, cells, text in (
        ("r", TEXTBOOK, "d_q * h * r * (1 - r)"),
        ("n", TEXTBOOK, "d_h * z * (1 - n**2)"),
        ("f", PEEPHOLE, "d_c * c * f * (1 - f)"),
        ("o", PEEPHOLE, "d_h * np.tanh(c_new) * o * (1 - o)"),
    ):
        yield _mutant(f"the gradient of {gate} has the wrong sign", cells, (text, f"-{text}"))
    yield _mutant(
        "gradients of net inputs packed i f o g in place of i f g o",
        PEEPHOLE,
        ("[d_a_i, d_a_f, d_a_g, d_a_o]", "[d_a_i, d_a_f, d_a_o, d_a_g]"),
    )
    yield _mutant(
        "the gradients of r and z exchanged",
        TEXTBOOK,
        ("d_q * h * r * (1 - r)", "d_h * (n - h) * r * (1 - r)"),
        ("d_u_z = d_h * (n - h) * z", "d_u_z = d_q * h * z"),
    )
