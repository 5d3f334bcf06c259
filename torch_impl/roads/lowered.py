"""A net with its arguments one by one, as scripts, exports and ONNX take them.

    lowered(x, h)  or  lowered(x, h, c)      →  output, h_n  or  output, h_n, c_n
    lowered(x)                               where the problem has no initial state

A net is lowered with an example of other sizes and numbers than those of the call.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from ..execution.calls import Call, Result, axes
from .road import call_net

Tensor = torch.Tensor


class OneState(torch.nn.Module):
    """A net with the state h."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        output, h_n = self.net(x, h)
        return output, h_n


class TwoStates(torch.nn.Module):
    """A net with the state (h, c)."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, final = self.net(x, (h, c))
        return output, final[0], final[1]


class OneFinal(torch.nn.Module):
    """A net with the state h, which is 0 at first."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        output, h_n = self.net(x)
        return output, h_n


class TwoFinals(torch.nn.Module):
    """A net with the state (h, c), which is 0 at first."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, final = self.net(x)
        return output, final[0], final[1]


class PackedOneState(torch.nn.Module):
    """A net of packed data with the state h."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: PackedSequence, h: Tensor) -> tuple[PackedSequence, Tensor]:
        output, h_n = self.net(x, h)
        return output, h_n


class PackedTwoStates(torch.nn.Module):
    """A net of packed data with the state (h, c)."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, x: PackedSequence, h: Tensor, c: Tensor
    ) -> tuple[PackedSequence, Tensor, Tensor]:
        output, final = self.net(x, (h, c))
        return output, final[0], final[1]


class PackedOneFinal(torch.nn.Module):
    """A net of packed data with the state h, which is 0 at first."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: PackedSequence) -> tuple[PackedSequence, Tensor]:
        output, h_n = self.net(x)
        return output, h_n


class PackedTwoFinals(torch.nn.Module):
    """A net of packed data with the state (h, c), which is 0 at first."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: PackedSequence) -> tuple[PackedSequence, Tensor, Tensor]:
        output, final = self.net(x)
        return output, final[0], final[1]


_CLASSES: dict[tuple[bool, bool, bool], Callable[[Any], torch.nn.Module]] = {
    (False, True, False): OneState,
    (False, True, True): TwoStates,
    (False, False, False): OneFinal,
    (False, False, True): TwoFinals,
    (True, True, False): PackedOneState,
    (True, True, True): PackedTwoStates,
    (True, False, False): PackedOneFinal,
    (True, False, True): PackedTwoFinals,
}


def wrapped(module: torch.nn.Module, call: Call) -> torch.nn.Module:
    """The module with its arguments one by one; packed data as a PackedSequence."""
    key = call.lengths is not None, call.state is not None, call.net.mode == "LSTM"
    return _CLASSES[key](module)


def call_lowered(lowered: Callable[..., Any], call: Call) -> Result:
    """The output, padded, and the final states of a lowered net."""

    def function(x: Any, state: Any) -> Any:
        fields = () if state is None else state if isinstance(state, tuple) else (state,)
        output, *final = lowered(x, *fields)
        return output, tuple(final) if len(final) > 1 else final[0]

    return call_net(function, call)


def example_inputs(
    call: Call, steps: int = 3, rows: int = 2, exact_steps: bool = False
) -> tuple[Tensor, ...]:
    """x and the state of an example: other numbers, and one step and row more where the call has as
    many; with `exact_steps` as many steps as given."""
    time, batch = axes(call)
    steps += not exact_steps and steps == call.x.shape[time]
    x = _other(call.x, time, steps)
    state: Sequence[Tensor] = call.state or []
    if batch is not None:
        rows += rows == call.x.shape[batch]
        x, state = _other(x, batch, rows), [_other(s, 1, rows) for s in state]
    return x, *[s.detach() * 0.5 for s in state]


def _other(value: Tensor, axis: int, size: int) -> Tensor:
    """Some rows of the value along an axis, again and again, with other numbers."""
    index = torch.arange(size) % value.shape[axis]
    return value.detach().index_select(axis, index) * -0.75 + 0.125
