"""The chunker: no token is lost, streams are not mixed; the loop of the notes loses tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import GRU
from reference.models.language_model import TinyRNNLM
from reference.streams.chunks import chunks
from reference.streams.state_bank import StateBank
from support.calculus import rejects
from support.strategies import seeds, sizes

stream_lengths = st.lists(st.integers(2, 20), min_size=1, max_size=6)


def draw(lengths, seed):
    """Streams of random tokens by name."""
    rng = np.random.default_rng(seed)
    return {f"s{k}": rng.integers(0, 9, n) for k, n in enumerate(lengths)}


def collected(results, field):
    """The tokens of each stream, in the order in which the chunks hold them."""
    text = {}
    for chunk in results:
        for row, i in enumerate(chunk.ids):
            text.setdefault(i, []).extend(getattr(chunk, field)[row][chunk.mask[row]])
    return text


@pytest.mark.claim("S4", "S7")
@given(stream_lengths, sizes, sizes, seeds)
def test_every_token_but_the_last_is_an_input_once_and_every_one_but_the_first_a_target_once(
    lengths, rows, length, seed
):
    streams = draw(lengths, seed)
    results = list(chunks(streams, rows, length))
    assert collected(results, "inputs") == {i: list(t[:-1]) for i, t in streams.items()}
    assert collected(results, "targets") == {i: list(t[1:]) for i, t in streams.items()}


@pytest.mark.claim("S7")
@given(stream_lengths, sizes, sizes, seeds)
def test_a_stream_resets_only_at_its_first_chunk_and_ends_at_its_last(lengths, rows, length, seed):
    streams, seen, ended = draw(lengths, seed), [], []
    for chunk in chunks(streams, rows, length, pad=-1):
        assert 1 <= len(set(chunk.ids)) == len(chunk.ids) <= rows
        assert not set(chunk.ids) & set(ended)
        assert chunk.mask.any(axis=0).all() and (chunk.inputs[~chunk.mask] == -1).all()
        assert [i not in seen for i in chunk.ids] == list(chunk.reset)
        seen += chunk.ids
        ended += chunk.ended
    assert sorted(ended) == sorted(streams)


@pytest.mark.claim("S7")
@given(stream_lengths, sizes, seeds)
def test_a_stream_keeps_its_row_until_it_ends_while_others_wait(lengths, length, seed):
    streams = draw(lengths, seed)
    results = list(chunks(streams, 2, length))
    for chunk, following in zip(results, results[1:], strict=False):
        if len(following.ids) == len(chunk.ids):
            for row, i in enumerate(chunk.ids):
                assert (following.ids[row] == i) != (i in chunk.ended)


def outputs_by_stream(lm, params, results):
    """Logits of each stream, states carried by id."""
    initial = np.zeros((lm.rnn.num_layers, 1, lm.rnn.hidden_size))
    bank, logits = StateBank(initial, capacity=100), {}
    for chunk in results:
        state, _ = bank.get(chunk.ids)
        output, state, _ = lm.forward(params, chunk.inputs, state)
        bank.put(chunk.ids, state)
        bank.drop(chunk.ended)
        for row, i in enumerate(chunk.ids):
            logits.setdefault(i, []).extend(output[row][chunk.mask[row]])
    assert not bank.rows
    return logits


@pytest.mark.claim("S4", "S6", "S7")
@given(stream_lengths, sizes, sizes, seeds)
def test_however_streams_are_shuffled_and_cut_each_reads_as_if_it_were_alone_and_whole(
    lengths, rows, length, seed
):
    rng = np.random.default_rng(seed)
    lm = TinyRNNLM(9, GRU(3, 4, num_layers=2, batch_first=True))
    params, streams = lm.init(rng), draw(lengths, seed)
    order = rng.permutation(list(streams))
    results = outputs_by_stream(lm, params, chunks({i: streams[i] for i in order}, rows, length))
    for i, tokens in streams.items():
        whole, _, _ = lm.forward(params, tokens[None, :-1])
        np.testing.assert_allclose(results[i], whole[0], rtol=1e-11, atol=1e-13)


@pytest.mark.claim("S4")
def test_chunks_laid_side_by_side_lose_the_last_token_of_each():
    """✗ the loop that feeds chunk[:, :-1], predicts chunk[:, 1:] and carries the state."""
    lm = TinyRNNLM(9, GRU(3, 4, batch_first=True))
    rng = np.random.default_rng(0)
    params, tokens = lm.init(rng), rng.integers(0, 9, 24)
    whole, last, _ = lm.forward(params, tokens[None, :-1])
    state, fed, targets = None, [], []
    for chunk in tokens.reshape(4, 1, 6):
        _, state, _ = lm.forward(params, chunk[:, :-1], state)
        fed += list(chunk[0, :-1])
        targets += list(chunk[0, 1:])
    assert len(fed) == len(targets) == 20  # of 23: three inputs and three targets are lost
    assert np.abs(state - last).max() > 1e-3
    state = None
    for chunk in chunks({"s": tokens}, rows=1, length=6):
        _, state, _ = lm.forward(params, chunk.inputs, state)
    np.testing.assert_allclose(state, last, rtol=1e-13)


def test_streams_with_nothing_to_predict_are_rejected_with_one_sentence():
    two = np.array([3, 5])
    rejects(ValueError, "'b' has length 1", chunks, {"a": two, "b": two[:1]}, 2, 3)
    rejects(ValueError, "'a' has length 0", chunks, {"a": two[:0]}, 2, 3)
    rejects(ValueError, "got 0 and 3", chunks, {"a": two}, 0, 3)
    rejects(ValueError, "stream 'a' to be integers, got float64", chunks, {"a": two + 0.5}, 2, 3)
    rejects(ValueError, "'a' to be integers, got bool", chunks, {"a": two > 4}, 2, 3)
    masked = np.ma.masked_array(two, [False, True])
    rejects(TypeError, "stream 'a' should be an array without", chunks, {"a": masked}, 2, 3)
    rejects(ValueError, "got -1.0", chunks, {"a": two}, 2, 3, -1.0)
    rejects(ValueError, "got True", chunks, {"a": two}, 2, 3, True)
    rejects(ValueError, "got 2 and 0", chunks, {"a": two}, 2, 0)
    assert list(chunks({}, 2, 3)) == []


def test_a_token_that_the_type_of_the_pad_cannot_hold_is_written_all_the_same():
    """300 would be 44 in uint8, which a pad of NumPy's type may have."""
    streams = {"a": np.array([300, 301, 302], np.uint16), "b": np.array([300, 1])}
    (chunk,) = chunks(streams, 2, 2, pad=np.uint8(7))
    assert chunk.inputs.tolist() == [[300, 301], [300, 7]]
    assert chunk.targets.tolist() == [[301, 302], [1, 7]]
    assert chunk.inputs.dtype == chunk.targets.dtype == np.intp
