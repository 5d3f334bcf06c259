"""The contestants do the same work, and the command runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.contestants import (
    GATES,
    Contestant,
    Size,
    draw,
    floor,
    least,
    reference_net,
    torch_net,
)
from benchmarks.measures import compare_with_targets
from benchmarks.memory import measure_peak

SIZE = Size(4, 3, 2, 5)


@pytest.mark.parametrize("half_padding", [False, True])
@pytest.mark.parametrize("cell", GATES)
def test_the_reference_and_torch_compute_the_same_output_and_gradients(cell, half_padding):
    problem = draw(cell, SIZE, half_padding=half_padding)
    mine, torch = reference_net(problem), torch_net(problem)
    outcome, output = mine.forward(), torch.forward()
    grads, expected = mine.backward(outcome), torch.backward(output)
    found = [outcome[0], grads.x] if not half_padding else [outcome[0].data, grads.x.data]
    wanted = [output.detach(), expected[0], *expected[1:]]
    for f, w in zip([*found, *grads.params.values()], wanted, strict=True):
        np.testing.assert_allclose(f, w.numpy(), rtol=1e-12, atol=1e-12)


def test_the_floor_is_the_six_products_with_the_shapes_of_the_gradients():
    problem = draw("LSTM", SIZE)
    products: Contestant = floor(problem)
    d_x, d_weight_ih, d_weight_hh = products.backward(products.forward())
    assert d_x.shape == (SIZE.T * SIZE.B, SIZE.I)
    assert d_weight_ih.shape == problem.params["weight_ih_l0"].shape
    assert d_weight_hh.shape == problem.params["weight_hh_l0"].shape


@pytest.mark.parametrize("cell", GATES)
def test_least_calls_exp_and_tanh_as_often_as_the_reference(cell, monkeypatch):
    calls = []
    for name in ("exp", "tanh"):
        function = getattr(np, name)

        def counted(a, out=None, name=name, function=function):
            calls.append((name, a.size))
            return function(a, out=out)

        monkeypatch.setattr(np, name, counted)
    least(draw(cell, SIZE)).forward()
    products = sorted(calls)
    calls.clear()
    reference_net(draw(cell, SIZE)).forward()
    assert products == sorted(calls)


def test_half_padding_keeps_about_half_of_the_rows():
    lengths = draw("GRU", Size(100, 32, 1, 1), half_padding=True).lengths
    assert lengths[0] == 100
    assert lengths.mean() == pytest.approx(50.5, abs=0.5)


def test_a_missed_target_is_reported():
    row = {"size": SIZE, "dtype": "float64", "both / torch": 0.9, "both / floor": 2.0}
    rows = compare_with_targets(
        {"speed": [row], "packed": [], "linear": [], "memory": [], "throughput": []}
    )
    assert [(t["worst"], t["met by"]) for t in rows] == [
        (pytest.approx(0.9), "0 of 1"),
        (0.9, "0 of 1"),
    ]


@pytest.mark.slow
def test_the_command_prints_its_tables_and_writes_every_row(tmp_path):
    file = tmp_path / "rows.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--quick",
        "--size",
        "4,3,2,5",
        "--seconds",
        "0.01",
        "--json",
        file,
    ]
    command += ["--markdown", tmp_path / "page.md"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "both / torch" in done.stdout
    found = json.loads(file.read_text())
    rows = found["speed"]
    assert [row["cell"] for row in rows] == list(GATES)
    assert all(0 < row["both / torch"] < np.inf for row in rows)
    assert all(0 < row["results"] < 12 * row["number"] for row in found["throughput"])
    assert (tmp_path / "page.md").read_text().count("| 4 3 2 5 |") == len(GATES)


@pytest.mark.slow
def test_the_peak_is_what_the_passes_need_however_much_this_process_holds():
    tape = 100 * 32 * (4 * 64 + 64) * 8 / 2**20  # gates and tanh(c), MB
    assert (
        tape < measure_peak("reference_net", "LSTM", Size(100, 32, 16, 64), "float64") < 10 * tape
    )


def test_the_floor_multiplies_once_for_all_inputs_and_once_for_every_step():
    calls = []

    class Counted(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, **options):
            calls.append(tuple(value.shape for value in inputs))
            return getattr(ufunc, method)(*map(np.asarray, inputs), **options)

    problem = draw("GRU", SIZE)
    params = {name: value.view(Counted) for name, value in problem.params.items()}
    products = floor(problem._replace(params=params, x=problem.x.view(Counted)))
    T, B, I, H = SIZE  # noqa: E741
    outcome = products.forward()
    assert calls == [((T * B, I), (I, 3 * H)), *[((B, H), (H, 3 * H))] * T]
    calls.clear()
    products.backward(outcome)  # the last product has no counted operand
    whole = [((T * B, 3 * H), (3 * H, I)), ((3 * H, T * B), (T * B, I))]
    assert calls == [*[((B, 3 * H), (3 * H, H))] * T, *whole]


def test_all_arrays_of_a_workload_have_the_dtype():
    problem = draw("LSTM", SIZE, np.float32, half_padding=True)
    arrays = [problem.x, problem.d_output, *problem.params.values()]
    assert {value.dtype for value in arrays} == {np.dtype("float32")}


def test_the_backward_pass_of_least_is_that_of_the_floor():
    problem = draw("LSTM", SIZE)
    found, wanted = (make(problem).backward(None) for make in (least, floor))
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(f, w)
