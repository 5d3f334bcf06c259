"""Masked arrays are rejected wherever an array is expected, because they hide elements."""

import numpy as np
import pytest

import reference
from reference import GRU, LSTM, GRUCell, PackedSequence
from reference.models import attention, decoding, generation, layers, loss, optim
from reference.models.classifier import SequenceClassifier
from reference.models.language_model import TinyRNNLM
from reference.models.one_to_many import OneToMany
from reference.sequences import padding
from reference.streams import resets
from reference.streams.state_bank import StateBank
from support.calculus import rejects

B, T, H = 2, 3, 4


def arrays(**shapes):
    """Random arrays by name."""
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def hidden(a):
    """The array with its first element hidden."""
    mask = np.zeros(a.shape, bool)
    mask.flat[0] = True
    return np.ma.masked_array(a, mask)


def places():
    """(name, class of the error, call with one array as its argument, a valid array)."""
    net, cell, x = GRU(4, H), GRUCell(4, H), arrays(x=(T, B, 4))["x"]
    params, cell_params = (m.init(np.random.default_rng(0)) for m in (net, cell))
    h, tape = arrays(h=(1, B, H))["h"], net.forward(params, x)[2]
    output, name = np.ones((T, B, H)), "weight_ih_l0"
    yield "input of a net", AttributeError, lambda a: net.forward(params, a), x
    yield "state of a net", AttributeError, lambda a: net.forward(params, x, a), h
    yield (
        "parameter of a net",
        RuntimeError,
        lambda a: net.forward(params | {name: a}, x),
        params[name],
    )
    yield "d_output", TypeError, lambda a: net.backward(tape, a), output
    yield "d_state", TypeError, lambda a: net.backward(tape, output, a), h
    two = GRU(4, H, num_layers=2, dropout=0.5)
    yield (
        "dropout mask",
        TypeError,
        lambda a: two.forward(two.init(np.random.default_rng(0)), x, dropout_masks=[a]),
        np.ones((T, B, H), bool),
    )
    yield "input of a cell", AttributeError, lambda a: cell.forward(cell_params, a), x[0]
    yield "state of a cell", AttributeError, lambda a: cell.forward(cell_params, x[0], a), h[0]

    packed = reference.pack_padded_sequence(x, [3, 2])
    pack, n = reference.pack_padded_sequence, np.array([3, 2])
    yield "padded batch", AttributeError, lambda a: pack(a, n), x
    yield "lengths", TypeError, lambda a: pack(x, a), n
    yield "lengths to unpad", TypeError, lambda a: reference.unpad_sequence(x, a), n
    yield "last_valid", TypeError, lambda a: padding.last_valid(x, a), n
    yield "sequence", TypeError, lambda a: reference.pad_sequence([x[:, 0], a]), x[:, 0]
    yield "sequence to pack", TypeError, lambda a: reference.pack_sequence([x[:, 0], a]), x[:, 0]
    yield (
        "packed rows",
        AttributeError,
        lambda a: reference.pad_packed_sequence(packed._replace(data=a)),
        packed.data,
    )
    yield (
        "batch sizes",
        AttributeError,
        lambda a: reference.pad_packed_sequence(PackedSequence(packed.data, a)),
        packed.batch_sizes,
    )
    yield (
        "packed input",
        AttributeError,
        lambda a: net.forward(params, packed._replace(data=a)),
        (packed.data),
    )
    yield "permutation", TypeError, reference.invert_permutation, np.array([1, 0])

    r = np.array([True, False])
    init = np.zeros((1, 1, H))
    bank = StateBank(init, 3)
    yield "state to reset", TypeError, lambda a: resets.reset(a, r), h
    yield "reset mask", TypeError, lambda a: resets.reset(h, a), r
    yield "h_init", TypeError, lambda a: resets.reset(h, r, a), init
    yield "cotangent of a reset", TypeError, lambda a: resets.reset_back(r, a), h
    yield "mask of a reset's adjoint", TypeError, lambda a: resets.reset_back(a, h), r
    steps = np.zeros((T, B), bool)
    yield "x with resets", TypeError, lambda a: resets.forward(net, params, a, steps, h), x
    yield "resets of x", TypeError, lambda a: resets.forward(net, params, x, a, h), steps
    yield "initial state of a bank", TypeError, lambda a: StateBank(a, 3), init
    yield "state put into a bank", TypeError, lambda a: bank.put([1, 2], a), h

    keys_of, w = attention.project_keys, attention.Params(*arrays(s=(5, 3), h=(5, H), v=5).values())
    h_keys, s, real = np.ones((B, T, H)), np.ones((B, 3)), np.ones((B, T), bool)
    keys = keys_of(w, h_keys, real)
    read = attention.attend(w, s, keys)[1]
    yield "keys", TypeError, lambda a: keys_of(w, a, real), h_keys
    yield "mask of keys", TypeError, lambda a: keys_of(w, h_keys, a), real
    yield "query", TypeError, lambda a: attention.attend(w, a, keys), s
    for field in w._fields:
        yield (
            f"attention's {field}",
            TypeError,
            lambda a, field=field: keys_of(w._replace(**{field: a}), h_keys),
            getattr(w, field),
        )
    yield "d_context", TypeError, lambda a: attention.attend_back(read, a), np.ones((B, H))
    sums = lambda a: attention.project_keys_back(w, keys, h_keys, a)  # noqa: E731
    yield "d_k", TypeError, sums, np.ones((B, T, 5))

    y, ids = np.ones((B, H)), np.array([1, 0])
    weight = np.ones((6, H))
    linear_tape = layers.linear(y, weight)[1]
    yield "x of a linear map", TypeError, lambda a: layers.linear(a, weight), y
    yield "weight of a linear map", TypeError, lambda a: layers.linear(y, a), weight
    yield "bias", TypeError, lambda a: layers.linear(y, weight, a), np.ones(6)
    yield "d_y", TypeError, lambda a: layers.linear_back(linear_tape, a), np.ones((B, 6))
    yield "embedding", TypeError, lambda a: layers.embedding(a, ids), weight
    yield "dropout", TypeError, lambda a: layers.dropout(a, y > 0, 0.5), y
    yield "mask of dropout", TypeError, lambda a: layers.dropout(y, a, 0.5), y > 0
    yield "d_y of dropout", TypeError, lambda a: layers.dropout_back(y, a), y
    yield "logits", TypeError, lambda a: loss.cross_entropy(a, ids), y
    yield "mask of labels", TypeError, lambda a: loss.cross_entropy(y, ids, a), ids >= 0
    yield "weights", TypeError, lambda a: loss.cross_entropy(y, ids, None, lambda m: a), np.ones(B)

    grads, state = {"w": weight}, optim.adam_start({"w": weight})
    yield "gradient to clip", TypeError, lambda a: optim.clip_by_global_norm({"w": a}, 1), weight
    yield "gradient of SGD", TypeError, lambda a: optim.sgd(grads, {"w": a}, None, 0.1), weight
    yield "velocity", TypeError, lambda a: optim.sgd(grads, grads, {"w": a}, 0.1), weight
    yield "parameter of SGD", TypeError, lambda a: optim.sgd({"w": a}, grads, None, 0.1), weight
    yield "parameter of Adam", TypeError, lambda a: optim.adam_start({"w": a}), weight
    yield (
        "mean of Adam",
        TypeError,
        lambda a: optim.adam(grads, grads, state._replace(m={"w": a}), 0.1),
        weight,
    )

    u = np.array([0.5, 0.2])
    yield "draws", TypeError, lambda a: generation.sample(y, a), u
    yield "logits to sample", TypeError, lambda a: generation.sample(a, u), y
    lm = TinyRNNLM(6, LSTM(3, H, batch_first=True))
    lm_params = lm.init(np.random.default_rng(0))
    text, truth, draws = np.ones((B, T), int), np.ones((B, T), bool), np.full((B, T), 0.5)
    mixed = generation.scheduled_inputs
    yield "truth", TypeError, lambda a: mixed(lm, lm_params, text, a, draws), truth
    yield "scheduled draws", TypeError, lambda a: mixed(lm, lm_params, text, truth, a), draws
    sampled = generation.generate_sampled
    yield "draws of a text", TypeError, lambda a: sampled(lm, lm_params, text, a), draws
    model = OneToMany(3, lm)
    one_to_many = model.init(np.random.default_rng(0))
    yield "z", TypeError, lambda a: model.forward(one_to_many, a, text), np.ones((B, 3))
    clf = SequenceClassifier(6, 3, net)
    clf_params = clf.init(np.random.default_rng(0))
    yield "lengths of tokens", TypeError, lambda a: clf.forward(clf_params, text, a), n
    forcing = decoding.teacher_forcing
    yield "lengths of targets", TypeError, lambda a: forcing(text, a, 1, 2), n


PLACES = list(places())


@pytest.mark.parametrize(
    ("error", "call", "array"), [row for _, *row in PLACES], ids=[name for name, *_ in PLACES]
)
def test_a_masked_array_is_rejected_and_the_plain_one_accepted(error, call, array):
    call(array)
    rejects(error, "an array without a mask, got MaskedArray", call, hidden(array))
    rejects(error, "an array without a mask, got MaskedArray", call, np.ma.masked_array(array))


def test_memory_maps_are_arrays(tmp_path):
    """A subclass of ndarray that hides nothing is accepted."""
    x = np.memmap(tmp_path / "x", np.float64, "w+", shape=(T, B, 4))
    net = GRU(4, H)
    params = net.init(np.random.default_rng(0))
    np.testing.assert_array_equal(
        net.forward(params, x)[0], net.forward(params, np.zeros((T, B, 4)))[0]
    )
