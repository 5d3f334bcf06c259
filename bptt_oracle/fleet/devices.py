"""The devices of this machine, what identifies each, and what decides its bits. Imports torch."""

import os
import platform
import re
from typing import Any

import torch

from ..runs.environment import environment
from ..runs.files import printable

DETERMINISTIC = ("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # without it cuDNN's LSTM may vary
_VARIABLES = {  # of the environment, which change the bits of a device
    "cuda": ("CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"),
    "cpu": ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE"),
    "mps": (),
}
MOST_MEMORY = 0.25  # of a device, for the largest case


def list_devices(kind: str) -> list[str]:
    """The devices of a kind, auto for all kinds: "cpu", "cuda:0", "cuda:1", "mps". Initialises
    none of them."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found += ["mps"]
    return [device for device in found if kind in ("auto", device.partition(":")[0])]


def identify(device: str) -> dict[str, str]:
    """What identifies a device: name, uuid, driver, kernel and torch; and of a CPU the cores on
    which this process may run."""
    facts = {"name": "", "uuid": "", "driver": ""}
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(device))
        facts["name"] = properties.name
        uuid = str(getattr(properties, "uuid", ""))
        facts["uuid"] = f"GPU-{uuid}" if uuid else ""
        facts["driver"] = str(environment()["driver"])
    elif device == "mps":
        facts["name"], facts["driver"] = platform.processor(), platform.mac_ver()[0]
    else:
        facts["name"], facts["driver"] = str(environment()["cpu"]), f"microcode {_microcode()}"
        facts["cores"] = _cores()
    facts |= {"kernel": platform.release(), "torch": str(torch.__version__)}
    return {name: printable(value) for name, value in facts.items()}


def cohort_of(device: str, facts: dict[str, str]) -> dict[str, str]:
    """What decides the bits that a device computes: devices with the same entries must agree in
    every bit."""
    known: dict[str, Any] = environment()
    names = ["torch", *(n for n in known if n.startswith(("cudnn ", "cuda.", "matmul")))]
    if device.startswith("cuda"):
        names += ["cuda", "cudnn"]
        entries = {"device": facts["name"], "driver": facts["driver"]}
    else:
        names = ["torch", "cpu capability", "mkl (torch)", "onednn", "blas (torch)"]
        entries = {"device": facts["name"]}
    names += [name for name in _VARIABLES[device.partition(":")[0]] if name in known]
    return entries | {name: printable(str(known.get(name, ""))) for name in names}


def copies_on(device: str, numbers: int, most: int) -> int:
    """How often the batch of a case is repeated: once unless the device is CUDA; there the largest
    power of two that is at most `most` and fits, where `numbers` float64 values are held for one
    copy."""
    if not device.startswith("cuda"):
        return 1
    memory = torch.cuda.get_device_properties(torch.device(device)).total_memory * MOST_MEMORY
    copies = 1
    while 2 * copies <= most and 2 * copies * numbers * 8 <= memory:
        copies *= 2
    return copies


def _cores() -> str:
    """The processors on which this process may run, such as "0-3 8"; empty if unknown."""
    if not hasattr(os, "sched_getaffinity"):
        return ""
    runs: list[list[int]] = []
    for core in sorted(os.sched_getaffinity(0)):
        if runs and runs[-1][-1] == core - 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return " ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _microcode() -> str:
    """The version of the processor's microcode, which only Linux on x86 reports."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            match = re.search(r"^microcode\s*: (\w+)", lines.read(), re.MULTILINE)
            return match[1] if match else "unknown"
    except OSError:
        return "unknown"
