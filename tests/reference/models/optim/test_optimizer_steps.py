"""Every optimiser takes the steps of torch's loop form in float64, and has its state."""

from functools import partial

import numpy as np
import pytest
import torch

from reference.models import optim
from support.calculus import agree
from support.optimizers import trajectory

SEED = 3


def takes_torchs_steps(step, start, kind, lr, fields, tolerance=1e-13, **options):
    """Assert torch's parameters after each of forty steps, and its state after the last.

    `step(params, grads, state)` and `start(params)` are those of the reference; `fields` maps
    fields of its state to names in torch's.
    """
    state, torchs = trajectory(
        lambda p, g, s: step(p, g, start(p) if s is None else s),
        lambda leaves: kind(leaves, lr=lr, foreach=False, **options),
        SEED,
        tolerance=tolerance,
    )
    for field, name in fields.items():
        expected = {n: s[name].numpy() for n, s in torchs.items()}
        agree(getattr(state, field), expected, 1e-12)


SGD = [
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.3},
    {"momentum": 0.9, "nesterov": True},
    {"weight_decay": 0.1, "maximize": True},
    {"momentum": 0.5, "dampening": 0.3, "weight_decay": 0.1},
]


@pytest.mark.claim("B10")
@pytest.mark.parametrize("options", SGD)
def test_every_form_of_sgd_takes_torchs_steps(options):
    state, torchs = trajectory(
        lambda p, g, v: optim.sgd(p, g, v, 0.01, **options),
        lambda leaves: torch.optim.SGD(leaves, lr=0.01, foreach=False, **options),
        SEED,
    )
    if "momentum" in options:
        agree(state, {n: s["momentum_buffer"].numpy() for n, s in torchs.items()}, 1e-12)


ADAM = [
    {"weight_decay": 0.1},
    {"amsgrad": True},
    {"maximize": True, "betas": (0.5, 0.9), "eps": 1e-3},
]


@pytest.mark.claim("B10")
@pytest.mark.parametrize("options", ADAM)
@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_every_form_of_adam_takes_torchs_steps(kind, options):
    step = {"Adam": optim.adam, "AdamW": optim.adamw}[kind]
    amsgrad = options.get("amsgrad", False)
    takes_torchs_steps(
        partial(step, lr=0.01, **options),
        partial(optim.adam_start, amsgrad=amsgrad),
        getattr(torch.optim, kind),
        0.01,
        {"m": "exp_avg", "v": "exp_avg_sq"} | ({"v_max": "max_exp_avg_sq"} if amsgrad else {}),
        **options,
    )


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "maximize": True, "eps": 0.1}])
def test_adamax_takes_torchs_steps(options):
    takes_torchs_steps(
        partial(optim.adamax, lr=0.01, **options),
        optim.adamax_start,
        torch.optim.Adamax,
        0.01,
        {"m": "exp_avg", "u": "exp_inf"},
        **options,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": 0.1, "maximize": True, "eps": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.1},
    ],
)
def test_nadam_takes_torchs_steps(options):
    """torch keeps the product of the momenta in float32, unless the default dtype is float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        takes_torchs_steps(
            partial(optim.nadam, lr=0.01, **options),
            optim.nadam_start,
            torch.optim.NAdam,
            0.01,
            {"m": "exp_avg", "v": "exp_avg_sq"},
            **options,
        )
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": 0.1, "maximize": True, "eps": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True, "betas": (0.8, 0.9)},
    ],
)
def test_radam_takes_torchs_steps(options):
    takes_torchs_steps(
        partial(optim.radam, lr=0.01, **options),
        optim.radam_start,
        torch.optim.RAdam,
        0.01,
        {"m": "exp_avg", "v": "exp_avg_sq"},
        tolerance=1e-12,  # 1 − β₂ᵗ cancels, and ρ − 4 again
        **options,
    )


@pytest.mark.parametrize(
    "options", [{"lr_decay": 0.1, "eps": 0.1}, {"weight_decay": 0.1, "maximize": True}]
)
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_adagrad_takes_torchs_steps(options, value):
    takes_torchs_steps(
        partial(optim.adagrad, lr=0.01, **options),
        partial(optim.adagrad_start, initial_accumulator_value=value),
        partial(torch.optim.Adagrad, initial_accumulator_value=value),
        0.01,
        {"s": "sum"},
        **options,
    )


@pytest.mark.parametrize(
    "options", [{"rho": 0.7, "eps": 1e-2}, {"weight_decay": 0.1, "maximize": True}]
)
def test_adadelta_takes_torchs_steps(options):
    takes_torchs_steps(
        partial(optim.adadelta, lr=0.5, **options),
        optim.adadelta_start,
        torch.optim.Adadelta,
        0.5,
        {"s": "square_avg", "a": "acc_delta"},
        **options,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0.9, "eps": 0.1},
        {"centered": True, "eps": 1e-3},
        {"momentum": 0.9, "weight_decay": 0.1},
        {"momentum": 0.9, "centered": True, "maximize": True, "eps": 1e-3},
    ],
)
def test_rmsprop_takes_torchs_steps(options):
    chosen = {n: v for n, v in options.items() if n in ("momentum", "centered")}
    fields = {"s": "square_avg"}
    fields |= {"mean": "grad_avg"} if "centered" in options else {}
    fields |= {"b": "momentum_buffer"} if "momentum" in options else {}
    takes_torchs_steps(
        partial(optim.rmsprop, lr=0.01, **options),
        partial(optim.rmsprop_start, **chosen),
        torch.optim.RMSprop,
        0.01,
        fields,
        tolerance=1e-11 if "centered" in options else 1e-13,  # s − ḡ² cancels
        **options,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"t0": 10, "lambd": 0.1},
        {"alpha": 0.5, "lambd": 0.01, "weight_decay": 0.1, "maximize": True},
    ],
)
def test_asgd_takes_torchs_steps(options):
    """torch keeps the rate in float32, unless the default dtype is float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        takes_torchs_steps(
            partial(optim.asgd, lr=0.01, **options),
            optim.asgd_start,
            torch.optim.ASGD,
            0.01,
            {"average": "ax"},
            **options,
        )
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize(
    "options", [{}, {"etas": (0.3, 2.0), "step_sizes": (5e-3, 0.02), "maximize": True}]
)
def test_rprop_takes_torchs_steps(options):
    takes_torchs_steps(
        partial(optim.rprop, **options),
        partial(optim.rprop_start, lr=0.01),
        torch.optim.Rprop,
        0.01,
        {"before": "prev", "size": "step_size"},
        **options,
    )


@pytest.mark.parametrize("name", ["NAdam", "ASGD"])
def test_in_float64_torch_keeps_a_part_of_the_state_in_float32(name):
    """So that these two are compared with float64 as the default dtype."""
    leaf = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = getattr(torch.optim, name)([leaf], lr=0.1)
    leaf.grad = torch.ones_like(leaf)
    optimizer.step()
    kept = {key for key, value in optimizer.state[leaf].items() if value.dtype == torch.float32}
    assert kept - {"step"} == {"NAdam": {"mu_product"}, "ASGD": {"eta", "mu"}}[name]
    assert np.finfo(np.float32).eps > 1e-8
