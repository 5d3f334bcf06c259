"""Put back the state that a module keeps inside itself: attributes and buffers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

OWN_NAMES = frozenset(vars(nn.Module())) | {"_flat_weights", "_flat_weight_refs"}
Restore = Callable[[], Any]


@contextmanager
def kept_state(model: nn.Module) -> Iterator[None]:
    """Put back, after the block, the attributes and buffers that the model changed inside it."""
    saved = [(module, _own_values(module)) for module in model.modules()]
    try:
        yield
    finally:
        for module, (attributes, buffers) in saved:
            for name in [n for n in vars(module) if n not in OWN_NAMES | attributes.keys()]:
                del module.__dict__[name]
            module.__dict__.update({name: restore() for name, restore in attributes.items()})
            for name, restore in buffers.items():
                module._buffers[name] = restore()  # scripted modules have no update()


def _own_values(module: nn.Module) -> tuple[dict[str, Restore], dict[str, Restore]]:
    """What puts back each attribute, and each buffer, of a module."""
    own = {name: _restorer(v) for name, v in vars(module).items() if name not in OWN_NAMES}
    return own, {name: _restorer(v) for name, v in module._buffers.items()}


def _restorer(value: Any) -> Restore:
    """A function that returns the value as it is now, even if it was changed in place since."""
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        return _tensor_restorer(value)
    if isinstance(value, list):
        items = [_restorer(item) for item in value]
        return lambda: _refill(value, [restore() for restore in items])
    if isinstance(value, dict):
        entries = {name: _restorer(item) for name, item in value.items()}
        return lambda: _update(value, {name: restore() for name, restore in entries.items()})
    if type(value) is tuple:
        parts = [_restorer(item) for item in value]
        return lambda: tuple(restore() for restore in parts)
    return lambda: value


def _tensor_restorer(value: Tensor) -> Restore:
    copy = value.detach().clone()

    def restore() -> Tensor:
        if not torch.equal(value.detach().nan_to_num(), copy.nan_to_num()):
            with torch.no_grad():
                value.detach().copy_(copy)
        return value

    return restore


def _refill(value: list[Any], items: list[Any]) -> list[Any]:
    value[:] = items
    return value


def _update(value: dict[Any, Any], entries: dict[Any, Any]) -> dict[Any, Any]:
    value.clear()
    value.update(entries)
    return value
