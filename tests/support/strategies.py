"""Hypothesis strategies for nets and problems: they draw sizes, options and a seed."""

from hypothesis import strategies as st

from reference import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from support.problems import draw

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 6)
all_lengths = st.lists(sizes, min_size=1, max_size=5)


@st.composite
def nets(draw_from, layers=3, directions=(False, True), proj=True):
    """RNN, GRU or LSTM with any constructor option except dropout."""
    kind = draw_from(st.sampled_from(["tanh", "relu", GRU, LSTM]))
    hidden = draw_from(sizes)
    options = {
        "num_layers": draw_from(st.integers(1, layers)),
        "bias": draw_from(st.booleans()),
        "batch_first": draw_from(st.booleans()),
        "bidirectional": draw_from(st.sampled_from(directions)),
    }
    if kind is LSTM and proj and hidden > 1:
        options["proj_size"] = draw_from(st.integers(0, hidden - 1))
    if isinstance(kind, str):
        kind, options["nonlinearity"] = RNN, kind
    return kind(draw_from(sizes), hidden, **options)


@st.composite
def problems(draw_from, of=None, layouts=("batched", "unbatched", "packed"), state=None):
    """A net and its inputs in one of the layouts, with or without an initial state."""
    net = draw_from(nets() if of is None else of)
    layout = draw_from(st.sampled_from(layouts))
    has_state = draw_from(st.booleans()) if state is None else state
    options = {"state": has_state, "seed": draw_from(seeds)}
    if layout == "packed":
        return draw(net, lengths=draw_from(all_lengths), **options)
    T, B = draw_from(sizes), draw_from(sizes)
    return draw(net, T, B, unbatched=layout == "unbatched", **options)


@st.composite
def cells(draw_from, kinds=("tanh", "relu", GRUCell, LSTMCell)):
    """A single-step cell with its inputs, batched or not."""
    kind = draw_from(st.sampled_from(kinds))
    options = {"bias": draw_from(st.booleans())}
    if isinstance(kind, str):
        kind, options["nonlinearity"] = RNNCell, kind
    cell = kind(draw_from(sizes), draw_from(sizes), **options)
    return draw(
        cell,
        B=draw_from(sizes),
        unbatched=draw_from(st.booleans()),
        state=draw_from(st.booleans()),
        seed=draw_from(seeds),
    )
