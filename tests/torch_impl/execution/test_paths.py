"""Execution paths: each takes the road it names, tells the same numbers, and can be told wrong."""

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bptt_oracle.cases.case import draw, parse
from bptt_oracle.cases.corpus import boundaries, cases_for, corpus
from bptt_oracle.cli.options import Device, paths_of
from bptt_oracle.judging.judge import LIMIT
from bptt_oracle.runs.examine import answers, examine, examine_all
from support.drawn_cases import cases, pinned
from torch_impl.execution import calls, paths
from torch_impl.execution.backend import ANY, compiler, flags, kernel
from torch_impl.execution.calls import call_of, larger, smaller
from torch_impl.execution.dtypes import DTYPES, UNIT_ROUNDOFF, array_of, stored
from torch_impl.execution.paths import (
    MORE,
    PATHS,
    Path,
    WrongKernel,
    arithmetic,
    dropout_masks,
    excluded,
    path_named,
    run,
    unit_roundoff,
)
from torch_impl.execution.variants import plainly
from torch_impl.nets.modules import call_module, new_module

CPU = [p for p in MORE.values() if p.device == "cpu" and p.variant != "compiled"]
SAME_BITS = [p for p in CPU if not p.variant.startswith("autocast")]
PLAIN = Path("plain", "cpu", "module", ANY)
CASE = pinned(bidirectional=True, dropout=0.0, layout="packed", lengths=(2, 5, 1), strided=True)


@pytest.mark.parametrize("path", CPU, ids=lambda p: p.name)
def test_every_way_agrees_with_truth(path, record_cases):
    told = [r for case in corpus(8) for r in examine(case, "float32", [path])]
    assert {r.verdict for r in told} <= {"agree", "excluded", "untrusted"}
    ran = sum(r.verdict == "agree" for r in told)
    record_cases(path.name, ran)
    assert ran >= 3


@pytest.mark.parametrize("path", SAME_BITS, ids=lambda p: p.name)
@pytest.mark.parametrize("case", [CASE, pinned(), pinned(cell="GRU", dropout=0.3)], ids=str)
def test_a_way_gives_the_same_bits_as_a_plain_call(path, case):
    problem = draw(case)
    plain, other = (run(p, problem, "float32") for p in (PLAIN, path))
    assert plain.kernel == other.kernel
    if path.variant == "inference" and plain.kernel != "native":
        pytest.skip("oneDNN's inference is another kernel than its training: other bits")
    for name, value in plain.results.items():
        assert value.tobytes() == other.results[name].tobytes(), name


def off(result):
    output, final = result
    return output * 1.001, final


def functional_is_off(forward):
    def way(call):
        own = all(isinstance(p, torch.nn.Parameter) for p in call.params.values())
        return forward(call) if own else off(forward(call))

    return way


def eval_stays(forward):
    seen = []

    def way(call):
        seen.append(call.training)
        return forward(call) if all(seen) else off(forward(call))

    return way


def third_call_is_off(forward):
    seen = []

    def way(call):
        seen.append(call)
        return forward(call) if len(seen) < 3 else off(forward(call))

    return way


def inference_is_off(forward):
    return lambda c: off(forward(c)) if torch.is_inference_mode_enabled() else forward(c)


def subsets_are_off(forward):
    def way(call):
        whole = all(p.requires_grad for p in call.params.values())
        return forward(call) if whole else off(forward(call))

    return way


def determinism_is_off(forward):
    asked = torch.are_deterministic_algorithms_enabled
    return lambda call: off(forward(call)) if asked() else forward(call)


def threads_are_off(forward):
    return lambda call: off(forward(call)) if torch.get_num_threads() > 1 else forward(call)


@pytest.mark.parametrize(
    "name, mistake",
    [
        ("cpu-functional", functional_is_off),
        ("cpu-eval", eval_stays),
        ("cpu-thrice", third_call_is_off),
        ("cpu-inference", inference_is_off),
        ("cpu-subsets", subsets_are_off),
        ("cpu-deterministic", determinism_is_off),
        ("cpu-threads", threads_are_off),
    ],
)
def test_a_mistake_that_only_one_way_brings_out_is_seen_in_that_way_alone(name, mistake):
    problem = draw(CASE)
    torch.set_num_threads(1)
    right = run(PLAIN, problem, "float32").results["output"]
    assert np.array_equal(right, run(PLAIN, problem, "float32", (), mistake).results["output"])
    wrong = run(path_named(name), problem, "float32", (), mistake).results["output"]
    assert not np.allclose(right, wrong, rtol=1e-4, atol=0)


def test_a_net_that_keeps_the_weights_it_first_saw_is_seen_when_called_again():
    def keeps(forward):
        kept = {}

        def way(call):
            copies = {
                n: kept.setdefault(id(p), (p, torch.nn.Parameter(p.detach().clone())))[1]
                for n, p in call.params.items()
            }
            return forward(call._replace(params=copies))

        return way

    problem = draw(CASE)
    right = run(PATHS["cpu-native"], problem, "float64").results["output"]
    for name, unseen in (("cpu-native", True), ("cpu-native-again", False)):
        found = run(PATHS[name], problem, "float64", (), keeps).results["output"]
        assert np.allclose(found, right, rtol=1e-9, atol=0) is unseen


def test_the_second_gradient_of_a_graph_is_the_one_that_is_judged():
    def second_is_off(forward):
        def way(call):
            output, final = forward(call)
            seen = []
            if output.requires_grad:
                output.register_hook(lambda d: seen.append(d) or (d if len(seen) == 1 else 2 * d))
            return output, final

        return way

    problem = draw(CASE)
    once = run(PATHS["cpu-native"], problem, "float32", (), second_is_off).results["d_x"]
    twice = run(PATHS["cpu-native-again"], problem, "float32", (), second_is_off).results["d_x"]
    assert np.array_equal(once, run(PATHS["cpu-native"], problem, "float32").results["d_x"])
    assert not np.allclose(once, twice)


@pytest.mark.parametrize(
    "name, where, what, instead",
    [
        ("cpu-autocast-bfloat16", torch, "autocast", lambda *_, **__: contextlib.nullcontext()),
        ("cpu-deterministic", torch, "set_deterministic_debug_mode", lambda _: None),
        ("cpu-threads", torch, "set_num_threads", lambda _: None),
        ("cpu-native", torch.backends.mkldnn, "flags", lambda **_: contextlib.nullcontext()),
    ],
)
def test_a_road_not_taken_is_told(monkeypatch, name, where, what, instead):
    torch.set_num_threads(1)
    monkeypatch.setattr(where, what, instead)
    with pytest.raises(WrongKernel, match=name):
        run(path_named(name), draw(pinned(state=False)), "float32")


@pytest.mark.parametrize("path", CPU, ids=lambda p: p.name)
def test_every_switch_is_put_back_even_when_a_call_fails(path):
    def fails(forward):
        def way(call):
            raise ZeroDivisionError

        return way

    def state():
        return (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch._C._get_mkldnn_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.is_inference_mode_enabled(),
        )

    before = state()
    with pytest.raises(ZeroDivisionError):
        run(path, draw(CASE), "float32", (), fails)
    assert state() == before


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_lower_types_agree_with_truth_and_a_mistake_in_them_is_convicted(dtype, record_cases):
    chosen = [PATHS["cpu-native"], PATHS["cpu-cells"]]
    words = [r.verdict for case in corpus(10) for r in examine(case, dtype, chosen)]
    record_cases(f"cpu-native {dtype}", words.count("agree"))
    assert "fault" not in words and words.count("agree") >= 12
    ((honest, tensors, _),) = answers(pinned(), dtype, chosen[:1])
    assert honest.verdict == "agree" and 0.01 < honest.R < LIMIT
    assert all(np.array_equal(stored(v.astype(float), dtype), v) for v in tensors.values())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_torch_raises_by_its_own_choice_of_kernel_is_met_in_a_lower_type(monkeypatch, dtype):
    """So in torch 2.4.1: oneDNN has no LSTM in bfloat16 for a processor without instructions."""

    def raises(*given):
        if torch._C._get_mkldnn_enabled():
            raise RuntimeError("could not create a primitive descriptor")
        return call_module(*given)

    chosen, _ = paths_of(Device.cpu, None)
    monkeypatch.setattr(calls, "call_module", raises)
    results = examine_all(pinned(), [dtype], chosen)
    assert [r.path for r in results if r.verdict == "fault"] == ["cpu-plain"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_kernel_that_torch_chooses_is_no_other_path_in_a_wider_type(dtype):
    (result,) = examine(pinned(), dtype, [PATHS["cpu-plain"]])
    assert result.verdict == "excluded" and "is cpu-onednn or cpu-native" in result.note


def test_products_in_a_lower_type_are_convicted_where_the_type_is_not_lower(monkeypatch):
    lower = MORE["cpu-autocast-bfloat16"]
    (right,) = examine(pinned(), "float32", [lower])
    monkeypatch.setattr("bptt_oracle.runs.examine.arithmetic", lambda path, dtype: dtype)
    (wrong,) = examine(pinned(), "float32", [lower])
    assert (right.verdict, wrong.verdict) == ("agree", "fault") and wrong.R > 1000


def test_a_slope_of_relu_that_rounding_decides_is_no_fault():
    case = parse("RNN_RELU.T1.B6.I2.H5.L2.bi.tied.batch.h0.strided.h_n.generic.s193")
    (result,) = examine(case, "float32", [MORE["cpu-autocast-bfloat16"]])
    assert result.verdict == "agree" and result.R > 0.5  # 47 with either side of the kink alone


@given(cases(), st.sampled_from(list(DTYPES)))
def test_a_number_is_stored_as_torch_stores_it_and_again_the_same(case, dtype):
    x = draw(case).x
    once = stored(x, dtype)
    assert np.array_equal(stored(once.astype(np.float64), dtype), once)
    assert np.array_equal(array_of(torch.from_numpy(once).to(DTYPES[dtype])), once)
    # numbers too small for the type apart, the change is at most one unit roundoff
    big = np.abs(x) > 1e-4
    assert np.all(np.abs(once - x)[big] <= UNIT_ROUNDOFF[dtype] * np.abs(x)[big])


def test_a_path_has_the_unit_roundoff_of_its_products():
    assert unit_roundoff(PATHS["cpu-native"], "float64") == 2.0**-53
    assert unit_roundoff(PATHS["cuda-tf32"], "float32") == 2.0**-11
    assert unit_roundoff(MORE["cpu-autocast-bfloat16"], "float32") == 2.0**-8
    assert unit_roundoff(PATHS["cpu-native"], "float16") == 2.0**-11
    assert arithmetic(MORE["cuda-autocast-float16"], "float32") == "float16"


def test_names_are_unique_and_every_way_of_the_processor_is_one_of_cuda_but_threads():
    assert not PATHS.keys() & MORE.keys()
    ways = {
        d: {p.variant for p in MORE.values() if p.device == d and p.variant}
        for d in ("cpu", "cuda")
    }
    assert ways["cpu"] - ways["cuda"] == {"threads"} and ways["cuda"] < ways["cpu"]


# What can be tried of CUDA on a machine that has none: its switches, its cases, its refusals.


@pytest.mark.parametrize("name, tf32", [("cuda-tf32", True), ("cuda-cudnn", False)])
def test_the_switches_of_cuda_are_set_and_put_back(name, tf32):
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    say = hasattr(matmul, "fp32_precision")  # torch 2.9 and later

    def state():
        if say:
            return cudnn.enabled, cudnn.rnn.fp32_precision, matmul.fp32_precision
        return cudnn.enabled, cudnn.allow_tf32, matmul.allow_tf32

    before, meant = state(), ("tf32" if tf32 else "ieee") if say else tf32
    with flags(PATHS[name]):
        assert state() == (True, meant, meant)
    with flags(PATHS["cuda-native"]):
        assert not cudnn.enabled
    assert state() == before


def test_paths_that_cuda_lacks_say_why(monkeypatch):
    drops, deterministic = draw(pinned(dropout=0.3)), MORE["cuda-deterministic"]
    assert "masks" in excluded(PATHS["cuda-cudnn"], drops, "float32")
    assert "TF32" in excluded(PATHS["cuda-tf32"], draw(pinned()), "float64")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    assert "CUBLAS_WORKSPACE_CONFIG" in excluded(deterministic, draw(pinned()), "float32")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    assert not excluded(deterministic, draw(pinned()), "float32")


def test_widths_on_both_sides_of_cudnn_kernels_are_cases_for_cuda_alone(record_cases):
    assert len(set(boundaries())) == 32 and {c.H for c in boundaries()} >= {128, 129, 384, 385}
    assert cases_for(5, 0, ["cpu-native"]) == corpus(5)
    assert cases_for(5, 0, ["cpu-native", "cuda-tf32"]) == corpus(5) + boundaries()
    widest = [max(boundaries(), key=lambda c: (c.cell == cell, c.H)) for cell in ("GRU", "LSTM")]
    for case in widest:
        (result,) = examine(case, "float32", [PATHS["cpu-native"]])
        assert (result.verdict, case.H) == ("agree", 385)
    record_cases("cpu-native", len(widest))


@pytest.mark.parametrize("kind", ["cells", "manual", "module"])
def test_compiled_code_agrees_with_truth(kind, request, monkeypatch):
    if request.config.getoption("--hypothesis-profile") != "nightly":
        pytest.skip("compiling takes minutes: run with --hypothesis-profile=nightly")
    if not compiler():
        pytest.skip("there is no C++ compiler on this machine")
    case = pinned(cell="GRU", T=2, layers=1, cotangents=("output", "h_n"))
    (result,) = examine(case, "float32", [path_named(f"cpu-{kind}-compiled")])
    assert result.verdict == "agree", result.note
    monkeypatch.setattr(torch, "compile", lambda f, **_: f)
    with pytest.raises(WrongKernel, match="compiled"):
        run(path_named(f"cpu-{kind}-compiled"), draw(case), "float32")


def test_dropout_is_the_same_in_every_way():
    problem = draw(pinned(cell="RNN_TANH", dropout=0.5, cotangents=("output",)))
    masks = dropout_masks(problem, "float32")
    plain = run(PLAIN, problem, "float32", masks).results["output"]
    for path in SAME_BITS:
        assert np.array_equal(run(path, problem, "float32", masks).results["output"], plain)


def test_a_path_is_left_out_for_no_more_than_it_lacks():
    plain, projected = draw(pinned()), draw(pinned(P=2))
    assert not excluded(PATHS["cpu-cells"], plain, "float32")
    assert "projection" in excluded(PATHS["cpu-cells"], projected, "float32")
    assert not excluded(PATHS["cpu-native"], projected, "float64")
    for p, reason in ((0.0, ""), (0.3, "masks"), (1.0, "")):
        said = excluded(PATHS["cuda-cudnn"], draw(pinned(dropout=p)), "float32")
        assert (reason in said) if reason else not said
    unequal = draw(pinned(layout="packed", lengths=(2, 5, 1)))
    assert "unequal" in excluded(PATHS["cpu-onednn"], unequal, "float32")
    drops, lower = draw(pinned(dropout=0.3)), MORE["cpu-autocast-bfloat16"]
    assert "masks" in excluded(lower, drops, "float32") and not excluded(lower, plain, "float32")
    assert not excluded(PATHS["mps"], plain, "float32")
    assert "float64" in excluded(PATHS["mps"], plain, "float64")


def test_the_cotangents_of_a_strided_case_are_not_contiguous(monkeypatch):
    seen = []

    def spy(attempt, leaves, cotangents):
        seen.extend(cotangents)
        return plainly(attempt, leaves, cotangents)

    monkeypatch.setattr(paths, "plainly", spy)
    run(PATHS["cpu-native"], draw(pinned(strided=True)), "float32")
    assert len(seen) == 3 and not any(value.is_contiguous() for value in seen)
    assert all(value.storage_offset() for value in seen), (
        "nor do they begin where their memory does"
    )


@pytest.mark.parametrize(
    "other, rows, layout, lengths, shape, others",
    [
        (larger, 4, "time", (), (6, 4, 4), (6, 1, 1, 1)),
        (larger, 4, "batch", (), (4, 6, 4), (6, 1, 1, 1)),
        (larger, 4, "packed", (2, 5, 1), (6, 4, 4), (3, 6, 2, 1)),
        (smaller, 2, "time", (), (4, 2, 4), None),
        (smaller, 2, "batch", (), (2, 4, 4), None),
        (smaller, 2, "packed", (2, 5, 1), (4, 2, 4), (2, 4)),
    ],
)
def test_the_calls_before_have_a_step_and_a_row_more_or_less_and_other_numbers(
    other, rows, layout, lengths, shape, others
):
    problem = draw(pinned(layout=layout, lengths=lengths))
    call = call_of(problem, lambda value, strided=False: torch.from_numpy(value.copy()), [])
    before = other(call)
    assert (before.x.shape, before.lengths) == (shape, others)
    assert [s.shape for s in before.state] == [(2, rows, 6)] * 2
    pairs = [(call.x, before.x), *zip(call.state, before.state, strict=True)]
    for meant, value in pairs:
        both = tuple(slice(min(n, m)) for n, m in zip(meant.shape, value.shape, strict=True))
        assert not torch.isclose(value[both], meant[both]).any()


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_answer_in_another_type_than_the_net_s_is_refused(wrong):
    def widened(forward):
        def answer(call):
            output, final = forward(call)
            return (output.double(), final) if wrong == 0 else (output, [s.double() for s in final])

        return answer

    with pytest.raises(TypeError, match="of a float32 net came as torch.float64"):
        run(PATHS["cpu-native"], draw(CASE), "float32", wrap=widened)


def test_the_smallest_call_has_no_smaller_one():
    problem = draw(pinned(T=1, B=1, layout="unbatched"))
    call = call_of(problem, lambda value, strided=False: torch.from_numpy(value.copy()), [])
    assert smaller(call).x.shape == call.x.shape


def test_the_second_call_is_one_of_the_same_module(monkeypatch):
    made = []
    monkeypatch.setattr(calls, "new_module", lambda *a: made.append(new_module(*a)) or made[-1])
    run(PATHS["cpu-native-again"], draw(CASE), "float32")
    assert len(made) == 1


@pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, "rnn"), reason="this torch does not say what precision it has"
)
def test_another_precision_than_the_path_asked_for_is_told():
    value = torch.ones(2, requires_grad=True) * 3
    with flags(PATHS["cuda-tf32"]), pytest.raises(WrongKernel, match="ieee, but cuDNN says tf32"):
        kernel(PATHS["cuda-native"], [value])


def test_the_call_before_has_its_gradient_taken_too_and_the_judged_one_two():
    taken = []

    def watches(forward):
        def way(call):
            output, final = forward(call)
            hooked = []
            taken.append(hooked)
            if output.requires_grad:
                output.register_hook(hooked.append)
            return output, final

        return way

    run(PATHS["cpu-native-again"], draw(CASE), "float32", (), watches)
    assert [len(hooked) for hooked in taken] == [1, 0, 2]


def test_the_calls_before_have_other_weights_and_the_judged_one_its_own():
    seen = []

    def watches(forward):
        def way(call):
            seen.append({name: p.detach().clone() for name, p in call.params.items()})
            return forward(call)

        return way

    problem = draw(CASE)
    run(PATHS["cpu-native-again"], problem, "float64", (), watches)
    replaced, updated, judged = seen
    for name, value in problem.params.items():
        meant = torch.from_numpy(value)
        assert torch.equal(judged[name], meant)
        assert not any(torch.isclose(w[name], meant).any() for w in (replaced, updated))


def test_subsets_ask_for_every_other_leaf_and_then_for_those_left_out():
    asked = []

    def watches(forward):
        def way(call):
            asked.append([p.requires_grad for p in call.params.values()])
            return forward(call)

        return way

    run(MORE["cpu-subsets"], draw(CASE), "float32", (), watches)
    first, second = asked
    assert all(a is not b for a, b in zip(first, first[1:], strict=False))
    assert [not a for a in first] == second


def test_a_switch_is_put_back_as_it_was_though_that_is_not_how_torch_starts():
    torch.set_deterministic_debug_mode("warn")
    try:
        with flags(MORE["cpu-deterministic"]):
            assert torch.get_deterministic_debug_mode() == 2
        assert torch.get_deterministic_debug_mode() == 1
    finally:
        torch.set_deterministic_debug_mode("default")
