"""Record the calls of the recurrent modules inside a model, layer by layer.

A module of several layers is one call of torch, which hides the states of all layers but the last
and the masks of dropout. While calls are recorded, torch computes its layers one after the other
instead, with dropout between them: on the CPU the results have the same bits. Everything else in
the model runs as it always does.

A copy of a module that the step makes, or a module that it loads, is not recorded: it is another
module than the one of the model.

Page: docs/inspection/norms.md
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from reference.cells.table import CELL_TABLE
from torch_impl.execution.backend import fused_kernel

from .layer_call import LayerCall, array_of, by_parameter
from .recurrent_modules import Hook, recurrent_modules, without_compiling

FUNCTIONS = {"rnn_tanh": "RNN_TANH", "rnn_relu": "RNN_RELU", "gru": "GRU", "lstm": "LSTM"}


class Place(NamedTuple):
    """A call of a module that is running, and how its packed input was sorted."""

    module: str
    number: int  # of the call
    order: np.ndarray | None


OnCall = Callable[[LayerCall], None]
OnCotangent = Callable[[LayerCall, str, np.ndarray], None]


@contextmanager
def record_layer_calls(
    model: nn.Module,
    on_call: OnCall | None = None,
    on_cotangent: OnCotangent | None = None,
    with_gradients: bool = False,
) -> Iterator[list[LayerCall]]:
    """The calls made of the recurrent modules of `model` inside the block, in order.

    `on_call` gets every call when it has returned, `on_cotangent` every gradient that
    arrives at an output. `with_gradients`: also record the gradients that torch computes of each
    call's inputs and weights, and the kernel. Raises the errors of `recurrent_modules`.
    """
    names = recurrent_modules(model)
    recorder = _Recorder(on_call, on_cotangent, with_gradients)

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        packed = next((a for a in (*args, *kwargs.values()) if isinstance(a, PackedSequence)), None)
        indices = None if packed is None else packed.sorted_indices
        order = None if indices is None else indices.cpu().numpy()
        recorder.running.append(Place(names[module], recorder.count[module], order))
        recorder.count[module] += 1

    def leave(*_: object) -> None:
        recorder.running.pop()

    handles: list[Any] = []
    for module in names:
        handles.append(module.register_forward_pre_hook(Hook(enter), with_kwargs=True))
        handles.append(module.register_forward_hook(Hook(leave), always_call=True))
    try:
        with recorder, without_compiling():
            yield recorder.calls
    finally:
        for handle in [*handles, *recorder.handles]:
            handle.remove()


class _Recorder(TorchFunctionMode):
    """Replaces torch's functions of recurrent modules by their layers, one by one."""

    def __init__(
        self, on_call: OnCall | None, on_cotangent: OnCotangent | None, with_gradients: bool
    ) -> None:
        super().__init__()
        self.calls: list[LayerCall] = []
        self.running: list[Place] = []
        self.count: Counter[nn.Module] = Counter()
        self.handles: list[Any] = []
        self._on_call, self._on_cotangent = on_call, on_cotangent
        self._with_gradients = with_gradients
        self._weights: dict[int, tuple[Tensor, int, torch.dtype, np.ndarray]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        place = self.running[-1] if self.running else None
        if place and name in FUNCTIONS:
            return self._call_net(func, FUNCTIONS[name], args, place)
        if place and name.removesuffix("_cell") in FUNCTIONS:
            return self._call_cell(func, FUNCTIONS[name.removesuffix("_cell")], args, place)
        return func(*args, **(kwargs or {}))

    def _call_net(
        self, func: Any, mode: str, args: tuple[Any, ...], place: Place
    ) -> tuple[Tensor, ...]:
        """What `func(*args)` returns: the output and the final state."""
        batch_sizes: Tensor | None = None
        batch_first = False
        if isinstance(args[3], (list, tuple)):
            x, batch_sizes, state, weights, bias, depth, dropout, training, two = args
        else:
            x, state, weights, bias, depth, dropout, training, two, batch_first = args
        state = state if mode == "LSTM" else (state,)
        D, of_layer = 1 + two, len(weights) // depth
        finals: list[list[Tensor]] = []
        for layer in range(depth):
            own = [s[layer * D : (layer + 1) * D] for s in state]
            own_weights = weights[layer * of_layer : (layer + 1) * of_layer]
            x, *used = self._aliases([x, *own, *own_weights])
            hx, used_weights = used[: len(own)], used[len(own) :]
            options = (hx if mode == "LSTM" else hx[0], used_weights, bias, 1, 0.0, training, two)
            if batch_sizes is None:
                output, *final = func(x, *options, batch_first)
            else:
                output, *final = func(x, batch_sizes, *options)
            self._record(
                mode, layer, x, hx, _by_direction(own_weights, bias, D),
                _by_direction(used_weights, bias, D), output, final, batch_sizes, batch_first,
                place,
            )  # fmt: skip
            finals.append(final)
            x = output
            if dropout and training and layer < depth - 1:
                x = nn.functional.dropout(output, dropout)
        return (output, *[torch.cat(fields) for fields in zip(*finals, strict=True)])

    def _call_cell(self, func: Any, mode: str, args: tuple[Any, ...], place: Place) -> Any:
        """What `func(*args)` returns, the state after one step."""
        x, state, *weights = args
        fields = list(state) if mode == "LSTM" else [state]
        x, *used = self._aliases([x, *fields, *weights])
        fields, used = used[: len(fields)], used[len(fields) :]
        returned = func(x, fields if mode == "LSTM" else fields[0], *used)
        # Inside torch's LSTM cell h is computed from the c that it returns, whose gradient would
        # contain that path; a copy of c has the gradient of the later steps alone.
        returned = (returned[0], returned[1].clone()) if mode == "LSTM" else returned
        after = returned if mode == "LSTM" else (returned,)
        h: Any = after[0]
        final = [None, *after[1:]]
        named, used_by_name = (dict(zip(_NAMES, w, strict=True)) for w in (weights, used))
        self._record(mode, 0, x, fields, [named], [used_by_name], h, final, None, False, place)
        return returned

    def _aliases(self, values: Sequence[Tensor | None]) -> list[Any]:
        """The same values, whose gradients are those of one call alone if they are recorded."""
        if not self._with_gradients:
            return list(values)
        return [v.view_as(v) if v is not None and v.requires_grad else v for v in values]

    def _record(
        self,
        mode: str,
        layer: int,
        x: Tensor,
        state: list[Tensor],
        weights: list[dict[str, Tensor | None]],
        used_weights: list[dict[str, Tensor | None]],
        output: Tensor,
        final: Sequence[Tensor | None],
        batch_sizes: Tensor | None,
        batch_first: bool,
        place: Place,
    ) -> None:
        """Record one call of one layer, and follow the gradients of what it returned.

        A cell returns h once, as output; its entry in `final` is None. `used_weights` are the
        aliases of `weights` that the call read.
        """

        def rows(value: Tensor) -> np.ndarray:
            array = array_of(value, dtype)
            if batch_sizes is None and array.ndim == 3:
                array = array.swapaxes(0, 1) if batch_first else array
                array = array.reshape(-1, array.shape[2])
            return array

        def as_it_is(value: Tensor) -> np.ndarray:
            return array_of(value, dtype)

        dtype, cell = output.dtype, CELL_TABLE[mode]
        if not output.numel():
            return
        if batch_sizes is None:
            T, B = x.shape[1::-1] if batch_first else x.shape[:2]
            T, B = (1, len(x)) if x.dim() == 2 else (T, B)  # a cell's x has no axis of time
            sizes = np.full(T, B, dtype=np.intp)
        else:
            sizes = batch_sizes.cpu().numpy()
        # A cell's h is its output; as the final state it has one axis more.
        finals = [output[None] if f is None else f for f in final]
        call = LayerCall(
            module=place.module,
            number=place.number,
            layer=layer,
            mode=mode,
            is_cell=final[0] is None,
            params=[
                cell.Params(**{n: self._weight(w, dtype) for n, w in named.items()})
                for named in weights
            ],
            batch_sizes=sizes,
            order=place.order,
            x=rows(x),
            initial=[array_of(s, dtype).reshape(len(weights), -1, s.shape[-1]) for s in state],
            output=rows(output),
            final=[array_of(f, dtype).reshape(len(weights), -1, f.shape[-1]) for f in finals],
            dtype=dtype,
            attached=any(s.requires_grad for s in state),
            device=output.device.type,
            product_dtype=_dtype_of_autocast(output.device.type),
        )
        self.calls.append(call)
        of_state = _state_of(call, dtype)
        returned = {"output": output} | dict(zip(("h_n", "c_n"), final, strict=False))
        for name, value in returned.items():
            convert = rows if name == "output" else of_state
            self._follow(call, call.cotangents, name, value, convert)
        if self._with_gradients:
            read: dict[str, Tensor | None] = by_parameter(used_weights)
            read |= {"x": x} | dict(zip(("h_0", "c_0"), state, strict=False))
            call.kernel = fused_kernel(output, [t for t in read.values() if t is not None])
            for name, value in read.items():
                convert = rows if name == "x" else of_state if name[1:] == "_0" else as_it_is
                self._follow(call, call.gradients, name, value, convert)
        if self._on_call:
            self._on_call(call)

    def _follow(
        self,
        call: LayerCall,
        store: dict[str, np.ndarray],
        name: str,
        value: Tensor | None,
        convert: Callable[[Tensor], np.ndarray],
    ) -> None:
        """Add up the gradients of a tensor, which may arrive in several backward passes."""
        if value is None or not value.requires_grad:
            return

        def arrive(gradient: Tensor | None) -> None:
            if gradient is None:  # of an output that the loss does not read
                return
            array = convert(gradient)
            earlier = store.get(name)
            store[name] = array if earlier is None else earlier + array
            if self._on_cotangent and store is call.cotangents:
                self._on_cotangent(call, name, array)

        self.handles.append(value.register_hook(arrive))

    def _weight(self, weight: Tensor | None, dtype: torch.dtype) -> np.ndarray | None:
        """A weight's present value; copied once, unless it changes between two calls."""
        if weight is None:
            return None
        if weight.is_inference():  # it does not count its changes
            return array_of(weight, dtype)
        held = self._weights.get(id(weight))
        if held is None or held[1:3] != (weight._version, dtype):
            held = (weight, weight._version, dtype, array_of(weight, dtype))
            self._weights[id(weight)] = held
        return held[3]


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _by_direction(weights: Sequence[Tensor], bias: bool, D: int) -> list[dict[str, Tensor | None]]:
    """The weights of one layer by name, in torch's order."""
    names = _NAMES if bias else _NAMES[:2]
    count = len(weights) // D
    names = (*names, "weight_hr")[:count]
    return [dict(zip(names, weights[d * count : (d + 1) * count], strict=True)) for d in range(D)]


def _dtype_of_autocast(device: str) -> str:
    """The dtype to which autocast converts what products read; empty without autocast."""
    if not torch.is_autocast_enabled(device):
        return ""
    return str(torch.get_autocast_dtype(device)).removeprefix("torch.")


def _state_of(call: LayerCall, dtype: torch.dtype) -> Callable[[Tensor], np.ndarray]:
    """Converts the gradient of a final state [D, B, ·], or of a cell's [B, ·]."""
    D = call.directions
    return lambda value: array_of(value, dtype).reshape(D, -1, value.shape[-1])
