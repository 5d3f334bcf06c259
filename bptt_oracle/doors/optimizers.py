"""`bptt_oracle.judge_optimizer`: an optimiser of the caller's own, held against the equations.

Page: docs/optimizers/optimizers.md
"""

import math
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch

from torch_impl.execution.precision import DTYPES
from torch_impl.optimizers.layouts import array_of
from torch_impl.optimizers.run import OptimizerProblem
from torch_impl.optimizers.table import OPTIMIZERS

from ..judging.confirmation import judge_and_confirm
from ..judging.judge import LIMIT, Verdict
from ..optimizers.cases import MAGNITUDES, STARTS, STEPS, OptimizerCase, draw
from ..optimizers.expectation import expect


class OptimizerJudgement(NamedTuple):
    """The worst R of each problem. It is true if all of them agree."""

    verdict: str  # agree, fault, or untrusted if no problem can decide
    R: dict[str, float]  # by problem, such as n3.zero.unit; nan if it cannot decide
    worst: str  # the problem with the largest R
    tensor: str  # its worst parameter
    at: tuple[int, ...]  # the index of the worst element

    def __bool__(self) -> bool:
        return self.verdict == "agree"

    def __str__(self) -> str:
        decided = {name: R for name, R in self.R.items() if not math.isnan(R)}
        if not decided:
            return "untrusted: no problem can decide in this dtype"
        lines = [f"{name:<24}{R:>12.3g}" for name, R in decided.items()]
        if len(decided) < len(self.R):
            lines.append(f"{len(self.R) - len(decided)} problems cannot decide in this dtype")
        place = f"{self.tensor}{list(self.at)} of {self.worst}"
        last = f"{self.verdict}: the worst is {place}; R above {LIMIT:g} is a fault"
        return "\n".join([*lines, last])


def judge_optimizer(
    make: Callable[[list[torch.Tensor]], Any],
    algorithm: str,
    *,
    dtype: str = "float32",
    seed: int = 0,
    **options: Any,
) -> OptimizerJudgement:
    """Judge the parameters after 1, 3 and 20 steps of an optimiser.

    make         make(parameters) returns the optimiser: its `step()` reads the .grad of the leaf
                 tensors in the list and changes them in place, as in torch.optim
    algorithm    whose equations it should follow: SGD, Adam, AdamW, … as in torch.optim
    options      of the algorithm by torch's names, which `make` must set as well; one that is left
                 out has its value in the set "plain" of torch_impl/optimizers/table.py

    The parameters start from zero, where they *are* the steps, and from random numbers. Raises
    ValueError, in one sentence, for an unknown algorithm, dtype or option; what `make` and `step`
    raise passes through.
    """
    problems = _problems(algorithm, dtype, seed, options)
    if not callable(make):
        raise ValueError(
            f"a {type(make).__name__} came; expected a function of the list of parameters that "
            "returns the optimiser"
        )
    verdicts = {name: _judge(make, problem, dtype) for name, problem in problems.items()}
    decided = {name: v for name, v in verdicts.items() if v.word != "untrusted"}
    name = max(decided or verdicts, key=lambda n: verdicts[n].worst.R)
    worst = verdicts[name]
    R = {n: v.worst.R if n in decided else float("nan") for n, v in verdicts.items()}
    return OptimizerJudgement(worst.word, R, name, worst.worst.tensor, worst.worst.at or ())


def _problems(
    algorithm: str, dtype: str, seed: int, options: dict[str, Any]
) -> dict[str, OptimizerProblem]:
    if algorithm not in OPTIMIZERS:
        raise ValueError(f"{algorithm!r} came; expected one of {', '.join(OPTIMIZERS)}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} came; expected one of {', '.join(DTYPES)}")
    sets = OPTIMIZERS[algorithm].options
    known = {name: None for own in sets.values() for name in own}
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ValueError(f"{algorithm} has no option {unknown[0]!r}; it has {', '.join(known)}")
    cases = [
        OptimizerCase(algorithm, "plain", steps, start, "contiguous", "contiguous", size, seed)
        for steps, start, size in product(STEPS, STARTS, MAGNITUDES)
    ]
    return {
        f"n{case.steps}.{case.start}.{case.magnitude}": draw(case, dtype)._replace(
            options={**sets["plain"], **options}
        )
        for case in cases
    }


def _judge(make: Callable[..., Any], problem: OptimizerProblem, dtype: str) -> Verdict:
    results = _run(make, problem, dtype)
    verdict, _ = judge_and_confirm(
        results,
        expect(problem, dtype).of(results),
        False,
        lambda effort: expect(problem, dtype, effort).of(results),
    )
    return verdict


def _run(make: Callable[..., Any], problem: OptimizerProblem, dtype: str) -> dict[str, np.ndarray]:
    """The parameters after all steps."""
    kind = getattr(torch, dtype)

    def tensor(value: np.ndarray) -> torch.Tensor:
        return torch.tensor(value, dtype=kind)

    leaves = {name: tensor(value).requires_grad_() for name, value in problem.theta.items()}
    optimizer = make(list(leaves.values()))
    if not callable(getattr(optimizer, "step", None)):
        raise ValueError(
            f"make returned a {type(optimizer).__name__}; expected an object with the method step()"
        )
    for grads in problem.grads:
        for name, leaf in leaves.items():
            leaf.grad = tensor(grads[name])
        optimizer.step()
    return {name: array_of(leaf) for name, leaf in leaves.items()}
