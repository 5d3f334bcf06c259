"""All checks in one table."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bptt_oracle import checklist
from support.adversary.models import Model, V, tokens
from support.adversary.outputs import generator
from support.adversary.padding import LENGTHS, PADDED, at, ignoring, packed
from support.adversary.streams import STATE, bank, select
from support.calculus import rejects

IDS = tokens(4, 12)
CHECKS = [name for name in checklist.__all__ if name[0].islower() and name != "check_all"]


def everything(model, **changed):
    """Arguments for all checks of a language model."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(IDS)[0].flatten(0, 1), IDS.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()

    def loop():
        state = None
        for x in IDS.split(4, 1):
            output, state = model(x, state)
            output.square().mean().backward()
            optimizer.step()
            state = state.detach()

    def decode(target):
        y, state, outputs = target[:, :1] * 0, None, []
        for t in range(target.shape[1]):
            output, state = model(y, state)
            outputs.append(output)
            y = target[:, t : t + 1] if model.training else output.argmax(-1)
        return torch.cat(outputs, 1)

    x = torch.where(torch.arange(12) < 2 * LENGTHS[:, None], IDS, 0)
    return {
        "x": x,
        "targets": x,
        "vocab": V,
        "lengths": 2 * LENGTHS,
        "run": lambda x, n: at(model(x)[0], n - 1),
        "state_run": lambda x, n: packed(model, x, n)[1],
        "split": lambda x: (x[:, :-1], x[:, 1:]),
        "loss": ignoring,
        "loop": loop,
        "optimizer": optimizer,
        "step": step,
        "max_norm": 0.5,
        "generate": generator(model),
        "decode": decode,
        "reset_step": lambda x, state, reset: model(x, select(state, reset)),
        "state": STATE,
        "reset": torch.tensor([True, False, True, False]),
        "new_step": bank(model),
    } | changed


class TimeFirst(nn.Module):
    """A model of x [T, B]."""

    def __init__(self):
        super().__init__()
        self.inner = Model()

    def forward(self, x, state=None):
        output, state = self.inner(x.T, state)
        return output.transpose(0, 1), state


def everything_time_first(model, T, **changed):
    """Arguments that depend on the layout, of functions that get and return [T, B, ·]."""
    lengths = torch.tensor([2, 3, 1, T])
    x = torch.where(torch.arange(T)[:, None] < lengths, IDS[:, :T].T, 0)
    by_row = everything(model.inner)

    def new_step():
        step = by_row["new_step"]()
        return lambda ids, x: step(ids, x.T).transpose(0, 1)

    return {
        "batch_first": False,
        "x": x,
        "targets": x,
        "vocab": V,
        "lengths": lengths,
        "run": lambda x, n: model(x)[0][n - 1, torch.arange(x.shape[1])],
        "state_run": lambda x, n: packed(model.inner, x.T, n)[1],
        "split": lambda x: (x[:-1], x[1:]),
        "loss": ignoring,
        "generate": lambda prompt, n: generator(lambda x, s: by_time(model, x, s))(prompt.T, n).T,
        "decode": lambda targets: by_row["decode"](targets.T).transpose(0, 1),
        "reset_step": lambda x, state, reset: model(x, select(state, reset)),
        "state": STATE,
        "reset": torch.tensor([True, False, True, False]),
        "new_step": new_step,
    } | changed


def by_time(model, x, state):
    """A model of x [T, B], called with x [B, T]."""
    output, state = model(x.T, state)
    return output.transpose(0, 1), state


def verdicts(table):
    return {row.check: row.verdict for row in table.rows}


def test_a_right_model_holds_in_every_check_and_keeps_its_weights():
    model = Model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    table = checklist.check_all(model, **everything(model))
    rejected = {"both_detached": "not shown"}  # a GRU has no c
    assert verdicts(table) == dict.fromkeys(CHECKS, "holds") | rejected
    assert table
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_wrong_part_fails_and_the_others_are_checked_still():
    model = Model()
    parts = everything(model, run=lambda x, n: model(x)[0][:, -1])
    table = checklist.check_all(model, **parts)
    assert verdicts(table)["last_valid_step"] == "FAILS" and not table
    assert verdicts(table)["padding_state"] == "holds"

    def broken():
        raise KeyError("batch")

    table = checklist.check_all(model, **everything(model, step=broken))
    assert verdicts(table)["clipping"] == "raised" and not table


def test_what_was_not_given_is_asked_for():
    table = checklist.check_all(Model(), IDS)
    asked = {row.check: row.text for row in table.rows if row.verdict == "not asked"}
    assert asked["clipping"] == "needs optimizer, step, max_norm"
    assert asked["causality"] == "needs causal"
    assert set(verdicts(table)) == set(CHECKS) and len(table.rows) == 17
    holding = {name for name, verdict in verdicts(table).items() if verdict == "holds"}
    assert holding == {"fresh_start", "row_alone"}


def test_a_bidirectional_encoder_is_right_unless_it_must_be_causal():
    model = Model(bidirectional=True)
    assert checklist.check_all(model, IDS)
    assert verdicts(checklist.check_all(model, IDS, causal=True))["causality"] == "FAILS"
    assert verdicts(checklist.check_all(model, IDS, causal=True))["in_chunks"] == "FAILS"


def test_nothing_holds_of_a_model_of_nan():
    model = Model()
    nn.init.constant_(model.head.weight, torch.nan)
    table = checklist.check_all(model, IDS, causal=True)
    assert not table and "holds" not in verdicts(table).values()


def test_the_table_has_a_line_for_each_check():
    text = str(checklist.check_all(Model(), PADDED))
    lines = text.splitlines()
    assert len(lines) == 17 and max(map(len, lines)) < 150
    assert lines[-2].startswith("15  row_alone         holds ")


@pytest.mark.parametrize("T", [4, 7])  # of 4 rows: the shapes do not show which axis is which
def test_a_right_model_of_time_first_holds_in_every_check(T):
    model = TimeFirst()
    table = checklist.check_all(model, **everything_time_first(model, T))
    seen = {name: verdict for name, verdict in verdicts(table).items() if verdict != "not asked"}
    without = {"shapes", "carry_and_detach", "both_detached", "clipping", "causality"}
    assert seen == dict.fromkeys(set(CHECKS) - without, "holds"), str(table)
    all_steps = everything_time_first(model, T, run=lambda x, n: model(x)[0], lengths=None)
    assert verdicts(checklist.check_all(model, **all_steps))["packed_order"] == "holds"


def test_a_wrong_part_of_a_model_of_time_first_fails():
    model = TimeFirst()
    wrong = {
        "run": lambda x, n: model(x)[0][-1],
        "state_run": lambda x, n: model(x)[1],
        "loss": lambda logits, targets: F.cross_entropy(logits.flatten(0, 1), targets.flatten()),
        "decode": lambda targets: model(targets)[0],
        "reset_step": lambda x, state, reset: model(x, state),
        "generate": lambda prompt, n: model(prompt)[0].argmax(-1)[:1].repeat(n, 1),
        "new_step": lambda: lambda ids, x: model(x)[0],
    }
    table = checklist.check_all(model, **everything_time_first(model, 7, **wrong))
    failed = {name for name, verdict in verdicts(table).items() if verdict == "FAILS"}
    encoding = {"last_valid_step", "padding_state", "packed_order", "padding_loss"}
    assert failed == encoding | {"teacher_forcing", "generation", "reset_leak", "routing"}


@pytest.mark.parametrize(
    ("x", "got"), [(torch.zeros(5), "[5]"), (torch.tensor(1), "[]"), ([[1, 2]], "list")]
)
def test_x_without_rows_and_steps_is_one_sentence(x, got):
    rejects(ValueError, f"got {got}", checklist.check_all, Model(), x)


def test_one_step_has_no_halves_and_fails_no_model():
    model = Model()
    parts = everything(model, x=IDS[:, :1], targets=None, lengths=None, split=None)
    table = checklist.check_all(model, **parts)
    assert not {"FAILS", "raised"} & set(verdicts(table).values()), str(table)
