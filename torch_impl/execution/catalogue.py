"""The execution paths, and when one of them cannot run.

PATHS, which a check runs where the device is available:

    cpu-onednn     nn.LSTM in float32 through oneDNN's fused layer
    cpu-native     nn.RNN, GRU, LSTM in ATen's own code
    cpu-cells      a loop of nn.RNNCell, GRUCell, LSTMCell
    cpu-manual     plain tensor operations, time outside, layers inside
    cpu-onednn-again, cpu-native-again     the same after a call with other batches and weights;
                   two backward passes through one graph, of which the second is judged
    cpu-plain      nn.RNN, GRU, LSTM in bfloat16 and float16; torch chooses the kernel
    cuda-cudnn     the cuDNN kernels, products of float32 computed in float32
    cuda-tf32      the cuDNN kernels, products of float32 computed in TF32
    cuda-native, cuda-cells, cuda-manual        as on the CPU
    mps            nn.RNN, GRU, LSTM on Apple's GPU

OPTIONAL_PATHS, which run only when named or chosen by `--path all`. Each calls a net in one
variant, and torch chooses the kernel unless the row names it:

    cpu-functional            parameters passed by torch.func.functional_call
    cpu-eval                  a call in eval mode first, then in training mode
    cpu-thrice                three equal evaluations, of which the last is judged
    cpu-inference             outputs in inference mode, gradients of a second call outside it
    cpu-subsets               gradients of every second tensor, then of the remaining ones
    cpu-deterministic         deterministic algorithms; torch fills uninitialised memory
    cpu-autocast-bfloat16, cpu-autocast-float16     products in a lower dtype, in ATen's own code
    cpu-threads               one thread for each processor, at least two
    cpu-module-compiled, cpu-cells-compiled, cpu-manual-compiled     torch.compile, minutes for
                              each case; not part of `--path all`
    cuda-…                    the same except threads; under autocast torch chooses the kernel
    cuda-cudnn-again          as cpu-onednn-again, with the cuDNN kernels
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
            f"{device}-{name}"
            if len(row.implementations) == 1
            else f"{device}-{implementation}-{name}",
            device,
            implementation,
            row.kernels[device],
            variant=name,
        )
        for name, row in VARIANTS.items()
        if device in row.kernels
        for implementation in row.implementations
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
    """By kind of device, the reason why it cannot be used here; an empty string if it can."""
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
            return "this path runs only the LSTM in float32 through oneDNN"
        if net.proj_size or net.dropout:
            return "ATen, not oneDNN, computes LSTMs with a projection or dropout"
        lengths = problem.lengths
        if lengths is not None and len(set(lengths)) > 1:
            return "ATen, not oneDNN, computes packed batches of unequal lengths"
        if lengths is not None and not PACKS_IN_ONEDNN:
            return "before torch 2.13, ATen, not oneDNN, computes packed batches"
        if not torch.backends.mkldnn.is_available():
            return "this build of torch has no oneDNN"
    if path.implementation == "cells" and net.mode == "LSTM" and net.proj_size:
        return "nn.LSTMCell has no projection"
    if path.implementation == "manual" and net.bidirectional:
        return "a loop with time outside and layers inside runs in one direction only"
    if path.device == "cuda" and path.implementation == "module" and net.dropout not in (0, 1):
        return "the dropout masks that a module draws on CUDA cannot be read back"
    if path.variant == "plain" and dtype in ("float32", "float64"):
        return "in this dtype the path of torch's module is cpu-onednn or cpu-native"
    if path.tf32 and dtype != "float32":
        return "TF32 applies only to products of float32"
    if path.device == "mps" and dtype == "float64":
        return "MPS has no float64"
    return _variant_exclusion_reason(path, problem, dtype)


def _variant_exclusion_reason(path: Path, problem: Problem, dtype: str) -> str:
    """Why the path's variant cannot be used; empty if it can."""
    autocast = path.variant.startswith("autocast")
    if autocast and dtype != "float32":
        return "autocast lowers the precision of float32 only"
    if autocast and problem.net.dropout not in (0, 1):
        return "torch draws different dropout masks in the lower dtype"
    if path.variant == "deterministic" and path.device == "cuda" and not cublas_is_deterministic():
        return "cuBLAS is deterministic only if CUBLAS_WORKSPACE_CONFIG=:4096:8 is set"
    if path.variant == "compiled" and not compiler():
        return "this machine has no C++ compiler"
    return ""
