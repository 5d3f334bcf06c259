"""The roads on which PyTorch can compute the same net, each proved to have been taken.

    cpu-onednn     nn.LSTM in float32 through oneDNN's fused layer
    cpu-native     nn.RNN, GRU, LSTM in ATen's own code
    cpu-cells      a loop of nn.RNNCell, GRUCell, LSTMCell
    cpu-manual     plain tensor operations, time outside, layers inside
    cpu-onednn-again, cpu-native-again     a module called before, with other weights, lengths and
                   batch, then given its weights; its gradient taken twice, and the second judged
    cuda-cudnn     the cuDNN kernels, float32 products in float32
    cuda-tf32      the cuDNN kernels, float32 products in TF32
    cuda-native, cuda-cells, cuda-manual        as on the CPU
    mps            nn.RNN, GRU, LSTM on Apple's GPU

A path says for which problems it exists, sets its flags, and afterwards reads from the flags and
from the graph of autograd whether it was really the one.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .calls import Call, Way, call_of, earlier, time_major, way
from .problem import Problem

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Path(NamedTuple):
    """One way to compute a net."""

    name: str
    device: str
    run: str  # module, cells or manual
    kernel: str  # what must be among the nodes of the graph; empty for none of the fused ones
    tf32: bool = False
    again: bool = False


class Run(NamedTuple):
    """What came out: arrays by name, and the road as read back."""

    results: dict[str, np.ndarray]
    road: str


PATHS = {
    path.name: path
    for path in (
        Path("cpu-onednn", "cpu", "module", "MkldnnRnn"),
        Path("cpu-native", "cpu", "module", ""),
        Path("cpu-cells", "cpu", "cells", ""),
        Path("cpu-manual", "cpu", "manual", ""),
        Path("cpu-onednn-again", "cpu", "module", "MkldnnRnn", again=True),
        Path("cpu-native-again", "cpu", "module", "", again=True),
        Path("cuda-cudnn", "cuda", "module", "CudnnRnn"),
        Path("cuda-tf32", "cuda", "module", "CudnnRnn", tf32=True),
        Path("cuda-native", "cuda", "module", ""),
        Path("cuda-cells", "cuda", "cells", ""),
        Path("cuda-manual", "cuda", "manual", ""),
        Path("mps", "mps", "module", ""),
    )
}
_FUSED = ("MkldnnRnn", "CudnnRnn", "MiopenRnn")


class WrongRoad(RuntimeError):
    """The path set out for was not the one taken."""


def devices() -> dict[str, str]:
    """Every kind of device, and why it cannot be used; empty where it can."""
    return {
        "cpu": "",
        "cuda": "" if torch.cuda.is_available() else "no CUDA device on this machine",
        "mps": "" if torch.backends.mps.is_available() else "no MPS device on this machine",
    }


def excluded(path: Path, problem: Problem, dtype: str) -> str:
    """Why a path does not exist for a problem; empty where it does."""
    net = problem.net
    if path.kernel == "MkldnnRnn":
        if net.mode != "LSTM" or dtype != "float32":
            return "oneDNN computes the LSTM in float32"
        if net.proj_size or net.dropout or problem.lengths is not None:
            return "oneDNN leaves projections, dropout and packed data to ATen"
        if not torch.backends.mkldnn.is_available():
            return "this build of torch has no oneDNN"
    if path.run == "cells" and net.mode == "LSTM" and net.proj_size:
        return "nn.LSTMCell has no projection"
    if path.run == "manual" and net.bidirectional:
        return "time outside and layers inside goes one way only"
    if path.device == "cuda" and path.run == "module" and net.dropout not in (0, 1):
        return "the masks that cuDNN draws cannot be read back"
    if path.tf32 and dtype != "float32":
        return "TF32 is a rounding of float32"
    if path.device == "mps" and dtype == "float64":
        return "MPS has no float64"
    return ""


def unit_roundoff(path: Path, dtype: str) -> float:
    """Half the distance from 1 to the next number that the path's products tell apart."""
    return 2.0**-11 if path.tf32 else {"float32": 2.0**-24, "float64": 2.0**-53}[dtype]


def run(
    path: Path,
    problem: Problem,
    dtype: str,
    masks: Sequence[np.ndarray] = (),
    wrap: Callable[[Way], Way] | None = None,
) -> Run:
    """Outputs, final states and all gradients by name, computed on that path.

    Names are output, h_n, c_n, d_x, d_h_0, d_c_0 and d_ before a parameter's name. `masks` are
    `dropout_masks` of the same problem. `wrap` puts something around the path's own way
    to answer a call: a planted mistake. Raises WrongRoad when torch went another way.
    """
    tensor = _tensors(path, dtype)
    with _flags(path):
        call = call_of(problem, tensor, masks)
        forward = way(path.run)
        if wrap is not None:
            forward = wrap(forward)
        if path.again:
            _live(forward, call)
        if problem.net.dropout:
            torch.manual_seed(problem.seed)
        output, final = forward(call)
        values = [output, *final]
        cotangents = [problem.d_output, *problem.d_state]
        wanted = [
            (v, tensor(d, problem.strided))
            for v, d in zip(values, cotangents, strict=True)
            if d is not None
        ]
        road = _road(path, [v for v, _ in wanted])
        state, params = call.state or [], call.params
        inputs = [call.x, *state, *params.values()]
        for keep in (True, False) if path.again else (False,):
            grads = torch.autograd.grad(
                [v for v, _ in wanted],
                inputs,
                [d for _, d in wanted],
                retain_graph=keep,
                allow_unused=True,
            )
    names = ["output", "h_n", "c_n"][: len(values)]
    names += ["d_x", *["d_h_0", "d_c_0"][: len(state)], *(f"d_{n}" for n in params)]
    outcome = [
        *values,
        *(torch.zeros_like(i) if g is None else g for g, i in zip(grads, inputs, strict=True)),
    ]
    results = {
        name: value.detach().cpu().numpy() for name, value in zip(names, outcome, strict=True)
    }
    return Run(results, road)


def dropout_masks(problem: Problem, dtype: str) -> list[np.ndarray]:
    """The masks of zeros and ones that torch's CPU code draws for a problem, one per layer but
    the last, in the layout of the padded output."""
    net = problem.net
    if not net.dropout:
        return []
    D, F = 1 + net.bidirectional, getattr(net, "proj_size", 0) or net.hidden_size
    T = len(time_major(problem, problem.x))
    B = time_major(problem, problem.x).shape[1]
    packed = None
    shape: tuple[int, ...] = (T, B, D * F) if problem.x.ndim == 3 else (T, 1, D * F)
    if problem.lengths is not None:
        packed = pack_padded_sequence(
            torch.zeros(T, B, D * F),
            torch.tensor(problem.lengths),
            enforce_sorted=problem.enforce_sorted,
        )
        shape = tuple(packed.data.shape)
    torch.manual_seed(problem.seed)
    masks = []
    for _ in range(net.num_layers - 1):
        kept = torch.nn.functional.dropout(torch.ones(shape, dtype=DTYPES[dtype]), net.dropout)
        if packed is not None:
            kept, _ = pad_packed_sequence(packed._replace(data=kept))
        mask = (kept != 0).double().numpy()
        mask = mask[:, 0] if problem.x.ndim == 2 else mask
        masks.append(mask.swapaxes(0, 1) if net.batch_first and mask.ndim == 3 else mask)
    return masks


def _tensors(path: Path, dtype: str) -> Callable[..., torch.Tensor]:
    """What makes a tensor of an array; a strided one is not contiguous, NaN between its numbers."""
    kind, device = DTYPES[dtype], torch.device(path.device)

    def tensor(array: np.ndarray, strided: bool = False) -> torch.Tensor:
        value = torch.from_numpy(array).to(device, kind)
        if strided and value.dim() > 1:
            wider = torch.stack([value, torch.full_like(value, float("nan"))], dim=-1)
            value = wider.transpose(0, 1).contiguous().transpose(0, 1)[..., 0]
        return value

    return tensor


def _live(forward: Way, call: Call) -> None:
    """The calls before the one that counts: a gradient taken, weights replaced, then updated in
    place as an optimiser does."""
    meant = {name: p.detach().clone() for name, p in call.params.items()}
    others: dict[str, torch.Tensor] = {
        name: torch.nn.Parameter(-0.5 * p) for name, p in meant.items()
    }
    before = earlier(call)
    output, _ = forward(before._replace(params=others))
    torch.autograd.grad(output.sum(), list(others.values()), allow_unused=True)
    with torch.no_grad():
        for p in call.params.values():
            p.mul_(0.75)
        forward(before._replace(params=call.params))
        for name, p in call.params.items():
            p.copy_(meant[name])


@contextmanager
def _flags(path: Path) -> Iterator[None]:
    """The backend's switches set as the path wants them, and back."""
    with ExitStack() as stack:
        if path.device == "cpu":
            enabled = path.kernel == "MkldnnRnn"
            with warnings.catch_warnings():  # it speaks of Intel GPUs, whichever flag is set
                warnings.simplefilter("ignore")
                stack.enter_context(torch.backends.mkldnn.flags(enabled=enabled))
        if path.device == "cuda":
            enabled = path.kernel == "CudnnRnn"
            stack.enter_context(torch.backends.cudnn.flags(enabled=enabled))
            stack.enter_context(_tf32(path.tf32))
        yield


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """TF32 in the products of float32, allowed or not, and back."""
    rnn: Any = getattr(torch.backends.cudnn, "rnn", None)
    matmul = torch.backends.cuda.matmul
    if hasattr(rnn, "fp32_precision"):  # torch 2.9 and later; the two ways must not be mixed
        switches: list[tuple[Any, str, Any]] = [
            (rnn, "fp32_precision", "tf32" if allowed else "ieee"),
            (matmul, "fp32_precision", "tf32" if allowed else "ieee"),
        ]
    else:
        switches = [
            (torch.backends.cudnn, "allow_tf32", allowed),
            (matmul, "allow_tf32", allowed),
        ]
    before = [getattr(owner, name) for owner, name, _ in switches]
    for owner, name, value in switches:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(switches, before, strict=True):
            setattr(owner, name, value)


def _road(path: Path, values: Sequence[torch.Tensor]) -> str:
    """The fused kernel in the graph, or `native`. Raises WrongRoad when it is not the path's."""
    names = graph_nodes(values)
    fused = sorted(name for name in names if name.startswith(_FUSED))
    if path.kernel and not any(name.startswith(path.kernel) for name in fused):
        raise WrongRoad(
            f"{path.name} should run {path.kernel}, but the graph holds none of it; "
            "the flags of this build of torch do not reach that kernel"
        )
    if not path.kernel and fused:
        raise WrongRoad(f"{path.name} should run no fused kernel, but the graph holds {fused[0]}")
    precision = "tf32" if path.tf32 else "ieee"
    rnn: Any = getattr(torch.backends.cudnn, "rnn", None)
    if path.device == "cuda" and hasattr(rnn, "fp32_precision") and rnn.fp32_precision != precision:
        raise WrongRoad(f"{path.name} asked for {precision}, but cuDNN says {rnn.fp32_precision}")
    return fused[0] if fused else "native"


def graph_nodes(values: Sequence[torch.Tensor]) -> set[str]:
    """The names of all nodes that autograd holds behind some values."""
    todo = [value.grad_fn for value in values]
    seen: set[Any] = set()
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo.extend(following for following, _ in node.next_functions)
    return {node.name() for node in seen}
