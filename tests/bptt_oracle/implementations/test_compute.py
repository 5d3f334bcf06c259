"""What the harness does around an implementation: casting, layouts, stacking, gradients, review."""

import numpy as np
import pytest
from hypothesis import given

from bptt_oracle.cases.case import Case, draw
from bptt_oracle.implementations.compute import compute, review
from bptt_oracle.implementations.fitting import fit
from bptt_oracle.implementations.growing import growing_cases
from bptt_oracle.implementations.implementation import Answer, Implementation
from bptt_oracle.implementations.stacking import WrongReturn
from bptt_oracle.judging.judge import judge
from bptt_oracle.judging.truth import expect
from bptt_oracle.runs import examine as examining
from bptt_oracle.runs.examine import examine
from support import textbook_net
from support import written_implementations as written
from support.drawn_cases import cases, pinned

PLAIN = Case("LSTM", 3, 2, 4, 5)


def answer_to(implementation, case, dtype="float64"):
    problem = draw(case)
    truth = expect(problem, dtype).truth
    return review(implementation, compute(implementation, problem, dtype), truth, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(case=cases())
def test_layers_are_stacked_in_numpy_with_lengths_directions_and_tied_parameters(dtype, case):
    fitted = fit(written.numpy_lstm, case._replace(cell="LSTM", P=0))
    if fitted is None:
        return
    (result,) = examine(fitted, dtype, [written.numpy_lstm])
    assert result.verdict in ("agree", "untrusted"), result
    assert result.not_returned == ()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@given(case=cases())
def test_layers_are_stacked_and_differentiated_by_torch(dtype, case):
    able = written.torch_nets._replace(dtypes=("float32", "float64", "bfloat16"))
    fitted = fit(able, case)
    if fitted is None:
        return
    (result,) = examine(fitted, dtype, [able])
    assert result.verdict in ("agree", "untrusted"), result
    assert result.not_returned == ()


def test_a_case_keeps_dropout_for_a_run_that_has_it():
    case = pinned(cell="GRU", layers=3, dropout=0.4, cotangents=("output",))
    mine = Implementation("mine", run=textbook_net.net, dropout=True)
    assert fit(mine, case) == case
    assert any(case.dropout for case in growing_cases(mine, 100))
    (result,) = examine(case, "float64", [mine])
    assert result.verdict == "agree", result
    for without in (mine._replace(dropout=False), mine._replace(layers=False)):
        assert fit(without, case).dropout == 0
    assert fit(written.torch_nets._replace(dropout=True), case).dropout == 0


@given(case=cases())
def test_a_whole_net_is_called_with_every_batch_as_T_B_I(case):
    seen = []

    def net(net, params, x, state, lengths):
        seen.append(x.shape)
        raise NotImplementedError

    with pytest.raises(NotImplementedError):
        compute(Implementation("net", net=net), draw(case), "float32")
    assert seen == [(case.T, case.B, case.I)]


def test_padding_is_masked_in_outputs_and_cotangents():
    case = PLAIN._replace(layout="packed", lengths=(1, 3))

    def garbage_in_padding(*arguments):
        y, final, back = written.numpy_layer(*arguments)
        y[1:, 0] = 7
        return y, final, lambda d_y, d_final: back(d_y, d_final) if not d_y[1:, 0].any() else 1 / 0

    careless = written.numpy_lstm._replace(layer=garbage_in_padding)
    (result,) = examine(case, "float64", [careless])
    assert result.verdict == "agree", result


def test_a_module_needs_no_adapter_and_other_parameter_names_are_said():
    case = pinned(cell="LSTM", layers=1, bidirectional=False, layout="batch", dropout=0.0, P=0)
    (result,) = examine(case, "float32", [written.plain_module])
    assert result.verdict == "agree", result
    other = written.plain_module._replace(module=written.OtherNames)
    (result,) = examine(PLAIN, "float32", [other])
    assert result.verdict == "fault"
    assert "OtherNames has the parameters {'kernel': (4, 20)}; expected torch's" in result.note


WRONG = {
    "another dtype": (
        {"output": lambda v: v.astype("float32")},
        "output came as float32, expected float64",
    ),
    "another shape": ({"h_n": lambda v: v[0]}, "h_n has shape [2, 5], expected [1, 2, 5]"),
    "missing": ({"output": None}, "output is missing"),
    "a list": ({"h_n": lambda v: v.tolist()}, "h_n is a list, expected an array"),
    "masked": ({"c_n": lambda v: np.ma.array(v)}, "c_n is a MaskedArray, expected an array"),
    "a misspelt name": ({"d_weight_hh": lambda v: None}, "d_weight_hh is not one of the tensors"),
}


@pytest.mark.parametrize("change, words", WRONG.values(), ids=WRONG)
def test_a_wrong_form_is_a_fault_and_is_said(change, words):
    def run(problem, dtype):
        results = written.run_reference(problem, dtype)
        for name, wrong in change.items():
            results[name] = wrong(results.get(name)) if wrong else None
        return {n: v for n, v in results.items() if v is not None or n == "d_weight_hh"}

    (result,) = examine(PLAIN, "float64", [written.run_lstm._replace(run=run)])
    assert (result.verdict, result.R) == ("fault", np.inf)
    assert words in result.note


def test_a_tensor_that_run_does_not_return_is_counted_and_not_judged():
    def run(problem, dtype):
        return {"output": written.run_reference(problem, dtype)["output"]}

    (result,) = examine(PLAIN, "float64", [written.run_lstm._replace(run=run)])
    assert result.verdict == "agree" and list(result.tensors) == ["output"]
    assert len(result.not_returned) == 9 and "h_n" in result.not_returned


def test_a_gradient_that_an_engine_promised_must_come():
    def run(problem, dtype):
        results = written.run_reference(problem, dtype)
        return Answer({n: v for n, v in results.items() if n != "d_h_0"})

    truth = expect(draw(PLAIN), "float64").truth
    answer = run(draw(PLAIN), "float64")
    promised = review(written.numpy_lstm, answer, truth, "float64")
    assert promised.errors == {"d_h_0": "d_h_0 is missing"}
    assert review(written.run_lstm, answer, truth, "float64").not_returned == ("d_h_0",)


def test_a_numpy_net_without_a_backward_pass_must_say_so():
    with pytest.raises(WrongReturn, match="without a backward pass; return .* or set engine='non"):
        compute(written.without_back, draw(PLAIN), "float32")


def test_a_backward_pass_that_returns_something_else_is_told_what_is_expected():
    def net(*arguments):
        y, final, _ = _whole(arguments)
        return y, final, lambda d_output, d_final: {"x": 1}

    odd = Implementation("a net", net=net)
    with pytest.raises(WrongReturn, match="back returned a dict; expected .d_params, d_x, d_state"):
        compute(odd, draw(PLAIN), "float32")


def _whole(arguments):
    net, params, x, state, lengths = arguments
    p = {name.removesuffix("_l0"): value for name, value in params.items()}
    own = None if state is None else [s[0] for s in state]
    y, final, back = written.numpy_layer(net.mode, p, x, own, lengths, False)
    return y, [s[None] for s in final], back


def test_writing_into_an_argument_raises():
    def layer(*arguments):
        y, final, back = written.numpy_layer(*arguments)

        def in_place(d_y, d_final):
            d_y += 1
            return back(d_y, d_final)

        return y, final, in_place

    (result,) = examine(PLAIN, "float64", [written.numpy_lstm._replace(layer=layer)])
    assert result.verdict == "fault" and "read-only" in result.note


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_a_wrong_shape_is_told_before_anything_is_differentiated(engine):
    right = written.numpy_lstm if engine == "numpy" else written.torch_nets

    def layer(*arguments):
        y, *others = right.layer(*arguments)
        return (y.swapaxes(0, 1), *others)

    (result,) = examine(PLAIN, "float32", [right._replace(layer=layer)])
    assert "output has shape [2, 3, 5], expected [3, 2, 5]; are batch and time sw" in result.note


def test_with_the_engine_none_only_values_are_judged():
    answer = answer_to(written.values_only, PLAIN)
    assert set(answer.results) == {"output", "h_n", "c_n"} and not answer.errors
    assert len(answer.not_returned) == 7


@pytest.mark.parametrize(
    "returned, words",
    [
        (3, "layer returned a int; expected (output, final)"),
        ((1,), "layer returned a tuple of 1;"),
        ((1, 2), "layer returned a int as its second value"),
    ],
)
def test_a_function_that_returns_something_else_is_told_what_is_expected(returned, words):
    odd = written.numpy_lstm._replace(layer=lambda *arguments: returned)
    with pytest.raises(WrongReturn) as raised:
        compute(odd, draw(PLAIN), "float32")
    assert words in str(raised.value)


def test_more_final_states_than_the_cell_has_are_rejected():
    def layer(*arguments):
        y, final, back = written.numpy_layer(*arguments)
        return y, [*final, final[0]]

    with pytest.raises(WrongReturn, match="3 final states were returned; LSTM has 2"):
        compute(written.numpy_lstm._replace(layer=layer), draw(PLAIN), "float32")


def test_gradients_doubled_by_an_implementation_are_a_fault():
    results = examine(PLAIN, "float64", [written.doubling, written.run_lstm])
    assert [r.verdict for r in results] == ["fault", "agree"]
    assert results[0].tensor.startswith("d_")


def test_truth_is_that_of_the_constrained_problem(monkeypatch):
    from bptt_oracle.implementations.fitting import without_new_bias

    def run(problem, dtype):
        for name, p in problem.params.items():
            assert "bias_hh" not in name or not p[2 * problem.net.hidden_size :].any()
        return written.run_reference(problem, dtype)

    case = Case("GRU", 3, 2, 4, 5, layers=2)
    constrained = Implementation("one bias", run=run, constrain=without_new_bias)
    unconstrained = constrained._replace(constrain=None)
    verdicts = [examine(case, "float64", [one])[0] for one in (constrained, unconstrained)]
    assert [r.verdict for r in verdicts] == ["agree", "fault"]
    assert "AssertionError" in verdicts[1].note
    whole = Implementation("two biases", run=written.run_reference)
    computed, expect_once = [], examining.expect_in_precision
    monkeypatch.setattr(
        examining, "expect_in_precision", lambda *a: computed.append(a) or expect_once(*a)
    )
    together = examine(case, "float64", [constrained, whole, constrained])
    assert [r.verdict for r in together] == ["agree"] * 3
    efforts = [arguments[4:] for arguments in computed]
    assert efforts == [(), ()], "each constraint has a truth of its own, and none is confirmed"


def test_one_array_under_two_names_is_one_parameter():
    case = PLAIN._replace(tied=True, I=5)
    problem = draw(case)
    assert problem.params["weight_ih_l0"] is problem.params["weight_hh_l0"]
    answer = answer_to(written.numpy_lstm, case)
    expected = expect(problem, "float64")
    assert judge(answer.results, expected).word == "agree"
    assert np.array_equal(answer.results["d_weight_ih_l0"], answer.results["d_weight_hh_l0"])


@pytest.mark.parametrize("status", [0, 3, None])
def test_an_implementation_that_ends_the_program_has_raised(status):
    def leaves(problem, dtype):
        raise SystemExit(status)

    implementation = Implementation("leaves", run=leaves)
    with pytest.raises(RuntimeError, match=f"it ended the program, SystemExit: {status}"):
        compute(implementation, draw(PLAIN), "float32")
    (outcome,) = examine(PLAIN, "float32", [implementation])
    assert outcome.verdict == "fault" and "SystemExit" in outcome.note
    assert "(test_compute.py, line" in outcome.note
