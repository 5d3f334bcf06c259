"""The results that are diagnosed: which tensors are wrong, and which cases are compared."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from torch_impl.execution.problem import Problem

from ..cases.case import Case, draw
from ..judging.judge import LIMIT, judge
from ..judging.truth import Expected
from ..judging.wide import narrow
from .question import Question

MOST_CASES = 18  # of each cell and dtype, wrong ones and right ones
CONFIRMED = 1000.0  # an R above which more runs cannot make a fault of noise
EFFORT = 8


class Evidence(NamedTuple):
    """The results of an implementation in one case, by name; absent ones are not judged."""

    case: Case
    dtype: str
    results: Mapping[str, np.ndarray]
    problem: Problem | None = None  # if it is not that drawn from the case


class Item(NamedTuple):
    """One evidence with its question, the number of judged tensors, and the names of wrong ones."""

    evidence: Evidence
    question: Question
    tensors: int
    wrong: tuple[str, ...]


@lru_cache(maxsize=64)
def question_of(case: Case, dtype: str) -> Question:
    """The question of a case, drawn once."""
    return Question(draw(case), dtype)


def examine_evidence(evidence: Evidence) -> Item:
    """What is wrong in the results of a case."""
    case, dtype, results, problem = evidence
    question = question_of(case, dtype) if problem is None else Question(problem, dtype)
    scores = _scores(results, question.right())
    worst = max(scores.values(), default=0.0)
    if LIMIT < worst < CONFIRMED:
        scores = _scores(results, question.right(EFFORT))
    wrong = tuple(name for name, R in scores.items() if R > LIMIT)
    return Item(evidence, question, len(scores), wrong)


def _scores(results: Mapping[str, np.ndarray], expected: Expected) -> dict[str, float]:
    """R of every tensor that is there and can be judged."""
    known = {name: truth for name, truth in expected.truth.items() if name in results}
    if not known or expected.untrusted:
        return {}
    verdict = judge(results, expected.of(known))
    return {s.tensor: s.R for s in verdict.scores if not s.ill}


def in_order(items: Sequence[Item]) -> list[Item]:
    """Generic numbers first, because rounding is not amplified there, then small cases."""

    def cost(item: Item) -> tuple[bool, int]:
        case = item.evidence.case
        size = case.T * case.layers * (1 + case.bidirectional) * (case.H + case.I)
        return case.regime != "generic", size

    return sorted(items, key=cost)


def choose(items: Sequence[Item]) -> list[Item]:
    """MOST_CASES of some items: one of each ability first, because a mistake may need it."""
    ordered = in_order(items)
    firsts: dict[tuple[object, ...], Item] = {}
    for item in ordered:
        firsts.setdefault(_ability(item.evidence.case), item)
    preferred = {id(item): None for item in [*firsts.values(), *ordered]}
    chosen = list(preferred)[:MOST_CASES]
    return [item for item in ordered if id(item) in chosen]


def _ability(case: Case) -> tuple[object, ...]:
    return (
        case.I == case.H,  # where transposes show
        case.T == 1,
        case.layers > 1,
        case.bidirectional,
        bool(case.lengths),
        bool(case.P),
        case.bias,
        case.state,
        case.cotangents,
        case.regime,
    )


def is_readable(item: Item) -> bool:
    """Whether every tensor is an array of floating-point numbers in its shape, finite where the
    truth is."""
    truth, results = item.question.right().truth, item.evidence.results

    def is_array(value: object, true: np.ndarray) -> bool:
        if type(value) is not np.ndarray or value.dtype.kind != "f" or value.shape != true.shape:
            return False
        return bool((np.isfinite(value) | ~np.isfinite(narrow(true))).all())

    return all(is_array(value, truth[name]) for name, value in results.items() if name in truth)
