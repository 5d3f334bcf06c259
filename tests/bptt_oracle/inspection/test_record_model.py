"""Recording the user's own model, and comparing two recordings."""

import shutil
import sqlite3

import numpy as np
import pytest
import torch

from bptt_oracle.inspection import record_model as module
from bptt_oracle.inspection.record_model import record_model
from bptt_oracle.processes.failures import CommandError
from bptt_oracle.runs.compare import compare
from bptt_oracle.runs.kept import kept_tensors, relative_differences
from bptt_oracle.runs.opening import open_runs
from bptt_oracle.runs.run import read_rows
from support import recorded_models
from support.command_line import bptt_oracle

MODELS = "support.recorded_models"


def record(folder, name, function, **options):
    """The file of a recorded model, and the worst call."""
    file = folder / name
    recorded = record_model(file, f"{MODELS}:{function}", {"torch": "0"}, **options)
    return file, recorded.worst


def rows_of(file):
    with open_runs(file) as (run,):
        return {row.case: row for row in read_rows(run)}


def words(old, new):
    with open_runs(old, new) as runs:
        return +compare(*runs).total


def test_every_layer_and_the_loss_are_results(tmp_path):
    file, worst = record(tmp_path, "run", "make_tagger")
    rows = rows_of(file)
    prefix = f"model:{MODELS}:make_tagger"
    assert list(rows) == [
        f"{prefix}.{end}" for end in ("loss", "rnn.call0.layer0", "rnn.call0.layer1")
    ]
    assert {row.verdict for row in rows.values()} == {"agree"}
    assert all(row.R > 0 for row in rows.values())
    assert rows[f"{prefix}.rnn.call0.layer1"].tensors.keys() >= {"output", "d_x", "d_weight_hh_l0"}
    largest = max(row.R for case, row in rows.items() if "layer" in case)
    assert float(f"{worst.row.R:.6g}") == largest


def test_the_same_command_gives_the_same_bits_also_with_dropout(tmp_path):
    before, _ = record(tmp_path, "before", "make_dropping")
    after, _ = record(tmp_path, "after", "make_dropping")
    assert words(before, after) == {"equal": 3}
    with open_runs(before) as (run,):
        assert run.plan["random numbers"] != "none"


def test_another_kernel_moves_bits_and_is_no_drift(tmp_path):
    before, _ = record(tmp_path, "before", "make_tagger")
    with torch.backends.mkldnn.flags(enabled=False):
        after, _ = record(tmp_path, "after", "make_tagger")
    changed = words(before, after)
    assert changed.keys() <= {"kernel", "equal", "moved"}
    if torch.backends.mkldnn.is_available():
        assert changed["kernel"] == 2


def test_a_wrong_kernel_is_a_fault_in_the_layer_and_tensor(tmp_path, monkeypatch):
    before, _ = record(tmp_path, "before", "make_tagger")
    judge = module.judge_call

    def judge_wrong(call):
        if call.layer == 1:
            call.gradients["bias_hh_l0_reverse"][3] *= 1.01
        return judge(call)

    monkeypatch.setattr(module, "judge_call", judge_wrong)
    after, worst = record(tmp_path, "after", "make_tagger")
    assert worst.row.case.endswith("rnn.call0.layer1")
    assert worst.row.tensor == "d_bias_hh_l0_reverse"
    with open_runs(before, after) as runs:
        (change,) = compare(*runs).worst["fault"]
    assert (change.case, change.tensor) == (worst.row.case, "d_bias_hh_l0_reverse")
    assert words(before, after) == {"fault": 1, "equal": 2}


def move_outputs(monkeypatch):
    """Move the first output of every call by eight times its noise: below a fault."""
    judge = module.judge_call

    def judge_moved(call):
        noise = judge(call).expected.noise["output"][0]
        call.output[0, 0] += 8 * noise
        return judge(call)

    monkeypatch.setattr(module, "judge_call", judge_moved)


def test_a_less_accurate_kernel_is_a_drift(tmp_path, monkeypatch):
    before, _ = record(tmp_path, "before", "make_tagger")
    move_outputs(monkeypatch)
    after, _ = record(tmp_path, "after", "make_tagger")
    assert words(before, after) == {"drift": 2, "equal": 1}
    assert words(after, before)["drift"] == 0


def test_other_inputs_are_reported_and_are_no_drift(tmp_path, monkeypatch):
    before, _ = record(tmp_path, "before", "make_other_each_time")
    move_outputs(monkeypatch)
    after, _ = record(tmp_path, "after", "make_other_each_time")
    assert words(before, after) == {"inputs": 2}
    with open_runs(before, after) as runs:
        assert compare(*runs).closeness.moved == 0
        assert max(size for _, size in relative_differences(*runs)) > 0.1


def test_tensors_of_other_inputs_do_not_count_as_moved(tmp_path):
    before, _ = record(tmp_path, "before", "make_other_each_time")
    after, _ = record(tmp_path, "after", "make_other_each_time")
    with open_runs(before, after) as runs:
        comparison = compare(*runs)
    assert +comparison.total == {"inputs": 2}
    assert comparison.closeness.moved == 0


def test_the_loss_is_judged_with_the_numbers_of_the_step_also_if_make_draws_others(tmp_path):
    file, _ = record(tmp_path, "run", "make_other_each_time")
    loss = rows_of(file)[f"model:{MODELS}:make_other_each_time.loss"]
    assert loss.verdict == "agree"
    assert 0 < loss.R < 16


def test_inputs_of_an_earlier_run_are_used_again(tmp_path):
    before, _ = record(tmp_path, "before", "make_other_each_time")
    after, _ = record(tmp_path, "after", "make_other_each_time", inputs=before)
    assert words(before, after) == {"equal": 2}


def test_inputs_of_a_token_model_are_used_again(tmp_path):
    before, _ = record(tmp_path, "before", "make_tagger")
    after, _ = record(tmp_path, "after", "make_tagger", inputs=before)
    assert words(before, after) == {"equal": 3}


def test_the_run_keeps_weights_batch_and_the_tensors_of_the_worst_call(tmp_path):
    file, worst = record(tmp_path, "run", "make_tagger")
    with open_runs(file) as (run,):
        inputs = dict(kept_tensors(run, f"model:{MODELS}:make_tagger.inputs"))
        tensors = dict(kept_tensors(run, worst.row.case))
    assert inputs["batch.0"].shape == (3, 4)
    assert inputs["weights.embed.weight"].shape == (50, 5)
    assert np.array_equal(tensors["output"], worst.judged.results["output"])
    assert np.array_equal(tensors["given.x"], worst.judged.problem.x)


def test_the_same_command_continues_after_an_interruption(tmp_path, monkeypatch):
    whole, _ = record(tmp_path, "whole", "make_tagger")
    judge, judged = module.judge_call, []

    def stop_at_the_second(call):
        judged.append(call.layer)
        if len(judged) == 2:
            raise KeyboardInterrupt
        return judge(call)

    monkeypatch.setattr(module, "judge_call", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path, "run", "make_tagger")
    file, _ = record(tmp_path, "run", "make_tagger")
    assert words(whole, file) == {"equal": 3}


@pytest.mark.parametrize(
    ("function", "note"),
    [
        ("make_float64", "a loss in float64 has no wider evaluation"),
        ("make_dropping", "the step draws random numbers"),
        ("make_nan", "the loss is nan in float64 as well"),
        ("make_cancelling", "in float64, R "),
    ],
)
def test_a_loss_that_cannot_be_judged_is_untrusted_and_says_why(tmp_path, function, note):
    file, _ = record(tmp_path, "run", function)
    row = rows_of(file)[f"model:{MODELS}:{function}.loss"]
    assert row.verdict == "untrusted"
    assert note in row.note


def test_a_model_of_nan_is_not_convicted(tmp_path):
    file, _ = record(tmp_path, "run", "make_nan")
    assert "fault" not in {row.verdict for row in rows_of(file).values()}


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        ("make_pair", "returned a tuple; expected (model, batch, loss)"),
        ("make_without_net", "Linear contains no nn.RNN, nn.GRU, nn.LSTM or cell"),
        ("make_without_batch", "is a NoneType; expected tensors"),
        ("make_vector_loss", "returned shape [5, 3, 6]; expected a tensor of one element"),
        ("make_number_loss", "returned float; expected a tensor of one element"),
        ("make_raising", "raised RuntimeError: input.size(-1) must be equal to input_size"),
        ("make_unused", "calls no recurrent module of the model"),
        ("make_own", "OwnLSTM overrides forward and does not call torch's"),
        ("make_complex", "batch is complex64; a run keeps real numbers only"),
        ("NOT_A_FUNCTION", "is a int; expected a function of (model, batch, loss)"),
        ("nothing", "has no 'nothing'; name a function in it"),
    ],
)
def test_what_cannot_be_recorded_is_rejected_in_one_sentence(tmp_path, capsys, function, sentence):
    name = f"{MODELS}:{function}"
    status, out, err = bptt_oracle(capsys, "record", "--model", name, "-o", str(tmp_path / "run"))
    assert (status, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_class_that_overrides_forward_is_reported(tmp_path, capsys):
    name = f"{MODELS}:make_half"
    status, _, err = bptt_oracle(capsys, "record", "--model", name, "-o", str(tmp_path / "run"))
    assert status == 0 and "HalfLSTM overrides forward, and only torch's call inside of it" in err


def test_inputs_of_another_model_are_rejected(tmp_path, monkeypatch):
    other, _ = record(tmp_path, "other", "make_tagger")
    with pytest.raises(CommandError, match="holds no weights and batch of support.recorded_models"):
        record(tmp_path, "run", "make_other_each_time", inputs=other)
    monkeypatch.setattr(recorded_models, "make_tagger", recorded_models.make_other_each_time)
    with pytest.raises(CommandError, match="record the same model"):
        record(tmp_path, "run", "make_tagger", inputs=other)


def test_a_run_of_other_weights_is_not_overwritten(tmp_path):
    record(tmp_path, "run", "make_other_each_time")
    with pytest.raises(CommandError, match="is a run of another plan"):
        record(tmp_path, "run", "make_other_each_time")


def test_options_that_need_or_exclude_a_model_are_rejected(tmp_path, capsys):
    run = str(tmp_path / "run")
    _, _, err = bptt_oracle(capsys, "record", "-o", run, "--inputs", run)
    assert "--inputs needs --model" in err
    _, _, err = bptt_oracle(capsys, "record", "-o", run, "--model", "a:b", "--path", "cpu-native")
    assert "--model replaces --path" in err
    _, _, err = bptt_oracle(capsys, "record", "-o", run, "--model", "a:b", "--cases", "200")
    assert "--model records your model; leave --cases out" in err


def test_the_results_can_be_compared_exported_and_shown(tmp_path, capsys):
    before, _ = record(tmp_path, "before", "make_tagger")
    shutil.copy(before, tmp_path / "after")
    for run in ("before", "after"):
        status, _, err = bptt_oracle(
            capsys, "export", str(tmp_path / run), "--json", str(tmp_path / f"{run}.json"),
            "--csv", str(tmp_path / f"{run}.csv"),
        )  # fmt: skip
        assert (status, err) == (0, "")
    assert "rnn.call0.layer1" in (tmp_path / "before.csv").read_text()
    page = tmp_path / "page.html"
    for end in ("", ".json"):
        pair = [str(tmp_path / f"{run}{end}") for run in ("before", "after")]
        status, out, err = bptt_oracle(capsys, "compare", *pair, "--html", str(page))
        assert (status, err) == (0, "")
        assert "3 results: 3 bitwise equal." in out
    assert "bitwise equal" in page.read_text()


def test_a_result_of_a_model_is_not_replayed_but_says_what_to_do(capsys):
    status, _, err = bptt_oracle(capsys, "replay", "model:file:make.rnn.call0.layer1")
    assert status == 2
    assert "is a call inside your own model; `bptt-oracle record --model` computes it again" in err


def test_kept_tensors_of_a_crafted_run_are_rejected(tmp_path):
    file, _ = record(tmp_path, "run", "make_tagger")
    with sqlite3.connect(file) as database:
        database.execute("UPDATE kept SET shape = '7' WHERE tensor = 'batch.0'")
    with pytest.raises(CommandError, match="cut off or changed"):
        record(tmp_path, "again", "make_tagger", inputs=file)
