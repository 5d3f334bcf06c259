"""Mistakes to plant in the reference: the file, the change, and the test that must detect it."""

from typing import NamedTuple

from support.mutants_equations import EQUATIONS
from support.mutants_optimizers import OPTIMIZERS
from support.mutants_training import TRAINING


class Mutant(NamedTuple):
    """In `file`, `old` becomes `new`, and the test `law` must fail.

    `old` occurs exactly once: in the file, or, with an equation number, in the first statement with
    this number in its margin that contains `old`.
    """

    mistake: str
    file: str
    old: str
    new: str
    law: str
    equation: str = ""


RNN_TEXTBOOK = "test_rnn::test_the_cell_is_the_textbook_equation"
RNN_ADJOINT = "test_rnn::test_the_adjoint_identity_holds"
GRU_TEXTBOOK = "test_gru::test_the_cell_is_the_textbook_equation"
GRU_ADJOINT = "test_gru::test_the_adjoint_identity_holds"
LSTM_TEXTBOOK = "test_lstm::test_the_cell_is_the_textbook_equation"
LSTM_ADJOINT = "test_lstm::test_the_adjoint_identity_holds"
PROJECTED = "test_lstm::test_the_adjoint_identity_holds_under_a_projection"
UNROLL_ADJOINT = "test_unroll::test_the_adjoint_identity_holds"
UNROLL_TEXTBOOK = (
    "test_unroll::test_a_layer_is_the_textbook_step_after_step_and_its_output_is_the_hidden_state"
)
STACK_ADJOINT = "test_modules::test_the_adjoint_identity_holds"
DROPOUT_ADJOINT = "test_dropout::test_the_adjoint_identity_holds_under_masks"
ALONE = "test_metamorphic::test_a_row_alone_is_the_row_in_its_batch_and_parameters_gradients_add_up"
DIRECTIONS = (
    "test_stack::"
    "test_the_two_directions_are_concatenated_and_the_second_starts_at_each_sequence_s_end"
)
LAYER_OUTSIDE = "test_stack::test_layers_outside_and_time_inside_is_time_outside_and_layers_inside"

MUTANTS = [
    Mutant(
        "sigma computed by tanh, which is 0 below -38",
        "activations.py",
        "np.reciprocal(e, out=e)\n    return e",
        "return (1 + np.tanh(a / 2)) / 2",
        "test_activations::test_sigmoid_of_minus_forty_is_not_rounded_to_zero",
    ),
    Mutant(
        "relu by a product, in which minus infinity becomes NaN",
        "activations.py",
        "np.copyto(h, 0, where=h.real <= 0)",
        "h *= h.real > 0",
        "test_activations::test_relu_is_the_larger_of_its_argument_and_zero_infinities_included",
    ),
    Mutant(
        "log softmax without the shift",
        "activations.py",
        "shifted = o - _largest(o)",
        "shifted = o",
        "test_activations::test_log_softmax_is_finite_for_logits_ten_thousand_apart",
    ),
    Mutant(
        "softmax adjoint without the sum",
        "activations.py",
        "p * (d_p - (d_p * p).sum(axis=-1, keepdims=True))",
        "p * (d_p - d_p * p)",
        "test_activations::test_the_adjoint_of_softmax_and_log_softmax_is_their_complex_step",
    ),
    Mutant(
        "rnn: W_hh not transposed",
        "cells/rnn.py",
        "a = np.matmul(before.h, params.weight_hh.T, out=after.h)\n"
        "    a += u  # (2)\n"
        "    arithmetic.tanh",
        "a = np.matmul(before.h, params.weight_hh, out=after.h)\n"
        "    a += u  # (2)\n"
        "    arithmetic.tanh",
        RNN_TEXTBOOK,
    ),
    Mutant(
        "rnn: tanh instead of relu",
        "cells/rnn.py",
        "arithmetic.relu(a, out=after.h)",
        "arithmetic.tanh(a, out=after.h)",
        RNN_TEXTBOOK,
    ),
    Mutant(
        "rnn: the second bias lost",
        "cells/rnn.py",
        "u += params.bias_ih + params.bias_hh",
        "u += params.bias_ih",
        "test_rnn::test_a_one_hot_input_reads_one_column_and_both_biases",
    ),
    Mutant(
        "rnn: 1 - h for 1 - h^2",
        "cells/rnn.py",
        "1 - after.h * after.h",
        "1 - after.h",
        RNN_ADJOINT,
    ),
    Mutant(
        "rnn: the derivative of relu is 1 at its kink",
        "activations.py",
        "np.not_equal(value.real, 0",
        "np.greater_equal(value.real, 0",
        "test_rnn::test_relu_has_derivative_zero_at_its_kink_as_torch_has",
    ),
    Mutant(
        "rnn: the slope read from the state before",
        "cells/rnn.py",
        "activations.relu_slope(after.h)",
        "activations.relu_slope(before.h)",
        RNN_ADJOINT,
    ),
    Mutant(
        "rnn: W_hh transposed on the way back",
        "cells/rnn.py",
        "np.multiply(total.h, 1 - after.h * after.h, out=delta.a)  # (3′)\n"
        "    np.matmul(delta.a, params.weight_hh,",
        "np.multiply(total.h, 1 - after.h * after.h, out=delta.a)  # (3′)\n"
        "    np.matmul(delta.a, params.weight_hh.T,",
        RNN_ADJOINT,
    ),
    Mutant(
        "rnn: bias gradient a mean over rows",
        "cells/rnn.py",
        "delta.a.sum(axis=0)",
        "delta.a.mean(axis=0)",
        RNN_ADJOINT,
    ),
    Mutant(
        "gru: reset and update swapped",
        "cells/gru.py",
        "    r, z, n = u\n",
        "    z, r, n = u\n",
        GRU_TEXTBOOK,
    ),
    Mutant(
        "gru: the reset gate lost",
        "cells/gru.py",
        "n += r * v_n",
        "n += v_n",
        ""
        "test_gru::test_a_shut_update_gate_takes_the_candidate_and_a_shut_reset_gate_hides_the_state",
    ),
    Mutant(
        "gru: z and 1 - z swapped",
        "cells/gru.py",
        "np.add((1 - z) * n, z * before.h, out=after.h)",
        "np.add(z * n, (1 - z) * before.h, out=after.h)",
        "test_gru::test_an_open_update_gate_keeps_the_state_bit_for_bit",
    ),
    Mutant(
        "gru: hidden bias outside the reset gate",
        "cells/gru.py",
        "    n += r * v_n\n",
        "    n += r * v_n + (0 if params.bias_hh is None else (1 - r) * "
        "by_gate(params.bias_hh)[2])\n",
        "test_gru::test_the_reset_gate_scales_the_hidden_bias_even_where_the_state_is_zero",
    ),
    Mutant(
        "gru: = for += in the state's gradient",
        "cells/gru.py",
        "np.add(delta_h_before, delta.v @ params.weight_hh, out=total.h)",
        "np.matmul(delta.v, params.weight_hh, out=total.h)",
        GRU_ADJOINT,
    ),
    Mutant(
        "gru: candidate's product not gated on the way back",
        "cells/gru.py",
        "delta_v_n = delta_u_n * r",
        "delta_v_n = delta_u_n",
        GRU_ADJOINT,
    ),
    Mutant(
        "gru: reset reads n for v_n",
        "cells/gru.py",
        "delta_u_n * v_n",
        "delta_u_n * n",
        GRU_ADJOINT,
    ),
    Mutant(
        "gru: h_t for h_(t-1) in the update gate",
        "cells/gru.py",
        "delta_h * (before.h - n)",
        "delta_h * (after.h - n)",
        GRU_ADJOINT,
    ),
    Mutant(
        "gru: 1 - n for 1 - n^2",
        "cells/gru.py",
        "1 - n * n",
        "1 - n",
        GRU_ADJOINT,
    ),
    Mutant(
        "gru: both biases get one gradient",
        "cells/gru.py",
        "np.concatenate([d_bias_hh[rz], delta.u_n.sum(axis=0)])",
        "d_bias_hh.copy()",
        GRU_ADJOINT,
    ),
    Mutant(
        "gru: W_hh's gradient from the input's deltas",
        "cells/gru.py",
        "delta.v.T @ before.h",
        "np.hstack([delta.v[:, rz], delta.u_n]).T @ before.h",
        GRU_ADJOINT,
    ),
    Mutant(
        "gru: gates read in another order on the way back",
        "cells/gru.py",
        "(r, z, n), v_n = tape",
        "(z, r, n), v_n = tape",
        GRU_ADJOINT,
    ),
    Mutant(
        "lstm: input and forget gate swapped",
        "cells/lstm.py",
        "i, f, g, o = a\n",
        "f, i, g, o = a\n",
        "test_lstm::test_an_open_forget_gate_and_a_shut_input_gate_keep_the_cell_bit_for_bit",
    ),
    Mutant(
        "lstm: candidate and output gate swapped",
        "cells/lstm.py",
        "i, f, g, o = a\n",
        "i, f, o, g = a\n",
        LSTM_TEXTBOOK,
    ),
    Mutant(
        "lstm: the second bias lost",
        "cells/lstm.py",
        "by_gate(params.bias_ih + params.bias_hh)",
        "by_gate(params.bias_ih)",
        "test_lstm::test_weights_side_by_side_on_x_and_h_side_by_side_are_the_two_products",
    ),
    Mutant(
        "lstm: gates read in another order on the way back",
        "cells/lstm.py",
        "(i, f, g, o), tanh_c = tape",
        "(f, i, g, o), tanh_c = tape",
        LSTM_ADJOINT,
    ),
    Mutant(
        "lstm: = for +=, the cell's cotangent lost",
        "cells/lstm.py",
        "delta_c = total.c + delta_m * o",
        "delta_c = delta_m * o",
        LSTM_ADJOINT,
    ),
    Mutant(
        "lstm: 1 - tanh for 1 - tanh^2 of the cell",
        "cells/lstm.py",
        "1 - tanh_c * tanh_c",
        "1 - tanh_c",
        LSTM_ADJOINT,
    ),
    Mutant(
        "lstm: 1 - g for 1 - g^2",
        "cells/lstm.py",
        "1 - g * g",
        "1 - g",
        LSTM_ADJOINT,
    ),
    Mutant(
        "lstm: slope of the output gate lost",
        "cells/lstm.py",
        "delta_o * o * (1 - o)",
        "delta_o * o",
        LSTM_ADJOINT,
    ),
    Mutant(
        "lstm: c_t for c_(t-1) in the forget gate",
        "cells/lstm.py",
        "delta_c * before.c",
        "delta_c * after.c",
        LSTM_ADJOINT,
    ),
    Mutant(
        "peephole: the output gate's share of the cell's gradient lost",
        "cells/lstm_peephole.py",
        "    delta_c += delta_a[:, 3] * p_o\n",
        "",
        "test_lstm_peephole::test_the_adjoint_identity_holds",
    ),
    Mutant(
        "peephole: the forget gate's share of the old cell's gradient lost",
        "cells/lstm_peephole.py",
        " + delta_a[:, 1] * p_f",
        "",
        "test_lstm_peephole::test_the_adjoint_identity_holds",
    ),
    Mutant(
        "peephole: the gradient of p_o from the old cell state",
        "cells/lstm_peephole.py",
        "d_a_o * after.c",
        "d_a_o * before.c",
        "test_lstm_peephole::test_the_adjoint_identity_holds",
    ),
    Mutant(
        "textbook gru: the reset state's share of the gradient lost",
        "cells/gru_textbook.py",
        "    delta_h += delta_q * r\n",
        "",
        "test_gru_textbook::test_the_adjoint_identity_holds",
    ),
    Mutant(
        "lstm: the cell's gradient not scaled by the forget gate",
        "cells/lstm.py",
        "np.multiply(delta_c, f, out=total.c)",
        "total.c[:] = delta_c",
        LSTM_ADJOINT,
    ),
    Mutant(
        "lstm: projection skipped on the way back to its weight",
        "cells/lstm.py",
        "delta.h.T @ (tape.gates[3] * tape.tanh_c)",
        "delta.h.T @ tape.tanh_c",
        PROJECTED,
    ),
    Mutant(
        "lstm: both bias gradients are one array",
        "cells/lstm.py",
        "d_bias_ih.copy()",
        "d_bias_ih",
        "test_unroll::test_every_gradient_has_memory_of_its_own",
    ),
    Mutant(
        "time: h_t for h_(t-1) in the gradient of W_hh",
        "sequences/unroll.py",
        "all_rows = (x, before, ",
        "all_rows = (x, after, ",
        UNROLL_ADJOINT,
    ),
    Mutant(
        "time: the state's cotangent lost",
        "sequences/unroll.py",
        "copy(d_state)",
        "make(d_state, [d * 0 for d in d_state])",
        "test_unroll::test_missing_cotangents_count_as_zero",
    ),
    Mutant(
        "time: cotangents of the state overwritten",
        "sequences/unroll.py",
        "copy(d_state)",
        "d_state",
        "test_unroll::test_neither_pass_writes_to_its_arguments_and_a_tape_can_be_used_twice",
    ),
    Mutant(
        "time: = for +=, the path through the next step lost",
        "sequences/unroll.py",
        "np.add(d_output[step], of_step.h, out=of_step.h)",
        "of_step.h[:] = d_output[step]",
        UNROLL_ADJOINT,
    ),
    Mutant(
        "time: backward runs forward",
        "sequences/unroll.py",
        "in reversed(rows.steps)",
        "in rows.steps",
        UNROLL_ADJOINT,
    ),
    Mutant(
        "time: every sequence reversed in the longest one's length",
        "sequences/unroll.py",
        "start[length[row] - 1 - t] + row",
        "start[T - 1 - t] + row % n[T - 1 - t]",
        DIRECTIONS,
    ),
    Mutant(
        "time: h_n taken at the last step for all",
        "sequences/unroll.py",
        "B + start[length - 1] + np.arange(B)",
        "B + start[-1] + np.arange(B) % n[-1]",
        "test_unroll::test_the_state_after_a_sequence_is_the_output_of_its_own_last_step",
    ),
    Mutant(
        "time: the first step reads the state of another sequence",
        "sequences/unroll.py",
        "before = rows_of(history, slice(B, None)), state\n",
        "before = rows_of(history, slice(B, None)), rows_of(state, slice(None, None, -1))\n",
        UNROLL_TEXTBOOK,
    ),
    Mutant(
        "time: wrong row count, only the longest rows go back",
        "sequences/unroll.py",
        "of_step = rows_of(total, slice(step.stop - step.start))",
        "of_step = rows_of(total, slice(len(total[0]) - step.stop + step.start, None))",
        UNROLL_ADJOINT,
    ),
    Mutant(
        "dropout: mask forgotten in backward",
        "nets/stack.py",
        "d_y = d_y * tape.masks[layer]",
        "pass",
        DROPOUT_ADJOINT,
    ),
    Mutant(
        "dropout: undropped values not scaled",
        "nets/stack.py",
        "y.dtype.type(net.dropout_scale)",
        "y.dtype.type(1)",
        "test_dropout::test_the_next_layer_reads_the_undropped_values_scaled_by_one_over_one_minus_p",
    ),
    Mutant(
        "dropout: 1 / (1 - p) at p = 1",
        "nets/net.py",
        "1 / (1 - self.dropout) if self.dropout < 1 else 0.0",
        "float(np.float64(1) / (1 - self.dropout))",
        ""
        "test_dropout::test_with_everything_dropped_nothing_below_reaches_the_output_or_gets_a_gradient_from_it",
    ),
    Mutant(
        "dropout: after the last layer as well",
        "nets/stack.py",
        "        if masks and layer < net.num_layers - 1:\n            y =",
        "        if masks:\n            layer = min(layer, len(masks) - 1)\n            y =",
        "test_dropout::test_nothing_is_dropped_after_the_last_layer_nor_from_any_state",
    ),
    Mutant(
        "stack: every layer starts from the first state",
        "nets/stack.py",
        "field[len(final)] for field in initial",
        "field[0] for field in initial",
        LAYER_OUTSIDE,
    ),
    Mutant(
        "stack: the reverse direction starts from the forward's state",
        "nets/stack.py",
        "field[len(final)] for field in initial",
        "field[len(final) // (1 + reverse)] for field in initial",
        DIRECTIONS,
    ),
    Mutant(
        "stack: gradients of the states in reverse order",
        "nets/stack.py",
        "d_initial.insert(0, d_h_0)",
        "d_initial.append(d_h_0)",
        STACK_ADJOINT,
    ),
    Mutant(
        "stack: h_n's cotangent of a wrong layer",
        "nets/stack.py",
        "d[layer * D + direction] for d in d_final",
        "d[layer] for d in d_final",
        STACK_ADJOINT,
    ),
    Mutant(
        "directions: the reverse output not reversed back",
        "nets/stack.py",
        "output[rows.reversal] if reverse else output",
        "output",
        DIRECTIONS,
    ),
    Mutant(
        "directions: halves swapped",
        "nets/stack.py",
        "np.concatenate(outputs, axis=1)",
        "np.concatenate(outputs[::-1], axis=1)",
        DIRECTIONS,
    ),
    Mutant(
        "directions: the reverse cotangent not reversed",
        "nets/stack.py",
        "d_half[rows.reversal] if direction else d_half",
        "d_half",
        STACK_ADJOINT,
    ),
    Mutant(
        "directions: = for +=, one direction's share of x lost",
        "nets/stack.py",
        "d_inputs[0] + d_inputs[1]",
        "d_inputs[1]",
        STACK_ADJOINT,
    ),
    Mutant(
        "directions: forward weights for both",
        "nets/stack.py",
        "net.cell_params(params, suffix)",
        "net.cell_params(params, f'_l{layer}')",
        DIRECTIONS,
    ),
    Mutant(
        "packed: the states not permuted with the rows",
        "nets/layout.py",
        "return state[:, self.packed.sorted_indices]",
        "return state",
        ALONE,
    ),
    Mutant(
        "packed: h_n left in the order of the rows",
        "nets/layout.py",
        "return state[:, self.packed.unsorted_indices]",
        "return state",
        ALONE,
    ),
    Mutant(
        "packed: h_n permuted by the wrong index",
        "nets/layout.py",
        "return state[:, self.packed.unsorted_indices]",
        "return state[:, self.packed.sorted_indices]",
        ALONE,
    ),
    Mutant(
        "batch_first ignored",
        "nets/layout.py",
        "batch_axis = 0 if batch_first else 1",
        "batch_axis = 1",
        "test_modules::test_batch_first_swaps_the_axes_of_x_and_output_and_touches_no_state",
    ),
    Mutant(
        "packing: one row too many at every step",
        "sequences/packing.py",
        "batch_sizes = (lengths > np",
        "batch_sizes = (lengths >= np",
        "test_metamorphic::test_the_values_in_the_padding_never_leak",
    ),
    Mutant(
        "packing: the rows not sorted",
        "sequences/packing.py",
        "b = j if packed.sorted_indices is None else packed.sorted_indices[j]",
        "b = j",
        "test_metamorphic::test_the_values_in_the_padding_never_leak",
    ),
]

MUTANTS += [Mutant(*fields) for fields in TRAINING]
MUTANTS += [
    Mutant(f"{file} ({number}): {old} becomes {new}", file, old, new, law, number)
    for file, rows in (EQUATIONS | OPTIMIZERS).items()
    for number, old, new, law in rows
]
