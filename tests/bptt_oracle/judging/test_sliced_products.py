"""Products of slices: as exact as longdouble, in the reference without its knowledge."""

import numpy as np
import pytest

from bptt_oracle.cases.case import draw, parse
from bptt_oracle.judging import sliced_products
from bptt_oracle.judging.evaluation import evaluate, evaluate_cast
from bptt_oracle.judging.sliced_products import Sliced, cut, multiply, sliced, sum_sliced
from bptt_oracle.judging.wide import longdouble_is_wider
from reference.arithmetic import NUMPY

pytestmark = pytest.mark.skipif(
    not longdouble_is_wider(), reason="longdouble is double on this machine"
)
EPS = np.finfo(np.longdouble).eps


def numbers(rng, *shape):
    """All 64 bits are used."""
    low = rng.standard_normal(shape) * 2.0**-54
    return rng.standard_normal(shape).astype(np.longdouble) + low


def bound(a, b):
    """By which a product may be wrong: a last bit of the largest row and column for each term."""
    k = a.shape[-1]
    return EPS * k * np.abs(a).max(-1, keepdims=True) * np.abs(b).max(-2, keepdims=True)


@pytest.mark.parametrize("shapes", [((5, 9), (9, 4)), ((3, 700), (4, 700, 6)), ((1, 1), (1, 1))])
def test_a_product_is_that_of_numpy(shapes):
    rng = np.random.default_rng(1)
    a, b = (numbers(rng, *shape) for shape in shapes)
    a *= np.longdouble(10) ** rng.integers(-300, 300, (len(a), 1))  # rows far apart
    b = b * np.longdouble(10) ** rng.integers(-300, 300, b.shape[-1])
    assert (np.abs(multiply(a, b) - a @ b) <= bound(a, b)).all()


def test_a_product_of_more_rows_and_terms_than_a_block(monkeypatch):
    monkeypatch.setattr(sliced_products, "BLOCK", 7)
    rng = np.random.default_rng(2)
    a, b = numbers(rng, 20, 30), numbers(rng, 30, 10)
    assert (np.abs(multiply(a, b) - a @ b) <= bound(a, b)).all()


def test_slices_add_up_and_their_products_are_exact():
    a = numbers(np.random.default_rng(3), 6, 500)
    a[2] = 0
    slices, exponent = cut(a, -1)
    total = np.ldexp(sum(s.astype(np.longdouble) for s in slices), exponent)
    assert (total == a).all()
    bits = (53 - 9) // 2
    for number, part in enumerate(slices, 1):
        multiples = part * 2.0 ** (bits * number)
        assert (multiples == np.rint(multiples)).all() and np.abs(multiples).max() <= 2.0**bits


def test_fewer_slices_would_be_seen():
    rng = np.random.default_rng(4)
    a, b = numbers(rng, 5, 400), numbers(rng, 400, 6)
    sliced_bits, sliced_products.BITS = sliced_products.BITS, 44
    try:
        assert (np.abs(multiply(a, b) - a @ b) > bound(a, b)).any()
    finally:
        sliced_products.BITS = sliced_bits


def test_infinities_and_small_products_are_left_to_numpy(monkeypatch):
    rng = np.random.default_rng(5)
    a, b = numbers(rng, 4, 4), numbers(rng, 4, 4)
    monkeypatch.setattr(sliced_products, "multiply", lambda a, b: 1 / 0)
    assert (sliced(a) @ b == a @ b).all()
    monkeypatch.setattr(sliced_products, "LEAST", 1)
    a = a.copy()
    a[1, 2] = np.inf
    np.testing.assert_array_equal(sliced(a) @ b, a @ b)
    with pytest.raises(ZeroDivisionError):
        sliced(b) @ b


def test_slices_of_a_constant_are_kept_and_not_taken_for_those_of_another(monkeypatch):
    monkeypatch.setattr(sliced_products, "LEAST", 1)
    rng = np.random.default_rng(6)
    w, h = sliced(numbers(rng, 8, 6)), numbers(rng, 2, 6)
    for _ in range(3):
        assert np.abs(h @ w.T - h @ np.asarray(w).T).max() < 100 * EPS
    assert len(w.kept) == 2
    other = 2 * w
    assert type(other) is np.ndarray
    copied = w[::-1].copy()  # another order, of the same shape
    assert np.abs(h @ copied.T - h @ np.asarray(copied).T).max() < 100 * EPS
    assert len(w.kept) == 2 and not w.flags.writeable
    out = np.empty((2, 8), np.longdouble)
    assert np.matmul(h, w.T, out=out) is out and np.abs(out - h @ np.asarray(w).T).max() < 100 * EPS


@pytest.mark.parametrize(
    "name",
    [
        "LSTM.T6.B4.I5.H7.L2.bi.P3.packed-uniform1.h0.output+h_n+c_n.generic.s1",
        "LSTM_PEEPHOLE.T5.B3.I4.H6.L2.bi.time.h0.output+h_n+c_n.generic.s1",
        "GRU.T6.B4.I5.H7.L2.bi.batch.h0.output+h_n.wide.s1",
        "GRU_TEXTBOOK.T6.B4.I5.H7.L1.time.output.generic.s1",
        "RNN_RELU.T6.B1.I5.H7.L2.unbatched.h0.output+h_n.cancelling.s1",
        "RNN_TANH.T6.B4.I5.H7.L2.nobias.sorted-uniform1.h0.output+h_n.saturated.s1",
    ],
)
def test_truth_by_slices_is_truth_and_every_product_is_sliced(name, monkeypatch):
    monkeypatch.setattr(sliced_products, "LEAST", 1)
    problem = draw(parse(name))
    left_to_numpy, whole = [], np.matmul

    def product(a, b):
        result = multiplied(a, b)
        if result is None:
            left_to_numpy.append((a.shape, b.shape))
        return result

    multiplied = sliced_products._product
    monkeypatch.setattr(sliced_products, "_product", product)
    by_slices = evaluate_cast(
        problem, lambda value: sliced(value.astype(np.longdouble)), (), sum_sliced(NUMPY)
    )
    assert left_to_numpy == [] and whole is np.matmul
    for name, value in evaluate(problem, np.longdouble).items():
        largest = np.abs(value).max()
        assert np.abs(np.asarray(by_slices[name]) - value).max() <= 2000 * EPS * largest, name
        assert type(by_slices[name]) in (np.ndarray, Sliced)
