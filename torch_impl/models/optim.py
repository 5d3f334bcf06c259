"""torch.optim and its schedules, with the defaults of `reference.models.optim`."""

from collections.abc import Iterable

from torch import Tensor, nn, optim
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

Parameters = Iterable[nn.Parameter]


def clip_by_global_norm(parameters: Parameters, max_norm: float) -> Tensor:
    """Clip .grad in place; returns the norm before clipping."""
    return nn.utils.clip_grad_norm_(parameters, max_norm)


def sgd(parameters: Parameters, lr: float, momentum: float = 0.0) -> optim.Optimizer:
    """torch.optim.SGD."""
    return optim.SGD(parameters, lr=lr, momentum=momentum)


def adam(
    parameters: Parameters,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> optim.Optimizer:
    """torch.optim.Adam."""
    return optim.Adam(parameters, lr=lr, betas=betas, eps=eps)


def warmup_cosine(
    optimizer: optim.Optimizer, floor: float, decay: int, warmup: int = 0, start: float = 0.01
) -> LRScheduler:
    """LinearLR over `warmup` steps up to the optimizer's rate, then CosineAnnealingLR over `decay`
    steps down to `floor`."""
    cosine = CosineAnnealingLR(optimizer, T_max=decay, eta_min=floor)
    if warmup == 0:
        return cosine
    linear = LinearLR(optimizer, start_factor=start, total_iters=warmup)
    return SequentialLR(optimizer, [linear, cosine], milestones=[warmup])
