"""What happens inside the recurrent modules of a PyTorch model during one training step.

    record_norms(model, step)       norms of states and of their gradients, step by step
    first_nonfinite(model, step)    the first tensor that is NaN or infinite, and where

`step` takes no arguments and runs the forward and the backward pass of your own training step once.

Pages: docs/inspection/norms.md, docs/inspection/nonfinite.md
"""

from .finding import NonFinite
from .nonfinite import first_nonfinite
from .norms import Norms, plot_norms, record_norms

__all__ = ["NonFinite", "Norms", "first_nonfinite", "plot_norms", "record_norms"]
