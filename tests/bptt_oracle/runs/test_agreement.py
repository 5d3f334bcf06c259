"""PyTorch against the reference, on every path that this machine has."""

import pytest
from hypothesis import given

from bptt_oracle.cases.case import draw
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.implementations.torch_paths import torch_implementation
from bptt_oracle.runs.examine import examine
from support.drawn_cases import cases, pinned
from support.skips import skip_inapplicable
from torch_impl.execution import backend
from torch_impl.execution.catalogue import PACKS_IN_ONEDNN, PATHS, devices, exclusion_reason
from torch_impl.execution.dtypes import DTYPES
from torch_impl.execution.path import WrongKernel
from torch_impl.execution.run import run


@pytest.fixture(params=list(PATHS))
def path(request):
    """Each path; skipped, with the reason, if its device is missing."""
    chosen = PATHS[request.param]
    wanted = request.config.getoption("--path"), request.config.getoption("--device")
    if wanted[0] not in ("all", chosen.name) or wanted[1] not in ("auto", chosen.device):
        pytest.skip("left out by --path or --device")
    reason = devices()[chosen.device]
    if reason:
        skip_inapplicable(request, reason)
    return chosen


@pytest.fixture(params=["float32", "float64"])
def dtype(request, path):
    """Each tested dtype in which the path exists."""
    if request.config.getoption("--dtype") not in ("all", request.param):
        pytest.skip("left out by --dtype")
    reason = exclusion_reason(path, draw(pinned(layers=1)), request.param)
    if reason:
        skip_inapplicable(request, f"{path.name} in {request.param}: {reason}")
    return request.param


def cases_on(path):
    """Cases most of which exist on a path."""
    if path.kernel == "MkldnnRnn":
        return cases(cells=["LSTM"], layouts=["time", "batch", "unbatched"], plain=True)
    if path.implementation == "manual":
        return cases().map(lambda case: case._replace(bidirectional=False))
    return cases()


@pytest.mark.claim("A1", "A2", "A4", "A9", "P6", "D5")
def test_every_path_agrees_with_the_reference_in_value_and_gradient(path, dtype, record_cases):
    included = []

    @given(cases_on(path))
    def law(case):
        (result,) = examine(case, dtype, [torch_implementation(path)])
        included.append(result.verdict != "excluded")
        assert result.verdict in ("agree", "untrusted", "excluded"), result

    law()
    record_cases(path.name, sum(included))
    assert sum(included) > len(included) / 4


@pytest.mark.claim("A1", "A2", "A4", "A7", "A9", "P6", "X7")
def test_every_path_agrees_over_the_covering_design(path, dtype, record_cases):
    results = [
        result
        for case in corpus(43)
        for result in examine(case, dtype, [torch_implementation(path)])
    ]
    ran = [r for r in results if r.verdict != "excluded"]
    record_cases(path.name, len(ran))
    assert [r for r in ran if r.verdict != "agree"] == []
    assert len(ran) >= 2


@pytest.mark.claim("X7")
def test_where_no_operation_rounds_torch_is_right_to_the_last_bit(path, record_cases, request):
    counted = 0
    for seed in range(12):
        case = pinned(cell="RNN_RELU", T=3, cotangents=("output", "h_n"), regime="exact", seed=seed)
        (result,) = examine(case, "float32", [torch_implementation(path)])
        if result.verdict != "excluded":
            counted += 1
            assert result.R == 0, result
    if not counted:
        skip_inapplicable(request, f"{path.name}: the relu net does not exist there")
    record_cases(path.name, counted)


@pytest.mark.claim("P6")
@pytest.mark.skipif(not PACKS_IN_ONEDNN, reason="this torch passes no packed data to oneDNN")
@given(cases(cells=["LSTM"], layouts=["time"], plain=True))
def test_a_pack_of_equal_lengths_agrees_in_onednn(dense):
    case = dense._replace(layout="sorted", lengths=(dense.T,) * dense.B)
    for path in PATHS["cpu-onednn"], PATHS["cpu-onednn-again"]:
        (result,) = examine(case, "float32", [torch_implementation(path)])
        assert result.verdict in ("agree", "untrusted") and "Mkldnn" in result.kernel, result


def test_a_path_that_runs_another_kernel_than_its_own_raises(monkeypatch):
    problem = draw(pinned())
    native, fused = PATHS["cpu-native"], PATHS["cpu-onednn"]
    with pytest.raises(WrongKernel, match="should run MkldnnRnn"):
        run(native._replace(kernel="MkldnnRnn"), problem, "float64")
    monkeypatch.setattr(backend, "_FUSED", ("MkldnnRnn", "AddmmBackward"))
    with pytest.raises(WrongKernel, match="should run no fused kernel"):
        run(native, problem, "float64")
    assert run(fused, problem, "float32").kernel.startswith("MkldnnRnn")


def test_every_path_exists_for_some_cases_of_the_design():
    for path in PATHS.values():
        possible = [
            case
            for case in corpus(43)
            if any(not exclusion_reason(path, draw(case), dtype) for dtype in DTYPES)
        ]
        assert len(possible) >= 2, path.name
