"""What a check was given, looked at before anything is computed."""

from torch import Tensor, nn


def require_tensors(**arguments: object) -> None:
    """Raise ValueError with the name of the first argument that is not a tensor."""
    _require(Tensor, "a tensor", arguments)


def require_modules(**arguments: object) -> None:
    """Raise ValueError with the name of the first argument that is not a module."""
    _require(nn.Module, "an nn.Module", arguments)


def require_functions(**arguments: object) -> None:
    """Raise ValueError with the name of the first argument that cannot be called."""
    for name, value in arguments.items():
        if not callable(value):
            raise ValueError(f"Expected {name} as a function, got {type(value).__name__}.")


def _require(kind: type, expected: str, arguments: dict[str, object]) -> None:
    for name, value in arguments.items():
        if not isinstance(value, kind):
            raise ValueError(f"Expected {name} as {expected}, got {type(value).__name__}.")
