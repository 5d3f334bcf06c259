"""Invalid calls: both raise the same class, and ours does so with one sentence."""

import re
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.torch_version import TorchVersion

import reference
import torch_impl.sequences.packing as framework
from reference import PackedSequence

ACCEPTS = None  # as a row's `torch`: torch accepts the arguments
CRASHES = "crashes"  # torch reads out of bounds and may end the process: not called


class Row(NamedTuple):
    """Invalid arguments, the error that they must raise, and what torch does if it differs."""

    id: str
    arguments: Any
    error: type[Exception]
    message: str
    torch: Any = "the same"


def each(rows, of=None):
    """Parametrise a test by rows; with `of`, by pairs of a class name and a row."""
    if of is None:
        return pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in rows])
    pairs = [pytest.param(name, row, id=f"{name}-{row.id}") for row in rows for name in of]
    return pytest.mark.parametrize(("name", "row"), pairs)


def rejects_row(row, call, *arguments, **options):
    """Assert that the call raises exactly the row's class, with one sentence that matches."""
    with pytest.raises(row.error) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert type(caught.value) is row.error
    assert re.search(row.message, message), message
    assert message.endswith(".") and not re.search(r"\. [A-Z]", message), message


def same_since(version, before=ACCEPTS):
    """The `torch` of a row that torch rejects as we do from this version on."""
    return "the same" if TorchVersion(torch.__version__) >= version else before


def torch_rejects_row(row, call, *arguments, **options):
    """Assert that torch raises the same class, or behaves as the row states."""
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
    """The same structure with tensors for arrays; other values stay as they are."""
    if isinstance(value, PackedSequence):
        return framework.PackedSequence(*[to_torch(field) for field in value])
    if isinstance(value, (tuple, list)):
        return type(value)(to_torch(v) for v in value)
    if isinstance(value, dict):
        return {name: to_torch(v) for name, v in value.items()}
    return torch.tensor(value) if isinstance(value, np.ndarray) else value


def net_and_module(name, *arguments, **options):
    """Our net, torch's module in float64, and our parameters."""
    net = getattr(reference, name)(*arguments, **options)
    module = getattr(torch.nn, name)(*arguments, **options).double()
    return net, module, net.init(np.random.default_rng(1))


def bits(value):
    """The shape and bytes of every array in a structure, for a later comparison."""
    if isinstance(value, (tuple, list)):
        return [bits(v) for v in value]
    if isinstance(value, dict):
        return {name: bits(v) for name, v in value.items()}
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
