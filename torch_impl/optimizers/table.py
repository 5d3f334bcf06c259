"""One row for each optimiser: the step of the reference, what torch's state holds, sets of options.

The names of options are torch's. Every number is listed, torch's defaults included, because a truth
in a wide type converts each of them.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from reference.models.optim.adadelta import update as adadelta
from reference.models.optim.adagrad import update as adagrad
from reference.models.optim.adam import update as adam
from reference.models.optim.adamax import update as adamax
from reference.models.optim.asgd import rate_of, share_of
from reference.models.optim.asgd import update as asgd
from reference.models.optim.nadam import momentum_product
from reference.models.optim.nadam import update as nadam
from reference.models.optim.radam import update as radam
from reference.models.optim.rmsprop import update as rmsprop
from reference.models.optim.rprop import update as rprop
from reference.models.optim.sgd import update as sgd

Options = Mapping[str, Any]


class Slot(NamedTuple):
    """An array of the state."""

    name: str  # torch's
    only_with: str = ""  # the option without which it does not exist
    start: str = ""  # the option with its value before the first step; 0 without one


class Optimizer(NamedTuple):
    """An optimiser."""

    update: Callable[..., tuple[Any, ...]]  # of the reference
    slots: tuple[Slot, ...]  # in the order in which `update` takes and returns them
    fused: bool  # whether torch has a fused form on the CPU
    options: dict[str, Options]  # by label
    only_at_start: tuple[str, ...] = ()  # options that `update` does not take
    numbers: Callable[[int, Options], dict[str, Any]] = lambda t, options: {}  # after step t


def _with(defaults: Options, **sets: Options) -> dict[str, Options]:
    """The sets of options by label, each completed by the defaults; "plain" are those alone."""
    return {"plain": defaults} | {label: {**defaults, **own} for label, own in sets.items()}


_ADAM = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
_ADAM_SLOTS = (
    Slot("exp_avg"),
    Slot("exp_avg_sq"),
    Slot("max_exp_avg_sq", only_with="amsgrad"),
)
_ADAM_SETS: dict[str, Options] = {
    "amsgrad": {"amsgrad": True, "weight_decay": 0.1},
    "maximize": {"maximize": True, "weight_decay": 0.1, "betas": (0.5, 0.9), "eps": 1e-3},
    "long": {"betas": (0.9, 0.99999)},
}


def _momenta(t: int, options: Options) -> dict[str, Any]:
    beta_1, decay = options["betas"][0], options["momentum_decay"]
    return {"mu_product": momentum_product(t, beta_1, decay)}


def _rates(t: int, options: Options) -> dict[str, Any]:
    lr, lambd, alpha = options["lr"], options["lambd"], options["alpha"]
    return {
        "eta": rate_of(t + 1, lr, lambd, alpha),
        "mu": share_of(t + 1, options["t0"]),
    }


OPTIMIZERS = {
    "SGD": Optimizer(
        sgd,
        (Slot("momentum_buffer", only_with="momentum"),),
        True,
        _with(
            {"lr": 0.1, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0},
            momentum={"momentum": 0.9},
            nesterov={"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
            dampening={"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
            maximize={"maximize": True, "weight_decay": 0.1},
        ),
    ),
    "Adam": Optimizer(adam, _ADAM_SLOTS, True, _with(_ADAM, **_ADAM_SETS)),
    "AdamW": Optimizer(
        adam,
        _ADAM_SLOTS,
        True,
        _with(_ADAM | {"weight_decay": 0.01}, **_ADAM_SETS),
    ),
    "Adamax": Optimizer(
        adamax,
        (Slot("exp_avg"), Slot("exp_inf")),
        False,
        _with(_ADAM, maximize={"maximize": True, "weight_decay": 0.1, "eps": 0.1}),
    ),
    "NAdam": Optimizer(
        nadam,
        _ADAM_SLOTS[:2],
        False,
        _with(
            _ADAM | {"momentum_decay": 4e-3},
            maximize={"maximize": True, "weight_decay": 0.1, "eps": 1e-3},
            decoupled={
                "decoupled_weight_decay": True,
                "weight_decay": 0.1,
                "momentum_decay": 0.1,
            },
        ),
        numbers=_momenta,
    ),
    "RAdam": Optimizer(
        radam,
        _ADAM_SLOTS[:2],
        False,
        _with(
            _ADAM,
            maximize={"maximize": True, "weight_decay": 0.1, "betas": (0.8, 0.9), "eps": 1e-3},
            decoupled={"decoupled_weight_decay": True, "weight_decay": 0.1},
        ),
    ),
    "Adagrad": Optimizer(
        adagrad,
        (Slot("sum", start="initial_accumulator_value"),),
        True,
        _with(
            {
                "lr": 0.1,
                "lr_decay": 0.0,
                "weight_decay": 0.0,
                "eps": 1e-10,
                "initial_accumulator_value": 0.0,
            },
            decay={"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5},
            maximize={"maximize": True, "weight_decay": 0.1, "eps": 1e-3},
        ),
        only_at_start=("initial_accumulator_value",),
    ),
    "Adadelta": Optimizer(
        adadelta,
        (Slot("square_avg"), Slot("acc_delta")),
        False,
        _with(
            {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0},
            maximize={"maximize": True, "weight_decay": 0.1, "rho": 0.5, "eps": 1e-3},
        ),
    ),
    "RMSprop": Optimizer(
        rmsprop,
        (
            Slot("square_avg"),
            Slot("grad_avg", only_with="centered"),
            Slot("momentum_buffer", only_with="momentum"),
        ),
        False,
        _with(
            {"lr": 0.01, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0},
            centered={"centered": True, "eps": 1e-3},
            momentum={"momentum": 0.9, "weight_decay": 0.1},
            maximize={"maximize": True, "momentum": 0.9, "centered": True, "eps": 1e-3},
        ),
    ),
    "ASGD": Optimizer(
        asgd,
        (Slot("ax"),),
        False,
        _with(
            {"lr": 0.1, "lambd": 1e-4, "alpha": 0.75, "t0": 1e6, "weight_decay": 0.0},
            averaged={"t0": 1.0, "lambd": 0.1},
            maximize={"maximize": True, "weight_decay": 0.1, "alpha": 0.5},
        ),
        numbers=_rates,
    ),
    "Rprop": Optimizer(
        rprop,
        (Slot("prev"), Slot("step_size", start="lr")),
        False,
        _with(
            {"lr": 0.01, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)},
            maximize={"maximize": True, "etas": (0.3, 2.0), "step_sizes": (5e-3, 0.02)},
        ),
        only_at_start=("lr",),
    ),
}


def slots_of(name: str, options: Options) -> tuple[Slot | None, ...]:
    """The arrays of the state with these options; None in the place of one that does not exist."""
    return tuple(
        slot if not slot.only_with or options.get(slot.only_with) else None
        for slot in OPTIMIZERS[name].slots
    )


def starting_slots(name: str, options: Options, theta: np.ndarray) -> list[np.ndarray | None]:
    """The arrays of the state before the first step, in the dtype of θ; None for the velocity of
    SGD, which does not exist then."""
    if name == "SGD":
        return [None]
    return [
        slot and np.zeros_like(theta) + (options[slot.start] if slot.start else 0)
        for slot in slots_of(name, options)
    ]


def options_of_update(name: str, options: Options) -> dict[str, Any]:
    """The options that the step of the reference takes."""
    row = OPTIMIZERS[name]
    extra = {"decoupled_weight_decay": True} if name == "AdamW" else {}
    return {n: v for n, v in options.items() if n not in row.only_at_start} | extra
