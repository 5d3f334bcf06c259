"""What a check says of models that public questions were about."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bptt_oracle import checklist
from support.adversary.carrying import Inside, Own, carry, inside
from support.adversary.models import H, Keeping, Model, numbers, tokens
from support.adversary.outputs import ManyToOne
from support.adversary.padding import LENGTHS, PADDED, attention, packed
from support.adversary.streams import RESET, multiply, rolled, with_reset
from support.calculus import rejects

IDS = tokens(4, 6)


def test_a_state_kept_inside_is_checked_at_the_recurrent_module():
    assert "carried over 2 times" in inside(Inside()).evidence
    evidence = inside(Inside(cut=lambda s: s)).evidence
    assert "still attached" in evidence and "starts without a state" not in evidence


def test_a_state_that_no_call_shows_is_asked_for():
    rejects(ValueError, "pass the module that takes and returns the state", inside, Own())


def test_the_sentence_of_pytorch_is_cited_whole():
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def backward(loss, k):
        loss.backward(retain_graph=True)
        optimizer.step()

    evidence = carry(model, lambda s: s, backward=backward).evidence
    assert "modified by an inplace operation: [torch.FloatTensor [" in evidence
    assert evidence.endswith("expected version 1 instead")


def test_a_model_with_one_result_per_row_has_no_output_per_step():
    many_to_one = ManyToOne(reads=2)
    rejects(ValueError, "outputs [B, T, ·]", checklist.causality, many_to_one, numbers(5, 12, 2))


def test_shapes_takes_numbers_and_says_what_is_wrong_with_other_inputs():
    x = numbers(4, 6, 3)
    assert checklist.shapes(Model(reads=3), x, IDS, 11)
    rejects(ValueError, "of equal rows", checklist.shapes, Model(), IDS[[0, 0]], IDS[:2], 11)
    rejects(ValueError, "[4, 6, 3, 1]", checklist.shapes, Model(), x[..., None], IDS, 11)


def test_the_cause_is_named_where_padding_takes_part():
    model = Model()

    def check(run):
        return checklist.last_valid_step(run, PADDED, LENGTHS).evidence

    unpacked = check(lambda x, n: attention(model.rnn(model.emb(x))[0]))
    assert "what stands in the padding changes it" in unpacked
    assert "attention without a mask" in unpacked
    zeros = check(lambda x, n: attention(packed(model, x, n)[0]))
    assert "the number of columns changes it, as with a mean, maximum or attention" in zeros
    column = check(lambda x, n: packed(model, x, n)[0][:, -1])
    assert "it does not depend on the row's own steps, as with the last column" in column


def test_a_wrong_step_of_the_row_itself_is_named():
    model = Model()

    def run(x, n):
        return model.rnn(model.emb(x))[0][:, 0]

    evidence = checklist.last_valid_step(run, PADDED, LENGTHS).evidence
    assert evidence == "no row depends on its last valid step, all do on the first step"


def test_a_reset_that_a_rollout_ignores_is_named_with_its_step():
    evidence = rolled(when=lambda r, t: r[t] if t == 0 else r[t] & False).evidence
    assert "(reset at step 2)" in evidence


def test_a_multiplied_reset_is_right_for_finite_states_and_no_leak():
    result = with_reset(multiply)
    assert result and "NaN in the old state survives: select" in result.evidence
    assert "changes the output" not in result.evidence
    assert "changes the output of the new one" in with_reset(lambda s, r: s).evidence


@pytest.mark.parametrize("layout", ["tensor", "list", "tuple"])
def test_lengths_come_to_the_function_as_they_were_given(layout):
    model, kinds = Model(), set()
    lengths = {"tensor": LENGTHS, "list": LENGTHS.tolist(), "tuple": tuple(LENGTHS.tolist())}

    def run(x, n):
        kinds.add(type(n))
        pack = pack_padded_sequence(model.emb(x), torch.as_tensor(n), True, enforce_sorted=False)
        return pad_packed_sequence(model.rnn(pack)[0], True)[0]

    assert checklist.packed_order(run, PADDED, lengths[layout])
    assert kinds == {type(lengths[layout])}


def test_a_function_for_sorted_rows_reorders_nothing():
    model = Model()

    def run(x, n):
        return model.rnn(pack_padded_sequence(model.emb(x), n, True))[1][-1]

    equal = torch.full((4,), 6)
    assert checklist.last_valid_step(run, IDS, equal)
    rejects(ValueError, "sorted rows", checklist.packed_order, run, IDS, equal)


def nothing(*arguments):
    """A function that is never called."""
    raise AssertionError("called")


@pytest.mark.parametrize(
    ("got", "check", "arguments"),
    [
        ("split as a function, got NoneType", "label_shift", (None, IDS)),
        ("ids as a tensor, got list", "label_shift", (nothing, [1, 2])),
        ("inputs as a tensor, got list", "shapes", (nothing, [1, 2], IDS, 11)),
        ("loss as a function, got NoneType", "padding_loss", (None, IDS, IDS, 0)),
        ("targets as a tensor, got list", "padding_loss", (nothing, numbers(2, 3), [1, 0], 0)),
        ("and targets of the same [B, T]", "padding_loss", (nothing, numbers(4, 6), IDS, 0)),
        ("x as a tensor, got list", "padding_state", (nothing, [[1]], [1])),
        ("run as a function, got NoneType", "last_valid_step", (None, IDS, LENGTHS)),
        ("x as a tensor, got tuple", "packed_order", (nothing, (IDS, IDS), LENGTHS)),
        ("tuple of integers, got 6", "packed_order", (nothing, IDS, 6)),
        ("tuple of integers, got [2.5, 6,", "packed_order", (nothing, IDS, [2.5, 6, 1, 4])),
        ("loop as a function, got NoneType", "carry_and_detach", (Model(), None)),
        ("model as an nn.Module, got function", "both_detached", (nothing, nothing)),
        ("run as a function, got NoneType", "fresh_start", (None, IDS, IDS)),
        ("reset as a tensor, got list", "reset_leak", (nothing, IDS, None, [True])),
        ("x [B, T] or [B, T, D], got [6]", "reset_leak", (nothing, IDS[0], None, RESET)),
        ("first_chunk as a tensor, got tuple", "routing", (nothing, (IDS, IDS), (IDS, IDS))),
        ("got [4, 6] and [3, 6]", "routing", (nothing, IDS, IDS[:3])),
        ("model as an nn.Module, got function", "generation", (nothing, nothing, IDS)),
        ("a prompt [B, T], got [6]", "generation", (Model(), nothing, IDS[0])),
        ("target as a tensor, got list", "teacher_forcing", (Model(), nothing, [1], [2])),
        ("model as an nn.Module, got function", "causality", (nothing, IDS)),
        ("x as a tensor, got list", "row_alone", (nothing, [[1]])),
        ("model as a function, got NoneType", "in_chunks", (None, IDS)),
    ],
)
def test_an_argument_of_another_kind_is_one_sentence(got, check, arguments):
    rejects(ValueError, got, getattr(checklist, check), *arguments)


@pytest.mark.parametrize("returned", [[1, 2], IDS[:3, :3]])
def test_a_generator_that_returns_no_rows_of_tokens_is_one_sentence(returned):
    rejects(
        ValueError, "tokens of 4 rows", checklist.generation, Model(), lambda p, n: returned, IDS
    )


def test_layers_or_steps_as_many_as_rows_are_not_taken_for_rows():
    model = Model(num_layers=2)
    x, lengths = IDS[:2], torch.tensor([3, 6])

    def states_by_row(x, n):
        return packed(model, x, n)[1].transpose(0, 1)

    assert checklist.packed_order(lambda x, n: packed(model, x, n), x, lengths)
    assert checklist.padding_state(states_by_row, x, lengths)
    swapped = checklist.packed_order(lambda x, n: packed(model, x, n)[1].flip(1), x, lengths)
    assert "its result is in row" in swapped.evidence


@pytest.mark.parametrize("T", [3, 4, 6])  # of 4 rows, and the prefix grows
def test_a_generator_that_feeds_its_prefix_with_time_first_is_right(T):
    model = Model(batch_first=False)

    def generate(prompt, steps, feed=torch.cat):
        y, written = prompt.T, []
        for _ in range(steps):
            written.append(model(y)[0][-1:].argmax(-1))
            y = feed([y, written[-1]])
        return torch.cat(written).T

    assert checklist.generation(model, generate, IDS[:, :T])
    stale = lambda prompt, steps: generate(prompt, steps, lambda ys: torch.cat([ys[0]] * 2))  # noqa: E731
    assert not checklist.generation(model, stale, IDS[:, :T])


def test_a_model_is_put_back_as_it_was():
    model = Keeping(num_layers=2, dropout=0.5)
    model.rnn.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    checklist.causality(model, IDS)
    checklist.row_alone(model, IDS)
    assert model.hidden is None and model.training and not model.rnn.training
    assert not model._forward_hooks and not model.emb._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_state_of_a_step_may_be_of_any_layout():
    cell = nn.GRUCell(3, H)

    def step(x, state, reset):
        h = torch.where(reset[:, None], 0, state["h"])
        outputs = []
        for e in x.unbind(1):
            h = cell(e, h)
            outputs.append(h)
        return torch.stack(outputs, 1)

    state = {"h": numbers(4, H), "steps": torch.tensor(3)}
    assert checklist.reset_leak(step, numbers(4, 6, 3), state, RESET)
