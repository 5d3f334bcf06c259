"""Optimisers, clipping, and the learning rate of a step.

    clipping                          norms of all gradients, clipping by norm and by value
    schedule                          warm-up and cosine
    steps                             what all optimisers share; `arguments` checks what they get
    sgd, adam, adamax, nadam, radam, adagrad, adadelta, rmsprop, asgd, rprop

    θ  parameters, g  their gradients: dicts of arrays with the same names; operations elementwise

A step returns new parameters and a new state, and changes nothing in place. A state begins with
`…_start`, that of SGD with None. The function `update` of each file is the step of one array.

Page: docs/models/optim.md
"""

from .adadelta import AdadeltaState, adadelta, adadelta_start
from .adagrad import AdagradState, adagrad, adagrad_start
from .adam import AdamState, adam, adam_start, adamw
from .adamax import AdamaxState, adamax, adamax_start
from .asgd import ASGDState, asgd, asgd_start
from .clipping import clip_by_global_norm, clip_by_value, global_norm
from .nadam import NAdamState, nadam, nadam_start
from .radam import RAdamState, radam, radam_start
from .rmsprop import RMSpropState, rmsprop, rmsprop_start
from .rprop import RpropState, rprop, rprop_start
from .schedule import warmup_cosine
from .sgd import sgd

__all__ = [
    "ASGDState",
    "AdadeltaState",
    "AdagradState",
    "AdamState",
    "AdamaxState",
    "NAdamState",
    "RAdamState",
    "RMSpropState",
    "RpropState",
    "adadelta",
    "adadelta_start",
    "adagrad",
    "adagrad_start",
    "adam",
    "adam_start",
    "adamax",
    "adamax_start",
    "adamw",
    "asgd",
    "asgd_start",
    "clip_by_global_norm",
    "clip_by_value",
    "global_norm",
    "nadam",
    "nadam_start",
    "radam",
    "radam_start",
    "rmsprop",
    "rmsprop_start",
    "rprop",
    "rprop_start",
    "sgd",
    "warmup_cosine",
]
