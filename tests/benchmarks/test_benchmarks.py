"""The contestants do the same work, and the command runs."""

import json
import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from benchmarks.clock import FINE, PROCESSOR, WALL, run
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
from benchmarks.measures import compare_with_targets, measure_peers
from benchmarks.memory import measure_peak
from benchmarks.pages import CHANGES, measure_pages
from benchmarks.peers import PEERS, installed_peers, unroll, versions

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
    assert [(t["at most"], t["worst"], t["met by"]) for t in rows] == [
        (0.45, pytest.approx(0.9), "0 of 1"),
        (0.62, pytest.approx(0.9), "0 of 1"),
        (0.85, 0.9, "0 of 1"),
        (0.9, 0.9, "1 of 1"),
    ]


def test_the_target_of_least_is_that_of_wide_nets():
    rows = [
        {"size": (1, 1, 1, H), "dtype": "float64", "both / torch": 0.5}
        | {"both / floor": 9.0, "both / least": least_ratio}
        for H, least_ratio in ((64, 9.0), (128, 1.2), (256, 1.3))
    ]
    found = compare_with_targets(
        {"speed": rows, "packed": [], "linear": [], "memory": [], "throughput": []}
    )
    (target,) = [t for t in found if "least" in t["target"]]
    assert (target["at most"], target["worst"], target["met by"]) == (1.2, 1.3, "1 of 2")


@pytest.mark.parametrize("cell", GATES)
def test_the_equations_of_the_peers_are_those_of_the_reference(cell):
    workload = draw(cell, SIZE)
    expected = reference_net(workload).forward()[0]
    found = unroll(np, workload, workload.params, workload.x)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", GATES)
def test_every_installed_peer_computes_the_gradients_of_the_reference(cell):
    workload = draw(cell, SIZE)
    mine = reference_net(workload)
    expected = mine.backward(mine.forward())
    for name in installed_peers():
        peer = PEERS[name](workload)
        d_params, d_x = peer.backward(peer.forward())
        np.testing.assert_allclose(d_x, expected.x, rtol=1e-12, atol=1e-12)
        for parameter, d in expected.params.items():
            np.testing.assert_allclose(d_params[parameter], d, rtol=1e-12, atol=1e-12)


def test_a_peer_that_is_not_installed_has_no_rows(monkeypatch):
    monkeypatch.setattr("benchmarks.peers.PEERS", {"no_such_library": None})
    assert installed_peers() == []
    assert versions() == {"no_such_library": "not installed"}
    monkeypatch.setattr("benchmarks.measures.installed_peers", installed_peers)
    assert list(measure_peers(SIZE, 0.01)) == []


def test_time_is_measured_on_both_clocks():
    contestant = Contestant(lambda: time.sleep(0.02), lambda outcome: None)
    times = run(contestant)
    assert times.shape == (2, 2)
    assert times[WALL, 0] >= 19  # ms
    assert times[WALL, 1] >= times[WALL, 0]
    assert times[PROCESSOR, 1] < 19 or not FINE


@pytest.mark.slow
def test_fresh_memory_is_measured_under_every_setting():
    rows = list(measure_pages(SIZE, 0.01))
    assert [(row["cell"], row["memory"]) for row in rows] == list(product(GATES, CHANGES))
    assert all(0 < row["wall, ours / torch"] < np.inf for row in rows)


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
    page = (tmp_path / "page.md").read_text()
    rows_of_size = 2 + bool(installed_peers()) * (1 + len(installed_peers()))  # by table and peer
    assert page.count("| 4 3 2 5 |") == len(GATES) * rows_of_size
    assert "| wall ms | wall / torch |" in page


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
