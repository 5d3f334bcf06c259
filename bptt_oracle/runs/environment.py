"""The environment of a run: versions, devices, threads, and every flag that changes numbers."""

import os
import platform
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..judging.wide import describe_longdouble
from .files import printable


def environment() -> dict[str, Any]:
    """Names and values, JSON-serialisable, in the order in which they are printed. Control
    characters, which a variable may hold and a run file may not, are spaces."""
    facts: dict[str, Any] = {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "blas (numpy)": _blas(),
        "blas (torch)": _built_with(r"BLAS_INFO=(\w+)"),
        "mkl (torch)": _built_with(r"(?:Math Kernel Library|oneAPI.*?) Version ([\d.\w-]+)"),
        "onednn": _built_with(r"MKL-DNN v([\d.]+)"),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda or "none",
        "cudnn": _cudnn_version() if torch.cuda.is_available() else "none",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "driver": _driver(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "longdouble": describe_longdouble(),
    }
    return {n: printable(v) if isinstance(v, str) else v for n, v in (facts | _precision()).items()}


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
    match = re.search(pattern, torch.__config__.show())
    return match[1] if match else "none"


def _cudnn_version() -> int | None:
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
    """The flags of reduced precision that this torch has, and the environment variables that change
    numbers."""
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
    variables = (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "MKL_CBWR",
        "ATEN_CPU_CAPABILITY",
        "ONEDNN_MAX_CPU_ISA",
        "ONEDNN_DEFAULT_FPMATH_MODE",
        "NVIDIA_TF32_OVERRIDE",
        "CUBLAS_WORKSPACE_CONFIG",
    )
    return flags | {name: os.environ[name] for name in variables if name in os.environ}
