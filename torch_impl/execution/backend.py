"""torch's global switches that select a kernel, and the check of which kernel ran.

A requested switch may have no effect in some build of torch. Each run is therefore checked
afterwards, against the graph of autograd and against the switches themselves.
"""

import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from .path import ANY, NATIVE, Path, WrongKernel

_FUSED = ("MkldnnRnn", "CudnnRnn", "MiopenRnn")


@contextmanager
def flags(path: Path) -> Iterator[None]:
    """Set torch's switches as the path requires, and restore them afterwards."""
    with ExitStack() as stack:
        if path.device == "cpu":
            enabled = path.kernel in ("MkldnnRnn", ANY)
            with warnings.catch_warnings():  # about Intel GPUs, for any value of the flag
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
    """Allow or forbid TF32 in products of float32, and restore the setting afterwards."""
    rnn: Any = getattr(torch.backends.cudnn, "rnn", None)
    matmul = torch.backends.cuda.matmul
    if hasattr(rnn, "fp32_precision"):  # torch 2.9 and later, which forbids mixing both settings
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
    """Require deterministic algorithms, and restore the setting afterwards.

    torch then fills uninitialised memory with NaN.
    """
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports inductor
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run on `count` threads, and restore the number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cublas_is_deterministic() -> bool:
    """Whether cuBLAS has the workspace without which torch reports it as nondeterministic."""
    return os.environ.get("CUBLAS_WORKSPACE_CONFIG") in (":4096:8", ":16:8")


def compiler() -> str:
    """Where the C++ compiler that torch.compile needs is installed; empty if it is not."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++") or ""


def identify_kernel(path: Path, values: Sequence[torch.Tensor]) -> str:
    """The fused kernel in the graph behind `values`, or NATIVE.

    Raises WrongKernel if the graph or torch's switches contradict the path.
    """
    names = graph_nodes(values)
    fused = sorted(name for name in names if name.startswith(_FUSED))
    if path.kernel == NATIVE:
        if fused:
            raise WrongKernel(
                f"{path.name} should run no fused kernel, but the graph contains {fused[0]}; the "
                "flags of this build of torch do not disable it"
            )
    elif path.kernel != ANY and not any(name.startswith(path.kernel) for name in fused):
        raise WrongKernel(
            f"{path.name} should run {path.kernel}, but the graph does not contain it; the flags "
            "of this build of torch do not select that kernel"
        )
    if path.variant.startswith("autocast") and "ToCopyBackward0" not in names:
        raise WrongKernel(
            f"{path.name} should cast to a lower dtype, but the graph contains no conversion"
        )
    if path.variant == "compiled" and "CompiledFunctionBackward" not in names:
        raise WrongKernel(f"{path.name} should run compiled code, but the graph contains none")
    if path.variant == "deterministic" and not torch.are_deterministic_algorithms_enabled():
        raise WrongKernel(f"{path.name} should be deterministic, but torch reports that it is not")
    if path.variant == "threads" and torch.get_num_threads() < 2:
        raise WrongKernel(f"{path.name} should run on several threads, but torch reports one")
    precision = "tf32" if path.tf32 else "ieee"
    rnn: Any = getattr(torch.backends.cudnn, "rnn", None)
    if path.device == "cuda" and hasattr(rnn, "fp32_precision") and rnn.fp32_precision != precision:
        raise WrongKernel(
            f"{path.name} should compute in {precision}, but cuDNN reports {rnn.fp32_precision}"
        )
    return fused[0] if fused else NATIVE


def fused_kernel(value: torch.Tensor, inputs: Sequence[torch.Tensor]) -> str:
    """The fused kernel in the graph from `inputs` to `value`; NATIVE if there is none, and empty
    if torch kept no graph."""
    seen: set[Any] = {tensor.grad_fn for tensor in inputs} - {None}
    todo = [value.grad_fn] if value.grad_fn is not None else []
    while todo:
        node = todo.pop()
        if type(node).__name__.startswith(_FUSED):
            return type(node).__name__
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                todo.append(following)
    return NATIVE if value.grad_fn is not None else ""


def graph_nodes(values: Sequence[torch.Tensor]) -> set[str]:
    """The names of all nodes in the graph of autograd behind some values."""
    seen: set[Any] = {value.grad_fn for value in values} - {None}
    todo = list(seen)
    while todo:
        for node, _ in todo.pop().next_functions:
            if node is not None and node not in seen:
                seen.add(node)
                todo.append(node)
    return {kind.__name__ for kind in set(map(type, seen))}
