"""Mistakes to plant in CTC, in soft labels, and in the norms of an embedding's rows."""

from support.mutants import Mutant

PATHS = "test_ctc::test_the_loss_is_minus_the_log_of_the_sum_over_all_paths"
CTC_BACK = "test_ctc::test_the_gradient_of_log_p_is_the_adjoint_of_the_tangent"
SOFT = "test_soft_labels::test_value_and_gradients_are_torchs"
SOFT_BACK = "test_soft_labels::test_the_gradient_is_the_adjoint_of_the_tangent"
NORMS = "test_layers::test_rows_that_are_met_are_renormalized_as_in_torch"

_EQUATIONS = {
    "models/ctc.py": [
        ("1", "z[:, 1::2]", "z[:, ::-1][:, 1::2]", PATHS),
        ("2", "emitted[t] +", "emitted[t - 1] +", PATHS),
        ("3", "-_log_sum_exp(", "_log_sum_exp(", PATHS),
        ("3′", "_where(tape.ends, 0)", "0", CTC_BACK),
        ("2′", "np.stack(left)", "np.stack(left[:2])", CTC_BACK),
        ("1′", "+= weighted", "= weighted", CTC_BACK),
    ],
    "models/soft_labels.py": [
        ("1", "label_smoothing / V", "label_smoothing / (V + 1)", SOFT),
        ("2", "logits, 0", "-logits, 0", SOFT),
        ("3", "weights * q", "q", SOFT),
        ("4", "/ n", "/ losses.size", SOFT),
        ("4′", "d_loss /", "-d_loss /", SOFT_BACK),
        ("3′", "tape.weights * tape.q", "tape.q", SOFT_BACK),
        ("2′", "log_softmax_back(tape.log_p, d_log_p)", "d_log_p", SOFT_BACK),
        ("1′", "(1 - tape.smoothing) * d_q", "d_q", SOFT_BACK),
    ],
    "models/layers.py": [("4", "norm > max_norm", "norm < max_norm", NORMS)],
}  # fmt: skip

_MISTAKES = [
    ("a path may skip the blank between equal labels", "models/ctc.py",
     " & (z[:, 2:] != z[:, :-2])", "", PATHS),
    ("a path may end at the last label only", "models/ctc.py",
     "ends = (s == last) | (s == last - 1)", "ends = s == np.maximum(last - 1, 0)", PATHS),
    ("the loss is read at the last step of the batch", "models/ctc.py",
     "alpha[steps - 1, np.arange(len(z))]", "alpha[-1, np.arange(len(z))]", PATHS),
    ("steps beyond the end of a row have a gradient", "models/ctc.py",
     "np.less(np.arange(len(beta))[:, None], tape.steps)", "True",
     "test_ctc::test_a_row_without_a_path_is_torchs"),
    ("torch's p in the gradient of log p", "models/ctc.py",
     "return d_log_p", "return d_log_p + d_losses[:, None] * np.exp(tape.log_p)", CTC_BACK),
    ("the mean over labels, as if all rows were one", "models/ctc.py",
     "(losses / np.maximum(lengths, 1)).mean()", "losses.sum() / max(lengths.sum(), 1)",
     "test_ctc::test_the_mean_is_torchs"),
    ("the mean over rows, whatever the weights of classes", "models/soft_labels.py",
     "n = (m * v[y]).sum()", "n = m.sum() + 0 * v[0]", SOFT),
    ("a NaN in an ignored row spreads", "models/soft_labels.py",
     "np.where(m[..., None], logits, 0)", "logits",
     "test_soft_labels::test_nan_in_an_ignored_logit_changes_no_loss_and_no_gradient"),
    ("0 times minus infinity", "models/soft_labels.py",
     "np.where(q == 0, 0, log_p)", "log_p",
     "test_soft_labels::test_a_class_that_is_masked_out_costs_nothing_here_and_nan_in_torch"),
    ("every row is renormalized, met or not", "models/layers.py",
     "met & (norm > max_norm)", "norm > max_norm", NORMS),
]  # fmt: skip

LOSSES = [
    Mutant(f"{file} ({number}): {new}", file, old, new, law, number)
    for file, rows in _EQUATIONS.items()
    for number, old, new, law in rows
] + [Mutant(*row) for row in _MISTAKES]
