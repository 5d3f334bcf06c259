"""Modules whose dropout changes while they are in use, and batches without rows."""

from dataclasses import replace

import pytest

from bptt_oracle.cases.case import draw
from bptt_oracle.judging.evaluation import evaluate
from support.drawn_cases import pinned
from support.nn_modules import CASES, agrees, call, differs, module_of
from torch_impl.execution import calls
from torch_impl.execution.catalogue import OPTIONAL_PATHS, PATHS
from torch_impl.execution.path import ANY, Path
from torch_impl.execution.run import dropout_masks, run

SMALL = [pinned(cell=cell, cotangents=("output", "h_n")) for cell in ("RNN_RELU", "GRU", "LSTM")]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_dropout_may_change_between_the_calls_of_one_module(case):
    problem = draw(case._replace(T=9, lengths=case.lengths and (4, 9, 2)))
    module = module_of(problem)
    previous = None
    for p in (0, 0.5, 0, 0.7, 1, 0):
        module.dropout = p
        current = problem._replace(net=replace(problem.net, dropout=p))
        masks = dropout_masks(current, "float32")
        calls.seed(current.seed, "cpu")
        results = call(module, current)
        agrees(results, current, masks=masks)
        if previous is not None:
            differs(results, previous[0], masks=previous[1])
        module.eval()
        agrees(call(module, problem), problem)
        module.train()
        previous = current, masks


ON_CPU = [
    Path("cpu-chosen", "cpu", "module", ANY),
    *[PATHS[name] for name in ("cpu-native", "cpu-cells", "cpu-manual")],
    OPTIONAL_PATHS["cpu-deterministic"],  # uninitialised memory is NaN there
]


@pytest.mark.parametrize(
    "path, bidirectional",
    [
        pytest.param(path, bidirectional, id=f"{path.name}-{bidirectional}")
        for path in ON_CPU
        for bidirectional in (False, True)
        if path.implementation != "manual" or not bidirectional
    ],
)
@pytest.mark.parametrize("layout", ["time", "batch"])
@pytest.mark.parametrize("case", SMALL, ids=lambda c: c.cell)
def test_a_batch_without_rows_has_gradients_of_zero(case, bidirectional, layout, path):
    problem = draw(case._replace(B=0, layout=layout, bidirectional=bidirectional))
    D, outer = 1 + bidirectional, (0, 5) if layout == "batch" else (5, 0)
    shapes = {"output": (*outer, 6 * D), "d_x": (*outer, 4)}
    shapes |= {name: (2 * D, 0, 6) for name in ("h_n", "c_n", "d_h_0", "d_c_0")}
    truth = evaluate(problem, "float64")
    assert not any(value.any() for value in truth.values())
    for dtype in ("float32", "float64", "bfloat16"):
        results = run(path, problem, dtype).results
        assert results.keys() == truth.keys()
        for name, value in results.items():
            assert value.shape == shapes.get(name, truth[name].shape) == truth[name].shape
            assert not value.any(), name


@pytest.mark.parametrize("case", CASES[::2], ids=lambda c: c.id)
def test_a_batch_without_rows_between_two_others_changes_nothing(case):
    problem = draw(case)
    module = module_of(problem)
    agrees(call(module, problem), problem)
    results = call(module, draw(case._replace(B=0)))
    assert not any(value.any() for value in results.values())
    agrees(call(module, problem), problem)
