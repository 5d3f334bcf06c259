"""check_adjoint: right backward passes hold, each planted mistake is named with its element."""

import math
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt_oracle.doors.check_adjoint import check_adjoint
from bptt_oracle.ledger.claims import ROOT
from support.problems import pull_back, solve
from support.strategies import problems

RNG = np.random.default_rng(0)


def arrays(*shapes, scale=1.0):
    return [scale * RNG.standard_normal(shape) for shape in shapes]


def lstm(x, W_ih, W_hh, b, h_0, c_0):
    """An LSTM written as a student would: outputs h [T, B, H], and the last h and c."""
    h, c, out = h_0, c_0, []
    for x_t in x:
        i, f, g, o = np.split(x_t @ W_ih.T + h @ W_hh.T + b, 4, axis=1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        out.append(h)
    return np.array(out), h, c


def lstm_back(x, W_ih, W_hh, b, h_0, c_0, d_y, d_h, d_c):
    """Its adjoint by hand, the gradients by name."""
    h, c, tape = h_0, c_0, []
    for x_t in x:
        i, f, g, o = np.split(x_t @ W_ih.T + h @ W_hh.T + b, 4, axis=1)
        i, f, o, g = *[1 / (1 + np.exp(-a)) for a in (i, f, o)], np.tanh(g)
        new_c = f * c + i * g
        tape.append((x_t, h, c, i, f, g, o, new_c))
        h, c = o * np.tanh(new_c), new_c
    d_x, d_W_ih, d_W_hh, d_b = [np.zeros_like(v) for v in (x, W_ih, W_hh, b)]
    for t in reversed(range(len(x))):
        x_t, h, c, i, f, g, o, new_c = tape[t]
        d_h = d_h + d_y[t]
        tanh_c = np.tanh(new_c)
        d_c = d_c + d_h * o * (1 - tanh_c**2)
        d_gates = d_c * g, d_c * c, d_c * i, d_h * tanh_c
        slopes = i * (1 - i), f * (1 - f), 1 - g**2, o * (1 - o)
        d_a = np.concatenate([d * s for d, s in zip(d_gates, slopes, strict=True)], axis=1)
        d_x[t], d_h, d_c = d_a @ W_ih, d_a @ W_hh, d_c * f
        d_W_ih += d_a.T @ x_t
        d_W_hh += d_a.T @ h
        d_b += d_a.sum(axis=0)
    return {"x": d_x, "W_ih": d_W_ih, "W_hh": d_W_hh, "b": d_b, "h_0": d_h, "c_0": d_c}


NAMES = ("x", "W_ih", "W_hh", "b", "h_0", "c_0")
X = arrays((4,))
LSTM = arrays((3, 2, 3), (16, 3), (16, 4), (16,), (2, 4), (2, 4))


def altered(name, alter):
    """lstm_back whose gradient of one input goes through `alter`."""

    def back(*args):
        gradients = lstm_back(*args)
        return gradients | {name: alter(gradients[name])}

    return back


@pytest.mark.parametrize("method", ["complex", "central"])
def test_a_right_backward_pass_holds(method):
    result = check_adjoint(lstm, lstm_back, LSTM, method=method)
    assert result and result.holds and not result.wrong
    by = {"complex": "the complex step", "central": "central differences"}[method]
    assert str(result) == f"holds: 162 elements in 162 directions, by {by}"


@pytest.mark.slow
@given(problem=problems(), seed=st.integers(0, 1000))
def test_there_is_no_false_alarm_on_the_nets_of_the_reference(problem, seed):
    def f(*values):
        outputs, _ = solve(problem.with_inputs(**dict(zip(problem.inputs, values, strict=True))))
        return tuple(outputs.values())

    def f_back(*values):
        given_inputs, cotangents = values[: len(problem.inputs)], values[len(problem.inputs) :]
        here = problem.with_inputs(**dict(zip(problem.inputs, given_inputs, strict=True)))
        outputs, tape = solve(here)
        return pull_back(here, tape, dict(zip(outputs, cotangents, strict=True)))

    assert check_adjoint(f, f_back, problem.inputs, seed=seed)


MISTAKES = {
    "doubled": lambda d: 2 * d,
    "zeroed": np.zeros_like,
    "negated": np.negative,
    "shifted": lambda d: np.roll(d, 1, axis=0),
    "divided by the batch": lambda d: d / 2,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("method", ["complex", "central"])
def test_a_wrong_gradient_is_named_alone(name, mistake, method):
    result = check_adjoint(lstm, altered(name, MISTAKES[mistake]), LSTM, method=method)
    assert not result and [w.name for w in result.wrong] == [name]
    (wrong,) = result.wrong
    assert wrong.wrong > 0.9 * wrong.directions
    if mistake in ("doubled", "negated", "zeroed", "divided by the batch"):
        ratio = {"doubled": 2, "negated": -1, "zeroed": 0, "divided by the batch": 0.5}[mistake]
        assert wrong.found == pytest.approx(ratio * wrong.expected, rel=1e-5)
    assert str(result).startswith(f"FAILS: the gradient of {name} is wrong at {list(wrong.at)}: ")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_one_element_off_by_a_millionth_is_found_with_its_index(name, relative, seed):
    value = LSTM[NAMES.index(name)]
    at = tuple(np.random.default_rng(seed).integers(value.shape))

    added = []

    def alter(d):
        d = d.copy()
        added.append(1e-6 * (d[at] if relative else np.abs(d).max()))
        d[at] += added[0]
        return d

    (wrong,) = check_adjoint(lstm, altered(name, alter), LSTM, seed=seed).wrong
    assert (wrong.name, wrong.at, wrong.wrong) == (name, at, 1)
    assert wrong.found - wrong.expected == pytest.approx(added[0], rel=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_one_element_of_a_large_input_is_found_among_those_of_its_direction(seed):
    x, W = arrays((5, 60), (60, 70))
    at = tuple(int(k) for k in np.random.default_rng(seed).integers(W.shape))

    def back(x, W, d):
        d_a = d * (1 - np.tanh(x @ W) ** 2)
        d_W = x.T @ d_a
        d_W[at] += 1e-6 * np.abs(d_W).max()
        return d_a @ W.T, d_W

    (wrong,) = check_adjoint(lambda x, W: np.tanh(x @ W), back, [x, W], seed=seed).wrong
    assert (wrong.name, wrong.at, wrong.wrong, wrong.directions) == ("W", at, 1, 256)


@pytest.mark.parametrize("output", [0, 1, 2])
def test_a_cotangent_that_is_dropped_alone_is_seen(output):
    def back(*args):
        d = list(args[6:])
        d[output] = np.zeros_like(d[output])
        return lstm_back(*args[:6], *d)

    assert {w.name for w in check_adjoint(lstm, back, LSTM).wrong} == set(NAMES)


def test_a_transposed_gradient_of_a_square_matrix_is_seen():
    x, W = arrays((3, 4), (4, 4))
    result = check_adjoint(lambda x, W: x @ W, lambda x, W, d: (d @ W.T, d.T @ x), [x, W])
    assert [w.name for w in result.wrong] == ["W"]


# Rounding is not a mistake


def logistic_map(steps):
    """Nearby values separate by about e^0.5 a step; and its adjoint, which rounds otherwise."""

    def f(x):
        for _ in range(steps):
            x = 3.9 * x * (1 - x)
        return x

    def back(x, d):
        values = [x]
        for _ in range(steps):
            values.append(3.9 * (values[-1] - values[-1] ** 2))
        for v in reversed(values[:-1]):
            d = d * (3.9 - 7.8 * v)
        return d

    return f, back


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", [10, 20, 25])
def test_amplified_rounding_is_no_mistake_but_a_wrong_factor_is(steps, seed):
    f, back = logistic_map(steps)
    x = np.linspace(0.2, 0.8, 30)
    assert check_adjoint(f, back, [x], seed=seed)
    result = check_adjoint(f, lambda x, d: (1 + 1e-5) * back(x, d), [x], seed=seed)
    assert not result and result.wrong[0].wrong > 3


def test_where_rounding_explains_errors_of_a_millionth_nothing_is_said():
    f, back = logistic_map(50)
    message = rejected(f, back, [np.linspace(0.2, 0.8, 30)])
    assert message.startswith("Expected inputs at which f does not amplify rounding, but rounding ")


@pytest.mark.parametrize("seed", range(20))
def test_a_saturated_unit_is_no_mistake_but_its_dropped_gradient_is(seed):
    """1 − y² of y near 1 has the absolute accuracy of y, and the complex step is more accurate."""
    x, w = np.random.default_rng(seed).uniform(9, 11, (2, 5))

    def f(x, w):
        return np.tanh(x), w**2

    def back(x, w, d, d_w):
        return d * (1 - np.tanh(x) ** 2), 2 * w * d_w

    assert check_adjoint(f, back, [x, w], seed=seed)
    for factor in (0, -1, 2, 1 + 1e-4):
        wrong = check_adjoint(
            f, lambda *v, k=factor: (k * back(*v)[0], back(*v)[1]), [x, w], seed=seed
        ).wrong
        assert [found.name for found in wrong] == ["x"]


@pytest.mark.parametrize("frequency", [1e2, 1e4, 3e4, 1e5])
def test_a_strongly_curved_function_is_not_mistaken_for_one_that_is_not_analytic(frequency):
    def back(x, d, factor=1.0):
        return factor * frequency * np.cos(frequency * x) * d

    x = np.linspace(-1, 1, 7)
    assert check_adjoint(lambda x: np.sin(frequency * x), back, [x])
    wrong = partial(back, factor=1 + 1e-6)
    assert not check_adjoint(lambda x: np.sin(frequency * x), wrong, [x])


def test_a_gradient_that_cancels_to_rounding_is_no_mistake():
    def softmax(a):
        e = np.exp(a - a.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def f(x, shift):  # the shift cancels
        return softmax(x + shift)

    def back(x, shift, d):
        p = softmax(x + shift)
        d_a = p * (d - (p * d).sum(axis=1, keepdims=True))
        return d_a, d_a.sum(axis=1, keepdims=True)

    x, shift = arrays((4, 6), (4, 1))
    result = check_adjoint(f, back, [x, shift])
    assert result, result


def test_a_gradient_by_finite_differences_is_wrong_although_it_changes_under_rounding_as_much():
    def back(x, d):
        return d * (np.tanh(x + 1e-9) - np.tanh(x)) / 1e-9

    x = np.random.default_rng(0).standard_normal(4)[2:3]
    (wrong,) = check_adjoint(np.tanh, back, [x]).wrong
    assert wrong.found == pytest.approx(wrong.expected, rel=1e-5)


def test_a_gradient_of_zeros_is_right_where_f_does_not_depend_on_the_input():
    x, y = arrays((3,), (2,))
    assert check_adjoint(lambda x, y: x**2, lambda x, y, d: (2 * x * d, 0 * y), [x, y])


# Ways to call it


def test_the_gradients_may_be_an_array_a_tuple_or_a_mapping_and_f_may_return_a_number():
    x, w = arrays((5,), (5,))
    assert check_adjoint(lambda x: (x**3).sum(), lambda x, d: 3 * x**2 * d, x)
    assert check_adjoint(np.tanh, lambda x, d: d * (1 - np.tanh(x) ** 2), [x])
    back = {"w": lambda d: x * d, "x": lambda d: w * d}
    named = {"x": x, "w": w}
    assert check_adjoint(
        lambda a, b: a @ b, lambda a, b, d: {n: g(d) for n, g in back.items()}, named
    )
    wrong = check_adjoint(lambda a, b: a @ b, lambda a, b, d: (b * d, 2 * a * d), named).wrong
    assert [w.name for w in wrong] == ["w"]
    wrong = check_adjoint(lambda *v: v[0] @ v[1], lambda a, b, d: (2 * b * d, a * d), [x, w]).wrong
    assert [w.name for w in wrong] == ["input 0"]


def test_what_is_bound_is_not_differentiated_and_float32_is_compared_in_float64():
    labels = np.array([0, 2, 1])
    (logits,) = arrays((3, 3))

    def loss(labels, a):
        return np.log(np.exp(a).sum(axis=1)).sum() - a[np.arange(3), labels].sum()

    def back(labels, a, d):
        e = np.exp(a)
        return d * (e / e.sum(axis=1, keepdims=True) - np.eye(3)[labels])

    f, f_back = partial(loss, labels), partial(back, labels)
    assert check_adjoint(f, f_back, [logits.astype(np.float32)])
    assert not check_adjoint(f, partial(back, labels[::-1]), [logits])


def test_neither_function_can_change_the_arrays_of_the_caller():
    def f(x):
        x *= x
        return x

    def back(x, d):
        x *= 2 * d
        d[:] = 0
        return x

    (x,) = arrays((4,))
    before = x.copy()
    assert check_adjoint(f, back, [x])
    np.testing.assert_array_equal(x, before)


def test_the_seed_decides_the_cotangents():
    seen = []

    def back(x, d):
        seen.append(d.tobytes())
        return 2 * x * d

    (x,) = arrays((4,))
    for seed in (0, 0, 1):
        seen.append("check")
        check_adjoint(lambda x: x * x, back, [x], seed=seed)
    first, again, other = [seen[k + 1] for k, d in enumerate(seen) if d == "check"]
    assert first == again != other


# Functions that have no complex step


def filling(x):
    y = np.zeros(x.shape)  # of float64, whatever the dtype of x
    for k, v in enumerate(x):
        y[k] = np.tanh(v)
    return y


def tanh_back(x, d):
    return d * (1 - np.tanh(x) ** 2)


NOT_ANALYTIC = {
    "abs": (np.abs, lambda x, d: d * np.sign(x)),
    "real": (lambda x: np.tanh(x.real), tanh_back),
    "conj": (lambda x: np.tanh(np.conj(x)), tanh_back),
    "norm": (lambda x: np.linalg.norm(x), lambda x, d: d * x / np.linalg.norm(x)),
    "sign": (lambda x: x * np.sign(x), lambda x, d: d * np.sign(x)),
    "abs in one term": (
        lambda x: np.tanh(x) + 0.01 * np.abs(x),
        lambda x, d: tanh_back(x, d) + 0.01 * d * np.sign(x),
    ),
    "abs, forgotten in both": (lambda x: np.tanh(x) + 0.01 * np.abs(x), tanh_back),
}
NOT_COMPLEX = {
    "np.zeros": (filling, tanh_back),
    "astype": (lambda x: np.tanh(x.astype(float)), tanh_back),
    "math": (
        lambda x: np.array([math.tanh(v) for v in x]),
        tanh_back,
    ),
    "float": (lambda x: np.tanh(x) * float(x[0]), tanh_back),
    "floor": (lambda x: x - np.floor(x), lambda x, d: d),
}


def rejected(*args, **options):
    with pytest.raises(ValueError) as caught:
        check_adjoint(*args, **options)
    message = str(caught.value)
    assert message.endswith(".") and not re.search(r"\. [A-Z]", message), message
    return message


@pytest.mark.parametrize("name", NOT_ANALYTIC)
def test_an_f_that_is_not_analytic_is_rejected_whether_f_back_is_right_or_wrong(name):
    f, back = NOT_ANALYTIC[name]
    (x,) = arrays((6,))
    for f_back in (back, lambda x, d: 2 * back(x, d), lambda x, d: 0 * back(x, d)):
        message = rejected(f, f_back, [x])
        assert message.startswith("Expected f to be analytic, but its complex step in ")
        assert "method='central', which detects errors of 1e-06." in message


def test_a_right_gradient_is_not_called_wrong_where_abs_is_in_one_small_element():
    """Its share of the whole is below the accuracy with which f is tested for being analytic."""

    def f(x):
        return np.concatenate([np.abs(x[:1]), 1e6 * x[1:]])

    message = rejected(f, lambda x, d: np.concatenate([np.sign(x[:1]), 1e6 + 0 * x[1:]]) * d, X)
    assert message.startswith("Expected f to be analytic")


@pytest.mark.parametrize("name", NOT_COMPLEX)
def test_an_f_that_casts_to_float_is_rejected_with_what_numpy_said(name):
    f, back = NOT_COMPLEX[name]
    message = rejected(f, back, arrays((6,)))
    assert message.startswith("Expected f to compute with complex numbers, got ")
    assert "np.zeros that f fills" in message and "method='central'" in message


@pytest.mark.parametrize("name", ["abs", "norm", "abs in one term", "np.zeros", "math", "floor"])
def test_central_differences_judge_these_too(name):
    f, back = (NOT_ANALYTIC | NOT_COMPLEX)[name]
    (x,) = arrays((6,))
    assert check_adjoint(f, back, [x], method="central")

    def off(x, d):
        gradient = back(x, d)
        gradient[2] *= 1 + 1e-5
        return gradient

    (wrong,) = check_adjoint(f, off, [x], method="central").wrong
    assert wrong.at == (2,) and wrong.wrong == 1
    assert check_adjoint(f, lambda x, d: back(x, d) * (1 + 1e-9), [x], method="central")


RIGHT_AT_COMPLEX_NUMBERS = {
    "maximum": (lambda x: np.maximum(x, 0), lambda x, d: d * (x > 0)),
    "where": (lambda x: np.where(x > 0, x, 0.1 * x), lambda x, d: d * np.where(x > 0, 1, 0.1)),
    "max": (lambda x: np.tanh(x - x.max()), lambda x, d: max_back(x, d)),
    "if": (lambda x: 2 * x if x.sum() > 0 else x, lambda x, d: 2 * d if x.sum() > 0 else d),
}


def max_back(x, d):
    d_a = d * (1 - np.tanh(x - x.max()) ** 2)
    d_x = d_a.copy()
    d_x[np.argmax(x)] -= d_a.sum()
    return d_x


@pytest.mark.parametrize("name", RIGHT_AT_COMPLEX_NUMBERS)
def test_comparisons_and_maxima_are_judged_by_the_complex_step(name):
    f, back = RIGHT_AT_COMPLEX_NUMBERS[name]
    (x,) = arrays((20,))
    assert check_adjoint(f, back, [x])
    (wrong,) = check_adjoint(f, lambda x, d: back(x, d) * (1 + 1e-9), [x]).wrong
    assert wrong.name == "x"


def test_a_tie_of_a_maximum_is_rejected_because_there_is_no_derivative():
    x = np.array([1.0, 0.0, -1.0])
    message = rejected(*RIGHT_AT_COMPLEX_NUMBERS["maximum"], [x])
    assert "ties of max" in message


def test_an_exponential_that_overflows_at_complex_numbers_only_is_rejected():
    def f(x):
        with np.errstate(all="ignore"):
            return 1 / (1 + np.exp(-x))

    x = np.array([-800.0, 1.0])
    assert np.isfinite(f(x)).all()
    assert "exponential that overflows" in rejected(f, lambda x, d: d * f(x) * (1 - f(x)), [x])


# What f_back returns that is not a gradient


@pytest.mark.parametrize(
    ("gradient", "reason"),
    [
        (lambda x, d: None, "the gradient of x was not returned"),
        (lambda x, d: (d * x).sum(), r"the gradient of x has shape \[\], expected \[4\]"),
        (lambda x, d: 2j * x * d, "the gradient of x has dtype complex128, expected float64"),
        (lambda x, d: np.array([1, np.nan, 2, np.inf]), r"the gradient of x is nan at \[1\]"),
    ],
)
def test_what_is_no_gradient_is_wrong(gradient, reason):
    result = check_adjoint(lambda x: x**2, gradient, arrays((4,)))
    assert not result and re.search(reason, str(result))


# Calls that cannot be judged


def square(x):
    return x**2


def square_back(x, d):
    return 2 * x * d


def two_gradients(x, d):
    return x, x


REJECTED = {
    "method": ((square, square_back, X), {"method": "forward"}, "method to be 'complex' or 'cent"),
    "no inputs": ((square, square_back, []), {}, "one input or more, got none"),
    "integers": ((square, square_back, [np.arange(4)]), {}, "got int64 for x; convert it"),
    "complex": ((square, square_back, [1j * X[0]]), {}, "got complex128 for x"),
    "two gradients": ((square, two_gradients, X), {}, r"return 1 gradients \(x\), got 2"),
    "other names": ((square, lambda x, d: {"y": d}, X), {}, "gradients of x, got y"),
    "NaN": ((lambda x: np.log(-(x**2)), square_back, X), {}, "NaN or infinity in output 0"),
    "float32": ((lambda x: x.astype("float32"), square_back, X), {}, "got float32 in output 0"),
    "random": ((lambda x: x * RNG.random(4), square_back, X), {}, "fix its random numbers"),
    "no array": ((lambda x: {"y": x}, square_back, X), {}, "got object in output 0"),
}


@pytest.mark.parametrize("name", REJECTED)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_call_that_cannot_be_judged_is_rejected_with_one_sentence(name):
    args, options, pattern = REJECTED[name]
    assert re.search(pattern, rejected(*args, **options))


def test_an_error_of_f_itself_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        check_adjoint(lambda x: 1 // 0, square_back, X)


def test_torch_is_not_imported():
    program = (
        "import sys; sys.modules['torch'] = None; "
        "from bptt_oracle.doors.check_adjoint import check_adjoint; print('imported')"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("imported\n", "")
