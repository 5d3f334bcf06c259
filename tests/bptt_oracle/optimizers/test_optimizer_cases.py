"""Cases of optimisers, their values, and the truth."""

from collections import Counter

import numpy as np
import pytest

from bptt_oracle.judging.wide import widen
from bptt_oracle.optimizers.cases import draw, optimizer_cases, parse
from bptt_oracle.optimizers.expectation import evaluate, expect
from bptt_oracle.optimizers.rounded import as_rounded, moved, to_nearest
from torch_impl.execution.precision import UNIT_ROUNDOFF, stored
from torch_impl.optimizers.table import OPTIMIZERS


def test_a_case_is_the_one_of_its_identifier():
    for case in optimizer_cases(300, 3):
        assert parse(case.id) == case


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        "Adam",
        "Adam.plain.n3.zero.columns.expanded.unit",
        "LSTM.plain.n3.zero.columns.expanded.unit.s1",
        "Adam.nesterov.n3.zero.columns.expanded.unit.s1",
        "Adam.plain.n0.zero.columns.expanded.unit.s1",
        "Adam.plain.n3.zero.expanded.columns.unit.s1",
        "Adam.plain.n03.zero.columns.columns.unit.s1",
        "Adam.plain.n3.zero.columns.columns.unit.s-1",
        "Adam.plain.n3.zero.columns.columns.unit.x1",
    ],
)
def test_what_names_no_case_is_rejected_in_one_sentence(identifier):
    with pytest.raises(ValueError, match="names no case of an optimizer; expected for example"):
        parse(identifier)


def test_the_cases_of_a_larger_count_begin_with_those_of_a_smaller():
    assert optimizer_cases(30, 1) == optimizer_cases(60, 1)[:30]
    assert optimizer_cases(30, 1) != optimizer_cases(30, 2)


def test_every_option_layout_start_and_number_of_steps_comes_often():
    cases = optimizer_cases(440)
    for field in ("steps", "start", "layout", "gradient_layout", "magnitude"):
        counts = Counter(getattr(case, field) for case in cases)
        assert min(counts.values()) > 20, (field, counts)
    found = {(case.optimizer, case.options) for case in cases}
    assert found == {(n, label) for n, row in OPTIMIZERS.items() for label in row.options}


def test_values_are_those_of_the_dtype_and_an_expanded_gradient_is_constant():
    case = parse("Adam.plain.n3.generic.columns.expanded.unit.s5")
    for dtype in UNIT_ROUNDOFF:
        if dtype == "tf32":
            continue
        problem = draw(case, dtype)
        for arrays in (problem.theta, *problem.grads):
            for value in arrays.values():
                np.testing.assert_array_equal(stored(value, dtype).astype(np.float64), value)
        for grads in problem.grads:
            assert (grads["weight"] == grads["weight"][:1]).all()
            assert len(np.unique(grads["weight"])) > 1


def to_128_bits(value):
    return widen(value, np.dtype(object))


@np.vectorize
def to_longdouble(number):
    """A number of mpmath in two parts, because float() would lose its last digits."""
    return np.longdouble(float(number)) + np.longdouble(float(number - float(number)))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_truth_is_that_of_128_bits(name):
    """mpmath, in arrays of its numbers, is a second evaluation of the same equations."""
    for label in OPTIMIZERS[name].options:
        problem = draw(parse(f"{name}.{label}.n3.generic.offset.offset.unit.s2"), "float64")
        truth = evaluate(problem, np.longdouble, np.longdouble)
        again = evaluate(problem, to_128_bits, lambda v: to_128_bits(v)[()])
        assert truth.keys() == again.keys()
        for tensor, value in truth.items():
            other = to_longdouble(again[tensor])
            assert np.abs(value - other).max() <= 1e-15 * np.abs(other).max(), (label, tensor)


def test_a_rounded_array_computes_as_numpy_does_in_that_dtype():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 50)).astype(np.float32)
    rounding = to_nearest("float32")
    p, q = (as_rounded(v.astype(np.float64), rounding) for v in (a, b))
    number = as_rounded(np.float64(0.1), rounding)
    for ours, numpys in (
        (p * q + p, a * b + a),
        (np.sqrt(abs(p)) / q, np.sqrt(abs(a)) / b),
        (p * (1 - number), a * np.float32(0.9)),
        (np.maximum(p, number), np.maximum(a, np.float32(0.1))),
    ):
        np.testing.assert_array_equal(np.asarray(ours), numpys.astype(np.float64))
    assert isinstance(p > q, np.ndarray) and (p > q).tolist() == (a > b).tolist()


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_a_moved_result_is_off_by_one_unit_roundoff(dtype):
    rounding = moved(dtype, np.random.default_rng(0))
    p = as_rounded(np.linspace(1, 2, 400, dtype=np.longdouble), rounding)
    error = np.asarray(p * 3) / (np.linspace(1, 2, 400, dtype=np.longdouble) * 3) - 1
    np.testing.assert_allclose(np.abs(error).astype(float), UNIT_ROUNDOFF[dtype], rtol=1e-3)
    assert 100 < (error > 0).sum() < 300
    np.testing.assert_array_equal(np.asarray(-p), -np.asarray(p))


def test_options_are_no_longer_than_what_the_reference_takes():
    """A row whose options the step does not take would fail in every case."""
    for name, row in OPTIMIZERS.items():
        for label in row.options:
            assert expect(draw(parse(f"{name}.{label}.n1.zero.offset.offset.unit.s1"), "float32"),
                          "float32").truth  # fmt: skip
