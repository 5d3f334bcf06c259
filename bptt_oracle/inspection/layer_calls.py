"""Record the calls of the recurrent modules inside a model, layer by layer.

A module of several layers is one call of torch, which hides the states of all layers but the last
and the masks of dropout. While calls are recorded, torch computes its layers one after the other
instead, with dropout between them: on the CPU the results have the same bits. Everything else in
the model runs as it always does.

    N     rows: step by step, only those that a packed batch has; N = T·B if it is not packed
    D, F  directions; features of h in one direction

Page: docs/inspection/norms.md
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from reference.cells.cell import Cell
from reference.cells.table import CELL_TABLE, CellParams

FUNCTIONS = {"rnn_tanh": "RNN_TANH", "rnn_relu": "RNN_RELU", "gru": "GRU", "lstm": "LSTM"}
NOT_SEEN = (
    "step() called none of the model's recurrent modules where they can be seen: pass the model "
    "that step() trains, not a scripted one."
)
RECURRENT = (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)


@dataclass
class LayerCall:
    """One call of one layer: its values, and after backward its gradients; see `array_of`."""

    module: str  # the name in the model
    number: int  # which call of the module since recording began
    layer: int
    cell: Cell
    params: list[CellParams]  # by direction
    batch_sizes: np.ndarray  # [T]
    order: np.ndarray | None  # [B] the caller's row of each row; None if they are the same
    x: np.ndarray  # [N, I]
    initial: list[np.ndarray]  # h_0 [D, B, F], of an LSTM also c_0 [D, B, H]
    output: np.ndarray  # [N, D·F]
    final: list[np.ndarray]  # h_n, c_n, shaped like `initial`
    dtype: torch.dtype  # that torch computed in
    attached: bool  # whether a gradient flows on into the initial state
    cotangents: dict[str, np.ndarray] = field(default_factory=dict)  # of output, h_n, c_n

    @property
    def directions(self) -> int:
        """D, 1 or 2."""
        return len(self.params)

    def half(self, rows: np.ndarray, direction: int) -> np.ndarray:
        """The columns [N, F] of one direction, of the output or its gradient [N, D·F]."""
        width = rows.shape[1] // self.directions
        return rows[:, direction * width : (direction + 1) * width]


class Place(NamedTuple):
    """A call of a module that is running, and how its packed input was sorted."""

    module: str
    number: int  # of the call
    order: np.ndarray | None


OnCall = Callable[[LayerCall], None]
OnCotangent = Callable[[LayerCall, str, np.ndarray], None]


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


def module_names(model: nn.Module) -> dict[nn.Module, str]:
    """Every module inside the model by its name, the model itself by its class."""
    return {
        module: name.replace("_orig_mod.", "").removesuffix("_orig_mod") or type(module).__name__
        for name, module in model.named_modules()
    }


def _is_recurrent(module: nn.Module) -> bool:
    return isinstance(module, RECURRENT)


@contextmanager
def record_layer_calls(
    model: nn.Module, on_call: OnCall | None = None, on_cotangent: OnCotangent | None = None
) -> Iterator[list[LayerCall]]:
    """The calls made of the recurrent modules of `model` inside the block, in order.

    `on_call` is told of every call when it has returned, `on_cotangent` of every gradient that
    arrives at an output. Raises the errors of `recurrent_modules`.
    """
    names = recurrent_modules(model)
    recorder = _Recorder(on_call, on_cotangent)

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        packed = next((a for a in (*args, *kwargs.values()) if isinstance(a, PackedSequence)), None)
        indices = None if packed is None else packed.sorted_indices
        order = None if indices is None else indices.cpu().numpy()
        # A copy of a module, made by the step itself, has the hooks of its original.
        place = None
        if module in names:
            place = Place(names[module], recorder.count[module], order)
            recorder.count[module] += 1
        recorder.running.append(place)

    def leave(*_: object) -> None:
        recorder.running.pop()

    handles: list[Any] = []
    for module in names:
        handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        with recorder, _without_compiling():
            yield recorder.calls
    finally:
        for handle in [*handles, *recorder.handles]:
            handle.remove()


def _without_compiling() -> AbstractContextManager[object]:
    """Inside the block, compiled models run as they were before they were compiled.

    Older versions than torch 2.6 cannot do this; then compiled calls are not seen.
    """
    if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
        stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
        return stance
    return nullcontext()


class _Recorder(TorchFunctionMode):
    """Replaces torch's functions of recurrent modules by their layers, one by one."""

    def __init__(self, on_call: OnCall | None, on_cotangent: OnCotangent | None) -> None:
        super().__init__()
        self.calls: list[LayerCall] = []
        self.running: list[Place | None] = []
        self.count: Counter[nn.Module] = Counter()
        self.handles: list[Any] = []
        self._on_call, self._on_cotangent = on_call, on_cotangent
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
            hx = own if mode == "LSTM" else own[0]
            options = (hx, own_weights, bias, 1, 0.0, training, two)
            if batch_sizes is None:
                output, *final = func(x, *options, batch_first)
            else:
                output, *final = func(x, batch_sizes, *options)
            self._record(
                mode, layer, x, own, _by_direction(own_weights, bias, D), output, final,
                batch_sizes, batch_first, place,
            )  # fmt: skip
            finals.append(final)
            x = output
            if dropout and training and layer < depth - 1:
                x = nn.functional.dropout(output, dropout)
        return (output, *[torch.cat(fields) for fields in zip(*finals, strict=True)])

    def _call_cell(self, func: Any, mode: str, args: tuple[Any, ...], place: Place) -> Any:
        """What `func(*args)` returns, the state after one step."""
        x, state, *weights = args
        returned = func(*args)
        # Inside torch's LSTM cell h is computed from the c that it returns, whose gradient would
        # contain that path; a copy of c has the gradient of the later steps alone.
        returned = (returned[0], returned[1].clone()) if mode == "LSTM" else returned
        state, after = (state, returned) if mode == "LSTM" else ((state,), (returned,))
        h: Tensor = after[0]  # type: ignore[assignment]  # `after` is a tuple of tensors
        final = [None, *after[1:]]
        named = dict(zip(_NAMES, weights, strict=True))
        self._record(
            mode, 0, x[None], [s[None] for s in state], [named], h, final, None, False, place
        )
        return returned

    def _record(
        self,
        mode: str,
        layer: int,
        x: Tensor,
        state: list[Tensor],
        weights: list[dict[str, Tensor | None]],
        output: Tensor,
        final: Sequence[Tensor | None],
        batch_sizes: Tensor | None,
        batch_first: bool,
        place: Place,
    ) -> None:
        """Record one call of one layer, and follow the gradients of what it returned.

        A cell returns h once, as output; its entry in `final` is None.
        """

        def rows(value: Tensor) -> np.ndarray:
            array = array_of(value, dtype)
            if batch_sizes is None and array.ndim == 3:
                array = array.swapaxes(0, 1) if batch_first else array
                array = array.reshape(-1, array.shape[2])
            return array

        dtype, cell = output.dtype, CELL_TABLE[mode]
        if not output.numel():
            return
        if batch_sizes is None:
            T, B = x.shape[1::-1] if batch_first else x.shape[:2]
            sizes = np.full(T, B, dtype=np.intp)
        else:
            sizes = batch_sizes.cpu().numpy()
        # A cell's h is its output; as the final state it has one axis more.
        finals = [output[None] if f is None else f for f in final]
        call = LayerCall(
            module=place.module,
            number=place.number,
            layer=layer,
            cell=cell,
            params=[
                cell.Params(**{n: self._weight(w, dtype) for n, w in named.items()})
                for named in weights
            ],
            batch_sizes=sizes,
            order=place.order,
            x=rows(x),
            initial=[array_of(s, dtype) for s in state],
            output=rows(output),
            final=[array_of(f, dtype).reshape(len(weights), -1, f.shape[-1]) for f in finals],
            dtype=dtype,
            attached=any(s.requires_grad for s in state),
        )
        self.calls.append(call)
        returned = {"output": output} | dict(zip(("h_n", "c_n"), final, strict=False))
        for name, value in returned.items():
            if value is not None and value.requires_grad:
                convert = rows if name == "output" else _state_of(call, dtype)
                self._follow(call, name, value, convert)
        if self._on_call:
            self._on_call(call)

    def _follow(
        self, call: LayerCall, name: str, value: Tensor, convert: Callable[[Tensor], np.ndarray]
    ) -> None:
        """Add up the gradients of a tensor, which may arrive in several backward passes."""

        def arrive(gradient: Tensor | None) -> None:
            if gradient is None:  # of an output that the loss does not read
                return
            array = convert(gradient)
            earlier = call.cotangents.get(name)
            call.cotangents[name] = array if earlier is None else earlier + array
            if self._on_cotangent:
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


def _state_of(call: LayerCall, dtype: torch.dtype) -> Callable[[Tensor], np.ndarray]:
    """Converts the gradient of a final state [D, B, ·], or of a cell's [B, ·]."""
    D = call.directions
    return lambda value: array_of(value, dtype).reshape(D, -1, value.shape[-1])


def array_of(value: Tensor, dtype: torch.dtype) -> np.ndarray:
    """A copy of the values as a computation in `dtype` reads them, in float64 if that is float64,
    otherwise in float32."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    array: np.ndarray = value.detach().to(dtype).to("cpu", wide, copy=True).numpy()
    return array
