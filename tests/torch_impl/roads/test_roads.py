"""Roads agree with truth, detect what is planted on them, and raise if torch took another road."""

import copy
import logging

import numpy as np
import pytest
import torch
from packaging.version import Version
from torch.autograd import forward_ad

from bptt_oracle.cases.case import Case, draw
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.implementations.torch_paths import torch_path
from bptt_oracle.runs.examine import examine
from support.drawn_cases import pinned
from torch_impl.execution.dtypes import array_of
from torch_impl.execution.path import WrongKernel
from torch_impl.roads import checkpointed, directional, exported, quantised, transforms, weights
from torch_impl.roads.catalogue import ROADS, exclusion_reason, path_named, run_path

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
logging.getLogger("torch.onnx").setLevel(logging.ERROR)
COMPILE = {name for name in ROADS if "inductor" in name or "aot" in name}
SLOW = COMPILE | {name for name in ROADS if "export" in name or "onnx-" in name}
SLOW -= {"cpu-double-backward-onednn", "cpu-double-vjp-onednn"}
SMALL = [
    Case("LSTM", T=2, B=3, I=2, H=3, cotangents=("output", "h_n", "c_n")),
    Case("GRU", T=4, B=3, I=2, H=3, layers=2, bidirectional=True, layout="batch"),
    Case("LSTM", T=5, B=3, I=2, H=4, P=2, layout="packed", lengths=(2, 5, 1)),
    Case("RNN_TANH", T=2, B=3, I=2, H=3, layers=2, dropout=0.5, state=False),
    Case("GRU", T=4, B=3, I=2, H=3, layers=2, layout="sorted", lengths=(4, 4, 1), tied=True),
]
EACH = [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in ROADS]


def runs_on(name, cases=SMALL, dtypes=("float32", "float64")):
    """The cases and dtypes in which a road exists."""
    for case in cases:
        for dtype in dtypes:
            problem = draw(case)
            constrain = ROADS[name].constrain
            problem = problem if constrain is None else constrain(problem)
            if not exclusion_reason(path_named(name), problem, dtype):
                yield case, problem, dtype


@pytest.mark.parametrize("name", EACH)
def test_a_road_agrees_with_truth(name, record_cases):
    ran = 0
    for case, _, dtype in list(runs_on(name))[: 1 if name in COMPILE else None]:
        (result,) = examine(case, dtype, [torch_path(name)])
        assert result.verdict in ("agree", "untrusted"), result
        ran += result.verdict == "agree"
    reason = exclusion_reason(path_named(name), draw(SMALL[0]), "float32")
    if not ran and ("installed" in reason or "compiler" in reason or "build" in reason):
        pytest.skip(reason)
    assert ran
    record_cases(name, ran)


@pytest.mark.slow
def test_an_export_to_onnx_leaves_nets_that_can_be_compiled():
    """torch 2.15 keeps the while loop of such an export, and then runs eagerly what it compiles."""
    case = SMALL[0]
    if reason := exclusion_reason(path_named("cpu-onnx-dynamo"), draw(case), "float32"):
        pytest.skip(reason)
    for name in ("cpu-onnx-dynamo", "cpu-aot-eager"):
        (result,) = examine(case, "float32", [torch_path(name)])
        assert result.verdict == "agree", result


def scaled(forward):
    def wrapped(call):
        output, final = forward(call)
        return output * 1.001, [s * 1.001 for s in final]

    return wrapped


@pytest.mark.parametrize("name", [n for n in ROADS if n not in SLOW and n != "cpu-no-rows"])
def test_a_planted_fault_changes_what_a_road_returns(name):
    case, problem, dtype = next(runs_on(name))
    path = path_named(name)
    right, wrong = (run_path(path, problem, dtype, (), wrap).results for wrap in (None, scaled))
    assert right.keys() == wrong.keys()
    for name, value in right.items():
        assert not value.any() or not np.allclose(value, wrong[name], rtol=1e-5, atol=0), name


def one(name):
    """Run the first case on a road."""
    _, problem, dtype = next(runs_on(name))
    return run_path(path_named(name), problem, dtype)


def identity(value, *_, **__):
    return value


DISABLED = [
    ("cpu-deepcopy", copy, "deepcopy", identity),
    ("cpu-saveload", torch, "load", None),
    ("cpu-checkpoint", checkpointed, "checkpoint", lambda f, *args, **_: f(*args)),
    ("cpu-checkpoint-reentrant", checkpointed, "checkpoint", lambda f, *args, **_: f(*args)),
    ("cpu-script", torch.jit, "script", identity),
    ("cpu-trace", torch.jit, "trace", identity),
    ("cpu-script-frozen", torch.jit, "freeze", identity),
    ("cpu-vmap-rows", transforms, "vmap", lambda f, *_: f),
    ("cpu-vmap-nets", transforms, "vmap", lambda f, *_: f),
    ("cpu-forward-ad", forward_ad, "make_dual", identity),
]


@pytest.mark.parametrize("name, owner, attribute, other", DISABLED)
def test_a_road_that_torch_does_not_take_raises(monkeypatch, name, owner, attribute, other):
    if other is None:
        kept = []
        save = lambda value, _: kept.append(value)  # noqa: E731
        monkeypatch.setattr(torch, "save", save)
        other = lambda *_, **__: kept[0]  # noqa: E731
    monkeypatch.setattr(owner, attribute, other)
    with pytest.raises(WrongKernel):
        one(name)


def test_a_net_that_torch_leaves_as_it_is_is_not_quantised(monkeypatch):
    quantization = pytest.importorskip("torch.ao.quantization")
    monkeypatch.setattr(quantization, "quantize_dynamic", identity)
    with pytest.raises(WrongKernel, match="quantised"):
        one("cpu-float16-weights")


class ReadsLater(torch.autograd.Function):
    """The identity, whose backward pass reads its argument again without a check."""

    @staticmethod
    def forward(ctx, p):
        ctx.now, ctx.before = p.data, p.detach().clone()
        return p.view_as(p)

    @staticmethod
    def backward(ctx, grad):
        return grad * (ctx.now / ctx.before)


def test_a_change_in_place_that_torch_does_not_see_is_detected():
    def unseen(forward):
        def wrapped(call):
            params = {name: ReadsLater.apply(p) for name, p in call.params.items()}
            return forward(call._replace(params=params))

        return wrapped

    problem = draw(pinned(cell="GRU", cotangents=("output",)))
    path = path_named("cpu-in-place")
    right = run_path(path, problem, "float64").results
    wrong = run_path(path, problem, "float64", (), unseen).results
    assert any(not np.allclose(right[name], wrong[name]) for name in right if name.startswith("d_"))


@pytest.mark.parametrize("cell", ["GRU", "LSTM"])
@pytest.mark.parametrize("seed", range(8))
def test_dequantised_weights_are_those_of_torch(cell, seed):
    quantization = pytest.importorskip("torch.ao.quantization")
    if torch.backends.quantized.engine not in ("x86", "fbgemm"):
        pytest.skip("this build of torch has no FBGEMM")
    net = getattr(torch.nn, cell)(4, 6)
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_()
            p.mul_(p.flatten()[p.abs().argmax()].sign())  # so that the largest is positive
    lower = quantization.quantize_dynamic(torch.nn.Sequential(net), {type(net)})[0]
    for name, weight in lower.get_weight().items():
        value = array_of(net.get_parameter(name)).astype(np.float64)
        mine = quantised.dequantised(value)
        assert np.array_equal(mine, weight.int_repr().numpy() * weight.q_scale())
        again = quantised._before_quantising(torch.tensor(mine, dtype=torch.float32))
        scale = np.abs(value).max() / 127.5
        assert np.allclose(quantised.dequantised(again.double().numpy()), mine, atol=scale / 1000)


def export_of_any_length(cell):
    """A net and its export with T and B dynamic; the example has T = 5 and B = 2."""
    net = getattr(torch.nn, cell)(3, 4, 2, bidirectional=True)
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    return net, torch.export.export(net, (torch.randn(5, 2, 3),), dynamic_shapes=(sizes,))


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
def test_torch_exports_no_net_of_any_length_without_a_while_loop(cell):
    """The day on which it does, roads.exported needs no while loop, and RNN has any T too."""
    with pytest.raises(Exception, match="marked .* as dynamic but your code specialized it"):
        export_of_any_length(cell)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["GRU", "LSTM"])
def test_torch_exports_gru_and_lstm_of_any_length_with_a_while_loop(cell):
    """After an export without it, too; and the next export has none."""
    if exported.while_loop(cell) is None:
        pytest.skip("this torch has no while loop of GRU and LSTM")
    for _ in range(2):
        with pytest.raises(Exception, match="specialized it"):
            export_of_any_length(cell)
        with exported.while_loop(cell):
            net, program = export_of_any_length(cell)
        module = program.module()
        for T, B in ((5, 2), (7, 3), (1, 1), (2, 4)):
            x = torch.randn(T, B, 3)
            assert torch.equal(module(x)[0], net(x)[0])


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["GRU", "LSTM"])
def test_the_while_loop_is_not_decomposed(cell):
    """The day on which it is, and has gradients, export-decomposed can have any T."""
    if exported.while_loop(cell) is None:
        pytest.skip("this torch has no while loop of GRU and LSTM")
    with exported.while_loop(cell):
        _, program = export_of_any_length(cell)
        if Version(torch.__version__).release < (2, 14):
            with pytest.raises(Exception, match="val field|constants dictionary"):
                program.run_decompositions()
        else:
            module = program.run_decompositions().module()
            assert not module(torch.randn(7, 3, 3))[0].requires_grad


def test_torch_has_no_while_loop_of_rnn():
    """The day on which it has one, roads.exported takes it, and the page should say so."""
    assert exported.while_loop("RNN_TANH") is exported.while_loop("RNN") is None


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["GRU", "LSTM", "RNN_TANH"])
@pytest.mark.parametrize("T, B", [(1, 1), (2, 4), (3, 2)])
def test_an_export_is_called_at_other_sizes_than_the_example(monkeypatch, cell, T, B):
    shapes = []
    export = torch.export.export

    def recorded(net, example, **options):
        shapes.append(example[0].shape)
        return export(net, example, **options)

    monkeypatch.setattr(torch.export, "export", recorded)
    case = pinned(cell=cell, T=T, B=B, cotangents=("output",), seed=9)
    for _ in range(2):  # the second export does not depend on the first
        (result,) = examine(case, "float64", [torch_path("cpu-export")])
        assert result.verdict == "agree", result
    of_any_length = exported.while_loop(cell) is not None
    for steps, rows, _ in shapes:
        assert rows != B and (steps != T) == of_any_length


def test_a_road_that_takes_some_cases_takes_every_cell():
    """An even number of them would leave out GRU, which the corpus has at odd seeds."""
    cells = {name: set() for name, road in ROADS.items() if road.every > 1}
    for case in corpus(600):
        for name in cells:
            if case.seed % ROADS[name].every == 0:
                cells[name].add(case.cell)
    assert len(cells) > 5
    assert all({"GRU", "LSTM"} < found for found in cells.values()), cells


def test_weights_of_a_weight_norm_with_a_zero_row_are_excluded():
    problem = draw(pinned())
    problem.params["weight_hh_l0"][0] = 0
    path = path_named("cpu-weightnorm-new")
    assert "zeros" in exclusion_reason(path, weights.norm_weights(problem), "float32")


def test_a_road_that_takes_seconds_takes_some_cases_only():
    name = next(n for n, road in ROADS.items() if road.every > 1)
    path = path_named(name)
    reason = exclusion_reason(path, draw(SMALL[0]._replace(seed=1)), "float32")
    assert f"one of {ROADS[name].every}" in reason


def test_every_road_says_what_it_is_and_runs_a_known_dtype():
    assert len(ROADS) > 40
    assert len({road.what for road in ROADS.values()}) == len(ROADS)
    assert all(set(road.dtypes) <= {"float32", "float64"} for road in ROADS.values())


def test_forward_mode_packs_by_indices_because_torch_has_none_of_pack_padded_sequence():
    case = pinned(cell="GRU", layout="packed", lengths=(2, 5, 1), cotangents=("output",))
    problem = directional.with_direction(draw(case))
    assert run_path(path_named("cpu-forward-ad"), problem, "float64").results["t_output"].any()
    lengths = torch.tensor([5, 2, 1])
    with forward_ad.dual_level(), pytest.raises(NotImplementedError):
        dual = forward_ad.make_dual(torch.randn(5, 3, 4), torch.randn(5, 3, 4))
        torch.nn.utils.rnn.pack_padded_sequence(dual, lengths)
