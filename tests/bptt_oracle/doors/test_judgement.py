"""`bptt_oracle.judge`: modules and functions on their own weights and numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import bptt_oracle
from bptt_oracle.cases.case import Case, draw
from bptt_oracle.doors.naming import case_of
from support.written_implementations import OtherNames

MODULES = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "RNN": torch.nn.RNN}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(
    kind=st.sampled_from(sorted(MODULES)),
    layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    batch_first=st.booleans(),
    bias=st.booleans(),
    with_state=st.booleans(),
    form=st.sampled_from(["batch", "unbatched", "lengths"]),
)
def test_torch_modules_agree_in_every_form(
    dtype, kind, layers, bidirectional, batch_first, bias, with_state, form
):
    torch.manual_seed(0)
    module = MODULES[kind](
        3, 4, layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional, dtype=dtype
    )
    B, T, D = 2, 5, 1 + bidirectional
    x = torch.randn((T, 3) if form == "unbatched" else (B, T, 3) if batch_first else (T, B, 3))
    rows = () if form == "unbatched" else (B,)
    h, c = torch.randn(2, layers * D, *rows, 4, dtype=dtype)
    state = None if not with_state else (h, c) if kind == "LSTM" else h
    lengths = [3, 5] if form == "lengths" else None
    judgement = bptt_oracle.judge(module, x.to(dtype), state=state, lengths=lengths)
    assert judgement.verdict == "agree" and judgement, str(judgement)
    assert judgement.not_returned == ()
    assert len(judgement.R) == (2 + (kind == "LSTM")) + 1 + with_state * (
        1 + (kind == "LSTM")
    ) + len(list(module.parameters()))


class Doubled(torch.nn.LSTM):
    """Gradients twice as large, values right."""

    def forward(self, x, state=None):
        output, final = super().forward(x, state)
        return 2 * output - output.detach(), final


def test_a_wrong_gradient_is_a_fault_and_a_right_value_is_not():
    judgement = bptt_oracle.judge(Doubled(3, 4), torch.randn(5, 2, 3))
    assert not judgement and judgement.verdict == "fault"
    assert judgement.R["output"] < 16 < judgement.R["d_x"]
    assert str(judgement).splitlines()[-1].startswith(f"fault: the worst is {judgement.worst}[")


def test_what_is_not_returned_is_listed_and_has_no_cotangent():
    module = torch.nn.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    params = dict(module.named_parameters())
    judgement = bptt_oracle.judge(lambda x: module(x)[0], x, params=params, cell="LSTM")
    assert judgement and judgement.not_returned == ("h_n", "c_n")
    assert "d_weight_hh_l0" in judgement.R
    with torch.no_grad():
        arrays = {n: p.numpy() for n, p in params.items()}
        values = bptt_oracle.judge(
            lambda x: module(torch.from_numpy(x))[0].numpy(), x.numpy(), params=arrays, cell="LSTM"
        )
    assert values and list(values.R) == ["output"] and len(values.not_returned) == 7


def test_what_did_not_come_is_printed():
    module = torch.nn.LSTM(3, 4)
    params = dict(module.named_parameters())
    judgement = bptt_oracle.judge(
        lambda x: module(x)[0], torch.randn(5, 2, 3), params=params, cell="LSTM"
    )
    assert "not judged, because they did not come: h_n, c_n" in str(judgement).splitlines()


def test_the_cotangents_of_the_caller_are_used():
    module, x = torch.nn.GRU(3, 4), torch.randn(5, 2, 3)
    nothing = bptt_oracle.judge(
        Doubled(3, 4), x, d_output=np.zeros((5, 2, 4), "float32"), d_state=[np.ones((1, 2, 4))] * 2
    )
    assert nothing, "only the output's gradient is doubled, and it has none"
    assert bptt_oracle.judge(module, x, d_output=torch.ones(5, 2, 4), d_state=torch.ones(1, 2, 4))


def test_the_gradients_of_the_caller_stay():
    module = torch.nn.GRU(3, 4)
    x = torch.randn(5, 2, 3, requires_grad=True)
    module(x)[0].sum().backward()
    before = [x.grad.clone(), *(p.grad.clone() for p in module.parameters())]
    with torch.no_grad():
        assert bptt_oracle.judge(module, x)
    after = [x.grad, *(p.grad for p in module.parameters())]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


LSTM = torch.nn.LSTM(3, 4)


class TwiceTheWeight(torch.nn.Module):
    def forward(self, weight):
        return 2 * weight


def doubled(net):
    """The net with a weight that is computed in each call."""
    torch.nn.utils.parametrize.register_parametrization(net, "weight_hh_l0", TwiceTheWeight())
    return net


X = torch.randn(5, 2, 3)
OUTPUT = torch.zeros(5, 2, 4)
PARAMS = dict(LSTM.named_parameters())


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(function="model.onnx", x=X), "a str came; expected a module or a function of x"),
        (
            dict(
                function=lambda x: [x, x, x], x=X, params=dict(LSTM.named_parameters()), cell="LSTM"
            ),
            "the function returned 3 values; expected the output, or (output, h_n), or",
        ),
        (dict(function=LSTM, x=X, params={"W": 0}, cell="LSTM"), "the parameters are W; expected"),
        (dict(function=lambda x: x, x=X), "no parameters by torch's names; give params="),
        (dict(function=OtherNames(3, 4), x=X, cell="LSTM"), "are kernel; expected torch's names"),
        (
            dict(function=torch.nn.Linear(3, 4), x=X),
            "the parameters are weight, bias; expected torch",
        ),
        (dict(function=LSTM, x=X, cell="GRU"), "weight_ih_l0 has 16 rows, which the 3 gates"),
        (dict(function=LSTM, x=X, state=X), "the state of LSTM is a Tensor, expected two, "),
        (
            dict(function=LSTM, x=X, state=(X[:1], X[:1])),
            "h_0 has shape [1, 2, 3], expected [1, 2, 4]",
        ),
        (dict(function=LSTM, x=X[None]), "x has shape [1, 5, 2, 3]; expected [T, B, I], "),
        (dict(function=LSTM, x=X[:0]), "x has shape [0, 2, 3]; expected "),
        (
            dict(function=LSTM, x=X.int()),
            "the numbers are int32; expected one of float64, float32, ",
        ),
        (
            dict(function=LSTM, x=X, params=dict([*LSTM.named_parameters()][:3]), cell="LSTM"),
            "the parameter bias_hh_l0 [16] is missing",
        ),
        (
            dict(function=LSTM, x=X, params={**dict(LSTM.named_parameters()), "k": X}, cell="LSTM"),
            "k came, and the parameters are weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0",
        ),
        (dict(function=LSTM, x=X.double()), "x is float64, and the parameters are float32"),
        (dict(function=LSTM, x=X.numpy().tolist()), "x is float64, and the parameters are"),
        (dict(function=LSTM, x=X.numpy().tolist(), state=(X, X)), "h_0 has shape [5, 2, 3], exp"),
        (
            dict(function=torch.nn.LSTM(3, 4, 2, dropout=0.5), x=X),
            "is in training mode and has dropout; call eval() first",
        ),
        (
            dict(function=doubled(torch.nn.LSTM(3, 4)), x=X),
            "is computed from other parameters, as by weight norm; judge it inside your model",
        ),
        (
            dict(function=lambda x: 3, x=X, params=dict(LSTM.named_parameters()), cell="LSTM"),
            "output is a int, expected a tensor",
        ),
        (
            dict(
                function=lambda x: LSTM(x)[0][1:],
                x=X,
                params=dict(LSTM.named_parameters()),
                cell="LSTM",
            ),
            "output has shape [4, 2, 4], expected [5, 2, 4]",
        ),
        (dict(function=LSTM, x=X, lengths=[5, 2, 2]), "3 lengths came for 2 rows; give one"),
        (dict(function=LSTM, x=X, lengths=[4, 2]), "the lengths are 2 to 4 for x of 5 steps; exp"),
        (dict(function=LSTM, x=X, lengths=[6, 5]), "the lengths are 5 to 6 for x of 5 steps; exp"),
        (dict(function=LSTM, x=X, lengths=[5, 0]), "the lengths are 0 to 5 for x of 5 steps; exp"),
        (
            dict(function=LSTM, x=torch.nn.utils.rnn.pack_padded_sequence(X, [5, 2])),
            "x is a PackedSequence; give the padded batch [T, B, I] and lengths=",
        ),
        (dict(function=LSTM, x=X, d_output=X), "d_output has shape [5, 2, 3], expected [5, 2, 4]"),
        (
            dict(function=LSTM, x=X, d_state=(X, X)),
            "d_state has shape [5, 2, 3], expected [1, 2, 4]",
        ),
        (dict(function=torch.nn.GRU(3, 4), x=X, d_state=(X, X)), "d_state has 2 arrays, expected"),
    ],
)
def test_contradictions_are_one_sentence(arguments, words):
    with pytest.raises(ValueError) as raised:
        bptt_oracle.judge(**arguments)
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(function=torch.nn.LSTM), "the class LSTM came; give an instance of it"),
        (dict(x=X.tolist(), lengths=[5, 2]), "x is float64, and the parameters are float32"),
        (dict(x=[[1.0, 2.0], [3.0]]), "a list that makes no array came; expected an array"),
        (dict(x=X.to("meta")), "a tensor of torch.strided on meta came; expected a dense one"),
        (dict(x=X.to_sparse()), "a tensor of torch.sparse_coo on cpu came; expected a dense one"),
        (dict(x=torch.randn(5, 2, 7)), "x has shape [5, 2, 7], expected 3 features, because"),
        (dict(x=X[:, 0], lengths=[5, 5, 5]), "lengths came for x of shape [5, 3]; give [T, B, I]"),
        (dict(x=X[:, :0], lengths=[]), "lengths came for x of shape [5, 0, 3]; give [T, B, I]"),
        (dict(lengths=[]), "0 lengths came for 2 rows; give one for each"),
        (dict(lengths=[5, 2.5]), "a length is 2.5; give a whole number for each row"),
        (dict(lengths=torch.tensor([5.0, 2.0])), "a length is tensor(5.); give a whole number"),
        (dict(lengths=["5", "2"]), "a length is '5'; give a whole number for each row"),
        (dict(lengths=5), "lengths is 5; give a whole number for each row"),
        (dict(lengths=torch.tensor(5)), "lengths is 5; give a whole number for each row"),
        (dict(params=[*PARAMS.values()]), "params is a list; give arrays or tensors by torch's"),
        (dict(params=PARAMS | {3: X}), "3 came, and the parameters are weight_ih_l0, "),
        (dict(params=PARAMS | {"weight_ih_l0": X[0, 0]}), "weight_ih_l0 has shape [3], expected t"),
        (dict(params=PARAMS | {"weight_hr_l0": X.sum()}), "weight_hr_l0 has shape [], expected tw"),
        (dict(params=PARAMS | {"bias_ih_l0": "zeros"}), "the dtypes are <U5, float32; expected o"),
        (dict(cell=["LSTM"]), "the cell is ['LSTM']; give cell=, one of RNN_TANH"),
        (dict(function=torch.nn.GRU(3, 4), state=(X, X)), "the state has 2 arrays, expected 1"),
        (
            dict(function=torch.nn.LSTM(3, 4, batch_first=True), lengths=[2] * 5, d_output=[1.0]),
            "d_output has shape [1], expected [2, 5, 4]",
        ),
    ],
)
def test_arguments_of_another_form_are_one_sentence(arguments, words):
    """Of another type, with other dimensions, or with numbers that int() would round."""
    if "params" in arguments:
        arguments = {"cell": "LSTM", **arguments}
    with pytest.raises(ValueError) as raised:
        bptt_oracle.judge(**{"function": LSTM, "x": X, **arguments})
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "returned, words",
    [
        ((), "the function returned 0 values; expected the output, or (output, h_n), or"),
        ((OUTPUT, 3), "the state of LSTM is a int, expected two, (h, c)"),
        ((OUTPUT, OUTPUT.sum()), "the state of LSTM is a Tensor, expected two, (h, c)"),
        ((OUTPUT, {}), "the state of LSTM is a dict, expected two, (h, c)"),
        (OUTPUT.to_sparse(), "a tensor of torch.sparse_coo on cpu came; expected a dense one"),
    ],
)
@pytest.mark.parametrize("lengths", [None, [5, 2]])
def test_results_of_another_form_are_one_sentence(returned, words, lengths):
    with pytest.raises(ValueError) as raised:
        bptt_oracle.judge(lambda x: returned, X, params=PARAMS, cell="LSTM", lengths=lengths)
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("lengths", [[5, 2], (2, 5), np.array([5, 2]), torch.tensor([5, 2])])
def test_lengths_of_every_integer_type_are_taken(lengths):
    assert bptt_oracle.judge(LSTM, X, lengths=lengths)


def test_lists_are_taken_as_arrays():
    net, d_output = torch.nn.LSTM(3, 4).double(), np.ones((5, 2, 4)).tolist()
    assert bptt_oracle.judge(net, X.tolist(), lengths=[5, 2], d_output=d_output)


@pytest.mark.parametrize("kind", sorted(MODULES))
def test_a_batch_without_rows_has_gradients_of_zero(kind):
    judgement = bptt_oracle.judge(MODULES[kind](3, 4), torch.zeros(5, 0, 3))
    assert judgement and set(judgement.R.values()) == {0.0}


def test_numbers_that_hide_everything_are_reported_as_such():
    judgement = bptt_oracle.judge(torch.nn.LSTM(3, 4), X * float("nan"))
    assert judgement.verdict == "untrusted"
    assert str(judgement).splitlines()[-1].startswith("untrusted: rounding, or NaN in the truth, ")


def test_errors_of_one_call_are_not_named_as_those_of_a_lower_precision():
    torch.manual_seed(0)
    module, params = LSTM, dict(LSTM.named_parameters())
    for change in (0.999, 0.9999):
        judgement = bptt_oracle.judge(
            lambda x, c=change: module(c * x), X, params=params, cell="LSTM"
        )
        assert judgement.verdict == "fault" and judgement.mistakes == ()


def test_bfloat16_is_judged_in_its_own_rounding():
    module = torch.nn.GRU(3, 4, dtype=torch.bfloat16)
    judgement = bptt_oracle.judge(module, X.bfloat16())
    assert judgement and max(judgement.R.values()) < 16


def test_weights_of_one_row_permuted_are_a_fault():
    module = torch.nn.LSTM(3, 4)
    params = {n: p.detach().clone() for n, p in module.named_parameters()}
    params["weight_hh_l0"][[0, 1]] = params["weight_hh_l0"][[1, 0]]
    assert not bptt_oracle.judge(module, X, params=params, cell="LSTM")


def test_numbers_that_are_not_finite_decide_nothing():
    """Whatever a module returns, where the truth is NaN everywhere."""
    x = torch.full((5, 2, 3), torch.nan)
    judgement = bptt_oracle.judge(LSTM, x)
    assert judgement.verdict == "untrusted" and not judgement
    x = X.clone()
    x[4, 0, 0] = torch.nan  # the output before it is finite
    judgement = bptt_oracle.judge(LSTM, x)
    assert judgement.verdict == "agree" and np.isnan(judgement.R["d_weight_ih_l0"])


def in_gate_order(module, order):
    """The module as a function of x that reads the blocks of its parameters in another order."""

    def read(p):
        return torch.cat([p.chunk(4)[k] for k in order])

    def function(x):
        own = {name: read(p) for name, p in module.named_parameters()}
        return torch.func.functional_call(module, own, (x,))

    return function


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "shape", "lengths"),
    [
        ({}, (5, 2, 3), None),
        ({"batch_first": True}, (2, 5, 3), None),
        ({}, (5, 3), None),
        ({"bidirectional": True}, (5, 2, 3), [3, 5]),
        ({"num_layers": 2, "bias": False}, (5, 2, 3), None),
    ],
    ids=["time", "batch", "unbatched", "lengths", "layers"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_known_mistake_is_named(options, shape, lengths, dtype):
    torch.manual_seed(0)
    module = torch.nn.LSTM(3, 4, dtype=dtype, **options)
    judgement = bptt_oracle.judge(
        in_gate_order(module, (0, 1, 3, 2)),
        torch.randn(shape, dtype=dtype),
        params=dict(module.named_parameters()),
        cell="LSTM",
        batch_first=options.get("batch_first", False),
        lengths=lengths,
    )
    name = "gate order i f o g in place of i f g o"
    assert judgement.mistakes == (name,)
    assert str(judgement).endswith(f"; this is what a net gives with {name}")


def test_a_mistake_is_named_where_only_values_came():
    torch.manual_seed(0)
    module = torch.nn.LSTM(3, 4)
    wrong = in_gate_order(module, (1, 0, 2, 3))

    def function(x):
        with torch.no_grad():
            output, (h, c) = wrong(torch.from_numpy(x))
        return output.numpy(), (h.numpy(), c.numpy())

    params = {n: p.detach().numpy() for n, p in module.named_parameters()}
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32")
    judgement = bptt_oracle.judge(function, x, params=params, cell="LSTM")
    assert judgement.mistakes == ("gate order f i g o in place of i f g o",)
    assert not judgement.values_only


class Gradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, d):
        return ctx.factor * d, None


def test_values_of_a_mistake_with_gradients_of_none_are_reported_as_such():
    torch.manual_seed(0)
    module = torch.nn.LSTM(3, 4)
    wrong = in_gate_order(module, (0, 1, 3, 2))
    judgement = bptt_oracle.judge(
        lambda x: wrong(Gradient.apply(x, 1.37)),
        torch.randn(5, 2, 3),
        params=dict(module.named_parameters()),
        cell="LSTM",
    )
    name = "gate order i f o g in place of i f g o"
    assert judgement.mistakes == (name,) and judgement.values_only
    assert str(judgement).endswith(
        f"; the values are what a net gives with {name}, but the gradients are not"
    )


def test_numbers_that_fit_several_mistakes_name_all_of_them():
    """A gradient that is halved is that of the mean over two rows."""
    torch.manual_seed(0)
    module = torch.nn.GRU(3, 4)
    judgement = bptt_oracle.judge(
        lambda x: module(Gradient.apply(x, 0.5)),
        torch.randn(5, 2, 3),
        params=dict(module.named_parameters()),
        cell="GRU",
    )
    names = ("the gradient of x halved", "the gradient of x divided by B")
    assert judgement.mistakes == names
    assert str(judgement).endswith(", or ".join(names))


def test_no_mistake_is_named_where_there_is_none_or_comparing_would_take_long():
    torch.manual_seed(0)
    assert bptt_oracle.judge(torch.nn.LSTM(3, 4), torch.randn(5, 2, 3)).mistakes == ()
    for module, x, reason in (
        (
            torch.nn.LSTM(3, 4),
            torch.randn(40, 4, 3),
            "all layers and directions have 40 steps, more",
        ),
        (torch.nn.LSTM(64, 64), torch.randn(9, 4, 64), "1,179,648 products with weights are more"),
        (
            torch.nn.LSTM(3, 4, dtype=torch.bfloat16),
            torch.randn(5, 2, 3, dtype=torch.bfloat16),
            "the numbers are bfloat16, not float32",
        ),
    ):
        function, params = in_gate_order(module, (0, 1, 3, 2)), dict(module.named_parameters())
        judgement = bptt_oracle.judge(function, x, params=params, cell="LSTM")
        assert judgement.verdict == "fault" and judgement.mistakes == ()
        assert f"; it was not compared with the known mistakes, because {reason}" in str(judgement)


@pytest.mark.parametrize("where", ["output", "one element", "h_n", "gradient"])
@pytest.mark.parametrize("module", [torch.nn.RNN(3, 4), torch.nn.GRU(3, 4), torch.nn.LSTM(3, 4)])
def test_not_a_number_is_a_fault_without_a_name(module, where):
    def function(x):
        output, final = module(Gradient.apply(x, float("nan")) if where == "gradient" else x)
        mask = torch.ones_like(output)
        mask[0, 0, 0] = float("nan")
        if where == "h_n":
            h, *c = final if isinstance(final, tuple) else (final,)
            return output, (h * float("nan"), *c) if c else h * float("nan")
        return output * {"output": float("nan"), "one element": mask}.get(where, 1), final

    torch.manual_seed(0)
    params, cell = dict(module.named_parameters()), module.mode
    judgement = bptt_oracle.judge(function, torch.randn(5, 2, 3), params=params, cell=cell)
    assert judgement.verdict == "fault" and judgement.mistakes == ()


@pytest.mark.slow
@pytest.mark.parametrize("T, B, I, H", [(2, 1, 2, 2), (3, 1, 3, 4), (5, 2, 3, 4), (9, 4, 3, 4)])
@pytest.mark.parametrize("factor", [1.1, 1.01, 1.001])
@pytest.mark.parametrize("seed", range(3))
def test_a_mistake_that_is_not_known_has_no_name(T, B, I, H, factor, seed):  # noqa: E741
    """Few elements that are all a little too large look like those of a lower precision."""

    def function(x):
        output, final = module(x)
        return output * factor, final

    torch.manual_seed(seed)
    module = torch.nn.LSTM(I, H)
    params = dict(module.named_parameters())
    judgement = bptt_oracle.judge(function, torch.randn(T, B, I), params=params, cell="LSTM")
    assert judgement.verdict == "fault" and judgement.mistakes == ()
    assert str(judgement).endswith("R above 16 is a fault")


@pytest.mark.parametrize(
    "case",
    [
        Case("LSTM", T=4, B=3, I=2, H=5, layers=2, bidirectional=True, P=2, layout="batch"),
        Case("GRU", T=4, B=3, I=2, H=5, bias=False, layout="packed", lengths=(2, 4, 1)),
        Case("RNN_RELU", T=4, B=1, I=2, H=5, layout="unbatched", state=False),
        Case("GRU_TEXTBOOK", T=3, B=2, I=5, H=5, tied=True, cotangents=("h_n",)),
        Case("LSTM", T=3, B=2, I=4, H=5, cotangents=("output", "c_n")),
    ],
    ids=lambda case: case.id,
)
def test_the_case_of_a_problem_is_the_one_that_it_was_drawn_from(case):
    assert case_of(draw(case)) == case
