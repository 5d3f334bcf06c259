"""What a check was given, looked at before anything is computed."""

from torch import Tensor


def require_tensors(**arguments: object) -> None:
    """Raise ValueError with the name of the first argument that is not a tensor."""
    for name, value in arguments.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"Expected {name} as a tensor, got {type(value).__name__}.")


def require_functions(**arguments: object) -> None:
    """Raise ValueError with the name of the first argument that cannot be called."""
    for name, value in arguments.items():
        if not callable(value):
            raise ValueError(f"Expected {name} as a function, got {type(value).__name__}.")
