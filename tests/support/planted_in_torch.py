"""Mistakes planted in torch's steps, by autograd, and those that `bptt_oracle.faults` plants."""

from types import SimpleNamespace

import torch
from torch.nn.functional import linear

from bptt_oracle.cases.case import CELLS
from bptt_oracle.faults import FAULTS
from bptt_oracle.faults.fault import run_with_fault
from bptt_oracle.faults.inject import replace_functions, run_steps, run_steps_made_by
from support.plant import GATED, GRU, LSTM, RELU, TANH, Plant, torch_plant
from torch_impl.nets.modules import manual_step


def _parts(params, suffix, x, h):
    u = linear(x, params[f"weight_ih{suffix}"], params.get(f"bias_ih{suffix}"))
    v = linear(h, params[f"weight_hh{suffix}"], params.get(f"bias_hh{suffix}"))
    return u, v


def _gru_step(rule):
    def change(call, forward):
        def step(net, params, suffix, x, state):
            u, v = _parts(params, suffix, x, state[0])
            bias = params.get(f"bias_hh{suffix}")
            H = net.hidden_size
            extra = SimpleNamespace(
                weight=params[f"weight_hh{suffix}"][2 * H :],
                bias=0 if bias is None else bias[2 * H :],
            )
            (u_r, u_z, u_n), (v_r, v_z, v_n) = u.chunk(3, -1), v.chunk(3, -1)
            r, z = torch.sigmoid(u_r + v_r), torch.sigmoid(u_z + v_z)
            return [rule(r, z, u_n, v_n, state[0], extra)]

        return run_steps(call, step)

    return change


def _lstm_step(rule):
    def change(call, forward):
        def step(net, params, suffix, x, state):
            u, v = _parts(params, suffix, x, state[0])
            m, c = rule(*(u + v).chunk(4, -1), state[1])
            return [linear(m, params[f"weight_hr{suffix}"]) if net.proj_size else m, c]

        return run_steps(call, step)

    return change


def _functions(**replacements):
    def change(call, forward):
        with replace_functions({getattr(torch, n): f for n, f in replacements.items()}):
            return run_steps(call)

    return change


def _entering(enter):
    """A change of the state that enters the k-th step."""

    def change(call, forward):
        def make_step(suffix):
            calls = iter(range(10**6))

            def step(net, params, suffix, x, state):
                return manual_step(net, params, suffix, x, enter(next(calls), state))

            return step

        return run_steps_made_by(call, make_step)

    return change


def in_torch():
    s, tanh = torch.sigmoid, torch.tanh
    gru = {
        "the reset gate before the product": lambda r, z, u, v, h, e: (
            (1 - z) * tanh(u + linear(r * h, e.weight) + e.bias) + z * h
        ),
        "b_n of bias_hh outside the reset gate": lambda r, z, u, v, h, e: (
            (1 - z) * tanh(u + r * (v - e.bias) + e.bias) + z * h
        ),
        "the reset gate left out": lambda r, z, u, v, h, e: (1 - z) * tanh(u + v) + z * h,
        "the reset gate on the whole net input of n": lambda r, z, u, v, h, e: (
            (1 - z) * tanh(r * (u + v)) + z * h
        ),
        "the reset gate flipped, 1 − r in place of r": lambda r, z, u, v, h, e: (
            (1 - z) * tanh(u + (1 - r) * v) + z * h
        ),
        "tanh of n left out": lambda r, z, u, v, h, e: (1 - z) * (u + r * v) + z * h,
        "the update gate flipped, z ⊙ n + (1 − z) ⊙ h₋": lambda r, z, u, v, h, e: (
            z * tanh(u + r * v) + (1 - z) * h
        ),
        "the factor 1 − z left out": lambda r, z, u, v, h, e: tanh(u + r * v) + z * h,
        "the factor z left out": lambda r, z, u, v, h, e: (1 - z) * tanh(u + r * v) + h,
        "the update gate left out, h = n": lambda r, z, u, v, h, e: tanh(u + r * v),
        "no gradient through z ⊙ h₋": lambda r, z, u, v, h, e: (
            (1 - z) * tanh(u + r * v) + z * h.detach()
        ),
        "no gradient through the gate z": lambda r, z, u, v, h, e: (
            (1 - z.detach()) * tanh(u + r * v) + z.detach() * h
        ),
        "no gradient through the candidate n": lambda r, z, u, v, h, e: (
            (1 - z) * tanh(u + r * v).detach() + z * h
        ),
    }
    for name, rule in gru.items():
        yield torch_plant(name, GRU, _gru_step(rule))

    def lstm(cell, gated=lambda a_o, c: s(a_o) * tanh(c)):
        def rule(i, f, g, o, c):
            new = cell(s(i), s(f), g, c)
            return gated(o, new), new

        return _lstm_step(rule)

    def right(i, f, g, c):
        return f * c + i * tanh(g)

    for name, change in {
        "tanh of c left out, h = o ⊙ c": lstm(right, lambda o, c: s(o) * c),
        "the forget gate left out": lstm(lambda i, f, g, c: c + i * tanh(g)),
        "the input gate left out": lstm(lambda i, f, g, c: f * c + tanh(g)),
        "the output gate left out": lstm(right, lambda o, c: tanh(c)),
        "1 − f in place of the input gate": lstm(lambda i, f, g, c: f * c + (1 - f) * tanh(g)),
        "1 − i in place of the forget gate": lstm(lambda i, f, g, c: (1 - i) * c + i * tanh(g)),
        "the forget gate flipped, 1 − f in place of f": lstm(
            lambda i, f, g, c: (1 - f) * c + i * tanh(g)
        ),
        "σ in place of tanh in the output, h = o ⊙ σ(c)": lstm(right, lambda o, c: s(o) * s(c)),
        "the cell state clipped to ±1": lstm(lambda i, f, g, c: (f * c + i * tanh(g)).clamp(-1, 1)),
        "σ in place of tanh at g": lstm(lambda i, f, g, c: f * c + i * s(g)),
        "tanh of g left out": lstm(lambda i, f, g, c: f * c + i * g),
        "1 added to the net input of the forget gate": _lstm_step(
            lambda i, f, g, o, c: _standard(i, f + 1, g, o, c)
        ),
        "h computed from the c before the step": _lstm_step(
            lambda i, f, g, o, c: (s(o) * tanh(c), _standard(i, f, g, o, c)[1])
        ),
        "the gradient of c₋ lacks the factor f": lstm(
            lambda i, f, g, c: f * c.detach() + i * tanh(g) + (c - c.detach())
        ),
        "c_t in place of c_{t−1} in the gradient of f": lstm(_gradient_of_new_c),
    }.items():
        yield torch_plant(name, LSTM, change)
    for name, cells, change in (
        ("relu in place of tanh", TANH, _functions(tanh=torch.relu)),
        ("σ in place of tanh", ("RNN_TANH",), _functions(tanh=torch.sigmoid)),
        ("tanh in place of relu", RELU, _functions(relu=torch.tanh)),
        ("relu left out", RELU, _functions(relu=lambda a: a + 0)),
        ("tanh left out", ("RNN_TANH",), _functions(tanh=lambda a: a + 0)),
        ("tanh in place of σ", GATED, _functions(sigmoid=torch.tanh)),
        (
            "the hard sigmoid a/5 + ½ in place of σ",
            GATED,
            _functions(sigmoid=lambda a: (0.2 * a + 0.5).clamp(0, 1)),
        ),
    ):
        yield torch_plant(name, cells, change)
    for limit in (10, 15, 20):
        limited = {
            "sigmoid": lambda a, limit=limit: torch.sigmoid(a.clamp(-limit, limit)),
            "tanh": lambda a, limit=limit: torch.tanh(a.clamp(-limit, limit)),
        }
        yield torch_plant(f"net inputs limited to ±{limit}", GATED, _functions(**limited))
    for name, cells, enter in (
        ("the gradient through time cut at each step", CELLS, lambda k, s: _stop(s) if k else s),
        (
            "the gradient through time cut after two steps",
            CELLS,
            lambda k, s: _stop(s) if k and k % 2 == 0 else s,
        ),
        (
            "no gradient through c from step to step",
            LSTM,
            lambda k, s: [s[0], s[1].detach() if k else s[1]],
        ),
        (
            "no gradient through h from step to step",
            LSTM,
            lambda k, s: [s[0].detach() if k else s[0], s[1]],
        ),
        ("every step starts from a state of zeros", GATED, lambda k, s: [0 * f for f in s]),
    ):
        yield torch_plant(name, cells, _entering(enter))


def _gradient_of_new_c(i, f, g, c):
    new = f * c + i * torch.tanh(g)
    right = f.detach() * c + i * torch.tanh(g)
    return right + (f - f.detach()) * new.detach()


def _stop(state):
    return [s.detach() for s in state]


def _standard(i, f, g, o, c):
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


OF_FAULTS = {
    "bias_hh_zeroed": "bias_hh left out",
    "biases_of_higher_layers_lost": "biases of layers above the first left out",
    "bias_ih_for_both": "bias_ih in place of bias_hh",
    "bias_of_the_first_layer": "the first layer's biases in every layer",
    "reverse_weights_are_forward_ones": "the forward direction's parameters in both directions",
    "weight_hh_transposed": "weight_hh not transposed, gate by gate",
    "weight_ih_column_major": "weight_ih transposed and reshaped back",
    "leaky_relu": "leaky relu of slope 0.01 in place of relu",
    "relu_ends_at_6": "relu that ends at 6",
    "hard_sigmoid": "the hard sigmoid a/6 + ½ in place of σ",
    "sigmoid_cut_off": "net inputs limited to ±8",
    "tanh_for_relu": "tanh in place of relu",
    "layers_start_from_the_first_state": "the first layer's initial state in every layer",
    "reverse_starts_from_the_forward_state": "the forward direction's initial state in both "
    "directions",
    "state_ignored": "the initial state ignored",
    "c_0_ignored": "c_0 ignored, h_0 used",
    "h_0_ignored": "h_0 ignored, c_0 used",
    "state_not_permuted": "initial states not put in the order of the sorted rows",
    "lengths_one_short": "the last step of shorter rows not run",
    "padding_is_run": "lengths ignored, padding run like data",
    "reverse_starts_in_the_padding": "the reverse direction starts in the padding",
    "input_one_step_late": "the input of the step before in each step",
    "directions_interleaved": "the two directions of the output interleaved",
    "directions_swapped": "the two directions of the output swapped",
    "reverse_half_not_turned_back": "the output of the reverse direction not reversed back",
    "h_n_is_the_last_output": "the last step of the output in place of h_n of the reverse "
    "direction",
    "h_n_is_the_last_column": "the last column of the output in place of h_n",
    "final_states_of_the_last_layer": "the last layer's final state in every layer",
    "c_n_is_h_n": "h_n in place of c_n",
    "final_states_stay_sorted": "final states left in the order of the sorted rows",
    "higher_layers_read_the_forward_half": "layers above the first read only the forward direction",
    "initial_state_in_bfloat16": "the initial state rounded to bfloat16",
    "d_c_0_zero": "the gradient of c_0 zero",
    "gradient_truncated_in_time": "the gradient through time cut after two steps",
    "state_direction_major": "initial states read direction by direction",
    "final_states_direction_major": "final states ordered direction by direction",
    "reset_before_the_product": "the reset gate before the product",
    "update_gate_flipped": "the update gate flipped, z ⊙ n + (1 − z) ⊙ h₋",
    "b_hn_outside_the_reset_gate": "b_n of bias_hh outside the reset gate",
    "reset_gate_missing": "the reset gate left out",
    "tanh_of_c_missing": "tanh of c left out, h = o ⊙ c",
    "h_from_the_old_c": "h computed from the c before the step",
    "forget_gate_missing": "the forget gate left out",
    "input_gate_coupled": "1 − f in place of the input gate",
    "cell_state_clipped": "the cell state clipped to ±1",
    "d_h_n_ignored": "the gradient of h_n ignored",
    "d_c_n_ignored": "the gradient of c_n ignored",
    "bias_gradients_times_steps": "gradients of biases multiplied by T",
    "bias_hh_gradient_of_bias_ih": "bias_hh gets the gradient of bias_ih",
    "reverse_part_of_d_x_lost": "the gradient of a layer's input lacks the reverse direction",
    "gradient_stops_between_layers": "no gradient from a layer to the one below",
    "d_state_in_reverse_order": "gradients of the initial states in reverse order of layers and "
    "directions",
    "d_x_backwards_in_time": "the gradient of the input reversed in time",
    "gradients_averaged_over_the_batch": "gradients of parameters divided by B",
    "first_step_missing_in_d_weight_hh": "h_0 left out of the gradient of weight_hh",
    "sigmoid_derivative": "y in place of y (1 − y) in the derivative of σ",
    "tanh_derivative": "the derivative of tanh a is 1 − a²",
    "relu_derivative": "the derivative of relu left out",
    "weights_of_eight_bits": "parameters quantised to eight bits",
    "weights_in_bfloat16": "parameters rounded to bfloat16",
    "input_through_float32": "the input rounded to float32",
    "tf32_in_float32": "TF32 or float16 precision inside float32",
    "float32_in_float64": "float32 precision inside float64",
    "output_through_float32": "the output rounded to float32",
    "float32_products_in_float64": "float32 precision inside float64",
    "tanh_loses_small_arguments": "no relative accuracy of tanh near zero, as in 2σ(2x) − 1",
}
NOT_IN_THE_LIST = (  # of which no name may be given
    "rational_tanh",
    "last_row_not_copied",
    "last_feature_dropped",
    "one_element_of_d_weight_hh",
    "gradients_clipped",
    "directions_summed",
    "peephole",
    "state_lost_between_chunks",
    "gate_order_in_one_layer",
    "units_updated_in_place",
    "last_layer_in_half_precision",
    "buffer_not_cleared",
    "residual_between_layers",
    "packed_data_batch_major",
)


def of_faults():
    for fault_id, name in OF_FAULTS.items():
        yield _of_fault(fault_id, name)
    sigma = _functions(sigmoid=lambda a: 0.5 * torch.tanh(0.5 * a) + 0.5)
    yield torch_plant("zero where σ is small, as in ½ tanh(a/2) + ½", GATED, sigma)
    for dtype in ("float32", "float64"):
        plant = _of_fault("bfloat16_products", f"bfloat16 precision inside {dtype}")
        yield plant._replace(dtypes=(dtype,))


IN_PART = {  # faults that are right in these cases, where the mistake is not
    "reverse_half_not_turned_back": lambda c: c.bidirectional and (c.lengths or c.layers > 1),
    "h_n_is_the_last_output": lambda c: c.bidirectional and c.lengths,
    "h_n_is_the_last_column": lambda c: c.bidirectional and c.lengths,
    "reverse_part_of_d_x_lost": lambda c: c.bidirectional and c.layers > 1,
    "reverse_starts_in_the_padding": lambda c: c.layers > 1 and c.lengths,
}


def _of_fault(fault_id, name):
    planted = FAULTS[fault_id]

    def run(case, problem, dtype):
        if IN_PART.get(fault_id, lambda case: False)(case):
            return None
        return run_with_fault(planted, case, problem, dtype, [])

    return Plant(name, "torch", planted.cells, run, planted.dtypes)


def unnamed():
    """Faults that are not in the list: they must be given no name."""
    return [_of_fault(fault_id, "")._replace(name="") for fault_id in NOT_IN_THE_LIST]
