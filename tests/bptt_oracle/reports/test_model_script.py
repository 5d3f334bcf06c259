"""The program of the worst call needs only torch and numpy, and repeats the recorded numbers."""

import re
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from bptt_oracle.inspection.judged_call import judge_call
from bptt_oracle.inspection.layer_calls import record_layer_calls
from bptt_oracle.inspection.record_model import WorstCall, row_of
from bptt_oracle.reports.model_script import model_script


def worst_of(model, loss):
    with record_layer_calls(model, with_gradients=True) as calls:
        loss().backward()
    judged = judge_call(calls[0])
    return WorstCall(row_of("model:file:make.rnn.call0.layer0", calls[0], judged), calls[0], judged)


def test_any_name_of_a_model_makes_a_program(tmp_path):
    name = 'model:q\\new"""\n:make.rnn.call0.layer0'
    worst = worst_of(*models()["GRU cell"])
    compile(model_script(worst._replace(row=worst.row._replace(case=name))), "worst.py", "exec")


def models():
    torch.manual_seed(0)
    x, lengths = torch.randn(4, 3, 5), [2, 4, 1]
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    lstm, gru = nn.LSTM(5, 6, bidirectional=True), nn.GRU(5, 6, bias=False).double()
    projected, relu = nn.LSTM(5, 6, proj_size=2), nn.RNN(5, 6, nonlinearity="relu")
    lstm_cell, gru_cell = nn.LSTMCell(5, 6), nn.GRUCell(5, 6)
    half = nn.GRU(5, 6).bfloat16()
    return {
        "packed": (lstm, lambda: lstm(packed)[0].data.pow(2).sum()),
        "float64": (gru, lambda: gru(x.double())[1].sum()),
        "projection": (projected, lambda: projected(x)[0].sum()),
        "relu": (relu, lambda: relu(x)[0].pow(2).sum()),
        "LSTM cell": (lstm_cell, lambda: lstm_cell(x[0])[1].sum()),
        "GRU cell": (gru_cell, lambda: gru_cell(x[0]).pow(2).sum()),
        "bfloat16": (half, lambda: half(x.bfloat16())[0].float().sum()),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", models())
def test_the_program_prints_the_errors_of_the_call_alone_and_in_the_model(tmp_path, name):
    worst = worst_of(*models()[name])
    script = tmp_path / "worst.py"
    script.write_text(model_script(worst))
    assert not re.search(r"import (bptt_oracle|reference|torch_impl)", script.read_text())
    run = subprocess.run(
        [sys.executable, "-I", script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    pairs = re.findall(
        r"(\w+) +error over the noise: alone ([\d.naif]+), in the model ([\d.naif]+)", run.stdout
    )
    assert {tensor for tensor, _, _ in pairs} == set(worst.judged.results)
    for tensor, alone, inside in pairs:
        assert float(alone) == pytest.approx(float(inside), abs=0.6), tensor
        assert float(alone) < 16


@pytest.mark.slow
def test_an_error_inside_the_model_is_seen_beside_the_call_alone(tmp_path):
    net, x = nn.GRU(5, 6), torch.randn(4, 3, 5)
    with record_layer_calls(net, with_gradients=True) as calls:
        net(x)[0].sum().backward()
    calls[0].gradients["bias_hh_l0"][0] += 1
    judged = judge_call(calls[0])
    script = tmp_path / "worst.py"
    script.write_text(
        model_script(WorstCall(row_of("model:m", calls[0], judged), calls[0], judged))
    )
    out = subprocess.check_output([sys.executable, "-I", script], text=True, cwd=tmp_path)
    (line,) = (line for line in out.splitlines() if line.startswith("d_bias_hh_l0 "))
    alone, inside = (float(n) for n in re.findall(r"(?:alone|model) ([\d.]+)", line))
    assert alone < 2 < 16 < inside
