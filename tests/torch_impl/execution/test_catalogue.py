"""The catalogue: names, variants, precision, and why a path is excluded."""

import pytest

from bptt_oracle.cases.case import draw
from bptt_oracle.implementations.torch_paths import torch_implementation
from bptt_oracle.runs.examine import examine
from support.drawn_cases import pinned
from torch_impl.execution.catalogue import OPTIONAL_PATHS, PATHS, exclusion_reason
from torch_impl.execution.path import NATIVE, product_precision


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_kernel_that_torch_chooses_is_excluded_where_it_is_another_path(dtype):
    (result,) = examine(pinned(), dtype, [torch_implementation(PATHS["cpu-plain"])])
    assert result.verdict == "excluded" and "is cpu-onednn or cpu-native" in result.note


def test_a_path_has_the_precision_of_its_products():
    assert product_precision(PATHS["cpu-native"], "float64") == "float64"
    assert product_precision(PATHS["cuda-tf32"], "float32") == "tf32"
    assert product_precision(OPTIONAL_PATHS["cpu-autocast-bfloat16"], "float32") == "bfloat16"
    assert product_precision(PATHS["cpu-native"], "float16") == "float16"
    assert product_precision(OPTIONAL_PATHS["cuda-autocast-float16"], "float32") == "float16"


def test_names_are_unique_and_every_variant_on_the_cpu_except_threads_is_one_on_cuda():
    assert not PATHS.keys() & OPTIONAL_PATHS.keys()

    def variants(paths, device):
        return {p.variant for p in paths.values() if p.device == device}

    assert variants(OPTIONAL_PATHS, "cpu") - variants(OPTIONAL_PATHS, "cuda") == {"threads"}
    every = PATHS | OPTIONAL_PATHS
    assert variants(every, "cpu") - variants(every, "cuda") == {"plain", "threads"}
    assert variants(every, "cuda") < variants(every, "cpu")


def test_paths_that_cuda_lacks_have_a_reason(monkeypatch):
    drops, deterministic = draw(pinned(dropout=0.3)), OPTIONAL_PATHS["cuda-deterministic"]
    assert "masks" in exclusion_reason(PATHS["cuda-cudnn"], drops, "float32")
    assert "TF32" in exclusion_reason(PATHS["cuda-tf32"], draw(pinned()), "float64")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    assert "CUBLAS_WORKSPACE_CONFIG" in exclusion_reason(deterministic, draw(pinned()), "float32")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    assert not exclusion_reason(deterministic, draw(pinned()), "float32")


def test_a_path_is_excluded_only_from_what_it_lacks():
    plain, projected = draw(pinned()), draw(pinned(P=2))
    assert not exclusion_reason(PATHS["cpu-cells"], plain, "float32")
    assert "projection" in exclusion_reason(PATHS["cpu-cells"], projected, "float32")
    assert not exclusion_reason(PATHS["cpu-native"], projected, "float64")
    for p, reason in ((0.0, ""), (0.3, "masks"), (1.0, "")):
        found = exclusion_reason(PATHS["cuda-cudnn"], draw(pinned(dropout=p)), "float32")
        assert (reason in found) if reason else not found
    unequal = draw(pinned(layout="packed", lengths=(2, 5, 1)))
    assert "unequal" in exclusion_reason(PATHS["cpu-onednn"], unequal, "float32")
    drops, lower = draw(pinned(dropout=0.3)), OPTIONAL_PATHS["cpu-autocast-bfloat16"]
    assert "masks" in exclusion_reason(lower, drops, "float32")
    assert not exclusion_reason(lower, plain, "float32")
    assert not exclusion_reason(PATHS["mps"], plain, "float32")
    assert "float64" in exclusion_reason(PATHS["mps"], plain, "float64")


def test_optional_paths_are_one_for_each_variant_device_and_implementation():
    """In this order; only the products of autocast on the CPU are kept from oneDNN."""
    variants = ["functional", "eval", "thrice", "inference", "subsets", "deterministic"]
    variants += ["autocast-bfloat16", "autocast-float16"]
    compiled = [f"{how}-compiled" for how in ("module", "cells", "manual")]
    cpu = [f"cpu-{name}" for name in (*variants, "threads", *compiled)]
    cuda = [f"cuda-{name}" for name in (*variants, *compiled)]
    assert list(OPTIONAL_PATHS) == [*cpu, *cuda, "cuda-cudnn-again"]
    native = {p.name for p in OPTIONAL_PATHS.values() if p.kernel == NATIVE}
    assert native == {"cpu-autocast-bfloat16", "cpu-autocast-float16"}
    for path in OPTIONAL_PATHS.values():
        assert path.variant == "compiled" or path.implementation == "module"
