"""Mistakes to plant in the optimisers and in clipping, as in `mutants_equations`.

Other lists break some of their equations too.
"""

CLIPPING = "test_optim::test_clipping_by_the_global_norm_is_torchs"
NORM = "test_optimizer_laws::test_the_norm_is_that_of_all_gradients_in_one_vector"
BY_VALUE = "test_optimizer_laws::test_clipping_by_value_moves_what_is_outside"
MAXIMIZE = "test_optimizer_laws::test_to_maximise_is_to_minimise_the_negative"
PENALTY = "test_optimizer_laws::test_weight_decay_is_the_gradient_of_a_penalty"
SCHEDULE = "test_optim::test_warm_up_and_cosine_are_torchs_rates_at_every_step"
SGD = "test_optimizer_steps::test_every_form_of_sgd_takes_torchs_steps"
ADAM = "test_optimizer_steps::test_every_form_of_adam_takes_torchs_steps"
ADAMAX = "test_optimizer_steps::test_adamax_takes_torchs_steps"
NADAM = "test_optimizer_steps::test_nadam_takes_torchs_steps"
RADAM = "test_optimizer_steps::test_radam_takes_torchs_steps"
ADAGRAD = "test_optimizer_steps::test_adagrad_takes_torchs_steps"
ADADELTA = "test_optimizer_steps::test_adadelta_takes_torchs_steps"
RMSPROP = "test_optimizer_steps::test_rmsprop_takes_torchs_steps"
ASGD = "test_optimizer_steps::test_asgd_takes_torchs_steps"
RPROP = "test_optimizer_steps::test_rprop_takes_torchs_steps"

# by file: the equation, what becomes of what in its line, who notices
OPTIMIZERS = {
    "models/optim/clipping.py": [
        ("1", "g * g", "abs(g)", CLIPPING),
        ("2", "abs(g)", "g", NORM),
        ("3", "np.max(largest)", "np.sum(largest)", NORM),
        ("4", "g * scale", "g / scale", CLIPPING),
        ("5", "-max_value", "0", BY_VALUE),
    ],
    "models/optim/schedule.py": [
        ("1", "t / warmup", "(t + 1) / warmup", SCHEDULE),
    ],
    "models/optim/steps.py": [
        ("1", "-g", "abs(g)", MAXIMIZE),
        ("2", "g + weight_decay", "g - weight_decay", PENALTY),
    ],
    "models/optim/sgd.py": [
        ("1", "momentum * v", "v", SGD),
        ("1", "(1 - dampening) * g", "g", SGD),
        ("2", "g + momentum * v", "momentum * v", SGD),
        ("3", "theta - lr", "theta + lr", SGD),
    ],
    "models/optim/adam.py": [
        ("1", "lr * weight_decay", "weight_decay", ADAM),
        ("2", "(1 - beta_1)", "beta_1", ADAM),
        ("3", "(1 - beta_2)", "(1 - beta_1)", ADAM),
        ("4", "np.maximum", "np.minimum", ADAM),
        ("5", "rate * m", "lr * m", ADAM),
    ],
    "models/optim/adamax.py": [
        ("1", "(1 - beta_1)", "beta_1", ADAMAX),
        ("2", "+ eps", "", ADAMAX),
        ("2", "np.maximum", "np.minimum", ADAMAX),
        ("3", "(1 - beta_1**t)", "(1 - beta_2**t)", ADAMAX),
    ],
    "models/optim/nadam.py": [
        ("1", "lr * weight_decay", "weight_decay", NADAM),
        ("2", "0.5 * 0.96", "0.96", NADAM),
        ("3", "(1 - beta_1)", "beta_1", NADAM),
        ("4", "(1 - beta_2)", "(1 - beta_1)", NADAM),
        ("5", "1 - beta_2**t", "1 - beta_2", NADAM),
        ("6", "of_g * g", "of_m * g", NADAM),
    ],
    "models/optim/radam.py": [
        ("1", "lr * weight_decay", "weight_decay", RADAM),
        ("2", "(1 - beta_1)", "beta_1", RADAM),
        ("3", "(1 - beta_2)", "(1 - beta_1)", RADAM),
        ("4", "2 * t", "2 * (t + 1)", RADAM),
        ("5", "(rho - 2)", "(rho - 3)", RADAM),
        ("6", "+ eps", "- eps", RADAM),
        ("7", "1 - beta_1**t", "1 - beta_1", RADAM),
    ],
    "models/optim/adagrad.py": [
        ("1", "s + g", "g", ADAGRAD),
        ("2", "(t - 1)", "t", ADAGRAD),
    ],
    "models/optim/adadelta.py": [
        ("1", "(1 - rho)", "rho", ADADELTA),
        ("2", "np.sqrt(a + eps)", "np.sqrt(a)", ADADELTA),
        ("3", "d * d", "g * g", ADADELTA),
        ("4", "lr * d", "d", ADADELTA),
    ],
    "models/optim/rmsprop.py": [
        ("1", "(1 - alpha)", "alpha", RMSPROP),
        ("2", "(1 - alpha)", "alpha", RMSPROP),
        ("3", "+ eps", "- eps", RMSPROP),
        ("4", "b + d", "b + g", RMSPROP),
        ("5", "theta - lr", "theta + lr", RMSPROP),
    ],
    "models/optim/asgd.py": [
        ("1", "(t - 1)", "t", ASGD),
        ("2", "lambd * rate", "lambd * lr", ASGD),
        ("3", "average + share", "average - share", ASGD),
    ],
    "models/optim/rprop.py": [
        ("1", "smaller * size", "size", RPROP),
        ("2", "np.minimum(np.maximum(size, step_sizes[0]), step_sizes[1])", "size", RPROP),
        ("3", "0 * g", "g", RPROP),
        ("4", "np.sign(g)", "g", RPROP),
    ],
}  # fmt: skip
