"""What a diagnosis says of results that are right, wrong by name, or wrong in another way."""

import numpy as np
import pytest
import torch

import bptt_oracle
from bptt_oracle.cases.case import Case, contradiction, draw
from bptt_oracle.diagnosis.cases import diagnostic_cases, dropout_cases
from bptt_oracle.diagnosis.diagnose import _same, diagnose_results
from bptt_oracle.diagnosis.equations import CELLS
from bptt_oracle.diagnosis.evidence import MOST_CASES, Evidence, Item, choose, question_of
from bptt_oracle.diagnosis.mistakes import mistakes
from bptt_oracle.diagnosis.question import RIGHT_EQUATIONS
from bptt_oracle.implementations.implementation import Implementation
from bptt_oracle.implementations.torch_paths import torch_path
from bptt_oracle.processes.failures import CommandError
from support import textbook_net
from support.planted_in_dropout import BACKWARD, FORWARD
from support.planted_in_text import textbook

FORGET = "1 added to the net input of the forget gate"
forget_plus_one = textbook((("f = sigmoid(a[H : 2 * H])", "f = sigmoid(a[H : 2 * H] + 1)"),))


def evidence(cell, dtype, net=textbook_net.net, change=None, cases=None):
    """What a net gives in the diagnostic cases; change(case, results) changes its results."""
    found = []
    for case in cases or diagnostic_cases(cell):
        results = net(draw(case), dtype)
        found.append(Evidence(case, dtype, change(case, results) if change else results))
    return found


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_right_net_has_no_mistake(cell, dtype):
    diagnosis = diagnose_results(evidence(cell, dtype))
    assert diagnosis.names == () and diagnosis.start == ""
    count = len(diagnostic_cases(cell))
    assert diagnosis.sentence == f"no mistake: {count} of {count} cases agree"


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_right_net_with_dropout_has_no_mistake(cell, dtype):
    cases = dropout_cases(cell)
    diagnosis = diagnose_results(evidence(cell, dtype, cases=cases))
    assert diagnosis.sentence == f"no mistake: {len(cases)} of {len(cases)} cases agree"


def test_a_mistake_that_is_not_of_dropout_is_named_where_there_is_dropout():
    cases = dropout_cases("LSTM")
    diagnosis = diagnose_results(evidence("LSTM", "float64", forget_plus_one, cases=cases))
    assert diagnosis.names == (FORGET,)


@pytest.mark.slow
def test_an_implementation_with_dropout_is_diagnosed_with_dropout():
    """One without, or one that draws other masks, gets no case with dropout, in which alone this
    mistake shows."""
    lines = (FORWARD, BACKWARD)
    unscaled = textbook(tuple((line, line.removesuffix(" * scale")) for line in lines))
    mine = Implementation("mine", run=unscaled, cells=("GRU",), dropout=True)
    assert bptt_oracle.diagnose(mine).names == ("dropout not scaled by 1 / (1 − p)",)

    def reason(problem, dtype):
        return "other masks" if problem.net.dropout else ""

    others = mine._replace(exclusion_reason=reason)
    for one in (mine._replace(dropout=False), others, torch_path("cpu-native")):
        assert bptt_oracle.diagnose(one).sentence.startswith("no mistake")


def test_a_mistake_is_named_in_one_sentence():
    diagnosis = diagnose_results(evidence("LSTM", "float64", forget_plus_one))
    assert diagnosis.names == (FORGET,)
    assert diagnosis.sentence.startswith(f"agrees with {FORGET} in ")
    assert diagnosis.start.startswith("starts in the output, time 0 row 0 unit 0")


def test_a_mistake_of_one_cell_is_found_beside_a_right_cell():
    found = evidence("LSTM", "float32", forget_plus_one) + evidence("GRU", "float32")
    assert diagnose_results(found).names == (FORGET,)


def test_two_cells_with_mistakes_of_their_own_are_told_apart():
    flipped = textbook(
        (
            ("new = (1 - z) * n + z * h", "new = z * n + (1 - z) * h"),
            ("d_n = d_h * (1 - z)", "d_n = d_h * z"),
            ("d_z = d_h * (h - n)", "d_z = d_h * (n - h)"),
            ("d_h = d_h * z + p", "d_h = d_h * (1 - z) + p"),
        )
    )
    found = evidence("LSTM", "float32", forget_plus_one) + evidence("GRU", "float32", flipped)
    diagnosis = diagnose_results(found)
    assert diagnosis.names == ("the update gate flipped, z ⊙ n + (1 − z) ⊙ h₋", FORGET)
    assert "GRU: agrees with" in diagnosis.sentence and "LSTM: agrees with" in diagnosis.sentence


def test_absent_tensors_are_not_judged():
    def values(case, results):
        return {name: v for name, v in results.items() if not name.startswith("d_")}

    assert diagnose_results(evidence("GRU", "float32", change=values)).sentence.startswith(
        "no mistake"
    )
    wrong = diagnose_results(evidence("LSTM", "float32", forget_plus_one, values))
    assert wrong.names == (FORGET,)


def test_cases_that_cannot_tell_mistakes_apart_name_all_of_them():
    """With B = 2, half of a gradient is also its mean over the batch."""

    def halved(case, results):
        return results | {"d_x": results["d_x"] / 2}

    case = diagnostic_cases("GRU")[1]
    assert case.B == 2
    diagnosis = diagnose_results(evidence("GRU", "float64", change=halved, cases=[case]))
    assert diagnosis.names == ("the gradient of x halved", "the gradient of x divided by B")
    assert "cannot tell apart" in diagnosis.sentence


@pytest.mark.slow
@pytest.mark.parametrize("dtype, error", [("float64", 1e-6), ("float64", 1e-10), ("float32", 1e-3)])
@pytest.mark.parametrize("tensor", ["output", "h_n", "d_x", "d_weight_hh_l0"])
def test_one_wrong_element_has_no_name(dtype, error, tensor):
    """Least of all that of a lower precision."""

    def change(case, results):
        value = results[tensor].copy()
        value.flat[-1] += error * abs(value).max()
        return results | {tensor: value}

    cases = [c for c in diagnostic_cases("LSTM") if c.regime == "generic"]
    diagnosis = diagnose_results(evidence("LSTM", dtype, change=change, cases=cases))
    assert diagnosis.names == ()
    assert diagnosis.sentence == "no mistake of the list agrees"
    assert tensor in diagnosis.start


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda v: v * np.nan, "starts in h_n"),
        (lambda v: v[..., :-1], "h_n has the shape"),
        (lambda v: v.astype(complex), "h_n is not an array of floating-point numbers"),
        (lambda v: None, "h_n has the shape None"),
    ],
)
def test_what_is_not_a_number_has_a_start_but_no_name(change, words):
    def changed(case, results):
        return results | {"h_n": change(results["h_n"])}

    diagnosis = diagnose_results(evidence("GRU", "float32", change=changed))
    assert diagnosis.names == () and words in diagnosis.start


def test_values_of_a_mistake_are_named_although_the_gradients_are_those_of_nothing():
    """A student's forward pass with the forget bias, and a backward pass of its own."""

    def spoilt(case, results):
        rng = np.random.default_rng(3)
        return {
            name: value + rng.standard_normal(value.shape).astype(value.dtype)
            if name.startswith("d_")
            else value
            for name, value in results.items()
        }

    diagnosis = diagnose_results(evidence("LSTM", "float64", forget_plus_one, spoilt))
    assert diagnosis.names == (FORGET,)
    assert diagnosis.sentence.startswith("the values agree with")
    assert diagnosis.sentence.endswith("but the gradients do not")


def test_gradients_alone_start_in_the_last_layer():
    def change(case, results):
        return {
            name: value + abs(value) / 4 if name.startswith("d_weight_ih") else value
            for name, value in results.items()
        }

    cases = [c for c in diagnostic_cases("GRU") if c.layers == 2 and not c.bidirectional]
    diagnosis = diagnose_results(evidence("GRU", "float64", change=change, cases=cases))
    assert diagnosis.names == ()
    assert "values are right; the error starts in d_weight_ih_l1 (R = " in diagnosis.start


@pytest.mark.parametrize(
    "starts, factor, name",
    [
        ("d_weight_ih", 1.25, "the gradient of weight_ih multiplied by 1.25"),
        ("d_", -3, "every gradient multiplied by -3"),
        ("d_bias_hh_l1", 0, "the gradient of bias_hh_l1 multiplied by 0"),
        ("d_weight_hh_l1", 1 / 7, "the gradient of weight_hh_l1 multiplied by 0.142857"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_factor_that_is_not_in_the_list_is_found(starts, factor, name, dtype):
    def change(case, results):
        return {
            name: value * value.dtype.type(factor) if name.startswith(starts) else value
            for name, value in results.items()
        }

    cases = [c for c in diagnostic_cases("GRU") if not c.bidirectional and c.regime == "generic"]
    diagnosis = diagnose_results(evidence("GRU", dtype, change=change, cases=cases))
    assert diagnosis.names == (name,)


def test_the_gate_of_a_wrong_gradient_is_named():
    def change(case, results):
        d = results["d_weight_hh_l0"].copy()
        d[case.H : 2 * case.H] *= 1.1
        return results | {"d_weight_hh_l0": d}

    cases = diagnostic_cases("LSTM")[:1]
    diagnosis = diagnose_results(evidence("LSTM", "float64", change=change, cases=cases))
    assert "d_weight_hh_l0, gates f" in diagnosis.start


def test_the_problem_of_an_implementation_may_be_its_own():
    case = diagnostic_cases("GRU")[1]
    problem = draw(case)
    problem = problem._replace(
        params={n: 0 * p if n == "bias_hh_l0" else p for n, p in problem.params.items()}
    )
    results = textbook_net.net(problem, "float32")
    without = diagnose_results([Evidence(case, "float32", results)])
    assert without.names == ("bias_hh left out",)
    given = diagnose_results([Evidence(case, "float32", results, problem)])
    assert given.sentence == "no mistake: 1 of 1 cases agree"


def test_cases_that_cannot_be_judged_are_left_out():
    empty = diagnose_results([Evidence(diagnostic_cases("GRU")[0], "float32", {})])
    assert empty.sentence.startswith("nothing was judged")


def test_the_cases_are_possible_and_tell_abilities_apart():
    for cell in CELLS:
        cases, more = diagnostic_cases(cell), dropout_cases(cell)
        assert not any(contradiction(case) for case in cases + more)
        assert all(0 < case.dropout < 1 != 2 * case.dropout for case in more)
        assert len({case.id for case in cases}) == len(cases) <= 20
        assert {case.T for case in cases} >= {1, 2, 3, 4}
        assert any(case.I == case.H for case in cases)
        assert all(
            any(case.cotangents == (name,) for case in cases)
            for name in ("output", "h_n", *["c_n"] * cell.startswith("LSTM"))
        )


@pytest.mark.slow
def test_every_mistake_has_a_name_of_its_own_and_changes_something():
    """In one of the diagnostic cases of each of its cells, its truth is not the right one."""
    listed = mistakes()
    assert len({mistake.name for mistake in listed}) == len(listed)
    for cell in CELLS:
        cases = diagnostic_cases(cell) + dropout_cases(cell)
        questions = [question_of(case, "float32") for case in cases]
        for mistake in listed:
            if cell in mistake.cells and "rounded to float32" not in mistake.name:
                for change in mistake.changes[:1]:
                    assert any(
                        not _same(q.truth(change), q.truth(RIGHT_EQUATIONS)) for q in questions
                    ), (cell, mistake.name)


@pytest.mark.parametrize("packed", [False, True], ids=["padding is read", "as from a pack"])
def test_a_reverse_direction_from_the_padding_is_named_if_padding_is_cleared(packed):
    """After each layer; as from a pack, padding of x is 0 and has no gradient."""

    def layer(mode, p, x, state, lengths, reverse):
        T, B, _ = x.shape
        inside = (torch.arange(T)[:, None] < torch.tensor(lengths or [T] * B))[..., None]
        x = torch.where(inside, x, 0) if packed else x
        h, outputs = state[0] if state else x.new_zeros(B, p["weight_hh"].shape[1]), [None] * T
        for t in reversed(range(T)) if reverse else range(T):
            u = x[t] @ p["weight_ih"].T + p["bias_ih"]
            v = h @ p["weight_hh"].T + p["bias_hh"]
            (u_r, u_z, u_n), (v_r, v_z, v_n) = u.chunk(3, 1), v.chunk(3, 1)
            z = torch.sigmoid(u_z + v_z)
            after = (1 - z) * torch.tanh(u_n + torch.sigmoid(u_r + v_r) * v_n) + z * h
            h = after if reverse else torch.where(inside[t], after, h)
            outputs[t] = torch.where(inside[t], after, 0)
        return torch.stack(outputs), [h]

    options = {"cells": ("GRU",), "engine": "torch", "no_biases": False}
    found = bptt_oracle.diagnose(Implementation("mine", layer, **options))
    assert found.sentence.startswith("agrees with the reverse direction starts in the padding in")


LAST = "the last column of the output in place of h_n"
LAST_OF_REVERSE = "the last step of the output in place of h_n of the reverse direction"
PADDING = "lengths ignored, padding run like data"


@pytest.mark.parametrize("mistake", [LAST, LAST_OF_REVERSE, PADDING, FORGET])
def test_a_mistake_inside_of_the_layers_of_a_stack_is_named(mistake):
    def layer(mode, p, x, state, lengths, reverse):
        T, B, H = *x.shape[:2], p["weight_hh"].shape[1]
        bias = p.get("bias_ih", 0) + p.get("bias_hh", 0)
        if mistake == FORGET and "bias_ih" in p:
            bias = bias + torch.eye(4, dtype=x.dtype)[1].repeat_interleave(H)
        h, c = state or [x.new_zeros(B, H)] * 2
        inside = (torch.arange(T)[:, None] < torch.tensor(lengths or [T] * B))[..., None]
        run, outputs = inside | (mistake == PADDING), [None] * T
        for t in reversed(range(T)) if reverse else range(T):
            i, f, g, o = (x[t] @ p["weight_ih"].T + h @ p["weight_hh"].T + bias).chunk(4, 1)
            c_after = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h_after = o.sigmoid() * c_after.tanh()
            h, c = torch.where(run[t], h_after, h), torch.where(run[t], c_after, c)
            outputs[t] = torch.where(inside[t], h_after, 0)
        if mistake == (LAST_OF_REVERSE if reverse else LAST):
            h = outputs[-1]
        return torch.stack(outputs), [h, c]

    found = bptt_oracle.diagnose(Implementation("mine", layer, cells=("LSTM",), engine="torch"))
    assert found.names == (mistake,)


def test_the_smallest_generic_case_of_each_ability_is_compared_and_none_twice():
    cases = [
        Case("LSTM", 2 + k // 2, 2, 4, 3, bias=k % 2 == 0, seed=k, regime=regime)
        for k in range(40)
        for regime in ("wide", "generic")
    ]
    items = [Item(Evidence(case, "float32", {}), None, 1, ()) for case in cases]
    chosen = [item.evidence.case for item in choose(items)]
    assert len(chosen) == len(set(chosen)) == MOST_CASES
    generic = sorted((c for c in cases if c.regime == "generic"), key=lambda c: c.T)
    assert chosen[: MOST_CASES - 2] == generic[: MOST_CASES - 2]
    assert [(c.T, c.bias, c.regime) for c in chosen[-2:]] == [(2, b, "wide") for b in (True, False)]


def written(change):
    """textbook_net as an implementation whose results are changed."""

    def run(problem, dtype):
        return change(textbook_net.net(problem, dtype))

    return Implementation("mine", run=run, cells=("LSTM",))


def test_forms_that_are_wrong_are_no_agreement():
    without = written(lambda results: {n: v for n, v in results.items() if n != "output"})
    found = bptt_oracle.diagnose(without)
    assert found.names == () and found.start
    assert found.sentence.startswith("output is missing, in ")
    longer = written(lambda results: results | {"d_x": results["d_x"].astype(np.longdouble)})
    assert bptt_oracle.diagnose(longer).sentence.startswith("d_x came as ")
    forgetful = written(lambda results: results | {"h_n": results["h_n"][:, :, :-1]})
    assert bptt_oracle.diagnose(forgetful).sentence.startswith("h_n has shape ")


def test_a_mistake_is_named_beside_a_wrong_form():
    def run(problem, dtype):
        return forget_plus_one(problem, dtype) | {"d_x": np.zeros(1, dtype)}

    found = bptt_oracle.diagnose(Implementation("mine", run=run, cells=("LSTM",)))
    assert found.names == (FORGET,) and "; d_x has shape [1], expected " in found.sentence


def test_an_exception_is_reported():
    def fail(results):
        raise IndexError("boom")

    found = bptt_oracle.diagnose(written(fail))
    assert found.names == () and found.start
    assert found.sentence.startswith("IndexError: boom (test_diagnose.py, line ")
    count = len(diagnostic_cases("LSTM"))
    assert found.sentence.endswith(f", in {count} of {count} cases")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda x: x, "the object is a function; expected a bptt_oracle.Implementation"),
        (Implementation("x"), "gives no function; give one of layer, net, run, module"),
        (written(dict)._replace(cells=("lstm",)), "'lstm' came, expected one of RNN_TANH"),
        (written(dict)._replace(dtypes=("float99",)), "'float99' came, expected one of float64"),
    ],
)
def test_what_cannot_be_diagnosed_is_one_sentence(value, words):
    with pytest.raises(CommandError, match=words):
        bptt_oracle.diagnose(value)


def test_a_factor_is_not_sought_in_one_element():
    def added(case, results):
        return results | {"d_h_0": results["d_h_0"] + results["d_h_0"].dtype.type(0.1)}

    case = Case("GRU", T=3, B=1, I=1, H=1, cotangents=("output",))
    found = diagnose_results(evidence("GRU", "float64", change=added, cases=[case]))
    assert found.names == () and found.start


def test_a_transposed_weight_is_not_named_with_one_that_cannot_be():
    """weight_ih of I = 1 is the same number for number if it is reshaped."""
    line = 'a = p["weight_ih"] @ x + p["bias_ih"] + p["weight_hh"] @ h + p["bias_hh"]'
    line += "\n        new = "
    wrong = textbook(((line, line.replace('p["weight_hh"] @', 'p["weight_hh"].T @')),))
    case = Case("RNN_TANH", T=3, B=2, I=1, H=2)

    def values(case, results):
        return {n: v for n, v in results.items() if not n.startswith("d_")}

    found = diagnose_results(evidence("RNN_TANH", "float64", wrong, values, [case]))
    assert "weight_hh not transposed, gate by gate" in found.names
    assert not [name for name in found.names if name.startswith("weight_ih and weight_hh")]
