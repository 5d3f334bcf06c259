"""Point 12: the target is fed to the model only in training."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .arguments import require_functions, require_modules, require_tensors
from .calls import Caller
from .check_result import CheckResult
from .comparison import require_numbers
from .values import output_tensor

SEEDS = 8  # of random numbers that decide what is fed


def teacher_forcing(
    model: nn.Module, run: Callable[[Tensor], object], target: Tensor, other_target: Tensor
) -> CheckResult:
    """(12) The target is fed to the model only in training.

    Random numbers are the same for both targets, and several seeds are tried. The model is put back
    in its own mode, and so is a state that it keeps.

    Args:
        model: the model that `run` decodes with; it is switched between training and evaluation.
        run: run(target) -> logits or tokens [B, ·], alone, in a tuple, or in a dict or object.
        target: tokens [B, T], integers, T ≥ 2; or numbers.
        other_target: different ones of the same shape, in more than the first column.

    Returns:
        Holds: in training the result depends on the target, in evaluation it does not. Fails:
        reports how much the result changes in evaluation.

    Raises:
        ValueError: the two targets are equal, or differ in the first column only, or are not [B, T]
            of one shape; the target is not fed in training either, so that nothing can be seen;
            only the first column is fed in evaluation, which may be ⟨bos⟩: give both targets the
            same; the result is NaN, or a loss, which depends on the target in any case.
    """
    require_tensors(target=target, other_target=other_target)
    require_modules(model=model)
    require_functions(run=run)
    if target.shape != other_target.shape or target.dim() < 2:
        raise ValueError(
            f"Expected two targets [B, T] of one shape, got {list(target.shape)} and "
            f"{list(other_target.shape)}."
        )
    if torch.equal(target, other_target):
        raise ValueError("Expected two different targets of one shape, got the same twice.")
    caller = _InMode(model, run)
    same_first = other_target.clone()
    same_first[:, :1] = target[:, :1]
    if torch.equal(same_first, target):
        raise ValueError(
            "Expected two different targets beyond the first column, got the same twice."
        )
    failures = []
    in_evaluation = caller.largest_change(False, target, same_first)
    if in_evaluation:
        failures.append(f"in evaluation another target changes the result by {in_evaluation:.2g}")
    elif caller.largest_change(False, target, other_target):
        raise ValueError(
            "Expected targets that begin with the same ⟨bos⟩, got two that differ in the first "
            "column, which is fed in evaluation."
        )
    elif not caller.largest_change(True, target, same_first):
        raise ValueError(
            "Expected a model that is fed the target in training, got one that is not fed either: "
            "nothing can be seen."
        )
    return CheckResult.from_failures(
        12,
        "the target is fed to the model only in training",
        failures,
        "in training the result depends on the target, in evaluation it does not",
    )


class _InMode:
    """Runs the decoder in a mode, and compares what it returns for two targets."""

    def __init__(self, model: nn.Module, run: Callable[[Tensor], object]) -> None:
        self.model, self.run = model, run

    def largest_change(self, training: bool, target: Tensor, other: Tensor) -> float:
        """The change of the result, over several seeds; 0 if there is none with any of them."""
        caller = Caller(self.run, training)
        caller.modules = [self.model, *[m for m in caller.modules if m is not self.model]]
        for seed in range(SEEDS):
            result, other_result = (
                output_tensor(caller(fed.clone(), seed=seed)) for fed in (target, other)
            )
            if result.dim() == 0:
                raise ValueError("Expected logits or tokens [B, ·], got a scalar, such as a loss.")
            require_numbers([result], "run(target)")
            if found := caller.change(other_result, result):
                return found
        return 0.0
