"""The roads on which PyTorch can compute the same net, each proved to have been taken.

    cpu-onednn     nn.LSTM in float32 through oneDNN's fused layer
    cpu-native     nn.RNN, GRU, LSTM in ATen's own code
    cpu-cells      a loop of nn.RNNCell, GRUCell, LSTMCell
    cpu-manual     plain tensor operations, time outside, layers inside
    cpu-onednn-again, cpu-native-again     a module called before, with a smaller batch and a
                   larger packed one and other weights; its gradient taken twice, the second judged
    cpu-plain      nn.RNN, GRU, LSTM in bfloat16 and float16, by whichever kernel torch chooses
    cuda-cudnn     the cuDNN kernels, float32 products in float32
    cuda-tf32      the cuDNN kernels, float32 products in TF32
    cuda-native, cuda-cells, cuda-manual        as on the CPU
    mps            nn.RNN, GRU, LSTM on Apple's GPU

More, for who asks by name: nn's modules by whichever kernel torch chooses, called in another way

    cpu-functional cpu-eval cpu-thrice cpu-inference cpu-subsets       see ways
    cpu-autocast-bfloat16 cpu-autocast-float16                         products in a lower type
    cpu-deterministic                       deterministic algorithms, uninitialised memory filled
    cpu-threads                             as many threads as processors, two at the least
    cpu-module-compiled cpu-cells-compiled cpu-manual-compiled         minutes a case
    cuda-…                                  the same but threads, and cuda-cudnn-again

A path says for which problems it exists, sets its flags, and afterwards reads from the flags and
from the graph of autograd whether it was really the one.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.torch_version import TorchVersion

from .backend import ANY, WrongKernel, compiler, cublas_is_deterministic, flags, graph_nodes, kernel
from .calls import Call, Forward, call_of, forward_of, larger, seed, smaller, time_major
from .dtypes import DTYPES, UNIT_ROUNDOFF, array_of, stored
from .problem import Problem
from .variants import AROUND_THE_ATTEMPT, AROUND_THE_CALL, plainly, twice

__all__ = [
    "DTYPES",
    "MORE",
    "PATHS",
    "Path",
    "Outcome",
    "WrongKernel",
    "arithmetic",
    "devices",
    "dropout_masks",
    "excluded",
    "graph_nodes",
    "path_named",
    "run",
    "unit_roundoff",
]

KINDS = ("module", "cells", "manual")
PACKS_IN_ONEDNN = TorchVersion(torch.__version__) >= "2.13"  # not in 2.11; 2.12 was not tried


class Path(NamedTuple):
    """One way to compute a net."""

    name: str
    device: str
    implementation: str  # module, cells or manual
    kernel: str  # what must be in the graph; empty for none of the fused ones, ANY for any
    tf32: bool = False
    again: bool = False
    variant: str = ""  # one of ways, or plain, deterministic or threads


class Outcome(NamedTuple):
    """What came out: arrays by name, and the road as read back."""

    results: dict[str, np.ndarray]
    kernel: str


PATHS = {
    path.name: path
    for path in (
        Path("cpu-onednn", "cpu", "module", "MkldnnRnn"),
        Path("cpu-native", "cpu", "module", ""),
        Path("cpu-cells", "cpu", "cells", ""),
        Path("cpu-manual", "cpu", "manual", ""),
        Path("cpu-onednn-again", "cpu", "module", "MkldnnRnn", again=True),
        Path("cpu-native-again", "cpu", "module", "", again=True),
        Path("cpu-plain", "cpu", "module", ANY, variant="plain"),
        Path("cuda-cudnn", "cuda", "module", "CudnnRnn"),
        Path("cuda-tf32", "cuda", "module", "CudnnRnn", tf32=True),
        Path("cuda-native", "cuda", "module", ""),
        Path("cuda-cells", "cuda", "cells", ""),
        Path("cuda-manual", "cuda", "manual", ""),
        Path("mps", "mps", "module", ""),
    )
}

_WAYS = (
    "functional",
    "eval",
    "thrice",
    "inference",
    "subsets",
    "deterministic",
    "autocast-bfloat16",
    "autocast-float16",
    "threads",
    "compiled",
)
MORE = {
    path.name: path
    for path in (
        *(Path(f"cpu-{way}", "cpu", "module", ANY, variant=way) for way in _WAYS[:6]),
        # not through oneDNN: on a processor without bfloat16 its LSTM raises under autocast
        *(Path(f"cpu-{way}", "cpu", "module", "", variant=way) for way in _WAYS[6:8]),
        Path("cpu-threads", "cpu", "module", ANY, variant="threads"),
        *(Path(f"cpu-{run}-compiled", "cpu", run, ANY, variant="compiled") for run in KINDS),
        *(Path(f"cuda-{way}", "cuda", "module", ANY, variant=way) for way in _WAYS[:8]),
        Path("cuda-cudnn-again", "cuda", "module", "CudnnRnn", again=True),
        *(Path(f"cuda-{run}-compiled", "cuda", run, ANY, variant="compiled") for run in KINDS),
    )
}


def path_named(name: str) -> Path:
    """The path of that name, of PATHS or of MORE. Raises KeyError where there is none."""
    return PATHS[name] if name in PATHS else MORE[name]


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
        if net.proj_size or net.dropout:
            return "oneDNN leaves projections and dropout to ATen"
        lengths = problem.lengths
        if lengths is not None and (len(set(lengths)) > 1 or not PACKS_IN_ONEDNN):
            return "oneDNN leaves packs to ATen; from torch 2.13 on, those of unequal lengths"
        if not torch.backends.mkldnn.is_available():
            return "this build of torch has no oneDNN"
    if path.implementation == "cells" and net.mode == "LSTM" and net.proj_size:
        return "nn.LSTMCell has no projection"
    if path.implementation == "manual" and net.bidirectional:
        return "time outside and layers inside goes one way only"
    if path.device == "cuda" and path.implementation == "module" and net.dropout not in (0, 1):
        return "the masks that cuDNN draws cannot be read back"
    if path.variant == "plain" and dtype in ("float32", "float64"):
        return "what torch chooses there is cpu-onednn or cpu-native"
    if path.tf32 and dtype != "float32":
        return "TF32 is a rounding of float32"
    if path.device == "mps" and dtype == "float64":
        return "MPS has no float64"
    return _no_such_way(path, problem, dtype)


def _no_such_way(path: Path, problem: Problem, dtype: str) -> str:
    """Why a net cannot be called in the path's way; empty where it can."""
    lower = path.variant.startswith("autocast")
    if lower and dtype != "float32":
        return "autocast lowers float32"
    if lower and problem.net.dropout not in (0, 1):
        return "the masks drawn in the lower type are others"
    if path.variant == "deterministic" and path.device == "cuda" and not cublas_is_deterministic():
        return "cuBLAS is deterministic only where CUBLAS_WORKSPACE_CONFIG=:4096:8 is set"
    if path.variant == "compiled" and not compiler():
        return "there is no C++ compiler on this machine"
    return ""


def arithmetic(path: Path, dtype: str) -> str:
    """The type that a path computes its products in."""
    if path.variant.startswith("autocast-"):
        return path.variant.removeprefix("autocast-")
    return "tf32" if path.tf32 else dtype


def unit_roundoff(path: Path, dtype: str) -> float:
    """Half the distance from 1 to the next number that the path's products tell apart."""
    return UNIT_ROUNDOFF[arithmetic(path, dtype)]


def run(
    path: Path,
    problem: Problem,
    dtype: str,
    masks: Sequence[np.ndarray] = (),
    wrap: Callable[[Forward], Forward] | None = None,
) -> Outcome:
    """Outputs, final states and all gradients by name, computed on that path.

    Names are output, h_n, c_n, d_x, d_h_0, d_c_0 and d_ before a parameter's name. `masks` are
    `dropout_masks` of the same problem. `wrap` puts something around the path's own way
    to answer a call: a planted mistake. Raises WrongKernel when torch went another way, TypeError
    when it answers in another type than the net's.
    """
    tensor = _tensors(path, dtype)
    kernels = []
    with flags(path):
        call = call_of(problem, tensor, masks)
        forward = forward_of(path.implementation)
        if wrap is not None:
            forward = wrap(forward)
        if path.variant in AROUND_THE_CALL:
            forward = AROUND_THE_CALL[path.variant](forward)
        if path.again:
            _live(forward, call)
        state, params = call.state or [], call.params
        leaves = [call.x, *state, *params.values()]
        cotangents = [
            None if d is None else tensor(d, problem.strided)
            for d in (problem.d_output, *problem.d_state)
        ]

        def attempt() -> list[torch.Tensor]:
            if problem.net.dropout:
                seed(problem.seed, path.device)
            output, final = forward(call)
            values = [output, *final]
            if torch.is_grad_enabled():
                told = [v for v, d in zip(values, cotangents, strict=True) if d is not None]
                kernels.append(kernel(path, told))
            return values

        answer = twice if path.again else AROUND_THE_ATTEMPT.get(path.variant, plainly)
        values, grads = answer(attempt, leaves, cotangents)
    names = ["output", "h_n", "c_n"][: len(values)]
    names += ["d_x", *["d_h_0", "d_c_0"][: len(state)], *(f"d_{n}" for n in params)]
    outcome = [
        *values,
        *(torch.zeros_like(i) if g is None else g for g, i in zip(grads, leaves, strict=True)),
    ]
    for name, value in zip(names, outcome, strict=True):
        if value.dtype != DTYPES[dtype] and not path.variant.startswith("autocast"):
            raise TypeError(f"{name} of a {dtype} net came as {value.dtype}")
    return Outcome(dict(zip(names, map(array_of, outcome), strict=True)), kernels[-1])


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
    seed(problem.seed, "cpu")
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
    """What makes a tensor of an array; a strided one is not contiguous and begins within its
    storage, NaN before and between its numbers."""
    kind, device = DTYPES[dtype], torch.device(path.device)

    def tensor(array: np.ndarray, strided: bool = False) -> torch.Tensor:
        value = torch.from_numpy(stored(array, dtype))
        value = value.to(device, kind, copy=True)  # aligned: MKL's bits may depend on it
        if strided and value.dim() > 1:
            wider = torch.stack([torch.full_like(value, float("nan")), value], dim=-1)
            value = wider.transpose(0, 1).contiguous().transpose(0, 1)[..., 1]
        return value

    return tensor


def _live(forward: Forward, call: Call) -> None:
    """The calls before the one that counts: of a smaller batch, a gradient taken; of a larger and
    packed one, other weights in place; then the weights updated as an optimiser does."""
    meant = {name: p.detach().clone() for name, p in call.params.items()}
    others: dict[str, torch.Tensor] = {
        name: torch.nn.Parameter(-0.5 * p) for name, p in meant.items()
    }
    output, _ = forward(smaller(call)._replace(params=others))
    torch.autograd.grad(output.sum(), list(others.values()), allow_unused=True)
    with torch.no_grad():
        for p in call.params.values():
            p.mul_(0.75)
        forward(larger(call))
        for name, p in call.params.items():
            p.copy_(meant[name])
