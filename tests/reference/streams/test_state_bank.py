"""The state bank: states follow their streams, the bound holds, a rejected call changes nothing."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import torch_impl.streams.state_bank as torch_bank
from reference import GRU, LSTM
from reference.nets.state import join_state, split_state
from reference.streams import resets
from reference.streams.state_bank import StateBank
from support.calculus import rejects
from support.strategies import seeds


def bank_of(net, capacity=100, dtype=np.float64, seed=0):
    """A bank with a random initial state."""
    rng = np.random.default_rng(seed)
    parts = [
        rng.standard_normal((net.num_layers, 1, net.hidden_size)).astype(dtype)
        for _ in range(2 if isinstance(net, LSTM) else 1)
    ]
    return StateBank(tuple(parts) if isinstance(net, LSTM) else parts[0], capacity)


def rows_of(state, rows):
    """Some rows of a state."""
    return join_state([p[:, rows] for p in split_state(state)])


def equal(a, b):
    """Whether two states hold the same bits."""
    return all(np.array_equal(p, q) for p, q in zip(split_state(a), split_state(b), strict=True))


def random_state(bank, B, rng):
    """A state of B rows, like the bank's own."""
    drawn = [
        rng.standard_normal((len(p), B, p.shape[2])).astype(p.dtype)
        for p in split_state(bank.initial)
    ]
    return join_state(drawn)


nets = st.sampled_from([GRU(2, 3, num_layers=2), LSTM(2, 3, num_layers=2)])


@pytest.mark.claim("S6", "S7")
@given(nets, seeds)
def test_streams_do_not_depend_on_their_batch_rows(net, seed):
    """Every step shuffles the streams and their rows; each has the outputs of a separate run."""
    rng = np.random.default_rng(seed)
    params, bank = net.init(rng), bank_of(net)
    texts = {i: rng.standard_normal((8, 1, 2)) for i in ("a", 7, (1, 2), 3.5)}
    expected = {i: net.forward(params, x, bank.initial)[0] for i, x in texts.items()}
    done = dict.fromkeys(texts, 0)
    while min(done.values()) < 8:
        open_ones = [i for i in texts if done[i] < 8]
        order = rng.permutation(len(open_ones))[: rng.integers(1, len(open_ones) + 1)]
        ids = [open_ones[k] for k in order]
        x = np.concatenate([texts[i][done[i] : done[i] + 2] for i in ids], axis=1)
        state, new = bank.get(ids)
        assert list(new) == [done[i] == 0 for i in ids]
        output, state, _ = net.forward(params, x, state)
        assert bank.put(ids, state) == []
        for row, i in enumerate(ids):
            np.testing.assert_allclose(
                output[:, row], expected[i][done[i] : done[i] + 2, 0], rtol=1e-12, atol=1e-14
            )
            done[i] += 2


@pytest.mark.claim("S6")
@given(nets, seeds)
def test_stored_states_are_returned_in_any_order_and_unknown_ids_have_the_initial_state(net, seed):
    rng = np.random.default_rng(seed)
    bank = bank_of(net)
    state = random_state(bank, 4, rng)
    bank.put([10, 11, 12, 13], state)
    results, new = bank.get([13, 99, 10])
    assert list(new) == [False, True, False]
    assert equal(rows_of(results, [0, 2]), rows_of(state, [3, 0]))
    assert equal(rows_of(results, [1]), bank.initial)
    assert len(bank.rows) == 4  # get stores nothing


@pytest.mark.claim("S6")
def test_the_bank_holds_its_bound_under_a_hundred_thousand_streams():
    bank = bank_of(GRU(2, 16), capacity=500)
    state, peaks = random_state(bank, 100, np.random.default_rng(0)), []
    tracemalloc.start()
    for step in range(1000):
        ids = range(100 * step, 100 * step + 100)
        evicted = bank.put(ids, state)
        assert evicted == (list(range(ids[0] - 500, ids[0] - 400)) if step >= 5 else [])
        assert len(bank.rows) <= 500
        if step in (99, 999):
            peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert list(bank.rows) == list(range(99500, 100000))


@pytest.mark.claim("S6")
def test_the_stream_put_longest_ago_goes_first_and_starts_anew_when_it_returns():
    bank = bank_of(GRU(2, 3), capacity=3)
    rng = np.random.default_rng(0)
    bank.put(["a", "b", "c"], random_state(bank, 3, rng))
    bank.put(["a"], random_state(bank, 1, rng))  # a is the youngest again
    assert bank.put(["d"], random_state(bank, 1, rng)) == ["b"]
    state, new = bank.get(["a", "b"])
    assert list(new) == [False, True]
    assert equal(rows_of(state, [1]), bank.initial)


@pytest.mark.claim("S6")
def test_a_dropped_stream_is_forgotten_and_dropping_an_unknown_one_is_ignored():
    bank = bank_of(GRU(2, 3))
    bank.put([1, 2], random_state(bank, 2, np.random.default_rng(0)))
    bank.drop([2, 17])
    assert list(bank.get([1, 2])[1]) == [False, True]


@pytest.mark.claim("S6")
def test_the_bank_keeps_copies_and_gives_copies():
    bank = bank_of(GRU(2, 3))
    state = random_state(bank, 2, np.random.default_rng(0))
    before = state.copy()
    bank.put([1, 2], state)
    state[:] = np.nan
    results, _ = bank.get([1, 2])
    results[:] = np.inf
    assert equal(bank.get([1, 2])[0], before)


@pytest.mark.claim("S6")
def test_nan_in_a_frozen_stream_stays_there():
    bank = bank_of(LSTM(2, 3))
    rng = np.random.default_rng(0)
    state = random_state(bank, 3, rng)
    for part in state:
        part[:, 1] = np.nan
    bank.put([1, 2, 3], state)
    rest = rows_of(random_state(bank, 2, rng), [0, 1])
    bank.put([3, 1], rest)
    results, _ = bank.get([3, 2, 1])
    assert equal(rows_of(results, [0, 2]), rest)
    assert all(np.isnan(part[:, 1]).all() for part in results)


@pytest.mark.claim("S6")
@pytest.mark.parametrize("dtype", [np.float32, np.longdouble])
def test_the_bank_keeps_the_dtype(dtype):
    bank = bank_of(LSTM(2, 3), dtype=dtype)
    bank.put([1, 2], random_state(bank, 2, np.random.default_rng(0)))
    state, _ = bank.get([2, 5])
    assert {p.dtype for p in state} == {np.dtype(dtype)}


@pytest.mark.claim("S5", "S6")
def test_a_learnable_start_replaces_new_rows_and_collects_their_gradient():
    bank = bank_of(GRU(2, 3))
    rng = np.random.default_rng(0)
    bank.put([1], random_state(bank, 1, rng))
    start = rng.standard_normal((1, 1, 3))
    state, new = bank.get([8, 1, 9])
    begun = resets.reset(state, new, start)
    assert equal(begun[:, [0]], start) and equal(begun[:, [2]], start)
    assert equal(begun[:, [1]], state[:, [1]])
    d = rng.standard_normal(begun.shape)
    _, d_start = resets.reset_back(new, d)
    np.testing.assert_allclose(d_start[:, 0], d[:, 0] + d[:, 2], rtol=1e-15)


@pytest.mark.claim("S6")
@given(seeds, st.booleans())
def test_torchs_bank_holds_the_same_streams(seed, pair):
    rng = np.random.default_rng(seed)
    bank = bank_of(LSTM(2, 3) if pair else GRU(2, 3), capacity=6)
    tensors = lambda state: (  # noqa: E731
        tuple(map(torch.tensor, state)) if pair else torch.tensor(state)
    )
    twin = torch_bank.StateBank(tensors(bank.initial), capacity=6)
    for _ in range(8):
        ids = rng.choice(12, size=rng.integers(1, 7), replace=False)
        results, new = bank.get(ids.tolist())
        twin_state, also_new = twin.get(torch.tensor(ids))
        np.testing.assert_array_equal(new, also_new)
        fields = twin_state if pair else (twin_state,)
        assert equal(results, join_state([t.numpy() for t in fields]))
        state = random_state(bank, len(ids), rng)
        given_state = tensors(state)
        for part in given_state if pair else (given_state,):
            part.requires_grad_()
        assert bank.put(ids.tolist(), state) == twin.put(torch.tensor(ids), given_state)
        assert not any(p.requires_grad for row in twin.rows.values() for p in row)


@pytest.mark.claim("S6")
def test_a_state_without_three_axes_is_rejected_like_any_other_shape():
    bank = bank_of(GRU(2, 3))
    state = random_state(bank, 1, np.random.default_rng(0))
    for other in (state[0, 0], state[0], state[..., None]):
        shapes = f"[1, 1, 3] for 1 ids, got float64 {list(other.shape)}."
        rejects(ValueError, shapes, bank.put, [7], other)
    assert not bank.rows


@pytest.mark.claim("S6")
def test_a_rejected_call_leaves_the_bank_unchanged():
    bank = bank_of(LSTM(2, 3), capacity=3)
    rng = np.random.default_rng(0)
    bank.put([1, 2], random_state(bank, 2, rng))
    before = {i: [p.copy() for p in row] for i, row in bank.rows.items()}
    two, four = random_state(bank, 2, rng), random_state(bank, 4, rng)
    rejects(ValueError, "rows [0, 1]", bank.put, [2, 2], two)
    rejects(ValueError, "stream 2", bank.get, [2, 1, 2])
    rejects(ValueError, "none", bank.put, [], two)
    rejects(ValueError, "none", bank.get, [])
    rejects(ValueError, "got 4", bank.put, [1, 2, 3, 4], four)
    rejects(ValueError, "[1, 4, 3]", bank.put, [1, 2], four)
    rejects(ValueError, "got float64 [1, 2, 3].", bank.put, [1, 2], two[0])
    single = join_state([p.astype(np.float32) for p in two])
    rejects(ValueError, "float32", bank.put, [1, 2], single)
    rejects(ValueError, "got 0", StateBank, bank.initial, 0)
    rejects(ValueError, "got 1.5", StateBank, bank.initial, 1.5)
    assert list(bank.rows) == [1, 2]
    for i, row in bank.rows.items():
        assert all(np.array_equal(p, q) for p, q in zip(row, before[i], strict=True))
    twin = torch_bank.StateBank(torch.zeros(1, 1, 3), 3)
    with pytest.raises(ValueError, match=r"\[2, 2\]"):
        twin.put(torch.tensor([2, 2]), torch.ones(1, 2, 3))
    assert not twin.rows


def test_a_state_may_be_a_list_as_the_nets_have_it():
    pair = [np.zeros((2, 1, 3)), np.ones((2, 1, 3))]
    bank = StateBank(pair, 3)
    assert [part.shape for part in bank.get([1, 2])[0]] == [(2, 2, 3)] * 2
    bank.put([1], [5 + part for part in pair])
    assert equal(bank.get([1])[0], [5 + part for part in pair])


def test_an_initial_state_that_is_not_one_row_of_arrays_is_rejected():
    one = np.zeros((2, 1, 3))
    for bad in (np.zeros((2, 2, 3)), one[0], one[..., None], np.zeros((2, 0, 3))):
        rejects(
            ValueError,
            f"[L, 1, H], one row for every stream, got {list(bad.shape)}",
            StateBank,
            bad,
            3,
        )
        rejects(ValueError, f"got {list(bad.shape)}", StateBank, (one, bad), 3)
    for bad in (None, 0.0, (one, None)):
        rejects(TypeError, "initial state should be an array, got", StateBank, bad, 3)


def test_a_state_or_ids_of_another_type_are_rejected_and_leave_the_bank_unchanged():
    bank = bank_of(GRU(2, 3))
    state = random_state(bank, 1, np.random.default_rng(0))
    rejects(TypeError, "state should be an array, got NoneType", bank.put, [1], None)
    rejects(TypeError, "state should be an array, got list", bank.put, [1], (state.tolist(),))
    rejects(TypeError, "keys of a dict, got list", bank.put, [[1]], state)
    rejects(TypeError, "keys of a dict, got ndarray", bank.get, [np.array([1])])
    assert not bank.rows
