"""Results of a run: lower dtypes, the kernel that torch chooses, strides and widths."""

import numpy as np
import pytest
import torch

from bptt_oracle.cases.case import draw, parse
from bptt_oracle.cases.corpus import boundaries, cases_for, corpus
from bptt_oracle.cli.options import Device, paths_of
from bptt_oracle.implementations.torch_paths import torch_implementation, torch_path
from bptt_oracle.judging import truth
from bptt_oracle.judging.judge import LIMIT
from bptt_oracle.runs.checking import examine_dtypes
from bptt_oracle.runs.examine import examine, judge_implementations
from support.drawn_cases import pinned
from torch_impl.execution import calls
from torch_impl.execution.catalogue import OPTIONAL_PATHS, PATHS
from torch_impl.execution.precision import stored
from torch_impl.execution.run import run
from torch_impl.execution.variants import VARIANTS, evaluate
from torch_impl.nets.modules import call_module

CASE = pinned(bidirectional=True, dropout=0.0, layout="packed", lengths=(2, 5, 1), strided=True)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_lower_dtypes_agree_with_truth(dtype, record_cases):
    chosen = [torch_path("cpu-native"), torch_path("cpu-cells")]
    verdicts = [r.verdict for case in corpus(10) for r in examine(case, dtype, chosen)]
    record_cases(f"cpu-native {dtype}", verdicts.count("agree"))
    assert "fault" not in verdicts and verdicts.count("agree") >= 12
    (outcome,) = judge_implementations(pinned(), dtype, chosen[:1])
    assert outcome.result.verdict == "agree" and 0.01 < outcome.result.R < LIMIT
    assert all(np.array_equal(stored(v.astype(float), dtype), v) for v in outcome.tensors.values())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_error_of_the_kernel_that_torch_chooses_is_a_fault_in_a_lower_dtype(monkeypatch, dtype):
    """torch 2.4.1 raises so: oneDNN has no LSTM in bfloat16 for a processor that lacks it."""

    def raises(*arguments):
        if torch._C._get_mkldnn_enabled():
            raise RuntimeError("could not create a primitive descriptor")
        return call_module(*arguments)

    chosen, _ = paths_of(Device.cpu, None)
    monkeypatch.setattr(calls, "call_module", raises)
    results = examine_dtypes(pinned(), [dtype], chosen)
    assert [r.path for r in results if r.verdict == "fault"] == ["cpu-plain"]


def test_products_in_a_lower_dtype_are_a_fault_where_the_path_does_not_lower_it():
    lower = torch_path("cpu-autocast-bfloat16")
    (right,) = examine(pinned(), "float32", [lower])
    (wrong,) = examine(pinned(), "float32", [lower._replace(precision=lambda dtype: dtype)])
    assert (right.verdict, wrong.verdict) == ("agree", "fault") and wrong.R > 1000


def test_a_slope_of_relu_that_rounding_decides_is_not_a_fault(monkeypatch):
    case = parse("RNN_RELU.T1.B6.I2.H5.L2.bi.tied.batch.h0.strided.h_n.generic.s193")
    path = OPTIONAL_PATHS["cpu-autocast-bfloat16"]
    (result,) = examine(case, "float32", [torch_implementation(path)])
    assert result.verdict == "agree"
    monkeypatch.setattr(truth, "NEAR_ZERO", 0)  # no run is bent at the kink
    (without,) = examine(case, "float32", [torch_implementation(path)])
    assert without.R > 2 * result.R, "rounding decides a slope, and the bent runs show it"


def test_the_cotangents_of_a_strided_case_are_not_contiguous(monkeypatch):
    seen = []

    def spy(forward_pass, leaves, cotangents):
        seen.extend(cotangents)
        return evaluate(forward_pass, leaves, cotangents)

    monkeypatch.setitem(VARIANTS, "", VARIANTS[""]._replace(evaluate=spy))
    run(PATHS["cpu-native"], draw(pinned(strided=True)), "float32")
    assert len(seen) == 3 and not any(value.is_contiguous() for value in seen)
    assert all(value.storage_offset() for value in seen), (
        "a strided tensor has an offset in its storage"
    )


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_result_in_another_dtype_than_the_net_s_raises(wrong):
    def widened(forward):
        def wrapped(call):
            output, final = forward(call)
            return (output.double(), final) if wrong == 0 else (output, [s.double() for s in final])

        return wrapped

    with pytest.raises(TypeError, match="of a float32 net has dtype torch.float64"):
        run(PATHS["cpu-native"], draw(CASE), "float32", wrap=widened)


def test_widths_on_both_sides_of_cudnn_kernels_are_cases_only_for_cuda(record_cases):
    assert len(set(boundaries())) == 32 and {c.H for c in boundaries()} >= {128, 129, 384, 385}
    assert cases_for(5, 0, ["cpu-native"]) == corpus(5)
    assert cases_for(5, 0, ["cpu-native", "cuda-tf32"]) == corpus(5) + boundaries()
    widest = [max(boundaries(), key=lambda c: (c.cell == cell, c.H)) for cell in ("GRU", "LSTM")]
    for case in widest:
        (result,) = examine(case, "float32", [torch_implementation(PATHS["cpu-native"])])
        assert (result.verdict, case.H) == ("agree", 385)
    record_cases("cpu-native", len(widest))
