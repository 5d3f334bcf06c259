"""Weights that a module holds in other ways than a new module: apart, replaced, tied, computed."""

from collections.abc import Callable

import torch
from torch.nn.utils import parametrizations, parametrize

from ..execution.calls import Call, Cotangents, Evaluation, Forward, ForwardPass, Leaves, Prepared
from ..execution.problem import Problem
from ..execution.variants import evaluate
from ..nets.modules import new_module
from .road import (
    call_net,
    forward_of_module,
    module_of,
    parameters_by_name,
    prepared_with,
    require,
    warm_up,
)

SHARE = 0.7  # what becomes of g in a weight g v / ‖v‖


def in_chunks(call: Call) -> Prepared:
    """Weights that `set_` makes slices of memory with NaN between the elements of a matrix."""
    module = module_of(call._replace(params=_others(call)))
    warm_up(module, call._replace(params=parameters_by_name(module, call)))
    done: set[int] = set()
    with torch.no_grad():
        for name, p in call.params.items():
            own = getattr(module, name)
            if id(own) not in done:
                done.add(id(own))
                wide = torch.stack([torch.full_like(p, float("nan")), p], -1)
                own.set_(wide[..., 1])
                require(
                    own.is_contiguous() <= (own.numel() < 2), f"{name} should not be contiguous"
                )
    return prepared_with(module, call)


def swapped(call: Call) -> Prepared:
    """torch.func.functional_call of a module whose own weights are NaN."""
    module = module_of(call._replace(params=_others(call, float("nan"))))
    require(
        all(bool(getattr(module, name).isnan().all()) for name in call.params),
        "the module's own weights should be NaN",
    )

    def forward(call: Call) -> tuple[torch.Tensor, object]:
        views = {name: p.view_as(p) for name, p in call.params.items()}
        return forward_of_module(module)(call._replace(params=views))

    return Prepared(forward, call, evaluate)  # type: ignore[arg-type]


def tie_directions(problem: Problem) -> Problem:
    """The problem whose reverse directions have the parameters of the forward ones."""
    names = problem.params
    return problem._replace(
        params={name: names[name.removesuffix("_reverse")] for name in problem.params}
    )


def tied_directions(call: Call) -> Prepared:
    """One parameter under two names in both directions, as the call has them."""
    module = module_of(call)
    distinct = len(list(module.parameters()))
    require(2 * distinct <= len(call.params), "both directions should have the same parameters")
    warm_up(module, call)
    return prepared_with(module, call)


class _Doubled(torch.nn.Module):
    """2θ, whose rounding and whose gradient are exact."""

    def forward(self, theta: torch.Tensor) -> torch.Tensor:
        return 2 * theta

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        return weight / 2


def parametrized(call: Call) -> Prepared:
    """Every parameter is 2θ by torch.nn.utils.parametrize; a gradient is half of that of θ."""
    module = new_module(call.net, call.params).train()
    warm_up(module, call)
    for name in call.params:
        parametrize.register_parametrization(module, name, _Doubled())
    thetas = {name: module.parametrizations[name].original for name in call.params}  # type: ignore
    for name in call.params:
        require(parametrize.is_parametrized(module, name), f"{name} should be parametrized")

    def halve(forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents) -> Evaluation:
        outputs, grads = evaluate(forward_pass, leaves, cotangents)
        first = len(leaves) - len(thetas)
        return outputs, [d if d is None or k < first else d / 2 for k, d in enumerate(grads)]

    return Prepared(_forward_of_own(module), call._replace(params=thetas), halve)


def _forward_of_own(module: torch.nn.Module) -> Forward:
    """The Forward that calls a module whose weights follow from those of the call."""
    return lambda call: call_net(module, call)


def norm_weights(problem: Problem) -> Problem:
    """The problem whose recurrent weights of the first layer are g v / ‖v‖, where g is SHARE times
    the norm that the weight had."""
    name = "weight_hh_l0"
    return problem._replace(params=problem.params | {name: SHARE * problem.params[name]})


def weight_normed(call: Call) -> Prepared:
    """The old weight_norm, whose hook computes a weight before each call."""
    return _weight_normed(call, _add_old, "weight_hh_l0_g")


def weight_normed_by_parametrization(call: Call) -> Prepared:
    """The new weight_norm, a parametrization."""
    return _weight_normed(call, _add_new, "parametrizations.weight_hh_l0.original0")


def _add_old(module: torch.nn.Module) -> None:
    torch.nn.utils.weight_norm(module, "weight_hh_l0")


def _add_new(module: torch.nn.Module) -> None:
    parametrizations.weight_norm(module, "weight_hh_l0")


def _weight_normed(call: Call, add: Callable[[torch.nn.Module], None], g: str) -> Prepared:
    """The module with a normed weight, whose g became SHARE times itself after a call, as after a
    step of an optimiser. The call holds SHARE times the weight already."""
    whole = torch.nn.Parameter(call.params["weight_hh_l0"].detach() / SHARE)
    module = new_module(call.net, call.params | {"weight_hh_l0": whole}).train()
    add(module)
    call_net(module, call)
    with torch.no_grad():
        module.get_parameter(g).mul_(SHARE)
    return Prepared(_forward_of_own(module), call, evaluate)


def _others(call: Call, value: float | None = None) -> dict[str, torch.Tensor]:
    """New parameters in the place of the call's, filled with a value or halved; tied ones tied."""
    new = {
        id(p): torch.nn.Parameter(0.5 * p.detach() if value is None else torch.full_like(p, value))
        for p in call.params.values()
    }
    return {name: new[id(p)] for name, p in call.params.items()}
