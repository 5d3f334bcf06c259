"""The state of a module of torch.nn: h [L·D, B, F], or for an LSTM the pair (h, c)."""

from torch import Tensor

State = Tensor | tuple[Tensor, ...]


def split_state(state: State) -> tuple[Tensor, ...]:
    """The tensors of a state: (h,) or (h, c)."""
    return state if isinstance(state, tuple) else (state,)


def join_state(fields: tuple[Tensor, ...]) -> State:
    """The state with these tensors; inverts `split_state`."""
    return fields if len(fields) > 1 else fields[0]


def hidden(state: State) -> Tensor:
    """h of a state."""
    return split_state(state)[0]
