"""A case is determined by its id: it reads back, and draws the same arrays everywhere."""

import numpy as np
import pytest
from hypothesis import given

from bptt_oracle.cases.case import COTANGENTS, Case, draw, net_of, parse
from bptt_oracle.judging.location import location
from support.drawn_cases import cases, pinned


@given(cases())
def test_a_case_is_read_back_from_its_id(case):
    assert parse(case.id) == case


@pytest.mark.parametrize(
    "dropout, digits",
    [
        (0.3, "0_3"),
        (0.25, "0_25"),
        (1.0, "1"),
        (1e-05, "0_00001"),
        (1 / 3, "0_3333333333333333"),
        (1e-300, "0_" + "0" * 299 + "1"),
    ],
)
def test_every_dropout_is_read_back_exactly(dropout, digits):
    case = pinned(dropout=dropout)
    assert f".drop{digits}." in case.id and parse(case.id) == case


@given(cases())
def test_the_same_case_draws_the_same_arrays(case):
    first, second = draw(case), draw(case)
    assert first.x.tobytes() == second.x.tobytes()
    assert all(first.params[n].tobytes() == second.params[n].tobytes() for n in first.params)


@given(cases(regimes=("generic", "saturated", "cancelling", "wide", "tiny")))
def test_no_array_of_a_case_is_zero_or_constant_and_no_two_layers_are_alike(case):
    problem = draw(case)
    arrays = [problem.x, *problem.params.values(), *(problem.state or ())]
    arrays += [d for d in (problem.d_output, *problem.d_state) if d is not None]
    for array in arrays:
        assert np.all(array != 0)
        assert array.size == 1 or np.unique(array).size > 1
    for array in (*(problem.state or ()), *(d for d in problem.d_state if d is not None)):
        assert len({layer.tobytes() for layer in array}) == len(array)


@given(cases())
def test_the_net_of_a_case_has_the_parameters_that_are_drawn(case):
    shapes = {name: value.shape for name, value in draw(case).params.items()}
    assert shapes == net_of(case).parameter_shapes()


@pytest.mark.parametrize(
    "name, reason",
    [
        ("nonsense", "is not a case id"),
        ("GRU.T6.B3.I4.H5.L1.time.h0.c_n.generic.s0", "only an LSTM has c_n"),
        ("GRU.T6.B3.I4.H5.L1.packed-6-1.h0.output.generic.s0", "one length for each of the B rows"),
        ("GRU.T6.B2.I4.H5.L1.sorted-1-6.h0.output.generic.s0", "never increase"),
        ("GRU.T6.B2.I4.H5.L1.unbatched.h0.output.generic.s0", "one sequence, so B must be 1"),
        ("GRU.T0.B2.I4.H5.L1.time.h0.output.generic.s0", "must be at least 1"),
        ("GRU.T99999.B2.I4.H5.L1.time.h0.output.generic.s0", "must be at most 4096"),
        ("GRU.T9.B99999999999.I4.H5.L1.packed-full.h0.output.generic.s0", "must be at most 4096"),
        ("GRU.T6.B2.I4.H5.L1.packed-uniform7.h0.output.generic.s0", "from 1 to T, which is 6"),
        ("GRU.T6.B2.I4.H5.L1.packed-rest01.h0.output.generic.s0", "wrong from '.packed-rest01"),
        ("GRU.T6.B2.I4.H5.L1.packed-half.h0.output.generic.s0", "wrong from '.packed-half"),
        ("GRU.T06.B2.I4.H5.L1.time.h0.output.generic.s0", "must be spelled"),
        ("GRU.T6.B2.I4.H5.L2.time.h0.drop0_30.output.generic.s0", "must be spelled"),
        ("LSTM.T6.B2.I4.H5.L2.time.h0.drop1_1_1.output.generic.s0", "is not a case id"),
        ("GRU.T6.B2.I4.H5.L1.time.h0.drop0_3.output.generic.s0", "L must be at least 2"),
        ("LSTM.T6.B2.I4.H5.L1.P5.time.h0.output.generic.s0", "narrower than H"),
        ("GRU.T6.B2.I4.H5.L1.time.h0.output.exact.s0", "only RNN_RELU computes without rounding"),
        ("GRU.T6.B2.I4.H5.L2.time.h0.drop9.output.generic.s0", "probability"),
        ("GRU.T6.B2.I4.H5.L1.packed-6-0.h0.output.generic.s0", "lengths must be at least 1"),
        ("GRU.T6.B2.I4.H5.L1.packed-5-3.h0.output.generic.s0", "the longest must be T"),
        ("GRU.T6.B2.I4.H5.L1.packed.h0.output.generic.s0", "other layouts have none"),
        ("GRU.T6.B2.I4.H5.L1.time-6-3.h0.output.generic.s0", "other layouts have none"),
        (
            "GRU.T6.B2.I4.H5.L1.time.h0.output+h_n+h_n.generic.s0",
            "each cotangent must be named once",
        ),
        ("LSTM.T6.B2.I4.H5.L1.time.h0.c_n+h_n.generic.s0", "must be named once"),
        ("LSTM.T6.B2.I4.H5.L1.time.h0.h_n+c_n+h_n.generic.s0", "in the order output, h_n, c_n"),
        ("GRU.T6.B2.I4.H5.L2.time.h0.drop1e-05.output.generic.s0", "is not a case id"),
        (
            "GRU.T6.B2.I4.H5.L1.nobias.tied.time.h0.output.generic.s0",
            "tied parameters include the biases",
        ),
    ],
)
def test_a_name_that_is_not_an_id_is_rejected_in_one_sentence(name, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        parse(name)
    assert "\n" not in str(caught.value)


def test_strided_cases_give_torch_tensors_that_are_not_contiguous():
    from torch_impl.execution.catalogue import PATHS
    from torch_impl.execution.run import run

    seen = []

    def spy(forward):
        return lambda call: seen.extend([call.x, *call.state]) or forward(call)

    run(PATHS["cpu-native"], draw(pinned(strided=True)), "float64", wrap=spy)
    assert len(seen) == 3 and not any(value.is_contiguous() for value in seen)


@pytest.mark.parametrize(
    "tensor, index, place",
    [
        ("output", (2, 1, 3), "time 2 row 1 unit 3"),
        ("output", (2, 1, 7), "time 2 row 1 reverse unit 1"),
        ("h_n", (3, 1, 4), "layer 1 reverse row 1 unit 4"),
        ("d_weight_ih_l0", (13, 2), "gate g unit 1 from input 2"),
        ("d_weight_hh_l1_reverse", (5, 2), "gate i unit 5 from unit 2"),
        ("d_bias_ih_l0", (6,), "gate f unit 0"),
        ("d_x", (0, 2, 3), "time 0 row 2 input 3"),
    ],
)
def test_an_index_is_located_by_time_row_layer_gate_and_unit(tensor, index, place):
    case = Case("LSTM", 5, 3, 4, 6, layers=2, bidirectional=True)
    assert location(case, tensor, index) == place


@pytest.mark.parametrize(
    "changes, tensor, index, place",
    [
        ({"layout": "batch"}, "output", (2, 1, 3), "time 1 row 2 unit 3"),
        ({"layout": "batch"}, "d_x", (2, 1, 3), "time 1 row 2 input 3"),
        ({"layout": "unbatched", "B": 1}, "output", (2, 7), "time 2 row 0 reverse unit 1"),
        ({"layout": "unbatched", "B": 1}, "h_n", (1, 4), "layer 0 reverse unit 4"),
        ({"P": 2}, "output", (2, 1, 3), "time 2 row 1 reverse unit 1"),
        ({"P": 2}, "d_weight_hr_l0", (1, 4), "unit 1 from unit 4"),
        ({"cell": "GRU"}, "d_weight_hh_l0", (5, 2), "gate r unit 5 from unit 2"),
        ({"cell": "GRU"}, "d_bias_hh_l1", (6,), "gate z unit 0"),
        ({"cell": "GRU"}, "d_bias_hh_l1", (17,), "gate n unit 5"),
        ({"cell": "LSTM"}, "d_bias_hh_l1", (18,), "gate o unit 0"),
        ({"cell": "RNN_TANH"}, "d_weight_ih_l0", (4, 3), "unit 4 from input 3"),
        ({}, "d_x", (), "shape"),
        ({}, "c_n", (3, 1, 4), "layer 1 reverse row 1 unit 4"),
        ({}, "d_c_0", (2, 0, 5), "layer 1 row 0 unit 5"),
    ],
)
def test_an_index_is_located_in_every_layout_and_cell(changes, tensor, index, place):
    case = Case("LSTM", 5, 3, 4, 6, layers=2, bidirectional=True)._replace(**changes)
    assert location(case, tensor, index) == place


@given(cases())
def test_a_problem_has_exactly_the_arrays_that_its_case_names(case):
    problem = draw(case)
    assert (problem.lengths or ()) == case.lengths
    assert problem.enforce_sorted == (case.layout == "sorted")
    assert (problem.state is not None) == case.state
    cotangents = dict(zip(COTANGENTS, (problem.d_output, *problem.d_state), strict=False))
    assert tuple(name for name, d in cotangents.items() if d is not None) == case.cotangents


def test_tied_parameters_are_one_array_under_two_names_and_the_others_are_separate():
    tied = draw(pinned(tied=True, bidirectional=True)).params
    for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        assert tied[f"bias_hh{suffix}"] is tied[f"bias_ih{suffix}"]
        assert tied[f"weight_hh{suffix}"] is not tied[f"weight_ih{suffix}"]  # 6 columns, 4 or 12
    square = draw(pinned(tied=True)).params
    assert square["weight_hh_l1"] is square["weight_ih_l1"]
    assert len({id(p) for p in square.values()}) == len(square) - 3
    untied = draw(pinned()).params
    assert len({id(p) for p in untied.values()}) == len(untied)


@pytest.mark.parametrize(
    "regime, holds",
    [
        ("saturated", lambda W, b, x: np.abs(x @ W.T + b).max() > 20),
        ("cancelling", lambda W, b, x: np.all(np.abs(W.sum(-1)) < 1e-3 * np.abs(W).sum(-1))),
        ("wide", lambda W, b, x: np.abs(W).max() > 1e4 * np.abs(W).min()),
        ("tiny", lambda W, b, x: np.abs(x @ W.T + b).max() < 1e-4),
        ("exact", lambda W, b, x: np.all(4 * x == np.round(4 * x)) and set(W.flat) == {-1, 0, 1}),
    ],
)
def test_the_numbers_of_a_regime_have_its_property(regime, holds):
    cell = "RNN_RELU" if regime == "exact" else "LSTM"
    problem = draw(pinned(cell=cell, cotangents=("output", "h_n"), regime=regime))
    x, params = problem.x, problem.params
    assert holds(params["weight_ih_l0"], params["bias_ih_l0"], x)


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("LSTM.T5", ""),
        ("LSTM.T6.B2.I4.H5.L2.tme.h0.output.generic.s0", "'.tme.h0.output.generic.s0'"),
        ("LSTM.T6.B2.I4.H5.L2.bi.time.h0.outputs.generic.s0", "'.outputs.generic.s0'"),
        ("LSTM.T6.B2.I4.H5.L2.time.h0.output.generic.7", "'.7'"),
        ("LSTM.T6.B2.I4.H5.L2.time.h0.output.generic.s0.more", "'.more'"),
    ],
)
def test_a_name_that_is_no_id_is_told_where_it_goes_wrong(name, wrong):
    with pytest.raises(ValueError) as raised:
        parse(name)
    expected = f": it is wrong from {wrong} on;" if wrong else f"{name!r} is not a case id;"
    assert expected in str(raised.value)
