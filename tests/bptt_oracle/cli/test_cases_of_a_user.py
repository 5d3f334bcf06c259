"""--case and --cases-file: what they exclude, what is reported, and continuing a record."""

import pytest

from support.command_line import bptt_oracle

ID = "LSTM.T4.B3.I2.H3.L1.packed-uniform1.h0.output+h_n.generic.s1"
OTHER = "GRU.T3.B2.I2.H3.L1.time.h0.output.generic.s2"
ONE_PATH = ("--path", "cpu-native", "--workers", "1", "--dtype", "float32")


def test_cases_of_both_options_are_judged_once(capsys, tmp_path):
    (tmp_path / "ids").write_text(f"{OTHER}\n{ID}\n")
    options = ("--case", ID, "--cases-file", str(tmp_path / "ids"))
    code, out, _ = bptt_oracle(capsys, "check", *options, *ONE_PATH)
    assert code == 0 and out.count(f"  {ID} --path") == out.count(f"  {OTHER} --path") == 1
    assert "3 results in" in out, "and one of an invalid call"


@pytest.mark.parametrize("command", [("check",), ("record", "-o", "run")], ids=" ".join)
@pytest.mark.parametrize(
    "options, message",
    [
        (("--case", "x"), "'x' is not a case id"),
        (("--cases-file", "absent"), "absent cannot be read: No such file or directory"),
        (("--cases-file", "wrong"), "wrong line 2: 'x' is not a case id"),
        (("--case", ID, "--cases", "3"), "replace the corpus; leave --cases out"),
        (("--case", ID, "--seed", "0"), "replace the corpus; leave --seed out"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_status_2(
    capsys, tmp_path, monkeypatch, command, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong").write_text(f"{ID}\nx\n")
    code, out, err = bptt_oracle(capsys, *command, *options, *ONE_PATH)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", [("check",), ("record", "-o", "run")], ids=" ".join)
def test_a_case_that_no_path_can_compute_is_named(capsys, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    cell = "LSTM_PEEPHOLE.T3.B2.I2.H3.L1.time.h0.output.generic.s1"
    code, _, err = bptt_oracle(capsys, *command, "--case", cell, *ONE_PATH)
    assert code == 2 and f"{cell} does not exist on cpu-native in float32" in err


def test_another_list_of_cases_is_another_plan(capsys, tmp_path):
    run = str(tmp_path / "run")
    assert bptt_oracle(capsys, "record", "-o", run, "--case", ID, *ONE_PATH)[0] == 0
    assert bptt_oracle(capsys, "record", "-o", run, "--case", ID, *ONE_PATH)[0] == 0
    code, _, err = bptt_oracle(capsys, "record", "-o", run, "--case", OTHER, *ONE_PATH)
    assert code == 2 and "own cases" in err


def test_tensors_of_own_cases_are_kept(capsys, tmp_path):
    run, options = str(tmp_path / "run"), ("--case", ID, "--values", ID, "--values", OTHER)
    code, _, err = bptt_oracle(capsys, "record", "-o", run, *options, *ONE_PATH)
    assert code == 0 and "2 results written" in err


def test_an_implementation_judges_own_cases_or_names_the_nearest(capsys):
    name = "support.written_implementations:numpy_lstm"
    options = ("--implementation", name, "--workers", "1", "--dtype", "float64")
    code, out, err = bptt_oracle(capsys, "check", *options, "--case", ID)
    assert code == 0, (out, err)
    assert "ran 1 of 1 case, " in out
    code, _, err = bptt_oracle(capsys, "check", *options, "--case", ID.replace("packed", "sorted"))
    assert code == 2 and f"cannot compute {ID.replace('packed', 'sorted')}: the case has" in err
    assert f"an option that it lacks: layout, lengths; it can compute {ID}" in err
    code, _, err = bptt_oracle(capsys, "check", *options, "--case", OTHER)
    assert code == 2 and "it computes LSTM, and the case is GRU\n" in err
