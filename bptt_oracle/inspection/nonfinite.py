"""The first tensor of a training step that is NaN or infinite: which module, where, in which pass.

    forward    parameters, then in order: inputs and outputs of every module; inside a recurrent
               module x, h_0, c_0, weights, and of every layer, direction and step c and h
    backward   in order: the gradient of every module's output and of every parameter; inside a
               recurrent module δh and δc of every layer, direction and step

What torch's kernels keep inside (c, δh, δc) is computed again in float64 from the recorded values;
a value above the largest of the kernel's dtype is one that the kernel could not hold.

An infinity that the model itself absorbs is not a finding: a mask of −∞ before a softmax leaves the
loss and the gradients finite.

Page: docs/inspection/nonfinite.md
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import is_dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .finding import NonFinite, array_finding, backward_finding, forward_finding
from .layer_call import LayerCall
from .layer_calls import record_layer_calls
from .recurrent_modules import NOT_SEEN, RECURRENT, Hook, module_names


def first_nonfinite(
    model: nn.Module, step: Callable[[], object], runs: int = 1
) -> NonFinite | None:
    """The first value that is NaN or infinite while `step()` trains `model`; None if there is none.

    model   a torch.nn.Module with any nn.RNN, nn.GRU, nn.LSTM or recurrent cell inside
    step    takes no arguments, and runs the forward and the backward pass of your training step;
            what it returns is also looked at, so let it return the loss
    runs    how often to call it, at most; for NaN after N steps. The first finding ends it.

    Operations between the modules are seen by what they leave in the next module's input, in the
    returned loss, or in the gradient of the last module's output. With a GradScaler the overflows
    that make it lower its scale are found too.

    Raises TypeError and ValueError as `record_norms` does, but a `step` without a backward pass is
    inspected as far as it goes. An error of `step` itself is passed on.
    """
    for run in range(runs):
        found = _inspect(model, step)
        if found is not None:
            return found._replace(run=run)
    return None


class _Found(NamedTuple):
    """A finding, and when the value was computed."""

    time: float
    what: NonFinite
    certain: bool  # False for a value that the model may absorb
    masks: bool = False  # −∞ alone, as in a mask of scores


class _Watch:
    """Collects what is not finite, in the order in which it is computed."""

    def __init__(self) -> None:
        self.found: list[_Found] = []
        self.clock = 0
        self.start_of_backward = math.inf
        self.arrived: dict[int, tuple[int, LayerCall]] = {}  # when a call's last gradient came

    def look(
        self,
        phase: str,
        module: str,
        tensor: str,
        value: Tensor,
        certain: bool,
        masks: bool = False,
    ) -> None:
        """Note the first element of a tensor that is not finite; `masks` says that it may be −∞."""
        self._tick(phase)
        what = _finding(phase, module, tensor, value.detach())
        if what is not None:
            masks = masks and _is_mask(value.detach())
            self.found.append(_Found(self.clock, what, certain, masks))

    def look_at_returned(self, value: Tensor) -> None:
        """Note what is not finite in the result of `step`, which is older than its gradient."""
        what = _finding("forward", "step()", "the returned value", value.detach())
        if what is not None:
            time = min(self.clock + 1, self.start_of_backward - 0.5)
            self.found.append(_Found(time, what, True))

    def look_at_call(self, call: LayerCall) -> None:
        """Note what is not finite in the forward pass of one layer."""
        self._tick("forward")
        what = forward_finding(call)
        if what is not None:
            self.found.append(_Found(self.clock, what, True))

    def look_at_cotangent(self, call: LayerCall, name: str, gradient: np.ndarray) -> None:
        """Note what is not finite in a gradient that arrives at a layer's output or final state."""
        self._tick("backward")
        self.arrived[id(call)] = self.clock, call
        what = array_finding(call, "backward", name, gradient)
        if what is not None:
            what = what._replace(tensor=f"gradient of {what.tensor}")
            self.found.append(_Found(self.clock, what, True))

    def first(self) -> NonFinite | None:
        """The finding to report, after the layers that were reached before it are looked into."""
        backward = min(
            (f.time for f in self.found if f.what.phase == "backward"), default=-math.inf
        )
        for time, call in self.arrived.values():
            what = backward_finding(call) if time < backward else None
            if what is not None:
                self.found.append(_Found(time + 0.5, what, True))
        found = sorted(self.found, key=lambda f: f.time)
        differentiated = self.start_of_backward < math.inf
        if differentiated and not any(f.certain for f in found):
            return None
        return next((f.what for f in sorted(found, key=lambda f: f.masks)), None)

    def _tick(self, phase: str) -> None:
        self.clock += 1
        if phase == "backward":
            self.start_of_backward = min(self.start_of_backward, self.clock)


def _finding(phase: str, module: str, tensor: str, value: Tensor) -> NonFinite | None:
    """The first element of a tensor that is not finite."""
    if value.is_sparse:
        value = value.coalesce().values()
    bad = ~value.isfinite()
    if not bad.any():
        return None
    index = tuple(int(i) for i in bad.nonzero()[0])
    return NonFinite(phase, module, tensor, float(value[index].real), position=index or None)


def _is_mask(value: Tensor) -> bool:
    """Whether what is not finite is −∞ alone."""
    return not value.is_complex() and not bool((value.isnan() | value.isposinf()).any())


def _inspect(model: nn.Module, step: Callable[[], object]) -> NonFinite | None:
    """The first finding of one call of `step`."""
    watch = _Watch()
    with ExitStack() as stack:
        calls = stack.enter_context(
            record_layer_calls(model, watch.look_at_call, watch.look_at_cotangent)
        )
        for module, name in module_names(model).items():
            for tensor, parameter in module.named_parameters(recurse=False):
                watch.look("forward", name, tensor, parameter, True)
                if parameter.requires_grad:
                    _follow(watch, stack, name, tensor, parameter)
            if not isinstance(module, RECURRENT):
                _look_at_module(watch, stack, module, name)
        returned = step()
    if not calls:
        raise ValueError(NOT_SEEN)
    for value in _tensors(returned):
        watch.look_at_returned(value)
    return watch.first()


def _look_at_module(watch: _Watch, stack: ExitStack, module: nn.Module, name: str) -> None:
    """Look at inputs and outputs of every call of a module, and at the outputs' gradients."""
    masks = not [*module.parameters(recurse=False)]  # −∞ of a linear layer is an overflow

    def enter(_: nn.Module, args: Any, kwargs: Any) -> None:
        for value in _tensors((args, kwargs)):
            watch.look("forward", name, "input", value, False, masks=True)

    def leave(_: nn.Module, args: Any, returned: Any) -> None:
        for value in _tensors(returned):
            watch.look("forward", name, "output", value, False, masks)
            if value.requires_grad:
                _follow(watch, stack, name, "output", value)

    stack.callback(module.register_forward_pre_hook(Hook(enter), with_kwargs=True).remove)
    stack.callback(module.register_forward_hook(Hook(leave)).remove)


def _follow(watch: _Watch, stack: ExitStack, module: str, tensor: str, value: Tensor) -> None:
    """Look at every gradient that arrives at a tensor."""

    def arrive(gradient: Tensor | None) -> None:
        if gradient is not None:
            watch.look("backward", module, f"gradient of {tensor}", gradient, True)

    stack.callback(value.register_hook(arrive).remove)


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors of floating point in nested tuples, lists, mappings, packs and dataclasses."""
    if isinstance(value, Tensor):
        if (value.is_floating_point() or value.is_complex()) and value.numel():
            yield value
    elif isinstance(value, PackedSequence):
        yield value.data
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
    elif is_dataclass(value):
        yield from _tensors(vars(value))
