"""Large cases: the expected cost, arrays on disk, noise in blocks, sums of whole steps."""

import math
import mmap
import re
from pathlib import Path

import numpy as np
import pytest

from bptt_oracle.cases.case import draw, parse
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.judging import large, noise, rounding, truth
from bptt_oracle.judging.cost import LARGE_CASE, Cost, describe, estimate, numbers_of
from bptt_oracle.judging.evaluation import evaluate
from bptt_oracle.judging.large import keep, slices_of
from bptt_oracle.judging.rounding import random_factors, sum_step_by_step
from reference.arithmetic import NUMPY
from support.command_line import bptt_oracle

ID = "LSTM.T6.B20.I5.H7.L2.bi.packed-uniform1.h0.output+h_n.generic.s1"
LARGE = "LSTM.T1000.B64.I512.H512.L3.bi.packed-uniform1.h0.output+h_n.generic.s2"


def test_the_cost_of_a_case_grows_as_its_sizes_do():
    case = parse(LARGE)
    whole = estimate(case, "float32", 1e10)
    assert numbers_of(case) > 10 * LARGE_CASE
    assert 600 < whole.seconds < 6000 and 5e9 < whole.memory < 24e9
    smaller = parse(LARGE.replace("T1000", "T250"))
    assert 3 < whole.seconds / estimate(smaller, "float32", 1e10).seconds < 5
    faster = estimate(case, "float32", 2e10).seconds  # products alone
    assert whole.seconds / 2 < faster < whole.seconds
    assert estimate(case, "float64", 1e10).seconds > 1.5 * whole.seconds
    assert estimate(case, "float64", 1e10).memory > 1.5 * whole.memory
    assert max(map(numbers_of, corpus(300))) < LARGE_CASE / 10, "no case of the corpus is large"


def test_a_cost_in_words():
    assert describe(Cost(0.01, 1e6)) == "1 s and 0.1 GB"
    assert describe(Cost(1200, 12.34e9)) == "20 min and 12.3 GB"
    assert describe(Cost(3 * 3600, 1e10)) == "3 h and 10.0 GB"


@pytest.mark.parametrize(
    "command",
    [["check", "--case", ID], ["record", "-o", "run", "--case", ID], ["replay", ID]],
    ids=lambda c: c[0],
)
def test_a_large_case_is_reported_before_the_work(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--path", "cpu-native", "--dtype", "float32"]
    small += ["--workers", "1"] * (command[0] != "replay")
    assert "is large" not in bptt_oracle(capsys, *command, *small)[2]
    monkeypatch.setattr("bptt_oracle.judging.cost.LARGE_CASE", 10)
    code, _, err = bptt_oracle(capsys, *command, *small)
    assert code == 0
    assert f"{ID} is large (" in err and "to judge it takes about 1 s and 0.1 GB in float32" in err


@pytest.mark.parametrize(
    "command", [["check", "--case"], ["record", "-o", "run", "--case"], ["replay"]]
)
def test_a_case_that_no_memory_holds_is_rejected_before_the_work(
    command, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    huge = "LSTM.T4096.B4096.I4096.H4096.L4096.time.h0.output.generic.s7"
    code, out, err = bptt_oracle(capsys, *command, huge)
    assert (code, out, err.count("\n")) == (2, "", 1) and not any(tmp_path.iterdir())
    assert re.search(r"s7 needs about \d+ GB, and this machine has \d+ GB; choose smaller", err)


def mapping_of(array):
    """The mapped file that an array is a part of."""
    while not isinstance(array, mmap.mmap):
        array = array.base
    return array


def test_large_arrays_are_kept_in_one_file_and_small_ones_are_not(monkeypatch):
    arrays = {
        "a": np.arange(12.0).reshape(3, 4).T,
        "none": np.zeros((0, 3)),
        "b": np.arange(5, dtype=np.longdouble),
        "c": np.array(3, dtype="f4"),
    }
    assert all(keep(arrays)[name] is array for name, array in arrays.items())
    monkeypatch.setattr(large, "LARGE", 100)
    kept = keep(arrays)
    for name, array in arrays.items():
        assert type(kept[name]) is np.ndarray and kept[name].dtype == array.dtype
        assert kept[name].shape == array.shape and (kept[name] == array).all()
    assert mapping_of(kept["a"]) is mapping_of(kept["b"]) and not kept["a"].flags.writeable
    objects = {"a": np.full(100, None, dtype=object)}
    assert keep(objects)["a"] is objects["a"]


def test_a_full_disk_is_an_exception(monkeypatch):
    monkeypatch.setattr(large, "LARGE", 8)
    with Path("/dev/full").open("r+b", 0) as full:
        monkeypatch.setattr(large.tempfile, "TemporaryFile", lambda: full)
        with pytest.raises(OSError, match="No space left"):
            keep({"a": np.arange(100.0)})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_truth_and_noise_are_the_same_from_files_and_in_blocks(dtype, monkeypatch):
    problem = draw(parse(ID))
    whole = truth.expect(problem, dtype)
    monkeypatch.setattr(large, "LARGE", 8)
    monkeypatch.setattr(noise, "slices_of", lambda size: slices_of(size, 13))
    blocked = truth.expect(problem, dtype)
    for name, value in whole.truth.items():
        assert (blocked.truth[name] == value).all()
        assert blocked.noise[name] == whole.noise[name]
        assert (blocked.elements[name].sizes == whole.elements[name].sizes).all()
        assert blocked.elements[name].total == pytest.approx(whole.elements[name].total, rel=1e-12)


def test_a_large_sum_takes_a_step_at_a_time_and_is_moved_as_much(monkeypatch):
    problem = draw(parse(ID))
    exact = evaluate(problem, np.float64)
    deviations, counts = [], []
    for limit in (rounding.LARGE, 0):
        monkeypatch.setattr(rounding, "LARGE", limit)
        errors, calls = [], [0]
        for seed in range(40):
            factors = random_factors(np.random.default_rng(seed), 2.0**-20, np.dtype(np.float64))

            def round_sum(total, factors=factors, calls=calls):
                calls[0] += 1
                return total * factors(total.shape)

            run = evaluate(problem, np.float64, (), sum_step_by_step(NUMPY, round_sum))
            errors.append(run["d_weight_ih_l0"] - exact["d_weight_ih_l0"])
        deviations.append(math.sqrt(np.mean(np.square(errors))))
        counts.append(calls[0])
    assert counts[1] < 0.8 * counts[0]
    assert 0.7 < deviations[1] / deviations[0] < 1.4


def test_factors_drawn_by_bits_are_as_those_drawn_by_index(monkeypatch):
    monkeypatch.setattr(rounding, "MANY", 0)
    values = random_factors(np.random.default_rng(1), 2.0**-24, np.dtype(np.float64))((100, 101))
    assert set(np.unique(values)) == {1 - 2.0**-24, 1 + 2.0**-24}
    assert abs((values > 1).mean() - 0.5) < 0.02
