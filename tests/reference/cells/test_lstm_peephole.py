"""The LSTM with peepholes: one law for each equation, the adjoint, and a loop in torch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt_oracle.cases.case import parse
from bptt_oracle.implementations.torch_paths import torch_implementation
from bptt_oracle.runs.examine import examine
from reference import LSTM, RecurrentCell, RecurrentNet
from support.drawn_cases import cases
from support.problems import cast, draw, solve
from support.strategies import all_lengths, seeds, sizes
from support.verdicts import adjoint_identity_holds, agrees_with_textbook, keeps_dtype
from torch_impl.execution.catalogue import PATHS

DTYPES = [np.float32, np.float64, np.longdouble, np.complex128]
in_every_dtype = pytest.mark.parametrize("dtype", DTYPES)
I, F, G, O = np.split(np.arange(24), 4)  # noqa: E741 the rows of each gate
P_I, P_F, P_O = np.split(np.arange(18), 3)  # the peepholes of each gate


def cell(bias=True, seed=0):
    """A cell of 4 inputs and 6 units on 3 rows."""
    return draw(RecurrentCell("LSTM_PEEPHOLE", 4, 6, bias), B=3, seed=seed)


def changed(problem, **rows):
    """The problem with some rows of its arrays set to a value."""
    arrays = {}
    for name, (at, value) in rows.items():
        arrays[name] = problem.inputs[name].copy()
        arrays[name][at] = value
    return problem.with_inputs(**arrays)


@pytest.mark.parametrize("bias", [True, False])
@in_every_dtype
def test_the_cell_is_the_textbook_equation(bias, dtype):
    agrees_with_textbook(cast(cell(bias), dtype))


@given(seed=seeds, bias=st.booleans(), lengths=all_lengths, layers=st.integers(1, 2))
def test_without_peepholes_it_is_the_lstm_bit_for_bit(seed, bias, lengths, layers):
    plain = draw(LSTM(3, 4, layers, bias, bidirectional=True), lengths=lengths, seed=seed)
    net = RecurrentNet("LSTM_PEEPHOLE", 3, 4, layers, bias, bidirectional=True)
    zeros = {n: np.zeros(s) for n, s in net.parameter_shapes().items() if "_ch_" in n}
    peeping = draw(net, lengths=lengths, seed=seed).with_inputs(**plain.inputs, **zeros)
    expected, found = solve(plain)[0], solve(peeping)[0]
    assert all(np.array_equal(found[name], value) for name, value in expected.items())


def test_with_peepholes_it_is_another_cell():
    problem = cell()
    without = changed(problem, weight_ch=(slice(None), 0))
    assert np.abs(solve(problem)[0]["h_n"] - solve(without)[0]["h_n"]).max() > 1e-3


def test_peepholes_in_the_order_of_onnx_give_another_state():
    """ONNX packs P as i o f, this package w_ch as i f o."""
    problem = cell()
    w_ch = problem.inputs["weight_ch"]
    onnx = problem.with_inputs(weight_ch=w_ch[np.r_[P_I, P_O, P_F]])
    assert np.abs(solve(problem)[0]["h_n"] - solve(onnx)[0]["h_n"]).max() > 1e-3


def test_only_the_output_gate_reads_the_new_cell_state():
    """With i and f shut the new cell state is 0: then p_o has no effect, while c₋ is not 0."""
    shut = changed(cell(), bias_ih=(np.r_[I, F], -60))
    shut = changed(shut, weight_ch=(np.r_[P_I, P_F], 0))
    h = solve(shut)[0]["h_n"]
    assert np.abs(shut.inputs["c_0"]).min() > 1e-3
    assert np.allclose(h, solve(changed(shut, weight_ch=(P_O, 40)))[0]["h_n"], atol=1e-20)


def test_the_forget_gate_reads_the_old_cell_state():
    """With i shut, a large p_f opens f where c₋ > 0 and shuts it where c₋ < 0."""
    problem = changed(cell(), bias_ih=(I, -1e3), weight_ch=(P_I, 0))
    problem = changed(problem, weight_ch=(P_F, 1e4))
    before, after = problem.inputs["c_0"], solve(problem)[0]["c_n"]
    np.testing.assert_allclose(after, np.where(before > 0, before, 0), rtol=0, atol=1e-100)


def test_the_input_gate_reads_the_old_cell_state():
    """With f shut, a large p_i opens i where c₋ > 0 and shuts it where c₋ < 0: c is g or 0."""
    problem = changed(cell(), bias_ih=(F, -1e3), weight_ch=(P_F, 0))
    c = solve(changed(problem, weight_ch=(P_I, 1e4)))[0]["c_n"]
    opened = problem.inputs["c_0"] > 0
    assert (np.abs(c[opened]) > 1e-3).all() and (np.abs(c[~opened]) < 1e-100).all()


@given(seed=seeds, inputs=sizes, hidden=sizes, bias=st.booleans(), lengths=all_lengths)
def test_the_adjoint_identity_holds(seed, inputs, hidden, bias, lengths):
    net = RecurrentNet("LSTM_PEEPHOLE", inputs, hidden, 2, bias, bidirectional=True)
    adjoint_identity_holds(draw(net, lengths=lengths, seed=seed))


def test_the_adjoint_identity_holds_for_one_step():
    adjoint_identity_holds(cell())


@given(case=cases(cells=["LSTM_PEEPHOLE"]), dtype=st.sampled_from(["float32", "float64"]))
def test_values_and_gradients_are_those_of_a_loop_in_torch(case, dtype):
    results = examine(
        case,
        dtype,
        [torch_implementation(PATHS["cpu-cells"]), torch_implementation(PATHS["cpu-manual"])],
    )
    assert results[0].verdict in ("agree", "untrusted")
    assert {r.verdict for r in results} <= {"agree", "untrusted", "excluded"}


def test_torch_has_no_module_of_these_equations():
    case = parse("LSTM_PEEPHOLE.T3.B2.I3.H4.L1.time.h0.output.generic.s1")
    (result,) = examine(case, "float32", [torch_implementation(PATHS["cpu-native"])])
    assert result.verdict == "excluded" and "LSTM_PEEPHOLE" in result.note


@in_every_dtype
def test_the_dtype_is_preserved(dtype):
    keeps_dtype(cell(), dtype)
