"""Variants return the numbers of a single call, and each detects a fault that only it shows."""

import numpy as np
import pytest
import torch

from bptt_oracle.cases.case import draw
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.implementations.torch_paths import torch_implementation, torch_path
from bptt_oracle.runs.examine import examine
from support.drawn_cases import pinned
from torch_impl.execution.backend import compiler
from torch_impl.execution.catalogue import OPTIONAL_PATHS, path_named
from torch_impl.execution.path import ANY, Path, WrongKernel
from torch_impl.execution.run import dropout_masks, run

CPU = [p for p in OPTIONAL_PATHS.values() if p.device == "cpu" and p.variant != "compiled"]
SAME_BITS = [p for p in CPU if not p.variant.startswith("autocast")]
PLAIN = Path("plain", "cpu", "module", ANY)
CASE = pinned(bidirectional=True, dropout=0.0, layout="packed", lengths=(2, 5, 1), strided=True)


@pytest.mark.parametrize("path", CPU, ids=lambda p: p.name)
def test_every_variant_agrees_with_truth(path, record_cases):
    results = [
        r for case in corpus(8) for r in examine(case, "float32", [torch_implementation(path)])
    ]
    assert {r.verdict for r in results} <= {"agree", "excluded", "untrusted"}
    ran = sum(r.verdict == "agree" for r in results)
    record_cases(path.name, ran)
    assert ran >= 3


@pytest.mark.parametrize("path", SAME_BITS, ids=lambda p: p.name)
@pytest.mark.parametrize("case", [CASE, pinned(), pinned(cell="GRU", dropout=0.3)], ids=str)
def test_a_variant_gives_the_same_bits_as_a_single_call(path, case):
    problem = draw(case)
    plain, outcome = (run(p, problem, "float32") for p in (PLAIN, path))
    assert plain.kernel == outcome.kernel
    if path.variant == "inference" and plain.kernel != "native":
        pytest.skip("oneDNN infers with another kernel than it trains with: other bits")
    for name, value in plain.results.items():
        assert value.tobytes() == outcome.results[name].tobytes(), name


def off(result):
    output, final = result
    return output * 1.001, final


def functional_is_off(forward):
    def wrapped(call):
        leaves = all(isinstance(p, torch.nn.Parameter) for p in call.params.values())
        return forward(call) if leaves else off(forward(call))

    return wrapped


def eval_stays(forward):
    modes = []

    def wrapped(call):
        modes.append(call.training)
        return forward(call) if all(modes) else off(forward(call))

    return wrapped


def third_call_is_off(forward):
    calls = []

    def wrapped(call):
        calls.append(call)
        return forward(call) if len(calls) < 3 else off(forward(call))

    return wrapped


def inference_is_off(forward):
    return lambda c: off(forward(c)) if torch.is_inference_mode_enabled() else forward(c)


def subsets_are_off(forward):
    def wrapped(call):
        required = all(p.requires_grad for p in call.params.values())
        return forward(call) if required else off(forward(call))

    return wrapped


def determinism_is_off(forward):
    deterministic = torch.are_deterministic_algorithms_enabled
    return lambda call: off(forward(call)) if deterministic() else forward(call)


def threads_are_off(forward):
    return lambda call: off(forward(call)) if torch.get_num_threads() > 1 else forward(call)


@pytest.mark.parametrize(
    "name, fault",
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
def test_a_fault_that_only_one_variant_shows_is_detected_in_that_variant(name, fault):
    problem = draw(CASE)
    torch.set_num_threads(1)
    right = run(PLAIN, problem, "float32").results["output"]
    assert np.array_equal(right, run(PLAIN, problem, "float32", (), fault).results["output"])
    wrong = run(path_named(name), problem, "float32", (), fault).results["output"]
    assert not np.allclose(right, wrong, rtol=1e-4, atol=0)


def test_dropout_is_the_same_in_every_variant():
    problem = draw(pinned(cell="RNN_TANH", dropout=0.5, cotangents=("output",)))
    masks = dropout_masks(problem, "float32")
    plain = run(PLAIN, problem, "float32", masks).results["output"]
    for path in SAME_BITS:
        assert np.array_equal(run(path, problem, "float32", masks).results["output"], plain)


def test_subsets_require_gradients_of_every_other_leaf_then_of_the_rest():
    required = []

    def record(forward):
        def wrapped(call):
            required.append([p.requires_grad for p in call.params.values()])
            return forward(call)

        return wrapped

    run(OPTIONAL_PATHS["cpu-subsets"], draw(CASE), "float32", (), record)
    first, second = required
    assert all(a is not b for a, b in zip(first, first[1:], strict=False))
    assert [not a for a in first] == second


@pytest.mark.parametrize("implementation", ["cells", "manual", "module"])
def test_compiled_code_agrees_with_truth(implementation, request, monkeypatch):
    if request.config.getoption("--hypothesis-profile") != "nightly":
        pytest.skip("compiling takes minutes: run with --hypothesis-profile=nightly")
    if not compiler():
        pytest.skip("this machine has no C++ compiler")
    case = pinned(cell="GRU", T=2, layers=1, cotangents=("output", "h_n"))
    (result,) = examine(case, "float32", [torch_path(f"cpu-{implementation}-compiled")])
    assert result.verdict == "agree", result.note
    monkeypatch.setattr(torch, "compile", lambda f, **_: f)
    with pytest.raises(WrongKernel, match="compiled"):
        run(path_named(f"cpu-{implementation}-compiled"), draw(case), "float32")
