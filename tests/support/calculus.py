"""The adjoint identity for a function of named arrays, and its agreement with torch.

`run(inputs) -> outputs, pull` returns the outputs by name, and a function from cotangents by name
to gradients by name. `graph(tensors) -> outputs` is the same in torch, differentiated by autograd.

A gradient may be a difference of numbers that nearly cancel, as p − y is. `terms(cotangents)` gives
by the input's name the sizes of these numbers, in the shape of the gradient; an error is then
compared with them where they are larger than the gradient.
"""

import numpy as np
import torch

from bptt_oracle.doors.complex_step import adjoint_gap, complex_step
from support.adjoints import failing_parts, message


def random_like(arrays, seed):
    """Standard normal arrays of the same names, shapes and dtypes: cotangents or directions."""
    rng = np.random.default_rng(seed)
    return {n: rng.standard_normal(v.shape).astype(v.dtype) for n, v in arrays.items()}


def agree(found, expected, tolerance=1e-12, sizes=None):
    """Assert the same names and shapes, and elements that differ by no more than `tolerance`
    times the largest element of their own array, or a larger number of `sizes` by the same name.
    """
    least = sizes or {}
    assert found.keys() == expected.keys() and found.keys() >= least.keys()
    for name, value in expected.items():
        assert np.shape(found[name]) == np.shape(value), name
        bound = tolerance * max(np.abs(value).max(initial=0), least.get(name, 0))
        error = np.abs(found[name] - value).max(initial=0)
        assert error <= bound, f"{name}: off by {error:.3g}, allowed {bound:.3g}"


def adjoint_identity_holds(run, inputs, seed=1, tolerance=1e-12, terms=None):
    """Assert ⟨ȳ, J u⟩ = ⟨Jᵀȳ, u⟩ for random ȳ and u, with J u by complex step.

    The difference is compared with the sum of the magnitudes of all products. The message names
    the inputs for which it fails.
    """
    outputs, pull = run(inputs)
    outputs = {name: np.asarray(v) for name, v in outputs.items()}
    cotangents, direction = random_like(outputs, seed), random_like(inputs, seed + 1)
    pulled = pull(cotangents)
    assert {n: g.shape for n, g in pulled.items()} == {n: v.shape for n, v in inputs.items()}

    def push(u):
        return complex_step(lambda arrays: run(arrays)[0], inputs, u)

    moved, sizes = push(direction), terms(cotangents) if terms else {}
    assert inputs.keys() >= sizes.keys()
    gap, _ = adjoint_gap(cotangents, moved, pulled, direction)
    larger = {n: np.maximum(np.abs(g), sizes.get(n, 0)) for n, g in pulled.items()}
    _, scale = adjoint_gap(cotangents, moved, larger, direction)
    gap = gap / scale if scale else gap
    if not gap <= tolerance:
        parts = failing_parts(push, cotangents, pulled, direction, tolerance)
        raise AssertionError(message(gap, parts))


def agrees_with_torch(run, graph, inputs, seed=1, tolerance=1e-12, terms=None):
    """Assert that outputs and gradients agree with torch to rounding."""
    outputs, _ = run(inputs)
    cotangents = random_like(outputs, seed)
    expected = evaluate_in_torch(graph, inputs, cotangents)
    each = terms(cotangents) if terms else {}
    sizes = {f"d_{name}": size.max(initial=0) for name, size in each.items()}
    agree(evaluate(run, inputs, cotangents), expected, tolerance, sizes)


def agrees_with_torch_in_float32(run, graph, inputs, seed=1, sizes=None):
    """Assert that torch's error in float32 is at most 32 times that of a careful evaluation."""
    agrees_with_torch_to_rounding(run, graph, inputs, seed, np.float32, np.float64, sizes)


def agrees_with_torch_to_rounding(run, graph, inputs, seed, narrow, wide, sizes=None):
    """Assert that torch's error in a narrow dtype is at most 32 times that of a careful evaluation.

    The truth is the reference in the wide dtype. The error of a careful evaluation is that of the
    reference in the narrow dtype: the worst of three runs whose inputs and cotangents are perturbed
    by about one unit roundoff, and at least one unit roundoff of the largest element, or of a
    larger number of `sizes` (by the name of a result) on the way to it.
    """
    inputs = {name: v.astype(narrow) for name, v in inputs.items()}
    cotangents = {n: d.astype(narrow) for n, d in random_like(run(inputs)[0], seed).items()}
    exact = {name: v.astype(wide) for name, v in inputs.items()}
    truth = evaluate(run, exact, {n: d.astype(wide) for n, d in cotangents.items()})
    unit = np.finfo(narrow).eps / 2
    least = sizes or {}
    assert truth.keys() >= least.keys()
    noise = {
        name: unit * max(np.abs(v).max(initial=0), least.get(name, 0)) for name, v in truth.items()
    }
    for trial in range(3):
        rng = np.random.default_rng(trial)
        perturbed = [
            {
                n: v * (1 + unit * rng.choice([-2, 0, 2], v.shape)).astype(narrow)
                for n, v in arrays.items()
            }
            for arrays in (inputs, cotangents)
        ]
        for name, v in evaluate(run, *perturbed).items():
            assert v.dtype == narrow, name
            noise[name] = max(noise[name], np.abs(v - truth[name]).max(initial=0))
    for name, v in evaluate_in_torch(graph, inputs, cotangents).items():
        assert np.abs(v - truth[name]).max(initial=0) <= 32 * noise[name], name


def evaluate(run, inputs, cotangents):
    """Outputs by name, and gradients under d_ + name."""
    outputs, pull = run(inputs)
    return {n: np.asarray(v) for n, v in outputs.items()} | {
        f"d_{name}": d for name, d in pull(cotangents).items()
    }


def evaluate_in_torch(graph, inputs, cotangents):
    """The same, computed by torch and autograd."""
    leaves = {name: torch.tensor(v, requires_grad=True) for name, v in inputs.items()}
    outputs = graph(leaves)
    grads = torch.autograd.grad(
        [outputs[name] for name in cotangents],
        list(leaves.values()),
        [torch.tensor(d) for d in cotangents.values()],
        allow_unused=True,
        materialize_grads=True,
    )
    return {name: v.detach().numpy() for name, v in outputs.items()} | {
        f"d_{name}": g.numpy() for name, g in zip(inputs, grads, strict=True)
    }


def rejects(error, message, function, *args):
    """Assert that a call raises exactly this class, with one sentence that contains `message`."""
    try:
        function(*args)
    except error as e:
        assert type(e) is error
        assert message in str(e)
        assert str(e).rstrip().endswith(".") and ". " not in str(e)
    else:
        raise AssertionError("accepted")
