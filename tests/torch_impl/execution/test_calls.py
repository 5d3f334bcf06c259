"""The calls before the judged one, on the paths named again."""

import numpy as np
import pytest
import torch

from bptt_oracle.cases.case import draw
from support.drawn_cases import pinned
from torch_impl.execution import calls
from torch_impl.execution.calls import call_of, larger_call, smaller_call
from torch_impl.execution.catalogue import PATHS
from torch_impl.execution.run import run
from torch_impl.nets.modules import new_module

CASE = pinned(bidirectional=True, dropout=0.0, layout="packed", lengths=(2, 5, 1), strided=True)


def test_a_net_that_keeps_its_first_weights_is_detected_when_called_again():
    def keep_first_weights(forward):
        copies_by_id = {}

        def wrapped(call):
            copies = {
                n: copies_by_id.setdefault(id(p), (p, torch.nn.Parameter(p.detach().clone())))[1]
                for n, p in call.params.items()
            }
            return forward(call._replace(params=copies))

        return wrapped

    problem = draw(CASE)
    right = run(PATHS["cpu-native"], problem, "float64").results["output"]
    for name, agrees in (("cpu-native", True), ("cpu-native-again", False)):
        found = run(PATHS[name], problem, "float64", (), keep_first_weights).results["output"]
        assert np.allclose(found, right, rtol=1e-9, atol=0) is agrees


def test_the_second_gradient_of_a_graph_is_judged():
    def second_is_off(forward):
        def wrapped(call):
            output, final = forward(call)
            passes = []
            if output.requires_grad:
                output.register_hook(
                    lambda d: passes.append(d) or (d if len(passes) == 1 else 2 * d)
                )
            return output, final

        return wrapped

    problem = draw(CASE)
    once = run(PATHS["cpu-native"], problem, "float32", (), second_is_off).results["d_x"]
    twice = run(PATHS["cpu-native-again"], problem, "float32", (), second_is_off).results["d_x"]
    assert np.array_equal(once, run(PATHS["cpu-native"], problem, "float32").results["d_x"])
    assert not np.allclose(once, twice)


@pytest.mark.parametrize(
    "resize, rows, layout, lengths, shape, new_lengths",
    [
        (larger_call, 4, "time", (), (6, 4, 4), (6, 1, 1, 1)),
        (larger_call, 4, "batch", (), (4, 6, 4), (6, 1, 1, 1)),
        (larger_call, 4, "packed", (2, 5, 1), (6, 4, 4), (3, 6, 2, 1)),
        (smaller_call, 2, "time", (), (4, 2, 4), None),
        (smaller_call, 2, "batch", (), (2, 4, 4), None),
        (smaller_call, 2, "packed", (2, 5, 1), (4, 2, 4), (2, 4)),
    ],
)
def test_the_calls_before_have_other_shapes_and_numbers(
    resize, rows, layout, lengths, shape, new_lengths
):
    problem = draw(pinned(layout=layout, lengths=lengths))
    call = call_of(problem, lambda value, strided=False: torch.from_numpy(value.copy()), [])
    before = resize(call)
    assert (before.x.shape, before.lengths) == (shape, new_lengths)
    assert [s.shape for s in before.state] == [(2, rows, 6)] * 2
    pairs = [(call.x, before.x), *zip(call.state, before.state, strict=True)]
    for judged, earlier in pairs:
        sizes = zip(judged.shape, earlier.shape, strict=True)
        common = tuple(slice(min(n, m)) for n, m in sizes)
        assert not torch.isclose(earlier[common], judged[common]).any()


def test_the_smallest_call_has_no_smaller_one():
    problem = draw(pinned(T=1, B=1, layout="unbatched"))
    call = call_of(problem, lambda value, strided=False: torch.from_numpy(value.copy()), [])
    assert smaller_call(call).x.shape == call.x.shape


def test_the_second_call_is_one_of_the_same_module(monkeypatch):
    modules = []
    monkeypatch.setattr(
        calls, "new_module", lambda *a: modules.append(new_module(*a)) or modules[-1]
    )
    run(PATHS["cpu-native-again"], draw(CASE), "float32")
    assert len(modules) == 1


def test_the_call_before_has_one_backward_pass_and_the_judged_one_two():
    gradients = []

    def record(forward):
        def wrapped(call):
            output, final = forward(call)
            gradients.append([])
            if output.requires_grad:
                output.register_hook(gradients[-1].append)
            return output, final

        return wrapped

    run(PATHS["cpu-native-again"], draw(CASE), "float32", (), record)
    assert [len(passes) for passes in gradients] == [1, 0, 2]


def test_the_calls_before_have_other_weights_and_the_judged_one_its_own():
    weights = []

    def record(forward):
        def wrapped(call):
            weights.append({name: p.detach().clone() for name, p in call.params.items()})
            return forward(call)

        return wrapped

    problem = draw(CASE)
    run(PATHS["cpu-native-again"], problem, "float64", (), record)
    replaced, updated, judged = weights
    for name, value in problem.params.items():
        own = torch.from_numpy(value)
        assert torch.equal(judged[name], own)
        assert not any(torch.isclose(w[name], own).any() for w in (replaced, updated))
