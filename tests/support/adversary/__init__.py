"""Wrong models that every check must convict, and right but unusual ones that it must pass.

`CASES` holds them by check and kind. A blind case is one in which nothing can be seen, such as a
model of NaN: it must be rejected with ValueError.
"""

from . import carrying, labels, number_models, outputs, padding, streams, training  # noqa: F401
from .case import CASES, EXPECTED, KINDS, outcome

__all__ = ["CASES", "EXPECTED", "KINDS", "outcome"]
