"""The seven pitfalls of training recurrent nets, each as a law that the pitfall breaks.

A law takes a procedure as its argument. The correct procedure satisfies the law; the test also
asserts that the law's assertions fail for the pitfall.
"""

import tracemalloc

import numpy as np
import pytest

from reference import GRU, LSTM, RNN
from reference.models import loss, optim
from reference.models.generation import generate_greedy
from reference.models.language_model import TinyRNNLM, lm_step
from reference.sequences.padding import last_valid
from reference.streams import truncated
from reference.streams.state_bank import StateBank

V = 12


def breaks(law, *procedure):
    """Assert that the law fails for this procedure."""
    with pytest.raises(AssertionError):
        law(*procedure)


def language_model(seed=0, hidden=8):
    """A small model with its parameters, and a generator for data."""
    rng = np.random.default_rng(seed)
    lm = TinyRNNLM(V, GRU(5, hidden, batch_first=True))
    return lm, lm.init(rng), rng


@pytest.mark.claim("B7")
def test_teacher_forcing_hides_errors_of_generation():
    lm, params, rng = language_model()
    text = rng.integers(0, V, (4, 16))
    state = optim.adam_start(params)
    for _ in range(60):  # half trained: few mistakes under teacher forcing
        _, grads = lm_step(lm, params, text)
        params, state = optim.adam(params, grads, state, lr=0.02)

    def teacher_forced():
        return lm.forward(params, text[:, :-1])[0].argmax(axis=-1)

    def free_running():
        return generate_greedy(lm, params, text[:, :1], steps=15)

    def law(predict):
        """The predictions are what the model writes when its inputs are these predictions."""
        predictions = predict()
        prefix = np.concatenate([text[:, :1], predictions[:, :-1]], axis=1)
        continuation = lm.forward(params, prefix)[0].argmax(axis=-1)
        assert np.array_equal(continuation, predictions)

    law(free_running)
    breaks(law, teacher_forced)
    forced, free = [(predict() == text[:, 1:]).mean() for predict in (teacher_forced, free_running)]
    assert forced > 0.8 and free < 0.7


def gradient_of_the_first_token(K):
    """∂(loss at the last of 8 steps)/∂(embedding of the first token), cut every K steps."""
    lm, params, _ = language_model()
    ids = np.arange(9)[None]  # each token occurs once
    blocks = [(ids[:, t : t + K], t + K) for t in range(0, 8, K)]

    def only_the_last_step(logits, end):
        targets = ids[:, end - logits.shape[1] + 1 : end + 1]
        counts = np.arange(end - logits.shape[1], end)[None] == 7
        value, tape = loss.cross_entropy(logits, targets, counts)
        return value, loss.cross_entropy_back(tape)

    passes = truncated.detach(lm, params, blocks, only_the_last_step)
    return sum(p.params["emb.weight"] for p in passes)[0]


def peak(strategy, T):
    """The peak memory of a pass over T steps, in bytes."""
    net, rng = GRU(3, 8), np.random.default_rng(0)
    params, x, d = net.init(rng), rng.standard_normal((T, 2, 3)), rng.standard_normal((T, 2, 8))
    blocks = [(x[t : t + 8], d[t : t + 8]) for t in range(0, T, 8)]
    tracemalloc.start()
    for _ in strategy(net, params, blocks, lambda output, d: ((output * d).sum(), d)):
        pass
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest


@pytest.mark.claim("S1", "S2")
def test_detaching_too_early_destroys_credit_and_never_detaching_fills_memory():
    def credit(K):
        assert gradient_of_the_first_token(K).any()

    def memory(strategy):
        assert peak(strategy, 256) < 1.2 * peak(strategy, 64)

    credit(8)
    for too_early in (1, 4):
        breaks(credit, too_early)
    memory(truncated.detach)
    breaks(memory, truncated.carry)


@pytest.mark.claim("S6", "Q4")
def test_a_batch_row_is_not_a_stream():
    lm, params, rng = language_model()
    one, two = rng.integers(0, V, (3, 5)), rng.integers(0, V, (3, 5))
    bank = StateBank(np.zeros((1, 1, 8)), capacity=3)

    def by_row(order):
        _, state, _ = lm.forward(params, one)
        return lm.forward(params, two[order], state)[0]

    def by_stream(order):
        _, state, _ = lm.forward(params, one)
        bank.put([0, 1, 2], state)
        return lm.forward(params, two[order], bank.get(order)[0])[0]

    def law(run):
        """A stream moved to another row continues from its own state."""
        order = [2, 0, 1]
        np.testing.assert_allclose(run(order), run([0, 1, 2])[order], rtol=1e-12)

    law(by_stream)
    breaks(law, by_row)


@pytest.mark.claim("P7")
def test_the_last_hidden_state_is_not_the_last_column():
    net, rng = GRU(3, 4, batch_first=True), np.random.default_rng(0)
    params, x, lengths = net.init(rng), rng.standard_normal((3, 6, 3)), [4, 6, 1]

    def law(read):
        """A row's state does not depend on how far it was padded."""
        output, _, _ = net.forward(params, x)
        for b, n in enumerate(lengths):
            unpadded, _, _ = net.forward(params, x[b : b + 1, :n])
            np.testing.assert_allclose(read(output)[b], unpadded[0, -1], rtol=1e-12)

    law(lambda output: last_valid(output, lengths, batch_first=True))
    breaks(law, lambda output: output[:, -1])


@pytest.mark.claim("B3")
def test_targets_are_shifted_by_one_neither_none_nor_two():
    ids = np.random.default_rng(0).permutation(V)[None]
    successor = np.zeros(V, dtype=int)
    successor[ids[0, :-1]] = ids[0, 1:]

    def law(split):
        """Logits of the next token have a small loss, logits of the current token a large one."""
        inputs, targets = split(ids)
        current, following = 20 * np.eye(V)[inputs], 20 * np.eye(V)[successor[inputs]]
        assert loss.cross_entropy(following, targets)[0] < 1e-6
        assert loss.cross_entropy(current, targets)[0] > 10

    law(loss.shift)
    breaks(law, lambda ids: (ids[:, :-1], ids[:, :-1]))
    breaks(law, lambda ids: (ids[:, :-2], ids[:, 2:]))


def back_from_the_end(net, params, x, state, d_state):
    """δh_0 and δx from a cotangent of the last state."""
    _, _, tape = net.forward(params, x, state)
    grads = net.backward(tape, None, d_state)
    return grads.state, grads.x


@pytest.mark.claim("D4")
def test_orthogonal_initialisation_helps_but_does_not_solve_everything():
    rng = np.random.default_rng(0)
    net = RNN(3, 8)
    params = net.init(rng) | {"weight_hh_l0": np.linalg.qr(rng.standard_normal((8, 8)))[0]}
    for name in ("bias_ih_l0", "bias_hh_l0"):
        params[name] = np.zeros(8)
    x, d = rng.standard_normal((40, 1, 3)), rng.standard_normal((1, 1, 8))
    _, _, tape = net.forward(params, x)
    grads = net.backward(tape, None, d).params
    trained, _ = optim.adam(params, grads, optim.adam_start(params), lr=0.05)

    def law(params, scale):
        """A gradient that goes 40 steps back keeps its norm."""
        d_h, _ = back_from_the_end(net, params, scale * x, np.zeros((1, 1, 8)), d)
        assert abs(np.linalg.norm(d_h) / np.linalg.norm(d) - 1) < 1e-3

    law(params, 1e-6)  # near 0 the net is linear: h = W_hh h₋
    breaks(law, params, 1.0)  # tanh′ < 1
    breaks(law, trained, 1e-6)  # after one step W_hh is not orthogonal


@pytest.mark.claim("D3", "D6")
def test_long_context_is_not_free():
    rng = np.random.default_rng(0)
    tanh, lstm = RNN(3, 8), LSTM(3, 8)
    plain, open_gates = tanh.init(rng), lstm.init(rng)
    open_gates["bias_ih_l0"][8:16] += 8  # forget gates near 1: c persists

    def law(net, params, T):
        """∂(last state)/∂(first input) over T steps is at least 1e-6 of that over one step."""
        norms = []
        for steps in (1, T):
            x = np.random.default_rng(1).standard_normal((steps, 1, 3))
            d = np.random.default_rng(2).standard_normal((1, 1, 8))
            d_state = (d, None) if net is lstm else d
            _, d_x = back_from_the_end(net, params, x, None, d_state)
            norms.append(np.linalg.norm(d_x[0]))
        assert norms[1] > 1e-6 * norms[0]

    law(tanh, plain, 5)
    breaks(law, tanh, plain, 200)
    law(lstm, open_gates, 200)
