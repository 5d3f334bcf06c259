"""Conditions of roads on problems: each returns why a road excludes one; empty if it does not."""

from ..execution.problem import Problem, is_tied
from .road import is_packed


def packed_only(problem: Problem, dtype: str) -> str:
    """It concerns packed data."""
    return "" if is_packed(problem) else "it concerns packed data only"


def dense_batch(problem: Problem, dtype: str) -> str:
    """It concerns batches that are not packed."""
    if is_packed(problem) or problem.x.ndim == 2:
        return "it concerns batches that are not packed"
    return ""


def rows(problem: Problem, dtype: str) -> str:
    """It concerns several rows that are not packed."""
    if (
        not dense_batch(problem, dtype)
        and problem.x.shape[0 if problem.net.batch_first else 1] == 1
    ):
        return "one row is expanded to several"
    return dense_batch(problem, dtype)


def no_masks(problem: Problem, dtype: str) -> str:
    """It concerns batches without dropout that are not packed."""
    if problem.net.dropout:
        return "the masks are those of a batch with rows"
    return dense_batch(problem, dtype)


def norms(problem: Problem, dtype: str) -> str:
    """No row of a recurrent weight is 0."""
    if not problem.params["weight_hh_l0"].any(axis=1).all():
        return "a row of zeros has no direction"
    return ""


def no_dropout(problem: Problem, dtype: str) -> str:
    """It runs without dropout."""
    return "several calls at once draw masks in any order" if problem.net.dropout else ""


def layers(problem: Problem, dtype: str) -> str:
    """It concerns several layers."""
    return "" if problem.net.num_layers > 1 else "dropout acts between layers"


def both_directions(problem: Problem, dtype: str) -> str:
    """It concerns two directions."""
    if not problem.net.bidirectional:
        return "there is one direction only"
    return ""


def not_tied(problem: Problem, dtype: str) -> str:
    """It runs without tied parameters."""
    if is_tied(problem):
        return "a parametrization unties parameters"
    return ""
