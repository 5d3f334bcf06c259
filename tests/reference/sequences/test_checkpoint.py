"""Checkpointed BPTT: memory like the square root of the length, and the same bits."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.sequences import checkpoint, unroll
from support.problems import torch_module
from support.single import NETS, close, single
from support.strategies import seeds
from torch_impl.sequences import checkpoint as torch_checkpoint

names = st.sampled_from(sorted(NETS))


def rows_of_batch(p, batch_sizes):
    """x, h of every step's cotangent and both states, as packed rows."""
    kind = p.net.cell.State
    T, B = p.x.shape[:2]
    real = np.concatenate([t * B + np.arange(n) for t, n in enumerate(batch_sizes)])
    states = [kind(*[f[0] for f in (s if p.net.mode == "LSTM" else (s,))])
              for s in (p.state, p.d_state)]  # fmt: skip
    return p.x.reshape(T * B, -1)[real], p.d_output.reshape(T * B, -1)[real], *states


def everything(output, final, d_x, d_state, d_params):
    return [output, *final, d_x, *d_state, *[d for d in d_params if d is not None]]


def plain(p, batch_sizes):
    cell = p.net.cell
    x, d_output, state, d_state = rows_of_batch(p, batch_sizes)
    output, final, tape = unroll.unroll(cell, p.weights, x, state, unroll.schedule(batch_sizes))
    return everything(output, final, *unroll.unroll_back(cell, tape, d_output, d_state))


def checkpointed(p, batch_sizes, K):
    cell = p.net.cell
    x, d_output, state, d_state = rows_of_batch(p, batch_sizes)
    output, final, tape = checkpoint.checkpointed(cell, p.weights, x, state, batch_sizes, K)
    return everything(output, final, *checkpoint.checkpointed_back(cell, tape, d_output, d_state))


def segments_with_every_tape_kept(p, batch_sizes, K):
    """BPTT over the same segments with stored tapes."""
    cell = p.net.cell
    x, d_output, state, d_state = rows_of_batch(p, batch_sizes)
    now = [f.copy() for f in state]
    segments, outputs, start = [], [], 0
    for j in range(0, len(batch_sizes), K):
        sizes = batch_sizes[j : j + K]
        n, rows = sizes[0], slice(start, start + sizes.sum())
        start = rows.stop
        state_j = state._make([f[:n] for f in now])
        output, last, tape = unroll.unroll(
            cell, p.weights, x[rows], state_j, unroll.schedule(sizes)
        )
        for f, new in zip(now, last, strict=True):
            f[:n] = new
        segments.append((n, rows, tape))
        outputs.append(output)
    total, d_x, sums = [f.copy() for f in d_state], np.empty_like(x), None
    for n, rows, tape in reversed(segments):
        state_j = state._make([f[:n] for f in total])
        d_x[rows], before, found = unroll.unroll_back(cell, tape, d_output[rows], state_j)
        for f, new in zip(total, before, strict=True):
            f[:n] = new
        found = [d for d in found if d is not None]
        sums = found if sums is None else [a + b for a, b in zip(sums, found, strict=True)]
    return everything(np.concatenate(outputs), now, d_x, total, sums)


batches = st.lists(st.integers(1, 3), min_size=1, max_size=12).map(
    lambda sizes: np.array(sorted([3, *sizes], reverse=True))
)


@pytest.mark.claim("X4")
@given(name=names, seed=seeds, batch_sizes=batches, K=st.integers(1, 6))
def test_the_recomputed_tape_has_the_bits_of_the_discarded_one(name, seed, batch_sizes, K):
    p = single(name, T=len(batch_sizes), B=3, seed=seed)
    found, expected = checkpointed(p, batch_sizes, K), segments_with_every_tape_kept(
        p, batch_sizes, K
    )  # fmt: skip
    for mine, theirs in zip(found, expected, strict=True):
        assert np.array_equal(mine, theirs)


@pytest.mark.claim("X4")
@given(name=names, seed=seeds, batch_sizes=batches, K=st.none() | st.integers(1, 20))
def test_checkpointed_bptt_is_bptt(name, seed, batch_sizes, K):
    p = single(name, T=len(batch_sizes), B=3, seed=seed)
    for mine, theirs in zip(checkpointed(p, batch_sizes, K), plain(p, batch_sizes), strict=True):
        close(mine, theirs)


@pytest.mark.claim("X4")
@pytest.mark.parametrize("name", sorted(NETS))
def test_one_segment_is_plain_bptt_bit_for_bit(name):
    p, sizes = single(name, T=7, B=3), np.array([3, 3, 2, 2, 1, 1, 1])
    for mine, theirs in zip(checkpointed(p, sizes, 7), plain(p, sizes), strict=True):
        assert np.array_equal(mine, theirs)


@pytest.mark.claim("X4")
@pytest.mark.parametrize("name", sorted(NETS))
def test_torch_s_checkpoints_keep_torch_s_bits_too(name):
    p = single(name, T=9, B=3)
    module = torch_module(p.net)
    found = []
    for recompute in (True, False):
        module.zero_grad()
        x = torch.tensor(p.x, requires_grad=True)
        state = tuple(map(torch.tensor, p.state)) if p.net.mode == "LSTM" else torch.tensor(p.state)
        output, _ = torch_checkpoint.unroll(module, x, state, 3, recompute)
        output.backward(torch.tensor(p.d_output))
        found.append([output.detach(), x.grad, *[v.grad.clone() for v in module.parameters()]])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def peak(run, *arguments):
    tracemalloc.start()
    try:
        run(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def used(run, T):
    """Peak bytes beyond arguments and results, of an LSTM of 4 units at batch 8."""
    p, sizes = single("LSTM", T=T, B=8), np.full(T, 8)
    arguments = (p, sizes) if run is plain else (p, sizes, None)
    return peak(run, *arguments) - 2 * (p.x.nbytes + p.d_output.nbytes)


@pytest.mark.claim("X4")
def test_memory_grows_like_the_square_root_of_the_length():
    """T × 16 makes the plain tape × 16 and the checkpoints × 4, beyond arguments and results."""
    assert used(plain, 1024) > 12 * used(plain, 64)
    assert used(checkpointed, 1024) < 8 * used(checkpointed, 64)
    assert used(checkpointed, 1024) < used(plain, 1024) / 4


def test_segments_of_no_steps_are_rejected():
    p = single("GRU")
    with pytest.raises(ValueError, match="at least one step"):
        checkpointed(p, np.full(6, 2), 0)


def main():
    """Print the table of docs/sequences/checkpoint.md."""
    print("| | T = 64 | T = 1024 | |")
    print("|---|---|---|---|")
    for run, name in (plain, "plain"), (checkpointed, "checkpointed, K = √T"):
        used(run, 64)  # the first run also fills caches
        short, long = used(run, 64), used(run, 1024)
        kilobytes = f"{short / 1e3:.0f} kB | {long / 1e3:.0f} kB"
        print(f"| {name} | {kilobytes} | × {long / short:.1f} |")


if __name__ == "__main__":
    main()
