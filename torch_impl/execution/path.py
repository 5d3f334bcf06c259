"""An execution path: one configured way for PyTorch to compute a net. Imports no torch."""

from typing import NamedTuple

IMPLEMENTATIONS = ("module", "cells", "manual")
NATIVE = "native"  # ATen's own code, no fused kernel
ANY = "any"  # whichever kernel torch chooses


class WrongKernel(RuntimeError):
    """torch did not compute what the path names: another kernel, precision or switch was in use."""


class Path(NamedTuple):
    """Where and how PyTorch computes a net."""

    name: str
    device: str  # cpu, cuda or mps
    implementation: str  # one of IMPLEMENTATIONS; see torch_impl.nets.modules
    kernel: str  # prefix of a node that autograd's graph must hold; or NATIVE, or ANY
    tf32: bool = False  # whether products of float32 are computed in TF32
    variant: str = ""  # how the net is called, a key of `variants.VARIANTS`


def product_precision(path: Path, dtype: str) -> str:
    """The key of UNIT_ROUNDOFF for the precision in which a path computes its products."""
    if path.variant.startswith("autocast-"):
        return path.variant.removeprefix("autocast-")
    return "tf32" if path.tf32 else dtype
