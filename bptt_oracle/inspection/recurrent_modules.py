"""The recurrent modules inside a model, by name, and how to watch their calls.

Page: docs/inspection/norms.md
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

NOT_SEEN = (
    "step() called none of the model's recurrent modules where they can be seen: pass the model "
    "that step() trains, not a scripted one."
)
RECURRENT = (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)


def recurrent_modules(model: object) -> dict[nn.Module, str]:
    """The recurrent modules inside a model, each with its name.

    Raises TypeError for an argument that is not a module, ValueError for a model without recurrent
    modules and for one in DataParallel, which runs copies of it.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model should be a torch.nn.Module, got {type(model).__name__}.")
    if any(isinstance(module, nn.DataParallel) for module in model.modules()):
        raise ValueError("DataParallel runs copies of the model: pass its `module`, on one device.")
    found = {m: n for m, n in module_names(model).items() if _is_recurrent(m)}
    if not found:
        raise ValueError(f"{type(model).__name__} contains no nn.RNN, nn.GRU, nn.LSTM or cell.")
    return found


def overriding_classes(model: nn.Module) -> tuple[str, ...]:
    """The names of the classes of recurrent modules whose `forward` is not torch's."""
    found = [
        type(module).__name__
        for module in recurrent_modules(model)
        for base in RECURRENT
        if isinstance(module, base) and type(module).forward is not base.forward
    ]
    return tuple(dict.fromkeys(found))


def module_names(model: nn.Module) -> dict[nn.Module, str]:
    """Every module inside the model by its name, the model itself by its class."""
    return {
        module: name.replace("_orig_mod.", "").removesuffix("_orig_mod") or type(module).__name__
        for name, module in model.named_modules()
    }


def _is_recurrent(module: nn.Module) -> bool:
    return isinstance(module, RECURRENT)


class Hook:
    """A hook of a module, which does nothing in a copy of the module, pickled or not."""

    def __init__(self, function: Callable[..., None] | None = None) -> None:
        self._function = function

    def __call__(self, *args: Any) -> None:
        if self._function:
            self._function(*args)

    def __reduce__(self) -> tuple[type["Hook"], tuple[()]]:
        return Hook, ()


def without_compiling() -> AbstractContextManager[object]:
    """Inside the block, compiled models run as they were before they were compiled.

    Older versions than torch 2.6 cannot do this; then compiled calls are not seen.
    """
    if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
        stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
        return stance
    return nullcontext()
