"""The environment of a run: versions, devices, threads, and every flag that changes numbers."""

import os
import platform
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ..implementations.implementation import Implementation
from ..judging.wide import describe_longdouble
from .files import printable

VARIABLES = (  # of the environment, which change numbers
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "MKL_CBWR",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG",
    "XLA_FLAGS",
)


def environment(*implementations: Implementation) -> dict[str, Any]:
    """Names and values, JSON-serialisable, in the order in which they are printed. Control
    characters, which a variable may hold and a run file may not, are spaces. Where torch is not
    installed, the facts about it are missing."""
    facts: dict[str, Any] = {one.name: one.version() or "–" for one in implementations}
    torch_version = _torch_version()
    facts |= {"torch": torch_version} if torch_version else {}
    facts |= {
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
    }
    if torch_version:
        facts |= _facts_of_torch()
    facts |= {"blas (numpy)": _blas(), "driver": _driver(), "longdouble": describe_longdouble()}
    facts |= {name: os.environ[name] for name in VARIABLES if name in os.environ}
    return {n: printable(v) if isinstance(v, str) else v for n, v in facts.items()}


def _torch_version() -> str:
    """The version of torch; empty if it cannot be imported."""
    try:
        import torch
    except ImportError:
        return ""
    return str(torch.__version__)


def _facts_of_torch() -> dict[str, Any]:
    """What torch was built with, its devices, threads and switches."""
    import torch

    return {
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "blas (torch)": _built_with(r"BLAS_INFO=(\w+)"),
        "mkl (torch)": _built_with(r"(?:Math Kernel Library|oneAPI.*?) Version ([\d.\w-]+)"),
        "onednn": _built_with(r"MKL-DNN v([\d.]+)"),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda or "none",
        "cudnn": _cudnn_version() if torch.cuda.is_available() else "none",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        **_precision(),
    }


def _cpu() -> str:
    """The name of the processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _blas() -> str:
    """The library of NumPy's matrix products."""
    config: dict[str, Any] = np.show_config(mode="dicts") or {}  # type: ignore[assignment]
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def _built_with(pattern: str) -> str:
    """The part of torch's build configuration that a pattern captures."""
    import torch

    match = re.search(pattern, torch.__config__.show())
    return match[1] if match else "none"


def _cudnn_version() -> int | None:
    import torch

    version: Callable[[], int | None] = torch.backends.cudnn.version
    return version()


def _driver() -> str:
    """The version of NVIDIA's driver, which only Linux reports."""
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8") as lines:
            match = re.search(r"\d+\.\d+(\.\d+)?", next(lines))
            return match[0] if match else "unknown"
    except (OSError, StopIteration):
        return "none"


def _precision() -> dict[str, str]:
    """The flags of reduced precision that this torch has."""
    import torch

    flags: dict[str, str] = {"matmul precision": torch.get_float32_matmul_precision()}
    for name in ("cudnn.rnn", "cuda.matmul", "mkldnn.rnn", "mkldnn.matmul"):
        owner: Any = torch.backends
        for part in name.split("."):
            owner = getattr(owner, part, None)
        if hasattr(owner, "fp32_precision"):
            flags[f"{name} float32"] = str(owner.fp32_precision)
    if not hasattr(getattr(torch.backends.cudnn, "rnn", None), "fp32_precision"):
        flags["cudnn allow_tf32"] = str(torch.backends.cudnn.allow_tf32)
    for name in ("enabled", "benchmark", "deterministic"):
        flags[f"cudnn {name}"] = str(getattr(torch.backends.cudnn, name))
    for name in ("fp16", "bf16"):
        reduced = f"allow_{name}_reduced_precision_reduction"
        flags[f"cuda.matmul {name} reduction"] = str(getattr(torch.backends.cuda.matmul, reduced))
    return flags
