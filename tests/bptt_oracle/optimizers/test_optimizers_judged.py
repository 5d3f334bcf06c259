"""torch's optimisers agree in the loop and foreach forms; known deviations are found."""

import math

import numpy as np
import pytest

from bptt_oracle.judging.deviation_entries import load
from bptt_oracle.judging.deviations import installed_torch
from bptt_oracle.optimizers.cases import OptimizerCase, draw, optimizer_cases, parse
from bptt_oracle.optimizers.examine import (
    FILE,
    check_optimizers,
    examine_optimizers,
    known_deviations,
    optimizer_paths,
    path_of,
)
from torch_impl.optimizers.run import OUTSIDE
from torch_impl.optimizers.table import OPTIMIZERS

DTYPES = ["float64", "float32", "bfloat16", "float16"]
KNOWN = {d.id for d in known_deviations()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_loop_and_the_foreach_form_agree(name, dtype):
    """State in float32, products that underflow, and RAdam in float16 are known."""
    paths = [path_of(name, form) for form in ("loop", "foreach")]
    for case in optimizer_cases(6, 11, (name,)):
        results = examine_optimizers(case, dtype, paths)
        assert [r.path for r in results] == paths
        for result in results:
            expected = {"agree", "untrusted"} if dtype == "float16" else {"agree"}
            known = name in ("NAdam", "ASGD", "Rprop") or (name, dtype) == ("RAdam", "float16")
            expected |= {"known deviation"} if known else set()
            if case.magnitude == "small":
                expected |= {"untrusted"}
            assert result.verdict in expected, (case.id, result.verdict, result.tensor, result.R)


# by id: a case, a dtype, a form, and a tensor that is wrong
SHOWN = {
    "fused-parameter-not-contiguous": [
        ("Adam.plain.n1.zero.columns.contiguous.unit.s1", "float32", "fused", "weight"),
        ("AdamW.plain.n1.zero.columns.columns.unit.s1", "float64", "fused", OUTSIDE),
        ("SGD.momentum.n3.generic.permuted.contiguous.unit.s1", "float64", "fused", OUTSIDE),
        ("Adagrad.plain.n1.zero.columns.columns.unit.s1", "bfloat16", "fused", "weight.sum"),
    ],
    "fused-gradient-not-contiguous": [
        ("SGD.plain.n1.zero.contiguous.expanded.unit.s1", "float32", "fused", "bias"),
        ("Adam.plain.n1.zero.contiguous.transposed.unit.s1", "float64", "fused", "weight.exp_avg"),
    ],
    "fused-sgd-in-half": [
        (f"SGD.{label}.n1.zero.contiguous.contiguous.unit.s1", dtype, "fused", "weight")
        for label in ("plain", "momentum", "nesterov", "dampening")
        for dtype in ("bfloat16", "float16")
    ],
    "bias-correction-in-float32": [
        (f"{name}.{label}.n1.zero.contiguous.contiguous.unit.s1", dtype, "differentiable", "weight")
        for name in ("Adam", "AdamW")
        for label, dtype in (("plain", "float64"), ("long", "float64"), ("long", "float32"))
    ],
    "state-in-float32": [
        ("NAdam.plain.n3.zero.contiguous.contiguous.unit.s1", "float64", "loop", "weight"),
        ("ASGD.plain.n3.zero.contiguous.contiguous.unit.s1", "float64", "foreach", "weight.eta"),
    ],
    "radam-foreach-in-float16": [
        ("RAdam.plain.n1.zero.contiguous.contiguous.unit.s1", "float16", "foreach", "weight"),
    ],
    "rprop-product-underflows": [
        ("Rprop.plain.n3.zero.contiguous.contiguous.small.s1", dtype, form, "weight.step_size")
        for dtype in DTYPES
        for form in ("loop", "foreach")
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("deviation", "row"),
    [(name, row) for name, rows in SHOWN.items() for row in rows],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]}-{value[1]}-{value[2]}",
)
def test_a_known_deviation_is_found_where_torch_has_it(deviation, row):
    identifier, dtype, form, tensor = row
    case = parse(identifier)
    (result,) = examine_optimizers(case, dtype, [path_of(case.optimizer, form)])
    if deviation not in KNOWN:
        assert result.verdict == "agree", f"torch {installed_torch()} should have mended this"
        return
    assert result.verdict == "known deviation", (result.tensor, result.R)
    assert deviation in result.note.split(", ")
    assert result.tensors[tensor] > 16


def test_every_listed_deviation_is_shown_or_needs_a_compiler():
    listed = {d.id for d in load(FILE, OptimizerCase) if not d.demonstrates}
    assert listed == SHOWN.keys() | {deviation for deviation, *_ in COMPILED.values()}


def test_fused_forms_agree_where_all_memory_is_contiguous():
    for name, row in OPTIMIZERS.items():
        for label in row.options if row.fused else ():
            for dtype in ("float64", "float32"):
                case = parse(f"{name}.{label}.n3.zero.contiguous.offset.unit.s4")
                (result,) = examine_optimizers(case, dtype, [path_of(name, "fused")])
                assert (result.verdict, result.kernel) == ("agree", "fused"), case.id


def test_a_read_past_the_end_of_a_gradient_is_not_a_number():
    case = parse("SGD.plain.n1.zero.contiguous.expanded.unit.s1")
    (result,) = examine_optimizers(case, "float32", ["cpu-sgd-fused"])
    assert math.isinf(result.R)
    assert result.tensors[OUTSIDE] == 0, "only the gradient is expanded"


def test_a_path_of_another_optimizer_has_no_results_and_capturable_is_excluded():
    case = parse("Adam.plain.n1.zero.contiguous.offset.unit.s4")
    assert examine_optimizers(case, "float32", ["cpu-sgd-loop"]) == []
    (result,) = examine_optimizers(case, "float32", ["cpu-adam-capturable"])
    assert (result.verdict, result.note) == ("excluded", "torch rejects capturable on the CPU")


def test_an_exception_is_a_fault(monkeypatch):
    def fails(*_):
        raise RuntimeError("no step")

    monkeypatch.setattr("bptt_oracle.optimizers.examine.run", fails)
    case = parse("Adam.plain.n1.zero.contiguous.offset.unit.s4")
    (result,) = examine_optimizers(case, "float32", ["cpu-adam-loop"])
    assert (result.verdict, result.note) == ("fault", "RuntimeError: no step")


def test_every_case_is_checked_on_every_path_of_its_optimizer():
    cases = optimizer_cases(3)
    results = [
        r for some in check_optimizers(cases, ["float32"], list(optimizer_paths())) for r in some
    ]
    assert {r.case for r in results} == {case.id for case in cases}
    assert {r.path for r in results} == {
        name for name, (optimizer, _) in optimizer_paths().items()
        if optimizer in {case.optimizer for case in cases}
    }  # fmt: skip


def test_compiled_forms_are_paths_only_when_named():
    assert not any("compiled" in name for name in optimizer_paths())
    assert "cpu-adam-compiled" in optimizer_paths(compiled=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_where_longdouble_is_double_truth_is_mpmaths(name, monkeypatch):
    monkeypatch.setattr(
        "bptt_oracle.optimizers.expectation.wide_dtype", lambda dtype: np.dtype(object)
    )
    monkeypatch.setattr("bptt_oracle.optimizers.expectation.MOVED_RUNS", 3)
    case = parse(f"{name}.maximize.n3.generic.columns.offset.unit.s3")
    (result,) = examine_optimizers(case, "float64", [path_of(name, "loop")])
    known = name in ("NAdam", "ASGD")
    assert result.verdict == ("known deviation" if known else "agree"), result


@pytest.mark.parametrize("form", ["loop", "foreach"])
@pytest.mark.parametrize("seed", [18000274, 77000132])
def test_the_product_of_two_gradients_is_not_0_in_float16_unless_they_are_small(form, seed):
    case = parse(f"Rprop.plain.n20.generic.columns.expanded.unit.s{seed}")
    (result,) = examine_optimizers(case, "float16", [path_of("Rprop", form)])
    assert result.verdict == "agree", (result.tensor, result.R)
    gradients = draw(case, "float16").grads
    assert min(np.abs(g).min() for step in gradients for g in step.values()) ** 2 > 2**-24


# by optimiser: what is wrong in a compiled step for float64 parameters, and for float32
COMPILED = {
    "Adam": ("compiled-bias-correction-in-float32", "weight", "known deviation"),
    "NAdam": ("compiled-bias-correction-in-float32", "weight", "known deviation"),
    "Adamax": ("compiled-numbers-in-float32", "weight", "agree"),
    "RAdam": ("compiled-numbers-in-float32", "weight", "agree"),
    "Adagrad": ("compiled-numbers-in-float32", "weight", "agree"),
    "ASGD": ("state-in-float32", "weight.eta", "agree"),
    "SGD": ("compiled-number-unchanged", "scale", "agree"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_step_deviates_as_listed(name):
    """In float32 of Adam and NAdam alone; in float64 a number stays as it is in torch 2.13."""
    deviation, tensor, in_float32 = COMPILED[name]
    case = parse(f"{name}.plain.n1.zero.contiguous.contiguous.unit.s1")
    single, double = (
        examine_optimizers(case, dtype, [path_of(name, "compiled")])[0]
        for dtype in ("float32", "float64")
    )
    assert single.verdict == in_float32, (single.tensor, single.R)
    if deviation in KNOWN:
        assert double.verdict == "known deviation", (double.tensor, double.R)
        assert deviation in double.note.split(", ") and double.tensors[tensor] > 1e6
    assert (double.tensors["scale"] > 1e9) == ("compiled-number-unchanged" in KNOWN)
