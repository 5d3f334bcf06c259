"""Steps of torch.optim: every optimiser and form, on parameters and gradients of every layout.

Truth is the reference's optimiser in a wide type. Half of the programs begin at θ = 0, so that θ is
the sum of the steps, and no digit of them is hidden behind θ. A differentiable step is
differentiated too, by central differences of the reference.
"""

from typing import Any

import numpy as np

from reference.models import optim

from ..programs.fields import Choice, Program, Size
from ..programs.layouts import LAYOUTS, WRITABLE, canaries, canary_source, tensor_source, values_in
from ..programs.written import Arrays, Move, Written

OPTIMIZERS = {
    "SGD": optim.sgd,
    "Adam": optim.adam,
    "AdamW": optim.adamw,
    "Adagrad": optim.adagrad,
    "RMSprop": optim.rmsprop,
    "Adadelta": optim.adadelta,
    "Adamax": optim.adamax,
    "NAdam": optim.nadam,
    "RAdam": optim.radam,
    "ASGD": optim.asgd,
    "Rprop": optim.rprop,
}
WITH_BETAS = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam")
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")
OWN_OPTIONS = {  # of some optimisers only
    "momentum": ("SGD", "RMSprop"),
    "dampening": ("SGD",),
    "nesterov": ("SGD",),
    "amsgrad": ("Adam", "AdamW"),
    "centered": ("RMSprop",),
    "beta_2": WITH_BETAS,
    "lr_decay": ("Adagrad",),
    "t0": ("ASGD",),
    "decoupled_weight_decay": ("NAdam", "RAdam"),
    "weight_decay": tuple(name for name in OPTIMIZERS if name != "Rprop"),
}
LR = 0.125
FIELDS: dict[str, Any] = {
    "optimizer": Choice(tuple(OPTIMIZERS)),
    "form": Choice(("loop", "foreach", "fused", "differentiable", "compiled"), (3, 3, 4, 1, 0.15)),
    "dtype": Choice(("float32", "float64", "bfloat16", "float16")),
    "parameter": Choice(WRITABLE, (3, 1, 1, 1)),
    "gradient": Choice(LAYOUTS, (4, 1, 1, 1, 1, 1)),
    "start": Choice(("zero", "random")),
    "values": Choice(("ordinary", "with zeros", "large"), (4, 1, 1)),
    "momentum": Choice((0.0, 0.9)),
    "dampening": Choice((0.0, 0.5), (3, 1)),
    "nesterov": Choice((False, True), (2, 1)),
    "weight_decay": Choice((0.0, 0.1), (2, 1)),
    "decoupled_weight_decay": Choice((False, True), (3, 1)),
    "maximize": Choice((False, True), (2, 1)),
    "amsgrad": Choice((False, True), (2, 1)),
    "centered": Choice((False, True)),
    "beta_2": Choice((0.999, 0.9, 0.99999)),
    "lr_decay": Choice((0.0, 0.5)),
    "t0": Choice((1e6, 1.0)),
    "lr": Choice(("number", "tensor"), (4, 1)),
    "resumed": Choice((False, True), (3, 1)),
    "steps": Size(1, 8),
    "rows": Size(1, 12),
    "columns": Size(1, 24),
}


def _tidy(program: Program) -> Program | None:
    """Options that the optimiser lacks are plain."""
    name, form = program["optimizer"], program["form"]
    plain = {
        option: FIELDS[option].plain for option, owners in OWN_OPTIONS.items() if name not in owners
    }
    program = program | plain
    if form == "fused" and name not in FUSED:
        return None
    if program["nesterov"] and (not program["momentum"] or program["dampening"]):
        return None
    if not program["weight_decay"] and program["decoupled_weight_decay"]:
        return None
    if program["dampening"] and not program["momentum"]:
        return None
    if program["lr"] == "tensor" and (form in ("foreach", "compiled") or name not in FUSED[:3]):
        return None  # torch documents that it takes numbers only
    if form == "differentiable":
        if program["parameter"] != "contiguous" or program["resumed"]:
            return None
        if name == "Rprop" and program["steps"] > 1:
            return None  # has kinks
    if program["dtype"] == "float16" and program["values"] == "large":
        return None  # the squares overflow
    return program


def _inputs(program: Program, rng: np.random.Generator) -> Arrays:
    shape = program["rows"], program["columns"]
    theta = values_in(program["parameter"], shape, rng)
    if program["start"] == "zero":
        theta = np.zeros_like(theta)
    gradients = []
    for _ in range(program["steps"]):
        g = values_in(program["gradient"], shape, rng)
        g = np.round(np.where(g < 0, g - 0.5, g + 0.5), 2)  # squares above what float16 flushes
        if program["values"] == "with zeros":
            g = np.where(np.abs(g) < 1, 0.0, g)
        gradients.append(g * 1e4 if program["values"] == "large" else g)
    return {"theta": theta, "gradients": np.array(gradients)}


def _options(program: Program) -> dict[str, Any]:
    """The options that are not torch's defaults, by torch's names."""
    options: dict[str, Any] = {"weight_decay": program["weight_decay"]}
    names = [*OWN_OPTIONS, "maximize"]
    options |= {n: program[n] for n in names if n != "beta_2" and program[n] != FIELDS[n].plain}
    if program["optimizer"] == "Rprop":
        del options["weight_decay"]
    if program["beta_2"] != FIELDS["beta_2"].plain:
        options["betas"] = (0.9, program["beta_2"])
    return options


def _source(program: Program) -> str:
    shape, dtype = (program["rows"], program["columns"]), program["dtype"]
    form, name = program["form"], program["optimizer"]
    lr = f"torch.tensor({LR})" if program["lr"] == "tensor" else LR
    options = "".join(f", {n}={value!r}" for n, value in _options(program).items())
    if form in ("foreach", "fused", "differentiable"):
        options += f", {form}=True"
    if form == "loop":
        options += ", foreach=False"
    made = f"torch.optim.{name}([theta], lr={lr}{options})\n"
    lines = tensor_source("theta", program["parameter"], shape, dtype)
    g = tensor_source("g", program["gradient"], shape, dtype)
    if form == "differentiable":
        lines += f"theta = theta.requires_grad_().clone()\noptimizer = {made}leaves = []\n"
        lines += "for g_values in gradients_values:\n"
        lines += "".join(f"    {line}\n" for line in g.splitlines())
        lines += "    leaves.append(g.clone().requires_grad_())\n"
        lines += "    theta.grad = leaves[-1].clone()\n    optimizer.step()\n"
        lines += "results = {'theta': theta}\n"
        lines += "(d_g,) = torch.autograd.grad(theta.sum(), leaves[:1], materialize_grads=True)\n"
        lines += "results['d_g where g is 0, finite'] = d_g[leaves[0] == 0].isfinite()\n"
        return lines + "results['d_g'] = torch.where(leaves[0] == 0, 0, d_g)\n"
    lines += f"theta = torch.nn.Parameter(theta)\noptimizer = {made}"
    step = "optimizer.step"
    if form == "compiled":
        lines += "step = torch.compile(optimizer.step)\n"
        step = "step"
    lines += "for g_values in gradients_values:\n"
    lines += "".join(f"    {line}\n" for line in g.splitlines())
    lines += f"    theta.grad = g\n    {step}()\n"
    if program["resumed"]:
        lines += f"    state = optimizer.state_dict()\n    optimizer = {made}"
        lines += "    optimizer.load_state_dict(state)\n"
        if form == "compiled":
            lines += "    step = torch.compile(optimizer.step)\n"
    return (
        lines + "results = {'theta': theta}\n" + canary_source("theta", program["parameter"], shape)
    )


def _truth(program: Program, inputs: Arrays, move: Move) -> Arrays:
    shape = program["rows"], program["columns"]
    gradients = list(inputs["gradients"])
    theta = _trained(program, inputs["theta"], gradients, move)
    found = {"theta": theta}
    if program["form"] != "differentiable":
        return found | canaries("theta", program["parameter"], shape)
    h = 1e-4 * (1e4 if program["values"] == "large" else 1.0)

    def moved_by(amount: float) -> np.ndarray:
        return _trained(program, inputs["theta"], [gradients[0] + amount, *gradients[1:]], move)

    def slope(h: float) -> np.ndarray:
        difference: np.ndarray = (moved_by(h) - moved_by(-h)) / np.longdouble(2 * h)
        return difference

    d_g = (4 * slope(h) - slope(2 * h)) / 3  # every element depends on its own gradient only
    is_zero = gradients[0] == 0
    found["d_g where g is 0, finite"] = np.ones(int(is_zero.sum()), np.longdouble)
    return found | {"d_g": np.where(is_zero, 0, d_g)}


def _trained(
    program: Program, theta: np.ndarray, gradients: list[np.ndarray], move: Move
) -> np.ndarray:
    """θ after the steps; the state between two steps is moved."""
    name, options = program["optimizer"], _options(program)
    params = {"": theta}
    if name == "SGD":
        state: Any = None
    elif name == "Rprop":
        state = optim.rprop_start(params, LR)
    elif name == "RMSprop":
        state = optim.rmsprop_start(params, program["centered"], program["momentum"])
    elif name in ("Adam", "AdamW"):
        state = optim.adam_start(params, program["amsgrad"])
    else:
        state = getattr(optim, f"{name.lower()}_start")(params)
    options |= {} if name == "Rprop" else {"lr": LR}
    for g in gradients:
        step: Any = OPTIMIZERS[name]
        params, state = step(params, {"": g}, state, **options)
        params = {"": move(params[""])}
        state = _moved(state, move)
    return params[""]


def _moved(state: Any, move: Move) -> Any:
    """The state with every array moved."""
    if isinstance(state, dict):
        return {name: move(array) for name, array in state.items()}
    return type(state)(*(_moved(f, move) if isinstance(f, dict) else f for f in state))


def _scale(program: Program, inputs: Arrays) -> float:
    """Differences of the reference have some digits less than a gradient in float64."""
    return 1e3 if program["form"] == "differentiable" and program["dtype"] == "float64" else 0.0


WRITTEN = Written("optimizers", FIELDS, _tidy, _inputs, _source, _truth, scale=_scale)
