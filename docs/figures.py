"""The pictures of the docs, drawn from the reference.

    python -m pip install -e '.[test]' && python docs/figures.py

writes docs/figures/*.svg, with the same bytes on every run of the same matplotlib.
"""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("svg")
import matplotlib.pyplot as plt

from reference import GRU, LSTM, RNN
from reference.cells.table import read_gates
from reference.derivatives.jacobian import jacobian, linearize_steps
from reference.dynamics import bounds, linear_rnn, products
from reference.nets import initializers

FOLDER = Path(__file__).parent / "figures"
BLUE, ORANGE, GREEN, RED, GREY = "#2f6db3", "#d9822b", "#3a8f5c", "#b5403a", "#8a8f98"
PALE = {BLUE: "#dce8f5", ORANGE: "#fbe6d0", GREEN: "#dcefe3", RED: "#f5dcda", GREY: "#eceef0"}
plt.rcParams.update(
    {
        "svg.hashsalt": "bptt-oracle",
        "svg.fonttype": "path",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.titlesize": 9,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
    }
)


def credit():
    """The norm of the gradient over d steps, for each cell, below its bound."""
    T, H, rng = 60, 16, np.random.default_rng(0)
    x = rng.standard_normal((T, 1, 4))
    nets = {
        "RNN, tanh, orthogonal": (RNN(4, H), BLUE),
        "GRU": (GRU(4, H), ORANGE),
        "LSTM, forget bias 0": (LSTM(4, H), GREEN),
        "LSTM, forget bias 3": (LSTM(4, H), RED),
    }
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    for label, (net, color) in nets.items():
        params = initializers.orthogonal_recurrence(net, net.init(rng), rng)
        if net.mode == "LSTM":
            params = initializers.forget_bias(net, params, float(label[-1]))
        weights = net.cell_params(params, "_l0")
        steps = list(linearize_steps(net, params, x, None))
        J = np.stack([jacobian(weights, step) for step in steps])
        bound = np.stack([bounds.step_bound(net, weights, step) for step in steps])
        d = np.arange(T + 1)
        reach = [bounds.norm(products.propagator(J, T - k, T)).item() for k in d]
        limit = [bounds.path_bound(bound, T - k, T).item() for k in d]
        axes.semilogy(d, reach, color=color, label=label)
        axes.semilogy(d, limit, color=color, linestyle=":", linewidth=1)
    axes.set(ylim=(1e-9, 1e4), xlim=(0, T), xlabel="distance d")
    axes.set_ylabel(r"$\|\partial s_T / \partial s_{T-d}\|$")
    axes.legend(loc="lower left", title="dotted: the bound of the same colour")
    return figure


def transient():
    """Two matrices with the same eigenvalues and different growth."""
    rng = np.random.default_rng(1)
    angles, radii = np.array([0.4, 1.2, 2.3]), np.array([0.9, 0.8, 0.6])
    blocks = [r * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
              for r, a in zip(radii, angles, strict=True)]  # fmt: skip
    normal = np.zeros((6, 6))
    for k, block in enumerate(blocks):
        normal[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = block
    sheared = normal + np.triu(3 * rng.standard_normal((6, 6)), 2)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.0), width_ratios=[1, 1.5])
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
    left.plot(circle.real, circle.imag, color=GREY, linewidth=1)
    for A, color, marker in ((normal, BLUE, "o"), (sheared, RED, "x")):
        e = np.linalg.eigvals(A)
        left.plot(e.real, e.imag, marker, color=color, fillstyle="none")
        right.semilogy(linear_rnn.growth(A, 60), color=color)
    right.semilogy(linear_rnn.growth_bound(sheared, 60), color=RED, linestyle=":")
    right.semilogy(0.9 ** np.arange(61), color=GREY, linestyle="--", linewidth=1)
    left.set(title="eigenvalues of both", aspect="equal", xlabel="Re λ", ylabel="Im λ")
    right.set(title="‖Aᵏ‖ and its bounds", xlabel="k")
    right.text(8, 0.2, "not normal", color=RED)
    right.text(38, 0.055, "normal: ρᵏ", color=BLUE)
    right.text(26, 4, "κ(Q) ρᵏ", color=RED)
    return figure


def latch():
    """An LSTM of one unit with weights set by hand, which writes and forgets x on command."""
    net = LSTM(3, 1)  # x: value, write, forget
    params = {name: np.zeros(shape) for name, shape in net.parameter_shapes().items()}
    params["weight_ih_l0"][:] = [[0, 10, 0], [0, -4, -10], [2, 0, 0], [0, 0, 0]]  # i f g o
    params["bias_ih_l0"][:] = [-5, 4, 0, 6]
    T, rng = 60, np.random.default_rng(3)
    x = np.zeros((T, 1, 3))
    x[:, 0, 0] = rng.uniform(-1, 1, T)
    for t, value in ((6, 0.9), (36, -0.8)):
        x[t, 0, :2] = value, 1
    x[26, 0, 2] = 1
    weights = net.cell_params(params, "_l0")
    steps = list(linearize_steps(net, params, x, None))
    gate_values = [read_gates(net, weights, step.x, step.before) for step in steps]
    lines = {
        "x": x[:, 0, 0],
        "input gate i": [g.i.item() for g in gate_values],
        "forget gate f": [g.f.item() for g in gate_values],
        "cell c": [g.c.item() for g in gate_values],
    }
    figure, axes = plt.subplots(4, 1, figsize=(6.4, 3.6), sharex=True)
    for axis, (label, values), color in zip(
        axes, lines.items(), (GREY, ORANGE, BLUE, GREEN), strict=True
    ):
        axis.step(np.arange(T), values, where="mid", color=color)
        axis.fill_between(np.arange(T), values, step="mid", color=PALE[color])
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
        axis.set_ylim((-0.05, 1.05) if "gate" in label else (-1.05, 1.05))
        axis.set_yticks([0, 1] if "gate" in label else [-1, 0, 1])
        for t, text in ((6, "write"), (26, "forget"), (36, "write")):
            axis.axvline(t, color=GREY, linewidth=0.6, linestyle=":")
            if axis is axes[0]:
                axis.text(t, 1.15, text, ha="center", fontsize=8, color=GREY)
    axes[-1].set_xlabel("step t")
    return figure


def packed():
    """Four sequences: padded, sorted by length, and packed."""
    lengths, names = [2, 5, 1, 4], "abcd"
    order = np.argsort([-n for n in lengths], kind="stable")
    colors = dict(zip(names, (BLUE, ORANGE, GREEN, RED), strict=True))
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.9), width_ratios=[5, 5, 4.6])
    for axis, rows in ((axes[0], range(4)), (axes[1], order)):
        for row, b in enumerate(rows):
            for t in range(5):
                _box(axis, t, row, names[b], t, colors[names[b]], t < lengths[b])
        axis.set(xlim=(-0.6, 5), ylim=(4.4, -0.9))
    for t in range(5):
        n = sum(length > t for length in lengths)
        axes[1].text(t + 0.45, 4.25, str(n), ha="center", va="center")
        for row, b in enumerate(order[:n]):
            _box(axes[2], row, 0.9 * t, names[b], t, colors[names[b]], True)
    axes[1].text(-0.15, 4.25, "n", ha="center", va="center", style="italic")
    axes[2].set(xlim=(-0.6, 4.2), ylim=(4.7, -0.9))
    titles = ["padded", "longest first; n = batch_sizes", "packed: step after step"]
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title)
        axis.axis("off")
    return figure


def _box(axis, x, y, name, t, color, filled):
    face, edge = (PALE[color], color) if filled else ("white", "#d5d8dc")
    axis.add_patch(plt.Rectangle((x, y), 0.9, 0.8, facecolor=face, edgecolor=edge))
    axis.text(x + 0.45, y + 0.42, f"{name}{t}" if filled else "0", ha="center", va="center",
              fontsize=8, color=color if filled else "#c0c4c9")  # fmt: skip


def tape():
    """The tape that the backward pass of an LSTM reads, plain and checkpointed."""
    rows = ["x", "h", "c", "i f g o", "tanh c"]
    T, K = 16, 4
    figure, axes = plt.subplots(2, 1, figsize=(6.8, 3.6), sharex=True)
    for axis, checkpointed in zip(axes, (False, True), strict=True):
        for r, name in enumerate(rows):
            for t in range(T + 1):
                if t == 0 and name not in ("h", "c"):  # before step 1 there is only a state
                    continue
                is_input, segment = name == "x", (t - 1) // K == T // K - 2
                start = name in ("h", "c") and t % K == 0 and t < T
                stored = not checkpointed or is_input or start or segment
                again = checkpointed and segment and not start
                color = GREY if is_input else RED if again else BLUE
                face, edge = (PALE[color], color) if stored else ("white", "#e3e5e8")
                axis.add_patch(plt.Rectangle((t, r), 0.86, 0.8, facecolor=face, edgecolor=edge))
        axis.set(xlim=(-0.3, T + 1.1), ylim=(5.1, -0.2), yticks=np.arange(5) + 0.4)
        axis.set_yticklabels(rows)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    axes[0].set_title("plain: every step is kept until the backward pass has read it", loc="left")
    axes[1].set_title(
        "checkpointed, T = 16, K = 4: the states before each segment (blue), and the tape of the\n"
        "one segment being run back, computed again (red)",
        loc="left",
    )
    axes[1].set_xticks(np.arange(T + 1) + 0.43, [str(t) for t in range(T + 1)])
    axes[1].set_xlabel("step t;  0: the initial state")
    return figure


def rounds():
    """The rounds of the scan: every step combined with the step 1, 2, 4, … before it."""
    T = 16
    figure, axis = plt.subplots(figsize=(6.4, 2.6))
    for j in range(5):
        for t in range(T):
            done = t < 2**j
            color = BLUE if done else GREY
            axis.plot(t, -j, "o", color=color, markersize=6, fillstyle="full" if done else "none")
            if j < 4:
                axis.plot([t, t], [-j - 0.12, -j - 0.88], color="#d5d8dc", linewidth=1)
                if t >= 2**j:
                    axis.plot([t - 2**j, t], [-j - 0.12, -j - 0.88], color=ORANGE, linewidth=1)
    axis.set(xticks=range(T), yticks=range(0, -5, -1), xlabel="step t")
    axis.set_xticklabels([str(t + 1) for t in range(T)])
    axis.set_yticklabels(["steps", "round 1", "round 2", "round 3", "round 4: h"])
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


FIGURES = {
    "credit": credit,
    "transient": transient,
    "gates": latch,
    "packed": packed,
    "tape": tape,
    "scan": rounds,
}


def main():
    FOLDER.mkdir(exist_ok=True)
    for name, draw in FIGURES.items():
        figure = draw()
        figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
