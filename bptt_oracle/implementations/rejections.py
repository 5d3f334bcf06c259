"""Whether a call is rejected."""

from collections.abc import Callable
from typing import Any


def rejection(call: Callable[[], Any]) -> str:
    """The message with which a call was rejected; empty if it returned."""
    try:
        call()
    except Exception as error:
        return str(error) or type(error).__name__
    return ""
