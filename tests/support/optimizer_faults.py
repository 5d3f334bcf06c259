"""Mistakes that optimisers have had or could have, planted to show that each is detected.

A mistake changes the problem that the loop form of torch runs, or an equation of the reference; the
judge sees the answer only.
"""

import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bptt_oracle.judging.confirmation import judge_and_confirm
from bptt_oracle.judging.judge import LIMIT, judge
from bptt_oracle.optimizers.cases import OptimizerCase, draw, optimizer_cases
from bptt_oracle.optimizers.expectation import evaluate, expect
from torch_impl.optimizers.run import OptimizerProblem, run
from torch_impl.optimizers.table import OPTIMIZERS

Change = Callable[[OptimizerProblem], OptimizerProblem]
ADAMS = ("Adam", "AdamW")


class Fault(NamedTuple):
    """A mistake: how a problem is changed before it is run."""

    symptom: str
    optimizers: tuple[str, ...]
    change: Change
    shows: Callable[[OptimizerCase], bool] = lambda case: True  # where it changes the numbers


FAULTS: dict[str, Fault] = {}


def _fault(
    symptom: str,
    *optimizers: str,
    shows: Callable[[OptimizerCase], bool] = lambda case: True,
):
    def register(change: Change):
        FAULTS[change.__name__] = Fault(symptom, optimizers, change, shows)
        return change

    return register


def _with(problem, **options):
    return problem._replace(options={**problem.options, **options})


def _options(case):
    return OPTIMIZERS[case.optimizer].options[case.options]


def _has(option):
    return lambda case: bool(_options(case).get(option))


def _decays(case):
    """Whether weight decay changes a step: not the first from zero."""
    return bool(_options(case).get("weight_decay")) and (case.start != "zero" or case.steps > 1)


DECAYING = tuple(n for n, row in OPTIMIZERS.items() if "weight_decay" in row.options["plain"])


@_fault("β₁ and β₂ are swapped", "Adam", "AdamW", "Adamax", "NAdam", "RAdam")
def betas_swapped(problem):
    return _with(problem, betas=problem.options["betas"][::-1])


@_fault("weight decay is ignored", *DECAYING, shows=_decays)
def weight_decay_ignored(problem):
    return _with(problem, weight_decay=0.0)


@_fault("AdamW decays as Adam, or Adam as AdamW", *ADAMS, shows=_decays)
def decay_of_the_other_kind(problem):
    return problem._replace(optimizer="Adam" if problem.optimizer == "AdamW" else "AdamW")


@_fault("decoupled weight decay is coupled", "NAdam", "RAdam",
        shows=lambda case: case.options == "decoupled" and _decays(case))  # fmt: skip
def decay_coupled(problem):
    return _with(problem, decoupled_weight_decay=False)


@_fault("maximize is ignored", *OPTIMIZERS, shows=_has("maximize"))
def maximize_ignored(problem):
    return _with(problem, maximize=False)


@_fault("Nesterov's momentum is plain momentum", "SGD", shows=_has("nesterov"))
def nesterov_ignored(problem):
    return _with(problem, nesterov=False)


@_fault("dampening is ignored", "SGD",
        shows=lambda case: case.options == "dampening" and case.steps > 1)  # fmt: skip
def dampening_ignored(problem):
    return _with(problem, dampening=0.0)


@_fault("momentum is ignored", "SGD", "RMSprop",
        shows=lambda case: bool(_options(case).get("momentum")) and case.steps > 1)  # fmt: skip
def momentum_ignored(problem):
    plain = {"nesterov": False, "dampening": 0.0} if problem.optimizer == "SGD" else {}
    return _with(problem, momentum=0.0, **plain)


@_fault(
    "the maximum of AMSGrad is ignored",
    *ADAMS,
    shows=lambda case: _options(case).get("amsgrad", False) and case.steps == 20,
)
def amsgrad_ignored(problem):
    return _with(problem, amsgrad=False)


@_fault("RMSprop is not centered", "RMSprop", shows=_has("centered"))
def centered_ignored(problem):
    return _with(problem, centered=False)


@_fault("the decay of the rate is ignored", "Adagrad",
        shows=lambda case: case.options == "decay" and case.steps > 1)  # fmt: skip
def rate_decay_ignored(problem):
    return _with(problem, lr_decay=0.0)


@_fault("the start value of the sum is ignored", "Adagrad", shows=_has("initial_accumulator_value"))
def accumulator_ignored(problem):
    return _with(problem, initial_accumulator_value=0.0)


@_fault("the average starts a step late", "ASGD",
        shows=lambda case: case.options == "averaged" and case.steps >= 3)  # fmt: skip
def average_late(problem):
    return _with(problem, t0=problem.options["t0"] + 1)


@_fault("the factors of Rprop are swapped with their inverses", "Rprop",
        shows=lambda case: case.steps > 1 and case.magnitude == "unit")  # fmt: skip
def factors_inverted(problem):
    smaller, larger = problem.options["etas"]
    return _with(problem, etas=(1 / larger, 1 / smaller))


@_fault("the learning rate is off by a part in a hundred", *[n for n in OPTIMIZERS if n != "Rprop"])
def rate_a_percent_off(problem):
    return _with(problem, lr=problem.options["lr"] * 1.01)


@_fault("a step is lost", *OPTIMIZERS, shows=lambda case: case.steps > 1)
def step_lost(problem):
    return problem._replace(grads=problem.grads[:-1])


@_fault("the gradient of the step before is used", *OPTIMIZERS, shows=lambda case: case.steps > 1)
def gradient_stale(problem):
    return problem._replace(grads=problem.grads[:1] + problem.grads[:-1])


@_fault(
    "one element of one parameter is not updated",
    *OPTIMIZERS,
    shows=lambda case: case.gradient_layout != "expanded",
)
def element_skipped(problem):
    def without(arrays):
        bias = arrays["bias"].copy()
        bias[-1] = 0
        return arrays | {"bias": bias}

    return problem._replace(grads=[without(arrays) for arrays in problem.grads])


class Source(NamedTuple):
    """A mistake in an equation: the text in a file of the reference, and what becomes of it."""

    symptom: str
    optimizers: tuple[str, ...]
    old: str
    new: str
    shows: Callable[[OptimizerCase], bool] = lambda case: True


def _late(case):
    return case.steps > 1


def _step_is_seen(case):
    """Whether a step that is wrong by 10⁻⁴ of itself is more than roundings of the parameter."""
    return case.start == "zero" or case.steps > 1


def _eps_matters(case):
    """Whether ε is not lost beside √v."""
    return case.options in ("maximize", "centered")


SOURCES = {
    "first_bias_correction_missing": Source(
        "1 − β₁ᵗ is missing", ADAMS, "lr / (1 - beta_1**t)", "lr"
    ),
    "second_bias_correction_missing": Source(
        "1 − β₂ᵗ is missing", ADAMS, "(1 - beta_2**t) ** 0.5", "1.0"
    ),
    "bias_correction_a_step_late": Source(
        "the corrections are those of the step before", ADAMS,
        "lr / (1 - beta_1**t)", "lr / (1 - beta_1 ** max(t - 1, 1))", _late,
    ),
    "second_correction_outside_of_the_root": Source(
        "1 − β₂ᵗ in place of its root", ADAMS, "(1 - beta_2**t) ** 0.5", "(1 - beta_2**t)"
    ),
    "eps_inside_of_the_root": Source(
        "ε is added inside of the root", ADAMS,
        "np.sqrt(largest) / root + eps", "np.sqrt(largest / root**2 + eps)",
    ),
    "eps_before_the_correction": Source(
        "ε is added before the bias correction", ADAMS,
        "np.sqrt(largest) / root + eps", "(np.sqrt(largest) + eps) / root", _eps_matters,
    ),
    "eps_missing": Source("ε is missing", ADAMS, "root + eps", "root", _eps_matters),
    "second_moment_of_the_first_kind": Source(
        "the mean of |g| in place of g²", ADAMS, "(g * g)", "abs(g)"
    ),
    "momentum_as_a_running_mean": Source(
        "momentum as a running mean", ("SGD",), "(1 - dampening) * g", "(1 - momentum) * g",
        lambda case: case.steps > 1 and bool(_options(case)["momentum"])
        and case.options != "dampening",
    ),
    "infinity_norm_without_decay": Source(
        "the maximum of Adamax does not decay", ("Adamax",), "beta_2 * u", "u", _late
    ),
    "nadam_without_the_next_momentum": Source(
        "μₜ in place of μₜ₊₁", ("NAdam",), "lr * mu_next / (1 - product * mu_next)",
        "lr * mu / (1 - product * mu)", _step_is_seen,
    ),
    "radam_rectified_without_correction": Source(
        "1 − β₂ᵗ is missing", ("RAdam",), "r * (1 - beta_2**t) ** 0.5", "r",
        lambda case: case.steps == 20,
    ),
    "adagrad_counts_from_one": Source(
        "the decay of the rate counts steps from 1", ("Adagrad",), "(t - 1) * lr_decay",
        "t * lr_decay", lambda case: case.options == "decay",
    ),
    "adadelta_with_the_new_mean": Source(
        "the order of the means is wrong", ("Adadelta",), "a = rho * a + (1 - rho) * (d * d)",
        "a = rho * a + (1 - rho) * (g * g)",
    ),
    "rmsprop_eps_inside": Source(
        "ε is inside of the root", ("RMSprop",), "np.sqrt(variance) + eps",
        "np.sqrt(variance + eps)", lambda case: case.options in ("centered", "maximize"),
    ),
    "asgd_decays_with_the_first_rate": Source(
        "the decay uses η in place of ηₜ", ("ASGD",), "lambd * rate", "lambd * lr",
        lambda case: case.options == "averaged" and case.steps > 1,
    ),
    "rprop_keeps_the_gradient": Source(
        "the gradient is kept where its sign changes", ("Rprop",), "0 * g", "g",
        lambda case: case.steps > 1,
    ),
}  # fmt: skip


class Kill(NamedTuple):
    """How often a mistake was planted in cases where it changes the numbers, and detected."""

    name: str
    symptom: str
    detected: int
    planted: int
    least: float  # the smallest R of all


def names():
    """Of every mistake."""
    return [*FAULTS, *SOURCES]


@lru_cache(maxsize=400)
def expected_of(case, dtype, effort=1):
    """Truth and noise of a case, which several mistakes are planted in."""
    return expect(draw(case, dtype), dtype, effort)


def plant_in_cases(name, count, dtypes=("float64", "float32"), seed=0):
    """Plant a mistake in `count` cases of its optimisers in which it changes the numbers.

    Small gradients are left out: beside them a parameter, ε or weight decay hides most mistakes.
    An array of the state that the mistake leaves out is not judged.
    """
    fault = FAULTS.get(name) or SOURCES[name]
    drawn = optimizer_cases(max(400, 4 * count), seed, fault.optimizers)
    cases = [case for case in drawn if case.magnitude == "unit" and fault.shows(case)][:count]
    ratios = []
    for case in cases:
        for dtype in dtypes:
            problem = draw(case, dtype)
            results = {n: v for n, v in _results(fault, problem, dtype).items() if v.size}
            expected = expected_of(case, dtype)
            results = {n: v for n, v in results.items() if n in expected.truth}
            verdict = judge(results, expected.of(results), False)
            if verdict.worst.R < 1000 * LIMIT:  # far above, more runs decide nothing
                verdict, _ = judge_and_confirm(
                    results,
                    expected.of(results),
                    False,
                    lambda effort, c=case, d=dtype, n=results: expected_of(c, d, effort).of(n),
                )
            if verdict.word != "untrusted":
                ratios.append(verdict.worst.R)
    detected = sum(R > LIMIT for R in ratios)
    return Kill(name, fault.symptom, detected, len(ratios), min(ratios, default=0))


def _results(fault, problem, dtype):
    """The answer of torch's loop form to a changed problem, or of a changed equation."""
    if isinstance(fault, Fault):
        return run(fault.change(problem), dtype, "loop").results
    update = mutated(OPTIMIZERS[problem.optimizer].update, fault.old, fault.new)
    with np.errstate(all="ignore"):
        results = evaluate(problem, lambda v: np.asarray(v, dtype), float, update)
    return {n: np.asarray(v, np.float64) for n, v in results.items()}


def mutated(update, old, new):
    """The function with a text of its file replaced, which must be there exactly once."""
    module = sys.modules[update.__module__]
    text = Path(module.__file__).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{module.__file__} has {old!r} {text.count(old)} times"
    scope = {"__name__": module.__name__, "__package__": module.__package__}
    exec(compile(text.replace(old, new), f"{module.__file__}, mutated", "exec"), scope)
    return scope["update"]
