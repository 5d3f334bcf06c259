"""Counterexamples to statements of the two source documents that no other test file covers.

T is the tutorial on torch.nn.RNN (github.com/ShaohonChen/tutorial_with_rnn), N the lecture notes
"2.4 Recurrent Neural Networks". Their code is copied as printed. Page: docs/ledger/errata.md.
"""

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from reference import RNN
from reference.models.loss import cross_entropy
from reference.streams.state_bank import StateBank
from support.single import close, single


@pytest.mark.claim("B4′")
def test_the_parameter_gradients_as_printed_have_the_shape_of_the_transpose():
    """N: ∂L/∂W_hy = Σ h_tᵀ g_t with o = W_hy h + b_y, in which h and g are columns."""
    p = single(RNN(3, 4))
    T, B, V = *p.x.shape[:2], 5
    rng = np.random.default_rng(0)
    W_hy = rng.standard_normal((V, 4))
    output, _, tape = p.net.forward(p.params, p.x, p.state)
    g = rng.standard_normal((T, B, V))
    grads = p.net.backward(tape, g @ W_hy).params
    h = torch.tensor(output)
    weight = torch.tensor(W_hy, requires_grad=True)
    ((h @ weight.T) * torch.tensor(g)).sum().backward()
    as_printed = np.einsum("tbh,tbv->hv", output, g)
    corrected = np.einsum("tbv,tbh->vh", g, output)
    assert as_printed.shape == (4, V) != W_hy.shape
    close(corrected, weight.grad)
    close(as_printed, corrected.T)
    assert grads["weight_ih_l0"].shape == (4, 3), "and not [I, H], the shape of Σ x_tᵀ δ_t"


@pytest.mark.claim("B4′")
def test_the_bias_of_the_recurrence_has_a_gradient_too_the_sum_of_its_deltas():
    """N lists the gradients of W_hy, b_y, W_xh and W_hh, but not that of b_h."""
    p = single(RNN(4, 4))
    output, _, tape = p.net.forward(p.params, p.x, p.state)
    grads = p.net.backward(tape, p.d_output)
    delta_a = grads.x.reshape(-1, 4) @ np.linalg.inv(p.params["weight_ih_l0"])
    close(grads.params["bias_ih_l0"], delta_a.sum(axis=0), tolerance=1e-11)


@pytest.mark.claim("P2")
def test_the_second_argument_of_packing_is_a_length_for_each_row_not_a_batch_size_for_each_step():
    """T's comment on seq_lengths = [4, 2, 1]: "the batch size at each sequence step"."""
    packed = pack_padded_sequence(torch.randn(3, 4, 2), [4, 2, 1], batch_first=True)
    assert packed.batch_sizes.tolist() == [3, 2, 1, 1]


@pytest.mark.claim("P4")
def test_padding_a_pack_restores_neither_the_padding_nor_the_padded_length():
    """T: pad_packed_sequence is pack_padded_sequence the other way round."""
    x = torch.randn(5, 3, 2)
    back, lengths = pad_packed_sequence(pack_padded_sequence(x, [3, 2, 1]))
    assert back.shape == (3, 3, 2), "the longest length, not the 5 steps that came in"
    assert not back[1:, 2].any(), "zeros, not the values that were there"
    back, _ = pad_packed_sequence(pack_padded_sequence(x, [3, 2, 1]), total_length=5)
    assert back.shape == x.shape


@pytest.mark.claim("A2")
def test_the_last_size_of_the_input_is_the_input_size():
    """T's comment on torch.randn(5, 3, 10): "the dimension of each vector is 5"."""
    rnn = torch.nn.RNN(10, 20, 1)
    assert rnn(torch.randn(5, 3, 10))[0].shape == (5, 3, 20)
    with pytest.raises(RuntimeError, match="input_size"):
        rnn(torch.randn(10, 3, 5))


@pytest.mark.claim("A2", "A7")
def test_batch_first_and_dropout_are_not_what_the_tutorial_says():
    """T: batch_first "has to do with the shape of input_size", dropout acts "on the output"."""
    plain, first = torch.nn.RNN(2, 3), torch.nn.RNN(2, 3, batch_first=True)
    assert [v.shape for v in plain.parameters()] == [v.shape for v in first.parameters()]
    output, h_n = first(torch.randn(7, 5, 2))
    assert (output.shape, h_n.shape) == ((7, 5, 3), (1, 7, 3)), "input and output only"
    with pytest.warns(UserWarning, match="after all but last"):
        dropping = torch.nn.RNN(2, 3, dropout=0.9)
    dropping.load_state_dict(plain.state_dict())
    x = torch.randn(7, 5, 2)
    assert torch.equal(dropping.train()(x)[0], plain(x)[0]), "never after the last layer"


@pytest.mark.claim("S1")
@pytest.mark.parametrize(("step", "message"), [(False, "second time"), (True, "inplace operation")])
def test_carrying_the_state_without_detaching_it_cannot_run_in_the_loop_printed(step, message):
    """N's third strategy, "carry no detach", in N's loop: backward and step on every chunk."""
    model = torch.nn.RNN(2, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state = None
    with pytest.raises(RuntimeError, match=message):
        for chunk in torch.randn(8, 5, 2).split(4):
            output, state = model(chunk, state)
            optimizer.zero_grad(set_to_none=True)
            output.sum().backward(retain_graph=step)
            if step:
                optimizer.step()


@pytest.mark.claim("S1")
def test_the_full_gradient_of_a_stream_is_one_backward_after_its_last_chunk():
    model = torch.nn.RNN(2, 3).double()
    x = torch.randn(8, 5, 2, dtype=torch.float64)
    whole = torch.autograd.grad(model(x)[0].sum(), list(model.parameters()))
    state, loss = None, torch.zeros(())
    for chunk in x.split(4):
        output, state = model(chunk, state)
        loss = loss + output.sum()
    for found, expected in zip(
        torch.autograd.grad(loss, list(model.parameters())), whole, strict=True
    ):
        close(found.numpy(), expected.numpy())


@pytest.mark.claim("S6")
def test_the_rows_of_the_printed_state_bank_keep_the_whole_batch_alive():
    """N's put: state[:, row:row+1].contiguous(), which copies nothing if there is one layer."""
    state = torch.randn(1, 1000, 4)
    row = state[:, 7:8].contiguous()
    assert row.untyped_storage().data_ptr() == state.untyped_storage().data_ptr()
    assert row.untyped_storage().nbytes() == state.untyped_storage().nbytes()
    state.zero_()
    assert not row.any(), "a change of the batch changes the bank"
    two_layers = torch.randn(2, 1000, 4)
    assert two_layers[:, 7:8].contiguous().untyped_storage().nbytes() == 2 * 4 * 4
    assert state[:, 7:8].clone().untyped_storage().nbytes() == 4 * 4, "clone always copies"


@pytest.mark.claim("A8")
def test_the_two_halves_of_an_lstm_s_state_differ_in_shape_under_a_projection():
    """N: "(h, c), two tensors of the same shape"."""
    _, (h_n, c_n) = torch.nn.LSTM(2, 5, proj_size=3)(torch.randn(4, 6, 2))
    assert (h_n.shape, c_n.shape) == ((1, 6, 3), (1, 6, 5))


def reset_recurrent_state(state, reset_mask, init_state=None, batch_dim=1):
    """N's function as printed, for one tensor."""
    if state is None:
        return None
    shape = [1] * state.ndim
    shape[batch_dim] = reset_mask.numel()
    keep = (~reset_mask).reshape(shape).to(device=state.device, dtype=state.dtype)
    if init_state is None:
        init_state = torch.zeros_like(state)
    return state * keep + init_state * (1.0 - keep)


@pytest.mark.claim("S5")
def test_the_printed_reset_forgets_the_learned_initial_state_of_the_very_first_chunk():
    """Every row starts a stream there, but none starts from init_state."""
    first, learned = torch.tensor([True, True]), torch.randn(1, 2, 4)
    assert reset_recurrent_state(None, first, learned) is None
    later = reset_recurrent_state(torch.randn(1, 2, 4), first, learned)
    assert torch.equal(later, learned)


@pytest.mark.claim("S5")
def test_the_printed_smoke_test_of_resets_passes_a_reset_that_ignores_its_mask():
    """N's assert_reset_blocks_state_leak resets every row, so it cannot see one reset too many."""
    model, chunk, old = torch.nn.GRU(2, 4), torch.randn(5, 3, 2), torch.randn(1, 3, 4)

    def broken(state, mask):
        return torch.zeros_like(state)

    every = torch.ones(3, dtype=torch.bool)
    assert torch.equal(model(chunk, broken(old, every))[0], model(chunk)[0]), "it passes"
    some = torch.tensor([True, False, False])
    carried = model(chunk, reset_recurrent_state(old, some))[0]
    assert not torch.allclose(model(chunk, broken(old, some))[0], carried), (
        "a mask of some rows detects it"
    )


@pytest.mark.claim("S3")
def test_the_printed_smoke_test_of_detaching_passes_a_loop_that_never_detaches():
    """N's second smoke test calls detach itself, and then checks that detach detaches."""
    model = torch.nn.GRU(2, 4)

    def loop_without_detach(chunks):
        state = None
        for chunk in chunks:
            _, state = model(chunk, state)
        return state

    state = loop_without_detach(torch.randn(8, 3, 2).split(4))
    assert not state.detach().requires_grad, "as printed: true of every tensor"
    assert state.requires_grad, "what it should have examined"


@pytest.mark.claim("D2")
def test_above_one_only_what_lies_along_a_growing_direction_explodes():
    """N, before its theorem: with eigenvalues above 1, "distant inputs explode"."""
    powers = np.linalg.matrix_power(np.diag([2.0, 0.5]), 20)
    assert (powers @ [1, 0]).tolist() == [2.0**20, 0]
    assert (powers @ [0, 1]).tolist() == [0, 2.0**-20]


@pytest.mark.claim("B9")
def test_a_gradient_that_grows_with_the_sequence_may_only_be_a_longer_sum():
    """N: "grad norm grows with sequence length: exploding BPTT path", with L = Σ ℓ_t."""
    model = torch.nn.RNN(1, 4).double()
    with torch.no_grad():
        model.weight_hh_l0.zero_()  # nothing at all flows through time
    norms = []
    for T in (10, 1000):
        grads = torch.autograd.grad(model(torch.ones(T, 1, 1).double())[0].sum(), model.bias_ih_l0)
        norms.append(grads[0].norm().item())
    assert norms[1] == pytest.approx(100 * norms[0])


@pytest.mark.claim("B9")
@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
def test_a_hidden_state_behind_a_tanh_cannot_diverge(kind):
    """N: "hidden norm diverges: unstable recurrence". It saturates; with relu it diverges."""
    model, x = kind(2, 4), torch.randn(50, 3, 2)
    relu = torch.nn.RNN(2, 4, nonlinearity="relu")
    with torch.no_grad():
        for weight in (*model.parameters(), *relu.parameters()):
            weight.copy_(100 * torch.randn_like(weight).abs())
        assert model(x)[0].abs().max() < 1 + 1e-6
        assert not relu(x.abs())[0].isfinite().all()


@pytest.mark.claim("P8")
def test_the_printed_masked_loss_lets_nan_in_the_padding_through():
    """N: (loss_per_token * mask).sum() / mask.sum(), and NaN · 0 = NaN."""
    logits, targets = torch.randn(2, 3, 5), torch.tensor([[1, 2, 0], [4, 0, 0]])
    mask = targets.ne(0)
    logits[~mask] = torch.nan
    losses = torch.nn.functional.cross_entropy(
        logits.reshape(-1, 5), targets.reshape(-1), reduction="none"
    ).view_as(targets)
    assert (losses * mask).sum().isnan()
    selected = losses[mask].mean()
    assert selected.isfinite()
    close(cross_entropy(logits.numpy(), targets.numpy(), mask.numpy())[0], selected, 1e-6)


@pytest.mark.claim("P1")
def test_lengths_that_count_a_mask_s_ones_pack_the_padding_of_a_batch_padded_on_the_left():
    """N: lengths = attention_mask.sum(dim=1), which counts the real steps but not their places."""
    model, x = torch.nn.GRU(2, 4), torch.randn(1, 5, 2)
    mask = torch.tensor([[0, 0, 1, 1, 1]])
    packed = pack_padded_sequence(x, mask.sum(dim=1), batch_first=True)
    assert torch.equal(packed.data, x[0, :3]), (
        "two steps of padding in the pack, and two real ones lost"
    )
    assert not torch.allclose(model(packed)[1], model(x[0, 2:])[1][:, None])


@pytest.mark.claim("B3")
def test_the_printed_smoke_test_of_the_shift_passes_targets_that_are_not_shifted():
    """N's first smoke test compares shapes; an input used as its own target has the right one."""
    batch = torch.randint(0, 9, (2, 8))
    inputs, targets = batch[:, :-1], batch[:, :-1]
    logits = torch.nn.functional.one_hot(inputs, 9)  # a model that copies
    assert logits.shape[:2] == targets.shape, "as printed: it passes"
    assert not torch.equal(targets[:, :-1], inputs[:, 1:]), "what it should have compared"


@pytest.mark.claim("S6")
def test_the_printed_state_bank_forgets_one_of_two_rows_of_the_same_stream():
    """N's put keeps the last row with an id, without a warning."""
    store, state = {}, torch.randn(1, 2, 4)
    for row, sid in enumerate([7, 7]):
        store[int(sid)] = state[:, row : row + 1].contiguous()
    assert len(store) == 1
    assert torch.equal(store[7], state[:, 1:])
    with pytest.raises(ValueError, match="each stream once"):
        StateBank(np.zeros((1, 1, 4)), capacity=2).put([7, 7], state.numpy())
