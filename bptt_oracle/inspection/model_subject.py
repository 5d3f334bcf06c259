"""A model of the user, its batch and its loss, and the numbers in them by name.

    def make():                         what `bptt-oracle record --model file.py:make` names
        return model, batch, loss       loss(model, batch) returns the loss, a tensor of one element

`batch` is a tensor or an array, or tuples, lists and dicts of them. The random numbers of torch,
NumPy and Python start from 0 before `make()` and before the loss.

Page: docs/runs/your_model.md
"""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from torch_impl.execution.dtypes import array_of

from ..implementations.loading import describe, object_named
from ..processes.failures import CommandError, lacks_resources
from ..runs.row import array_digest, digest
from .recurrent_modules import recurrent_modules

EXPECTED = "(model, batch, loss), where loss(model, batch) returns the loss"
KINDS = "fiub"  # of NumPy: what a run file keeps


class Subject(NamedTuple):
    """What `make()` returned."""

    name: str  # "file:make"; it begins the ids of its results
    model: nn.Module
    batch: Any
    loss: Callable[[nn.Module, Any], Any]


def load_subject(name: str) -> Subject:
    """Call the function of "module:function" or "file.py:function". Raises CommandError, with one
    sentence."""
    make = object_named(name, "a function")
    seed_all()
    if not callable(make):
        raise CommandError(f"{name} is a {type(make).__name__}; expected a function of {EXPECTED}")
    returned = run_users_code(name, make)
    if not isinstance(returned, (tuple, list)) or len(returned) != 3:
        raise CommandError(f"{name} returned a {type(returned).__name__}; expected {EXPECTED}")
    model, batch, loss = returned
    try:
        recurrent_modules(model)
    except (TypeError, ValueError) as error:
        raise CommandError(f"{name}: {error}") from None
    if not callable(loss):
        raise CommandError(
            f"the loss of {name} is a {type(loss).__name__}; expected a function, because "
            "loss(model, batch) is called"
        )
    source, _, attribute = name.rpartition(":")
    stem = Path(source).stem if source.endswith(".py") else source
    subject = Subject(f"{stem}:{attribute}", model, batch, loss)
    if not any(key.startswith("batch") for key in numbers_of(subject)):
        raise CommandError(
            f"the batch of {name} is a {type(batch).__name__}; expected tensors, or tuples, lists "
            "and dicts of them"
        )
    return subject


def run_users_code(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of the user returns. Raises its exceptions as CommandError, with the last
    line of the user's code; not a lack of memory."""
    try:
        return function(*arguments)
    except CommandError:
        raise
    except (Exception, SystemExit) as error:
        if lacks_resources(error):
            raise
        raise CommandError(f"{name} raised {describe(error)}") from None


def seed_all() -> None:
    """Start the random numbers of torch, on every device, of NumPy and of Python from 0."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


def map_numbers(function: Callable[[str, Any], Any], value: Any, name: str = "batch") -> Any:
    """The batch with every tensor and array replaced by what `function` makes of its name and of
    it."""
    if isinstance(value, (Tensor, np.ndarray)):
        return function(name, value)
    if isinstance(value, Mapping):
        return {k: map_numbers(function, part, f"{name}.{k}") for k, part in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [map_numbers(function, part, f"{name}.{i}") for i, part in enumerate(value)]
        kind = type(value)
        return kind(*parts) if hasattr(value, "_fields") else kind(parts)
    return value


def numbers_of(subject: Subject) -> dict[str, np.ndarray]:
    """The numbers of a model and its batch by name: "weights.…" and "batch.…". Raises CommandError
    for numbers that a run file does not keep."""
    numbers: dict[str, np.ndarray] = {}

    def keep(name: str, value: Any) -> Any:
        array = array_of(value) if isinstance(value, Tensor) else value
        if array.dtype.kind not in KINDS or array.dtype.itemsize > 8:
            raise CommandError(f"{name} is {array.dtype}; a run keeps real numbers only")
        numbers[name.replace(" ", "_")] = array.copy()
        return value

    for name, value in subject.model.state_dict().items():
        if isinstance(value, Tensor):
            keep(f"weights.{name}", value)
    map_numbers(keep, subject.batch)
    return numbers


def with_numbers(subject: Subject, numbers: Mapping[str, np.ndarray], source: str) -> Subject:
    """The subject with the numbers of an earlier one, of which `source` is the name. Its weights
    are overwritten. Raises CommandError unless all names and shapes are the same."""
    own = {name: value.shape for name, value in numbers_of(subject).items()}
    given = {name: value.shape for name, value in numbers.items()}
    if own != given:
        name = next(n for n in {**own, **given} if own.get(n) != given.get(n))
        before, now = (_in_words(shapes.get(name)) for shapes in (given, own))
        raise CommandError(
            f"{name} has {before} in {source}, and {now} in {subject.name}; record the same model"
        )

    def replaced(name: str, value: Any) -> Any:
        array = numbers[name.replace(" ", "_")]
        if isinstance(value, np.ndarray):
            return array.astype(value.dtype)
        return torch.as_tensor(array.copy()).to(value.device, value.dtype)

    with torch.no_grad():
        for name, value in subject.model.state_dict().items():
            if isinstance(value, Tensor):
                value.copy_(replaced(f"weights.{name}", value))
    return subject._replace(batch=map_numbers(replaced, subject.batch))


def _in_words(shape: tuple[int, ...] | None) -> str:
    return "no numbers" if shape is None else f"shape {list(shape)}"


def digest_of(numbers: Mapping[str, np.ndarray], start: str) -> str:
    """A digest of all numbers whose name begins with `start`."""
    parts = [
        f"{name} {array_digest(value)}"
        for name, value in sorted(numbers.items())
        if name.startswith(start)
    ]
    return digest(*(part.encode() for part in parts))


def probe_random_numbers(model: nn.Module) -> str:
    """A digest of numbers that torch draws on the model's device after the seed 0: two versions
    with the same draw the same dropout masks. It leaves the generators at the seed."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    torch.manual_seed(0)
    mask = nn.functional.dropout(torch.ones(256, device=device), 0.5)
    drawn = [mask, torch.rand(64, device=device), torch.randperm(64, device=device)]
    torch.manual_seed(0)
    return digest(*(array_digest(array_of(value)).encode() for value in drawn))


def random_state(model: nn.Module) -> list[np.ndarray]:
    """The state of the generators that the model may draw from."""
    states = [array_of(torch.get_rng_state())]
    if any(p.is_cuda for p in model.parameters()):
        states += [array_of(state) for state in torch.cuda.get_rng_state_all()]
    return states
