"""A wrong variant of each numbered equation: the line that bears the number, and who must notice.

Equations that another list already breaks are not repeated here; `test_mutants` counts both.
"""

ATTENTION = "test_attention::test_the_context_is_the_textbooks_weighted_sum"
ATTENTION_BACK = "test_attention::test_attention_is_the_adjoint_of_its_tangent"
CHECKPOINT = "test_checkpoint::test_checkpointed_bptt_is_bptt"
CLASSIFIER = "test_classifier::test_logits_and_every_gradient_are_torchs"
CLASSIFIER_LOSS = "test_classifier::test_the_loss_of_a_step_and_its_gradients_are_torchs"
TANGENT = "test_tangent::test_the_tangent_is_the_complex_step"
HESSIAN = "test_second_order::test_the_hessian_vector_product_is_the_complex_step_of_the_gradient"
JACOBIAN = "test_jacobian::test_the_jacobian_is_torch_s"
GATES = "test_gates::test_the_state_made_of_the_gates_is_the_state_of_the_cell"
GRU = "test_gru::test_the_cell_is_the_textbook_equation"
GRU_BACK = "test_gru::test_the_adjoint_identity_holds"
GRU_TEXTBOOK = "test_gru_textbook::test_values_and_gradients_of_the_textbook_form_are_torch_s"
MODEL = "test_language_model::test_logits_state_and_every_gradient_are_torchs"
LAYERS = "test_layers::test_values_and_gradients_are_torchs"
LSTM = "test_lstm::test_the_cell_is_the_textbook_equation"
PEEPHOLE = "test_lstm_peephole::test_the_cell_is_the_textbook_equation"
PEEPHOLE_BACK = "test_lstm_peephole::test_the_adjoint_identity_holds"
LSTM_BACK = "test_lstm::test_the_adjoint_identity_holds"
PROJECTION = "test_lstm::test_the_projection_acts_on_the_gated_cell_and_not_on_the_cell_state"
PROJECTED_BACK = "test_lstm::test_the_adjoint_identity_holds_under_a_projection"
ONE_TO_MANY = "test_one_to_many::test_logits_and_every_gradient_the_inputs_included_are_torchs"
PACKING = "test_packing::test_packing_is_torchs_up_to_the_order_of_equal_lengths"
PADDED = "test_packing::test_padding_of_packed_rows_and_its_adjoint_are_torchs"
PADDING = "test_padding::test_padding_is_torchs"
PADDING_BACK = "test_padding::test_padding_and_unpadding_are_each_others_adjoints"
RNN = "test_rnn::test_the_cell_is_the_textbook_equation"
RNN_BACK = "test_rnn::test_the_adjoint_identity_holds"
RTRL = "test_rtrl::test_rtrl_is_bptt"
SCAN_BACK = "test_scan::test_the_adjoint_is_torch_s"
SEQ2SEQ = "test_seq2seq::test_logits_and_gradients_are_torchs"
SEQ2SEQ_BACK = "test_seq2seq::test_the_model_is_the_adjoint_of_its_tangent"
STACK_BACK = "test_modules::test_the_adjoint_identity_holds"
STREAMS = "test_resets::test_outputs_states_and_gradients_are_torchs"
STREAMS_BACK = "test_resets::test_a_run_with_resets_is_the_adjoint_of_its_tangent"
UNROLL = (
    "test_unroll::test_a_layer_is_the_textbook_step_after_step_and_its_output_is_the_hidden_state"
)
PACKED_ROWS = (
    "test_packed_nets::test_each_packed_sequence_has_the_values_and_gradients_that_it_has_alone"
)
UNROLL_BACK = "test_unroll::test_the_adjoint_identity_holds"
UORO = "test_uoro::test_the_mean_over_all_signs_is_the_gradient"

# by file: the equation, what becomes of what in its line, who notices
EQUATIONS = {
    "models/attention.py": [
        ("1", "h @", "h[:, ::-1] @", ATTENTION),
        ("2", "+ keys.k", "- keys.k", ATTENTION),
        ("3", "-np.inf", "-1", "test_attention::test_a_masked_key_is_as_good_as_absent"),
        ("4", "alpha[:, None]", "alpha[:, None, ::-1]", ATTENTION),
        ("4′", "d_context[", "-d_context[", ATTENTION_BACK),
        ("3′", "softmax_back(alpha, d_alpha)", "alpha * d_alpha", ATTENTION_BACK),
        ("2′", "1 - m * m", "1 - m", ATTENTION_BACK),
        ("1′", "d_h +", "d_h -", ATTENTION_BACK),
    ],
    "dynamics/bounds.py": [
        ("3", "norm(np.moveaxis(blocks, -1, 0))", "blocks.max(axis=(0, 1))",
         "test_bounds::test_an_lstm_that_meets_an_empty_cell_attains_its_bound"),
    ],
    "sequences/checkpoint.py": [
        ("1", "x[rows], segment", "x[rows][::-1], segment", CHECKPOINT),
        ("2", "tape.x[rows]", "tape.x[rows][::-1]", CHECKPOINT),
        ("3", "d_output[rows]", "-d_output[rows]", CHECKPOINT),
    ],
    "models/classifier.py": [
        ("1", "lengths,", "np.full(len(ids), ids.shape[1]),",
         "test_classifier::test_what_lies_in_the_padding_changes_no_bit"),
        ("2", "packed.data", "packed.data[::-1]", CLASSIFIER),
        ("3", "rows)", "rows._replace(data=x[::-1]))", CLASSIFIER),
        ("4", "state)", "state)[::-1]", CLASSIFIER),
        ("5", 'params["head.bias"]', "None", CLASSIFIER),
        ("6", "labels", "labels[::-1]", CLASSIFIER_LOSS),
        ("6′", "loss_tape)", "loss_tape, 2)", CLASSIFIER_LOSS),
        ("5′", "d_logits", "2 * d_logits", CLASSIFIER),
        ("4′", "head.x", "head.x[::-1]", CLASSIFIER),
        ("3′", "_last_layer_back(self.rnn, head.x)", "None", CLASSIFIER),
        ("2′", "rnn.x.data", "2 * rnn.x.data", CLASSIFIER),
    ],
    "models/decoding.py": [
        ("1", ", mask", "", "test_decoding::test_loss_and_gradients_of_a_step_are_torchs"),
        ("2", "argmax", "argmin", "test_decoding::test_greedy_decoding_is_torchs"),
    ],
    "dynamics/diagnostics.py": [
        ("1", '"exploding gradients"', '"vanishing credit"',
         "test_diagnostics::test_norms_that_are_not_numbers_count_as_exploded"),
        ("2", '"vanishing credit"', '"exploding gradients"',
         "test_diagnostics::test_a_net_whose_gradient_vanishes_is_reported"),
        ("3", "findings.append(", "str(",
         "test_diagnostics::"
         "test_a_relu_net_whose_state_grows_is_reported_as_an_unstable_recurrence"),
        ("4", "findings.append(", "str(",
         "test_diagnostics::"
         "test_a_net_whose_gate_biases_shut_the_input_out_is_reported_as_ignoring_its_state"),
    ],
    "derivatives/dual.py": [
        ("1", "value + b.value", "value", TANGENT),
        ("1˙", "dot + b.dot", "dot", TANGENT),
        ("1′", "delta.value.sum", "delta.value.mean", HESSIAN),
        ("1′˙", "delta.dot.sum", "delta.dot.mean", HESSIAN),
    ],
    "dynamics/products.py": [
        ("2", "propagator(J, k, t)", "propagator(J, k, t).swapaxes(1, 2)",
         "test_products::test_the_products_summed_over_all_paths_are_the_recursion"),
    ],
    "cells/gates.py": [
        ("1", "x) +", "x) -", GATES),
        ("3", "f * c", "i * c", GATES),
    ],
    "cells/gru.py": [
        ("1", "by_gate(params.weight_ih)", "by_gate(params.weight_ih)[[1, 0, 2]]", GRU),
        ("2", "w[2]", "w[1]", GRU),
        ("3", "sigmoid", "tanh", GRU),
        ("4", "tanh", "sigmoid", GRU),
        ("5", "(1 - z) * n", "z * n", GRU),
        ("5′", "delta_h * (1 - z)", "delta_h * z", GRU_BACK),
        ("4′", "1 - n * n", "1 + n * n", GRU_BACK),
        ("3′", "r * (1 - r)", "r", GRU_BACK),
        ("2′", "delta.v @", "-delta.v @", GRU_BACK),
        ("1′", "delta.v.T @ before.h", "-delta.v.T @ before.h", GRU_BACK),
    ],
    "cells/gru_textbook.py": [
        ("1", "x @", "-x @", GRU_TEXTBOOK),
        ("2", "u_r +", "u_r -", GRU_TEXTBOOK),
        ("4", "u_n +", "u_n -", GRU_TEXTBOOK),
        ("5", "(1 - z) * before.h + z * n", "z * before.h + (1 - z) * n", GRU_TEXTBOOK),
        ("5′", "total.h * z", "total.h * (1 - z)", GRU_TEXTBOOK),
        ("4′", "1 - n * n", "1 - n", GRU_TEXTBOOK),
        ("3′", "delta_q * before.h", "delta_q * after.h", GRU_TEXTBOOK),
        ("2′", "r * (1 - r)", "r", GRU_TEXTBOOK),
        ("1′", "delta.u.T @ x", "delta.u.T @ -x", GRU_TEXTBOOK),
    ],
    "derivatives/jacobian.py": [
        ("1", "before)", "before._make([-s for s in before]))", JACOBIAN),
        ("2", "step.V @", "step.U @", JACOBIAN),
        ("4", "diagonal(slope)", "diagonal(slope * slope)", JACOBIAN),
        ("8", "diagonal(part) for", "-diagonal(part) for", JACOBIAN),
        ("9", "+= U_o", "-= U_o", JACOBIAN),
        ("10", "m @", "-m @",
         "test_jacobian::test_the_steps_make_the_states_of_the_forward_pass"),
    ],
    "models/language_model.py": [
        ("1", "ids,", "ids[:, ::-1],", MODEL),
        ("3", 'params["head.bias"]', '0 * params["head.bias"]', MODEL),
        ("4", "sum(axis=1)", "mean(axis=1)",
         "test_language_model::test_the_log_probability_of_a_sequence_is_the_sum_of_its_steps"),
        ("5", "mask)", "None)",
         "test_language_model::test_right_padding_adds_nothing_to_loss_or_gradient"),
        ("5′", "loss_tape)", "loss_tape, 2)",
         "test_language_model::test_the_loss_of_a_step_and_its_gradients_are_torchs"),
        ("3′", "d_logits", "2 * d_logits", MODEL),
        ("2′", "d_state", "None", MODEL),
        ("1′", "rnn.x", "2 * rnn.x", MODEL),
    ],
    "models/layers.py": [
        ("1", "weight[ids]", "weight[ids[::-1]]", LAYERS),
        ("2", "x @", "-x @", LAYERS),
        ("3", "x * scale,", "x,",
         "test_layers::test_dropout_is_what_torch_does_once_it_has_drawn_the_mask"),
    ],
    "dynamics/linear_rnn.py": [
        ("2", "power @ B", "B", "test_linear_rnn::test_the_loop_is_the_closed_form"),
        ("5", "np.linalg.solve(Q, h[..., None])[..., 0]", "h",
         "test_linear_rnn::test_in_its_own_norm_a_matrix_never_stretches_beyond_its_radius"),
    ],
    "models/loss.py": [
        ("1", "-np.take", "np.take", "test_loss::test_masking_the_padding_is_torchs_ignore_index"),
        ("2", "sum()", "mean()", "test_loss::test_masking_the_padding_is_torchs_ignore_index"),
        ("1′", " - one_hot", "",
         "test_loss::"
         "test_the_gradient_is_p_minus_one_hot_sums_to_zero_and_ignores_a_shift"),
    ],
    "cells/lstm.py": [
        ("1", "by_gate(params.weight_ih)", "by_gate(params.weight_ih)[[1, 0, 2, 3]]", LSTM),
        ("2", "before.h @", "-before.h @", LSTM),
        ("3", "sigmoid", "tanh", LSTM),
        ("4", "i * g", "f * g", LSTM),
        ("5", "o * tape.tanh_c", "o * after.c", LSTM),
        ("6", "m @ params.weight_hr", "-m @ params.weight_hr", PROJECTION),
        ("6′", "total.h @", "-total.h @", PROJECTED_BACK),
        ("5′", "delta_m * tanh_c", "-delta_m * tanh_c", LSTM_BACK),
        ("4′", "delta_c * g", "delta_c * i", LSTM_BACK),
        ("3′", "i * (1 - i)", "i", LSTM_BACK),
        ("2′", "delta.a,", "-delta.a,", LSTM_BACK),
        ("1′", "delta.a.T @ x", "delta.a.T @ -x", LSTM_BACK),
    ],
    "cells/lstm_peephole.py": [
        ("1", "by_gate(params.weight_ih)", "by_gate(params.weight_ih)[[1, 0, 2, 3]]", PEEPHOLE),
        ("2", "before.h @", "-before.h @", PEEPHOLE),
        ("3", "p_i * before.c", "p_f * before.c", PEEPHOLE),
        ("4", "i * g", "f * g", PEEPHOLE),
        ("5", "after.c", "before.c", PEEPHOLE),
        ("6", "o, tape.tanh_c", "o, after.c", PEEPHOLE),
        ("6′", "total.h * tanh_c", "total.h * after.c", PEEPHOLE_BACK),
        ("5′", "o * (1 - o)", "o", PEEPHOLE_BACK),
        ("4′", "delta_c * before.c", "delta_c * after.c", PEEPHOLE_BACK),
        ("3′", "i * (1 - i)", "i", PEEPHOLE_BACK),
        ("2′", "params.weight_hh", "params.weight_hh * 2", PEEPHOLE_BACK),
        ("1′", "d_a_f * before.c", "d_a_f * after.c", PEEPHOLE_BACK),
    ],
    "models/one_to_many.py": [
        ("1", 'params["bridge.bias"]', "None", ONE_TO_MANY),
        ("2", ", state)", ")", ONE_TO_MANY),
        ("2′", "d_logits", "-d_logits", ONE_TO_MANY),
        ("1′", "d_flat", "-d_flat", ONE_TO_MANY),
    ],
    "sequences/packing.py": [
        ("1", "-lengths", "lengths", PACKING),
        ("3", "packed, batch", "packed._replace(sorted_indices=None), batch", PACKING),
        ("4", "= data", "= data[::-1]", PADDED),
        ("5", "n[:, None] >", "n[:, None] >=", PADDED),
        ("4′", "d_padded[", "-d_padded[", PADDED),
        ("3′", ", 0,", ", 1,",
         "test_packing::test_the_gradient_of_padding_is_exactly_zero_and_torchs_elsewhere"),
        ("1′", "np.argsort(pi)", "pi.copy()",
         "test_packing::test_the_inverse_of_a_permutation_undoes_it"),
    ],
    "sequences/padding.py": [
        ("1", "(sequences)", "(sequences[::-1])", PADDING),
        ("2", "row[steps]", "row[steps][::-1]", "test_padding::test_unpadding_is_torchs"),
        ("3", "(last, np.arange(B))", "(0 * last - 1, np.arange(B))",
         "test_padding::test_the_last_valid_step_is_the_last_of_each_sequence"),
        ("3′", "= d_last", "= 2 * d_last",
         "test_padding::"
         "test_the_adjoint_of_the_last_valid_step_is_torchs_and_zero_at_every_other_step"),
        ("2′", " 0, padding", " 1, padding",
         "test_padding::test_the_adjoint_of_unpadding_is_zero_in_the_padding_up_to_the_last_step"),
        ("1′", "= unpad_sequence", "= lambda *a, **k: [-d for d in unpad_sequence(*a, **k)]",
         PADDING_BACK),
    ],
    "cells/rnn.py": [
        ("1", "x @", "-x @", RNN),
        ("2", "a += u", "a -= u", RNN),
        ("2′", "np.matmul(delta.a, ", "np.matmul(-delta.a, ", RNN_BACK),
        ("1′", "delta.a.T @ x", "delta.a.T @ -x", RNN_BACK),
    ],
    "derivatives/rtrl.py": [
        ("2", "d_output_t, P", "d_output_t, M", RTRL),
    ],
    "dynamics/scan.py": [
        ("2", "new[1]", "b[distance:]", "test_scan::test_the_scan_is_the_loop"),
        ("2′", "d_h[::-1]", "d_h", SCAN_BACK),
        ("1′", "delta * h_before", "delta * h", SCAN_BACK),
    ],
    "derivatives/second_order.py": [
        ("2′", "d_y, half", "d_y, np.s_[:, :P]", HESSIAN),
        ("1′", "tape.steps[index]", "tape.steps[index][::-1]", HESSIAN),
    ],
    "models/seq2seq.py": [
        ("1", "rows)", "rows._replace(data=x[::-1]))", SEQ2SEQ),
        ("2", "f[0] for", "-f[0] for", SEQ2SEQ),
        ("3", "query", "-query", SEQ2SEQ),
        ("4", ", state)", ")", SEQ2SEQ),
        ("5", 'params["head.bias"]', '0 * params["head.bias"]', SEQ2SEQ),
        ("5′", "d_logits", "-d_logits", SEQ2SEQ_BACK),
        ("4′", "d_s)", "d_state)", SEQ2SEQ_BACK),
        ("3′", "d_context)", "-d_context)", SEQ2SEQ_BACK),
        ("2′", "d[None] for", "-d[None] for", SEQ2SEQ_BACK),
        ("1′", "d_output,", "None,", SEQ2SEQ_BACK),
    ],
    "nets/stack.py": [
        ("3", "y * masks[layer]", "y",
         "test_dropout::test_the_adjoint_identity_holds_under_masks"),
        ("2′", "direction * width : (direction + 1) * width", ":width", STACK_BACK),
    ],
    "streams/resets.py": [
        ("1", "i, h)", "h, i)", STREAMS),
        ("2", "x[first:end], state", "x[first:end]", STREAMS),
        ("2′", ", d_state)", ")", STREAMS_BACK),
        ("1′", "np.where(rows, 0, d)", "d", STREAMS_BACK),
    ],
    "derivatives/tangent.py": [
        ("2", "(outputs)", "(outputs[::-1])", TANGENT),
    ],
    "derivatives/tangent_gru.py": [
        ("1", "linear(x,", "linear(Dual(-x.value, x.dot),", TANGENT),
        ("1˙", "linear(x,", "linear(Dual(x.value, -x.dot),", TANGENT),
        ("2", "linear(h_before,", "linear(Dual(-h_before.value, h_before.dot),", TANGENT),
        ("2˙", "linear(h_before,", "linear(Dual(h_before.value, -h_before.dot),", TANGENT),
        ("3", "u_z.value +", "u_z.value -", TANGENT),
        ("3˙", "r * (1 - r)", "r", TANGENT),
        ("4", "r * v_n", "v_n", TANGENT),
        ("4˙", "r_dot * v_n.value + ", "", TANGENT),
        ("5", "(1 - z) * n + z * h", "z * n + (1 - z) * h", TANGENT),
        ("5′", "d_h * (1 - z),", "d_h * z,", HESSIAN),
        ("5′˙", " - d_h * z_dot", "", HESSIAN),
        ("4′", "1 - n * n", "1 - n", HESSIAN),
        ("4′˙", "- 2 * d_n", "- d_n", HESSIAN),
        ("3′", "r * (1 - r)", "r", HESSIAN),
        ("2′", "d_v)", "Dual(-d_v.value, d_v.dot))", HESSIAN),
        ("2′˙", "d_v)", "Dual(d_v.value, -d_v.dot))", HESSIAN),
        ("1′", "d_u)", "Dual(-d_u.value, d_u.dot))", HESSIAN),
        ("1′˙", "d_u)", "Dual(d_u.value, -d_u.dot))", HESSIAN),
    ],
    "derivatives/tangent_lstm.py": [
        ("1", "linear(x,", "linear(Dual(-x.value, x.dot),", TANGENT),
        ("1˙", "linear(x,", "linear(Dual(x.value, -x.dot),", TANGENT),
        ("2", 'linear(pick(before, "h"),',
         'linear(Dual(-before.value.h, before.dot.h),', TANGENT),
        ("2˙", 'linear(pick(before, "h"),',
         'linear(Dual(before.value.h, -before.dot.h),', TANGENT),
        ("3", "(a_i, a_f, a_o)", "(a_f, a_i, a_o)", TANGENT),
        ("3˙", "1 - g * g", "1 - g", TANGENT),
        ("4", "f * c_before + i * g", "i * c_before + f * g", TANGENT),
        ("5", "Dual(o * tau", "Dual(o * c", TANGENT),
        ("5˙", "o_dot * tau + ", "", TANGENT),
        ("6", "linear(m,", "linear(Dual(-m.value, m.dot),", TANGENT),
        ("6˙", "linear(m,", "linear(Dual(m.value, -m.dot),", TANGENT),
        ("6′", "d_h)", "Dual(-d_h.value, d_h.dot))", HESSIAN),
        ("6′˙", "d_h)", "Dual(d_h.value, -d_h.dot))", HESSIAN),
        ("5′", "d_m * tau,", "d_m * c_before,", HESSIAN),
        ("5′˙", " + d_m * tau_dot", "", HESSIAN),
        ("4′", "d_c * g,", "d_c * i,", HESSIAN),
        ("4′˙", " + d_c * g_dot", "", HESSIAN),
        ("3′", "1 - g * g", "1 - g", HESSIAN),
        ("3′˙", "1 - 2 * i", "1 - i", HESSIAN),
        ("2′", "delta_a", "Dual(-delta_a.value, delta_a.dot)", HESSIAN),
        ("2′˙", "delta_a", "Dual(delta_a.value, -delta_a.dot)", HESSIAN),
        ("1′", "delta_a", "Dual(-delta_a.value, delta_a.dot)", HESSIAN),
        ("1′˙", "delta_a", "Dual(delta_a.value, -delta_a.dot)", HESSIAN),
    ],
    "derivatives/tangent_rnn.py": [
        ("1", "linear(x,", "linear(Dual(-x.value, x.dot),", TANGENT),
        ("1˙", "linear(x,", "linear(Dual(x.value, -x.dot),", TANGENT),
        ("2", "linear(h_before,", "linear(Dual(-h_before.value, h_before.dot),", TANGENT),
        ("2˙", "linear(h_before,", "linear(Dual(h_before.value, -h_before.dot),", TANGENT),
        ("3", "arithmetic.tanh(a.value)", "-arithmetic.tanh(a.value)", TANGENT),
        ("3˙", "1 - h * h", "1 - h", TANGENT),
        ("3′", "h.value * slope.value,", "h.value,", HESSIAN),
        ("3′˙", " + h.value * slope.dot", "", HESSIAN),
        ("2′", "d_a)", "Dual(-d_a.value, d_a.dot))", HESSIAN),
        ("2′˙", "d_a)", "Dual(d_a.value, -d_a.dot))", HESSIAN),
        ("1′", "d_a)", "Dual(-d_a.value, d_a.dot))", HESSIAN),
        ("1′˙", "d_a)", "Dual(d_a.value, -d_a.dot))", HESSIAN),
    ],
    "streams/truncated.py": [
        ("1", ", state)", ")",
         "test_truncated::test_each_strategy_gives_torchs_losses_states_and_gradients"),
        ("1′", ", d_state)", ")",
         "test_truncated::test_tbptt_of_any_k1_and_k2_gives_torchs_passes"),
    ],
    "sequences/unroll.py": [
        ("1", "rows_of(before, slice(step.stop - step.start))",
         "rows_of(before, slice(step.start - step.stop, None))", PACKED_ROWS),
        ("2", "u[..., step, :]", "u[..., ::-1, :][..., step, :]", UNROLL),
        ("3", "rows.last", "slice(B)", UNROLL),
        ("2′", "d_output[step]", "-d_output[step]", UNROLL_BACK),
        ("1′", "params, all_rows", "params, (2 * x, *all_rows[1:])", UNROLL_BACK),
    ],
    "derivatives/uoro.py": [
        ("2", "rho_0) + divide", "rho_1) + divide", UORO),
        ("3", "balance(theta, J_s)", "balance(theta, J_s + sign)", UORO),
        ("4", "d_s, value", "d_output_t.sum(axis=1), value", UORO),
    ],
}  # fmt: skip
