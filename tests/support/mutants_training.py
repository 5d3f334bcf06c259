"""Mistakes to plant in what trains a net: the fields of `mutants.Mutant`, in their order."""

LAYERS_ADJOINT = "test_layers::test_the_backward_is_the_adjoint_of_the_tangent"
MASKED = "test_loss::test_masked_value_and_gradient_are_torchs"
SCHEDULED = (
    "test_generation::test_scheduled_sampling_is_torchs_run_step_by_step_in_value_and_gradient"
)

TRAINING = [
    (
        "the embedding keeps one gradient of a token met many times",
        "models/layers.py",
        "np.add.at(d_weight, tape.ids, d_y)",
        "d_weight[tape.ids] = d_y",
        "test_layers::test_a_token_met_three_times_collects_three_gradients",
    ),
    (
        "the padding row is trained",
        "models/layers.py",
        "        d_weight[tape.padding_idx] = 0",
        "        pass",
        "test_layers::test_the_padding_row_is_read_but_never_trained",
    ),
    (
        "a linear map's weight gradient of the first row only",
        "models/layers.py",
        "d_rows.T @ rows",
        "d_rows[:1].T @ rows[:1]",
        LAYERS_ADJOINT,
    ),
    (
        "dropout's adjoint without the scale",
        "models/layers.py",
        "= d_y * scale  # (3′)",
        "= d_y * (scale != 0)",
        LAYERS_ADJOINT,
    ),
    (
        "the mean over all labels, the masked ones included",
        "models/loss.py",
        "= m / (m.sum() or 1)",
        "= m / m.size",
        MASKED,
    ),
    (
        "the mean over all sequences, the empty ones included",
        "models/loss.py",
        "max(int(np.count_nonzero(n)), 1)",
        "len(m)",
        MASKED,
    ),
    (
        "the gradient of cross-entropy forgets the cotangent",
        "models/loss.py",
        "np.where(tape.mask, tape.weights, 0) * d_loss",
        "np.where(tape.mask, tape.weights, 0)",
        MASKED,
    ),
    (
        "masking by multiplication",
        "models/loss.py",
        "log_softmax(np.where(mask[..., None], logits, 0))",
        "log_softmax(logits)",
        "test_loss::test_nan_in_a_masked_logit_changes_no_loss_and_no_gradient",
    ),
    (
        "no shift of the labels",
        "models/loss.py",
        "return ids[:, :-1], ids[:, 1:]",
        "return ids[:, :-1], ids[:, :-1]",
        "test_loss::test_the_shift_loses_one_column_and_every_target_is_the_next_input",
    ),
    (
        "clipping turns NaN into the unclipped gradient",
        "models/optim.py",
        "np.where(scale.real > 1, 1, scale)",
        "np.where(scale.real < 1, scale, 1)",
        "test_optim::test_clipping_a_norm_of_zero_infinity_or_nan_gives_torchs_very_bits",
    ),
    (
        "Adam's epsilon under the root",
        "models/optim.py",
        "(np.sqrt(v[n]) / root + eps)",
        "np.sqrt(v[n] / root**2 + eps)",
        "test_optim::test_adam_takes_torchs_steps",
    ),
    (
        "momentum as a running mean",
        "models/optim.py",
        "momentum * velocity[n] + g",
        "momentum * velocity[n] + (1 - momentum) * g",
        "test_optim::test_sgd_with_momentum_takes_torchs_steps",
    ),
    (
        "the cosine begins before the warm-up has ended",
        "models/optim.py",
        "math.cos(math.pi * (t - warmup) / decay)",
        "math.cos(math.pi * t / decay)",
        "test_optim::test_warm_up_and_cosine_are_torchs_rates_at_every_step",
    ),
    (
        "the language model forgets its initial state",
        "models/language_model.py",
        'self.rnn.forward(select_prefix(params, "rnn."), x, state)',
        'self.rnn.forward(select_prefix(params, "rnn."), x)',
        "test_language_model::test_the_log_probability_of_a_sequence_is_the_sum_of_its_steps",
    ),
    (
        "padding is recognised by the inputs, not the targets",
        "models/language_model.py",
        "mask = targets != lm.padding_idx",
        "mask = inputs != lm.padding_idx",
        "test_language_model::test_right_padding_adds_nothing_to_loss_or_gradient",
    ),
    (
        "the classifier reads the first layer's last state",
        "models/classifier.py",
        "h_n[-rnn.directions :]",
        "h_n[: rnn.directions]",
        "test_classifier::test_logits_and_every_gradient_are_torchs",
    ),
    (
        "the state's gradient goes to every layer",
        "models/classifier.py",
        "[np.zeros_like(halves)] * (rnn.num_layers - 1) + [halves]",
        "[halves] * rnn.num_layers",
        "test_classifier::test_the_backward_is_the_adjoint_of_the_tangent",
    ),
    (
        "a draw of 0 may pick a token of probability 0",
        "models/generation.py",
        "(cdf <= u[:, None] * cdf[:, -1:])",
        "(cdf < u[:, None] * cdf[:, -1:])",
        "test_generation::"
        "test_a_token_of_probability_zero_is_never_drawn_not_even_by_the_extreme_draws",
    ),
    (
        "the state is forgotten between the steps of scheduled sampling",
        "models/generation.py",
        "inputs[-1], state)",
        "inputs[-1])",
        SCHEDULED,
    ),
    (
        "scheduled sampling settles its inputs and trains on the text",
        "models/generation.py",
        "return loss_and_grads(lm, params, inputs, targets)",
        "return loss_and_grads(lm, params, text, targets)",
        SCHEDULED,
    ),
    (
        "layers and batch change places in the state made of a vector",
        "models/one_to_many.py",
        "flat.reshape(len(z), rnn.num_layers, rnn.output_size).swapaxes(0, 1)",
        "flat.reshape(rnn.num_layers, len(z), rnn.output_size)",
        "test_one_to_many::test_logits_and_every_gradient_the_inputs_included_are_torchs",
    ),
]
