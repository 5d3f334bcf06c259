"""The switches of torch that decide which kernel runs, and what tells afterwards which one ran."""

import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .paths import Path

ANY = "any"  # whichever kernel torch chooses
_FUSED = ("MkldnnRnn", "CudnnRnn", "MiopenRnn")


class WrongKernel(RuntimeError):
    """The path set out for was not the one taken."""


@contextmanager
def flags(path: "Path") -> Iterator[None]:
    """The backend's switches set as the path wants them, and back."""
    with ExitStack() as stack:
        if path.device == "cpu":
            enabled = path.kernel in ("MkldnnRnn", ANY)
            with warnings.catch_warnings():  # it speaks of Intel GPUs, whichever flag is set
                warnings.simplefilter("ignore")
                stack.enter_context(torch.backends.mkldnn.flags(enabled=enabled))
        if path.device == "cuda":
            enabled = path.kernel in ("CudnnRnn", ANY)
            stack.enter_context(torch.backends.cudnn.flags(enabled=enabled))
            stack.enter_context(_tf32(path.tf32))
        if path.variant == "deterministic":
            stack.enter_context(_deterministic())
        if path.variant == "threads":
            stack.enter_context(_threads(max(2, os.cpu_count() or 1)))
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


@contextmanager
def _deterministic() -> Iterator[None]:
    """Deterministic algorithms asked for, and back; torch then fills new memory with NaN."""
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports inductor
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """That many threads, and back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cublas_is_deterministic() -> bool:
    """Whether cuBLAS was given the workspace without which torch says it is not deterministic."""
    return os.environ.get("CUBLAS_WORKSPACE_CONFIG") in (":4096:8", ":16:8")


def compiler() -> str:
    """The C++ compiler that torch.compile needs; empty where there is none."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++") or ""


def kernel(path: "Path", values: Sequence[torch.Tensor]) -> str:
    """The fused kernel in the graph, or `native`. Raises WrongKernel when it is not the path's."""
    names = graph_nodes(values)
    fused = sorted(name for name in names if name.startswith(_FUSED))
    if path.kernel not in ("", ANY) and not any(name.startswith(path.kernel) for name in fused):
        raise WrongKernel(
            f"{path.name} should run {path.kernel}, but the graph holds none of it; "
            "the flags of this build of torch do not reach that kernel"
        )
    if path.variant.startswith("autocast") and "ToCopyBackward0" not in names:
        raise WrongKernel(f"{path.name} should lower the type, but the graph holds no conversion")
    if path.variant == "compiled" and "CompiledFunctionBackward" not in names:
        raise WrongKernel(f"{path.name} should run compiled code, but the graph holds none of it")
    if path.variant == "deterministic" and not torch.are_deterministic_algorithms_enabled():
        raise WrongKernel(f"{path.name} should be deterministic, but torch says it is not")
    if path.variant == "threads" and torch.get_num_threads() < 2:
        raise WrongKernel(f"{path.name} should run several threads, but torch says it runs one")
    if not path.kernel and fused:
        raise WrongKernel(f"{path.name} should run no fused kernel, but the graph holds {fused[0]}")
    precision = "tf32" if path.tf32 else "ieee"
    rnn: Any = getattr(torch.backends.cudnn, "rnn", None)
    if path.device == "cuda" and hasattr(rnn, "fp32_precision") and rnn.fp32_precision != precision:
        raise WrongKernel(f"{path.name} asked for {precision}, but cuDNN says {rnn.fp32_precision}")
    return fused[0] if fused else "native"


def graph_nodes(values: Sequence[torch.Tensor]) -> set[str]:
    """The names of all nodes that autograd holds behind some values."""
    seen: set[Any] = {value.grad_fn for value in values} - {None}
    todo = list(seen)
    while todo:
        for node, _ in todo.pop().next_functions:
            if node is not None and node not in seen:
                seen.add(node)
                todo.append(node)
    return {kind.__name__ for kind in set(map(type, seen))}
