"""Mistakes to plant in the dynamics and the second derivations, and who must notice."""

from support.mutants import Mutant

LOOP = "test_linear_rnn::test_the_loop_is_the_closed_form"
LINEAR_ADJOINT = "test_linear_rnn::test_the_adjoint_identity_holds"
SCAN = "test_scan::test_the_scan_is_the_loop"
SCAN_ADJOINT = "test_scan::test_the_adjoint_is_torch_s"
GATES = "test_gates::test_the_state_made_of_the_gates_is_the_state_of_the_cell"
JACOBIAN = "test_jacobian::test_the_jacobian_is_torch_s"
BY_PARAMETER = "test_jacobian::test_the_derivatives_by_parameter_are_complex_steps_of_the_state"
PRODUCTS = "test_products::test_the_products_summed_over_all_paths_are_the_recursion"
PROPAGATOR = "test_products::test_a_propagator_is_how_a_nudge_of_one_state_arrives_at_another"
GRU_BOUND = "test_bounds::test_a_gru_with_half_open_gates_attains_its_bound_term_by_term"
LSTM_BOUND = "test_bounds::test_an_lstm_in_which_only_one_gate_reads_h_attains_its_bound"
RNN_BOUND = (
    "test_bounds::test_a_tanh_net_at_rest_with_orthogonal_weights_attains_gamma_to_the_distance"
)
PATH = (
    "test_memory::test_where_the_gates_do_not_see_h_the_product_of_forget_gates_is_the_derivative"
)
FORGET_BIAS = "test_initializers::test_the_forget_gate_starts_at_sigma_of_the_sum_of_both_biases"
TEXTBOOK_GRU = "test_gru_textbook::test_values_and_gradients_of_the_textbook_form_are_torch_s"
TANGENT = "test_tangent::test_the_tangent_is_the_complex_step"
HESSIAN = "test_second_order::test_the_hessian_vector_product_is_the_complex_step_of_the_gradient"
MASKED_HESSIAN = "test_second_order::test_dropout_masks_the_second_derivative_too"
RTRL = "test_rtrl::test_rtrl_is_bptt"
UORO = "test_uoro::test_the_mean_over_all_signs_is_the_gradient"
CHECKPOINT = "test_checkpoint::test_checkpointed_bptt_is_bptt"

# the mistake, where, what becomes of what, who notices
_ROWS = [
    ("the linear loop by A transposed", "dynamics/linear_rnn.py",
     "history[t] @ A.T", "history[t] @ A", LOOP),
    ("a power of A that does not grow", "dynamics/linear_rnn.py",
     "power = power @ A", "power = power", LOOP),
    ("the linear adjoint by A not transposed", "dynamics/linear_rnn.py",
     "delta[t + 1] @ A", "delta[t + 1] @ A.T", LINEAR_ADJOINT),
    ("the gradient of A from the state after", "dynamics/linear_rnn.py",
     "history[:-1]", "history[1:]", LINEAR_ADJOINT),
    ("an eigenvalue times k for one to the k", "dynamics/linear_rnn.py",
     "eigenvalues**k", "eigenvalues * k",
     "test_linear_rnn::test_a_power_through_the_eigenvectors_is_the_repeated_product"),
    ("the bound without its condition number", "dynamics/linear_rnn.py",
     "np.linalg.cond(Q) * ", "",
     "test_linear_rnn::test_growth_lies_between_the_radius_and_kappa_times_the_radius"),
    ("diagonal maps composed the other way round", "dynamics/scan.py",
     "A_2 * b_1 + b_2", "A_1 * b_1 + b_2", SCAN),
    ("matrices composed the other way round", "dynamics/scan.py",
     "A_2 @ A_1, apply", "A_1 @ A_2, apply", SCAN),
    ("rounds that reach one step further each", "dynamics/scan.py",
     "distance *= 2", "distance += 1", SCAN),
    ("the scan back by this step's transition", "dynamics/scan.py",
     "[transposed[1:], np.zeros_like(transposed[:1])]", "[transposed]", SCAN_ADJOINT),
    ("a candidate that its reset gate does not gate", "cells/gates.py",
     "np.tanh(u_n + r * v)", "np.tanh(u_n + v)", GATES),
    ("forget gate and candidate exchanged", "cells/gates.py",
     "a_i, a_f, a_g, a_o =", "a_i, a_g, a_f, a_o =", GATES),
    ("the slope of tanh as 1 - h", "derivatives/jacobian.py",
     "slope = 1 - h * h", "slope = 1 - h", JACOBIAN),
    ("the slope of the reset gate without 1 - r", "derivatives/jacobian.py",
     "U_n * v * r * (1 - r)", "U_n * v * r", JACOBIAN),
    ("the update gate's slope with the wrong sign", "derivatives/jacobian.py",
     "(before.h - n) * z", "(n - before.h) * z", JACOBIAN),
    ("the candidate's net input from h not gated", "derivatives/jacobian.py",
     "diagonal(U_n * r)", "diagonal(U_n)", JACOBIAN),
    ("the forget gate's slope by the new cell", "derivatives/jacobian.py",
     "before.c * f * (1 - f)", "c * f * (1 - f)", JACOBIAN),
    ("the recurrent weight's derivative by the state after", "derivatives/jacobian.py",
     "step.before.h[:, None, None]", "step.after.h[:, None, None]", BY_PARAMETER),
    ("steps that all start from the first state", "derivatives/jacobian.py",
     "before = step.after", "before = before",
     "test_jacobian::test_the_steps_make_the_states_of_the_forward_pass"),
    ("Jacobians multiplied first step first", "dynamics/products.py",
     "J[i - 1] @ product", "product @ J[i - 1]", PROPAGATOR),
    ("a recursion that misses the step between", "dynamics/products.py",
     "delta[k + 1])", "delta[k])", PRODUCTS),
    ("a bound without the slope of tanh", "dynamics/bounds.py",
     "max_abs(slope) * norm", "norm",
     "test_bounds::test_an_open_relu_net_attains_its_bound_and_a_shut_one_passes_nothing"),
    ("a bound of the reset path twice as loose", "dynamics/bounds.py",
     "max_abs(v) * W_r / 4", "max_abs(v) * W_r / 2", GRU_BOUND),
    ("a bound of the update path twice as loose", "dynamics/bounds.py",
     "W_z / 4", "W_z / 2", GRU_BOUND),
    ("a bound of the gate paths twice as loose", "dynamics/bounds.py",
     "max_abs(c_before) * W_f) / 4", "max_abs(c_before) * W_f) / 2", LSTM_BOUND),
    ("a bound of the output path twice as loose", "dynamics/bounds.py",
     "* W_o / 4", "* W_o / 2", LSTM_BOUND),
    ("the bounds of a path added", "dynamics/bounds.py",
     "prod(axis=0)", "sum(axis=0)", RNN_BOUND),
    ("memory time as 1 / (1 - f)", "dynamics/memory.py",
     "1 / np.abs(np.log(f))", "1 / (1 - f)",
     "test_memory::test_the_memory_time_is_the_decay_of_an_impulse"),
    ("a path that skips its first gate", "dynamics/memory.py", "f[k:t]", "f[k + 1 : t]", PATH),
    ("the block of h for that of c", "dynamics/memory.py", "[:, -H:, -H:]", "[:, :H, :H]", PATH),
    ("orthogonal matrices without the signs of R", "nets/initializers.py",
     "Q * np.sign(np.diag(R))", "Q",
     "test_initializers::test_the_draw_prefers_no_direction"),
    ("the forget bias in both biases", "nets/initializers.py", "else 0", "else b", FORGET_BIAS),
    ("the forget bias in the input gate", "nets/initializers.py",
     "new[name][first : first + H]", "new[name][:H]", FORGET_BIAS),
    ("credit that vanishes not named", "dynamics/diagnostics.py",
     "elif last < 1 / span", "elif last < 0",
     "test_diagnostics::test_a_net_whose_gradient_vanishes_is_reported"),
    ("a reset gate that gates nothing", "cells/gru_textbook.py",
     "tape.q[:] = r * before.h", "tape.q[:] = before.h", TEXTBOOK_GRU),
    ("the candidate weight's gradient from h", "cells/gru_textbook.py",
     ".T @ tape.q", ".T @ before.h", TEXTBOOK_GRU),
    ("the rows of r negated for those of z", "cells/gru_textbook.py",
     "[r, -z, n]", "[-r, z, n]",
     "test_gru_textbook::"
     "test_negating_the_rows_of_z_exactly_exchanges_the_two_meanings_of_z"),
    ("the linear tangent without that of W", "derivatives/dual.py",
     "x.dot @ W.value.T + x.value @ W.dot.T", "x.dot @ W.value.T", TANGENT),
    ("the linear adjoint's derivative without that of W", "derivatives/dual.py",
     "delta.dot @ W.value + delta.value @ W.dot", "delta.dot @ W.value", HESSIAN),
    ("the weight's second derivative without that of x", "derivatives/dual.py",
     "delta.dot.T @ x.value + delta.value.T @ x.dot", "delta.dot.T @ x.value", HESSIAN),
    ("tanh bent the other way", "derivatives/tangent_rnn.py",
     "-2 * h * h_dot", "2 * h * h_dot", HESSIAN),
    ("the tangent of a shut relu", "derivatives/tangent_rnn.py", "a.dot * slope", "a.dot", TANGENT),
    ("a GRU's tangent without that of z", "derivatives/tangent_gru.py",
     " + z_dot * (h_before.value - n)", "", TANGENT),
    ("a GRU's second derivative without that of z", "derivatives/tangent_gru.py",
     "d_h_dot * z + d_h * z_dot", "d_h_dot * z", HESSIAN),
    ("a gate's second slope as 1 - k", "derivatives/tangent_gru.py",
     "d_r * (1 - 2 * r)", "d_r * (1 - r)", HESSIAN),
    ("an LSTM's tangent without that of f", "derivatives/tangent_lstm.py",
     "f_dot * c_before + f", "f", TANGENT),
    ("a cell's second derivative with half of tanh's", "derivatives/tangent_lstm.py",
     "d_c_dot - 2 * d_m", "d_c_dot - d_m", HESSIAN),
    ("a cell's second derivative without that of f", "derivatives/tangent_lstm.py",
     "d_c_dot * f + d_c * f_dot", "d_c_dot * f", HESSIAN),
    ("every layer starting from the first state", "derivatives/tangent.py",
     "initial[len(final)]", "initial[0]", TANGENT),
    ("the tangent not masked", "derivatives/tangent.py",
     "map_dual(np.multiply, y, masks[layer])", "y",
     "test_tangent::test_dropout_scales_the_tangent_by_the_mask_of_the_forward_pass"),
    ("the second derivative not masked", "derivatives/second_order.py",
     "map_dual(np.multiply, d_y, tape.masks[layer])", "d_y", MASKED_HESSIAN),
    ("the reverse direction's rows left reversed", "derivatives/second_order.py",
     "map_dual(getitem, d_in, order)", "d_in", HESSIAN),
    ("an influence that is not carried by the Jacobian", "derivatives/rtrl.py",
     "multiply(J, influence[name])", "influence[name]", RTRL),
    ("UORO's sign vector scaled, its partner not", "derivatives/uoro.py",
     "rho_1[:, None] * sign", "sign", UORO),
    ("UORO's state scaled, its partner not", "derivatives/uoro.py",
     "rho_0[:, None] * J_s", "J_s", UORO),
    ("segments run back in the order of time", "sequences/checkpoint.py",
     "reversed(tape.segments)", "tape.segments", CHECKPOINT),
    ("the last segment's gradient alone", "sequences/checkpoint.py",
     "add(d_params, d_segment)", "d_segment", CHECKPOINT),
    ("a segment's state overwritten by the next", "sequences/checkpoint.py",
     "copy(reached)", "reached", CHECKPOINT),
]  # fmt: skip

DYNAMICS = [Mutant(*row) for row in _ROWS]
