"""torch's CTC loss on padded labels."""

from torch import Tensor
from torch.nn import functional as F


def ctc(
    log_p: Tensor,
    labels: Tensor,
    steps: Tensor,
    lengths: Tensor,
    blank: int = 0,
    zero_infinity: bool = False,
) -> Tensor:
    """The losses [B] of F.ctc_loss, for log_p [T, B, V] and labels [B, U]."""
    return F.ctc_loss(
        log_p, labels, steps, lengths, blank, reduction="none", zero_infinity=zero_infinity
    )


def mean_per_label(
    log_p: Tensor, labels: Tensor, steps: Tensor, lengths: Tensor, blank: int = 0
) -> Tensor:
    """F.ctc_loss with its default reduction."""
    return F.ctc_loss(log_p, labels, steps, lengths, blank)
