"""An adjoint test that fails names the inputs, the gates and the equations in question."""

import numpy as np
import pytest

from reference import GRU, LSTM
from support import calculus
from support.mutants import MUTANTS
from support.planting import broken_equation, imported_from, plant
from support.problems import draw
from support.verdicts import adjoint_identity_holds


def with_altered_gradients(net_type, alter):
    """A net of this type whose gradients go through `alter(parameter gradients)`."""

    class Altered(net_type):
        def backward(self, *arguments, **options):
            grads = super().backward(*arguments, **options)
            alter(grads.params)
            return grads

    Altered.__name__ = net_type.__name__
    return Altered


def failure(net):
    with pytest.raises(AssertionError) as caught:
        adjoint_identity_holds(draw(net))
    return str(caught.value)


def test_the_message_names_the_input_and_the_gate():
    def alter(grads):
        grads["weight_hh_l1"][6:12] *= 2  # the rows of f

    text = failure(with_altered_gradients(LSTM, alter)(4, 6, num_layers=2))
    assert "fails for these inputs (gates): weight_hh_l1 (f)." in text

    def zero_bias(grads):
        grads["bias_ih_l0"][:] = 0

    text = failure(with_altered_gradients(GRU, zero_bias)(4, 6))
    assert "fails for these inputs (gates): bias_ih_l0 (r, z, n)." in text


PLANTED = [
    mutant
    for mutant in MUTANTS
    if mutant.file.startswith("cells/") and mutant.law.endswith("::test_the_adjoint_identity_holds")
]


@pytest.mark.parametrize("mutant", PLANTED, ids=lambda mutant: mutant.mistake)
def test_the_message_names_the_equation_of_a_planted_mistake(mutant, tmp_path):
    plant(mutant, tmp_path)
    relu = "relu" in mutant.mistake + mutant.old
    modes = {"rnn": "RNN_RELU" if relu else "RNN_TANH"}
    mode = modes.get(mutant.file[6:-3], mutant.file[6:-3].upper())
    with imported_from(tmp_path) as copy:
        text = failure(copy.nets.modules.RecurrentNet(mode, 5, 4, num_layers=2))
    assert "fails for these inputs (gates): " in text
    if "′" in broken_equation(mutant):  # not a mistake in what the tape keeps
        equations = text.partition(" Planted mistakes with this effect are in ")[2]
        assert f"{mutant.file} ({broken_equation(mutant)})" in equations, text


def test_of_any_function_the_message_names_the_inputs():
    def run(inputs):
        a, b = inputs["a"], inputs["b"]
        return {"y": a * b}, lambda d: {"a": d["y"] * b, "b": -d["y"] * a}

    inputs = {"a": np.arange(1.0, 4), "b": np.ones(3)}
    with pytest.raises(AssertionError, match=r"fails for these inputs \(gates\): b\.$"):
        calculus.adjoint_identity_holds(run, inputs)
