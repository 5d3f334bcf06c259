"""The execution paths, and when one of them cannot run.

PATHS, which a check runs where the device is available:

    cpu-onednn     nn.LSTM in float32 through oneDNN's fused layer
    cpu-native     nn.RNN, GRU, LSTM in ATen's own code
    cpu-cells      a loop of nn.RNNCell, GRUCell, LSTMCell
    cpu-manual     plain tensor operations, time outside, layers inside
    cpu-onednn-again, cpu-native-again     a module that was called before with other batches and
                   weights; its gradient is taken twice, and the second is judged
    cpu-plain      nn.RNN, GRU, LSTM in bfloat16 and float16, by whichever kernel torch chooses
    cuda-cudnn     the cuDNN kernels, float32 products in float32
    cuda-tf32      the cuDNN kernels, float32 products in TF32
    cuda-native, cuda-cells, cuda-manual        as on the CPU
    mps            nn.RNN, GRU, LSTM on Apple's GPU

OPTIONAL_PATHS, which run only when named. Each calls a net in one variant; those of nn's modules
run whichever kernel torch chooses:

    cpu-functional            parameters passed by torch.func.functional_call
    cpu-eval                  a call in eval mode first, then in training mode
    cpu-thrice                the last of three equal evaluations
    cpu-inference             outputs in inference mode
    cpu-subsets               gradients of every other leaf, then of the remaining ones
    cpu-deterministic         deterministic algorithms, uninitialised memory filled
    cpu-autocast-bfloat16, cpu-autocast-float16     products in a lower dtype, in ATen's own code
    cpu-threads               as many threads as processors, at least two
    cpu-module-compiled, cpu-cells-compiled, cpu-manual-compiled     minutes a case
    cuda-…                    the same except threads, and cuda-cudnn-again
"""

import torch
from torch.torch_version import TorchVersion

from .backend import compiler, cublas_is_deterministic
from .path import ANY, NATIVE, Path
from .problem import Problem
from .variants import VARIANTS

PACKS_IN_ONEDNN = TorchVersion(torch.__version__) >= "2.13"  # not in 2.11; 2.12 was not tested


def _by_name(*paths: Path) -> dict[str, Path]:
    return {path.name: path for path in paths}


def _variants_on(device: str) -> list[Path]:
    """One path for each variant that VARIANTS lists for the device."""
    return [
        Path(
            f"{device}-{name}" if len(row.implementations) == 1 else f"{device}-{how}-{name}",
            device,
            how,
            row.kernels[device],
            variant=name,
        )
        for name, row in VARIANTS.items()
        if device in row.kernels
        for how in row.implementations
    ]


PATHS = _by_name(
    Path("cpu-onednn", "cpu", "module", "MkldnnRnn"),
    Path("cpu-native", "cpu", "module", NATIVE),
    Path("cpu-cells", "cpu", "cells", NATIVE),
    Path("cpu-manual", "cpu", "manual", NATIVE),
    Path("cpu-onednn-again", "cpu", "module", "MkldnnRnn", variant="again"),
    Path("cpu-native-again", "cpu", "module", NATIVE, variant="again"),
    Path("cpu-plain", "cpu", "module", ANY, variant="plain"),
    Path("cuda-cudnn", "cuda", "module", "CudnnRnn"),
    Path("cuda-tf32", "cuda", "module", "CudnnRnn", tf32=True),
    Path("cuda-native", "cuda", "module", NATIVE),
    Path("cuda-cells", "cuda", "cells", NATIVE),
    Path("cuda-manual", "cuda", "manual", NATIVE),
    Path("mps", "mps", "module", NATIVE),
)
OPTIONAL_PATHS = _by_name(
    *_variants_on("cpu"),
    *_variants_on("cuda"),
    Path("cuda-cudnn-again", "cuda", "module", "CudnnRnn", variant="again"),
)


def path_named(name: str) -> Path:
    """The path with that name, optional or not. Raises KeyError if there is none."""
    return PATHS[name] if name in PATHS else OPTIONAL_PATHS[name]


def devices() -> dict[str, str]:
    """For each kind of device the reason why it cannot be used; empty if it can."""
    return {
        "cpu": "",
        "cuda": "" if torch.cuda.is_available() else "no CUDA device on this machine",
        "mps": "" if torch.backends.mps.is_available() else "no MPS device on this machine",
    }


def exclusion_reason(path: Path, problem: Problem, dtype: str) -> str:
    """Why a path cannot compute a problem in a dtype; empty if it can."""
    net = problem.net
    if path.implementation == "module" and not net.cell.torch:
        return f"torch.nn has no module with the equations of {net.mode}"
    if path.kernel == "MkldnnRnn":
        if net.mode != "LSTM" or dtype != "float32":
            return "oneDNN computes only the LSTM in float32"
        if net.proj_size or net.dropout:
            return "oneDNN leaves projections and dropout to ATen"
        lengths = problem.lengths
        if lengths is not None and (len(set(lengths)) > 1 or not PACKS_IN_ONEDNN):
            return "oneDNN leaves packed batches to ATen; from torch 2.13 on, only unequal lengths"
        if not torch.backends.mkldnn.is_available():
            return "this build of torch has no oneDNN"
    if path.implementation == "cells" and net.mode == "LSTM" and net.proj_size:
        return "nn.LSTMCell has no projection"
    if path.implementation == "manual" and net.bidirectional:
        return "a loop with time outside and layers inside runs in one direction only"
    if path.device == "cuda" and path.implementation == "module" and net.dropout not in (0, 1):
        return "the masks that cuDNN draws cannot be read back"
    if path.variant == "plain" and dtype in ("float32", "float64"):
        return "in this dtype torch chooses what is cpu-onednn or cpu-native"
    if path.tf32 and dtype != "float32":
        return "TF32 is a rounding of float32"
    if path.device == "mps" and dtype == "float64":
        return "MPS has no float64"
    return _variant_exclusion_reason(path, problem, dtype)


def _variant_exclusion_reason(path: Path, problem: Problem, dtype: str) -> str:
    """Why the path's variant cannot be used; empty if it can."""
    autocast = path.variant.startswith("autocast")
    if autocast and dtype != "float32":
        return "autocast lowers float32"
    if autocast and problem.net.dropout not in (0, 1):
        return "torch draws different masks in the lower dtype"
    if path.variant == "deterministic" and path.device == "cuda" and not cublas_is_deterministic():
        return "cuBLAS is deterministic only if CUBLAS_WORKSPACE_CONFIG=:4096:8 is set"
    if path.variant == "compiled" and not compiler():
        return "this machine has no C++ compiler"
    return ""
