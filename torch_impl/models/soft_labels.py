"""F.cross_entropy with probabilities, class weights and label smoothing, classes last."""

from torch import Tensor
from torch.nn import functional as F


def soft_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """F.cross_entropy of logits [..., V] and labels [...] or probabilities [..., V]."""
    V = logits.shape[-1]
    flat = targets.reshape(-1, V) if targets.is_floating_point() else targets.reshape(-1)
    return F.cross_entropy(
        logits.reshape(-1, V),
        flat,
        class_weights,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
