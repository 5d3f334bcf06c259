"""What is asked of a refusal: torch's class, one sentence, and nothing left behind."""

import re
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.torch_version import TorchVersion

import reference
import torch_impl.sequences.packing as framework
from reference import PackedSequence

ACCEPTS = None  # in a row's `torch`: it lets the mistake pass
CRASHES = "crashes"  # it reads memory that is not there, and may end the process: not asked


class Row(NamedTuple):
    """A mistake: arguments, and how they are refused; what torch does where that differs."""

    id: str
    arguments: Any
    error: type[Exception]
    message: str
    torch: Any = "the same"


def each(rows, of=None):
    """Parametrise by rows; with `of`, for each of those class names."""
    if of is None:
        return pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in rows])
    pairs = [pytest.param(name, row, id=f"{name}-{row.id}") for row in rows for name in of]
    return pytest.mark.parametrize(("name", "row"), pairs)


def refused(row, call, *arguments, **options):
    """Assert that the call raises the row's very class, with one sentence that matches."""
    with pytest.raises(row.error) as caught:
        call(*arguments, **options)
    said = str(caught.value)
    assert type(caught.value) is row.error
    assert re.search(row.message, said), said
    assert said.endswith(".") and not re.search(r"\. [A-Z]", said), said


def since(version, before=ACCEPTS):
    """What a row says of torch that refuses as we do from this version on."""
    return "the same" if TorchVersion(torch.__version__) >= version else before


def torch_too(row, call, *arguments, **options):
    """Assert that torch raises the same class, or does what the row says it does."""
    expected = row.error if row.torch == "the same" else row.torch
    if expected == CRASHES:
        return
    if expected is ACCEPTS:
        call(*arguments, **options)
        return
    with pytest.raises(expected) as caught:
        call(*arguments, **options)
    assert type(caught.value) is expected


def to_torch(value):
    """The same made of tensors; what is no array stays as it is."""
    if isinstance(value, PackedSequence):
        return framework.PackedSequence(*[to_torch(field) for field in value])
    if isinstance(value, (tuple, list)):
        return type(value)(to_torch(v) for v in value)
    if isinstance(value, dict):
        return {name: to_torch(v) for name, v in value.items()}
    return torch.tensor(value) if isinstance(value, np.ndarray) else value


def net_and_module(name, *arguments, **options):
    """Ours and torch's in float64, and our parameters."""
    net = getattr(reference, name)(*arguments, **options)
    module = getattr(torch.nn, name)(*arguments, **options).double()
    return net, module, net.init(np.random.default_rng(1))


def bits(value):
    """The bytes of everything in there, to be compared later."""
    if isinstance(value, (tuple, list)):
        return [bits(v) for v in value]
    if isinstance(value, dict):
        return {name: bits(v) for name, v in value.items()}
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
