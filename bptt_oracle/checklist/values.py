"""Tensors in what models return: tuples, lists, dicts, objects and packed sequences of them."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

OUTPUT_NAMES = ("logits", "output", "outputs", "last_hidden_state", "prediction", "predictions")


def output_tensor(returned: object) -> Tensor:
    """The output of a model: the tensor itself, the first of a tuple or list (a loss, which has no
    axes, is passed over), or what a dict or an object holds by the name logits, output, outputs,
    last_hidden_state, prediction or predictions. A PackedSequence is padded, batch first.

    Raises TypeError if there is no tensor in that place.
    """
    if isinstance(returned, Tensor):
        return returned
    if isinstance(returned, PackedSequence):
        padded: Tensor = pad_packed_sequence(returned, batch_first=True)[0]
        return padded
    named = named_values(returned)
    for name in OUTPUT_NAMES:
        value = named.get(name)
        if value is None and not isinstance(returned, Mapping | tuple | list):
            value = getattr(returned, name, None)  # a property, as of a distribution
        if value is not None and not callable(value):
            return output_tensor(value)
    if isinstance(returned, tuple | list):
        for item in returned:
            if not isinstance(item, Tensor) or item.dim():
                return output_tensor(item)
    raise TypeError(
        f"Expected a tensor, a tuple that begins with one, or a dict or object that holds logits, "
        f"got {type(returned).__name__}."
    )


def replace_output(returned: Any, new: Tensor) -> Any:
    """What a model returned, with another tensor in the place of its output."""
    old = output_tensor(returned)
    return map_tensors(lambda tensor: new if tensor is old else tensor, returned)


def named_values(value: object) -> dict[str, Any]:
    """The items of a dict, the fields of a named tuple, or the attributes of an object."""
    if isinstance(value, Mapping):
        return {str(name): item for name, item in value.items()}
    if hasattr(value, "_asdict"):
        return dict(value._asdict())
    if isinstance(value, Tensor | tuple | list | str) or not hasattr(value, "__dict__"):
        return {}
    return dict(vars(value))


def tensors_in(value: object) -> list[Tensor]:
    """All tensors in a value, in order; of a PackedSequence, its rows."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, PackedSequence):
        return [value.data]
    items = list(value) if isinstance(value, tuple | list) else [*named_values(value).values()]
    return [tensor for item in items for tensor in tensors_in(item)]


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The value with every tensor in it replaced, and everything else as it is."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, PackedSequence):
        return value._replace(data=function(value.data))
    if hasattr(value, "_asdict"):
        return type(value)(*[map_tensors(function, item) for item in value])
    if isinstance(value, tuple | list):
        return type(value)(map_tensors(function, item) for item in value)
    if isinstance(value, dict):
        new = value.copy()  # of the same class, with its attributes
        for name, item in value.items():
            new[name] = map_tensors(function, item)
        return new
    if named := named_values(value):
        changed = copy.copy(value)
        vars(changed).update({n: map_tensors(function, item) for n, item in named.items()})
        return changed
    return value


def state_tensors(state: object) -> tuple[Tensor, ...]:
    """The tensors of floating point in a state: () of None, (h,) of h, (h, c) of a pair."""
    return tuple(tensor for tensor in tensors_in(state) if tensor.is_floating_point())


def batch_axis(tensor: Tensor, B: int, preferred: int) -> int:
    """The axis of a tensor that holds the B rows of a batch: the preferred one, 0 or 1, or the
    other. Raises ValueError if neither has B places.
    """
    for axis in (preferred, 1 - preferred):
        if tensor.dim() > axis and tensor.shape[axis] == B:
            return axis
    raise ValueError(f"Expected one result for each of {B} rows, got {list(tensor.shape)}.")
