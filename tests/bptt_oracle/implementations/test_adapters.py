"""The adapters of other frameworks: judged for real where the framework is installed.

A framework that is absent is listed at the end of a run of pytest. `.ci/frameworks` installs all of
them, in environments of their own, and runs these tests there.
"""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from bptt_oracle.cases.case import parse
from bptt_oracle.implementations.adapters.common import DEVIATIONS, with_moderate_gates
from bptt_oracle.implementations.growing import growing_cases
from bptt_oracle.implementations.loading import load
from bptt_oracle.judging.deviation_entries import load as load_deviations
from bptt_oracle.processes.failures import Crash
from bptt_oracle.processes.workers import run_isolated
from bptt_oracle.runs.checking import examine_named
from bptt_oracle.runs.examine import examine

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "implementations" / "frameworks.md"
PROGRAMS = PAGE.parent / "programs"
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
COUNT = 110  # cases; the plain ones, and some of the corpus


class Adapter(NamedTuple):
    """An implementation, the framework that it needs, and the ids of the deviations that occur."""

    name: str
    framework: str
    float32: set[str] = set()
    float64: set[str] = set()
    count: int = COUNT
    more: tuple[str, ...] = ()  # ids of cases


REVERSE = {
    "reverse-h_0-ignored-in-the-gradient",
    "reverse-h_0-ignored-in-the-gradient-of-a-GRU",
}
CLOSED, CLOSED_CASE = (
    {"gradient-of-a-closed-reset-gate-is-NaN"},
    "GRU.T6.B3.I4.H97.L3.bi.time.h_n.saturated.s187",
)
ACTIVATIONS = {"sigmoid-without-relative-accuracy", "tanh-as-2σ-1"}
KERAS = {
    "tensorflow": {
        "keras_layers": (set(), set()),
        "keras_unrolled": ({"unrolled-mask-not-reversed"}, {"unrolled-mask-not-reversed"}),
    },
    "torch": {
        "keras_layers": (set(), {"float64-products-in-float32"}),
        "keras_unrolled": (
            {"unrolled-mask-raises"},
            {"unrolled-mask-raises", "float64-products-in-float32"},
        ),
    },
    "jax": {
        "keras_layers": (
            {"gru-without-biases-raises"},
            {"float64-tanh-in-float32", "float64-tanh-stops-the-loop"},
        ),
        "keras_unrolled": (set(), {"float64-tanh-in-float32"}),
    },
}
ADAPTERS = [
    Adapter("onnx_node:onnxruntime", "onnxruntime", ACTIVATIONS),
    Adapter("onnx_node:onnxruntime_reverse", "onnxruntime", ACTIVATIONS),
    *(
        Adapter(
            f"onnx_node:{name}",
            "openvino",
            {"peepholes-ignored"},
            {"peepholes-ignored", "float64-in-float32"},
        )
        for name in ("openvino", "openvino_reverse")
    ),
    *(
        Adapter(f"onnx_node:{name}", "onnx", {"lengths-ignored"}, {"lengths-ignored"})
        for name in (
            "reference_evaluator",
            "reference_evaluator_reverse",
            "reference_evaluator_batch_first",
        )
    ),
    *(
        Adapter(f"jax_layers:{name}", framework, count=30)
        for name, framework in (("flax", "flax"), ("flax_gru", "flax"), ("equinox", "equinox"))
    ),
    Adapter("mlx_layers:mlx", "mlx", float64={"float64-exp-in-float32"}),
    Adapter(
        "paddle_layers:paddle_nets",
        "paddle",
        REVERSE | CLOSED,
        REVERSE,
        COUNT,
        (CLOSED_CASE,),
    ),
    *(
        Adapter(
            f"keras_layers:{name}",
            "keras",
            *expected,
            count=30 if BACKEND == "jax" else COUNT,
            more=("GRU.T3.B2.I3.H4.L1.nobias.time.h0.output+h_n.generic.s0",),
        )
        for name, expected in KERAS[BACKEND].items()
    ),
]
BROKEN = [
    adapter
    for adapter in ADAPTERS
    if not adapter.name.endswith(("reverse", "batch_first", "unrolled", "gru"))
]
PROGRAM_OF = {  # the framework that a program needs, or Keras' backends
    "paddle_reverse_gradient": "paddle",
    "paddle_gru_nan": "paddle",
    "paddle_without_biases": "paddle",
    "mlx_float64": "mlx",
    "onnxruntime_activations": "onnxruntime",
    "openvino_nodes": "openvino",
    "onnx_reference_lengths": "onnx",
    "keras_unrolled_mask": ("tensorflow", "torch"),
    "keras_float64": ("torch", "jax"),
    "keras_gru_without_biases": ("jax",),
}


def name_of(adapter):
    return adapter.name


def implementation_of(adapter):
    """The implementation; the test is skipped where its framework is absent."""
    needed = (adapter.framework, BACKEND) if adapter.framework == "keras" else (adapter.framework,)
    for framework in needed:
        if find_spec(framework) is None:
            pytest.skip(f"{framework} is not installed")
    return load(f"bptt_oracle.implementations.adapters.{adapter.name}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("adapter", ADAPTERS, ids=name_of)
def test_an_implementation_agrees_but_for_its_expected_deviations(adapter, dtype):
    implementation = implementation_of(adapter)
    if dtype not in implementation.dtypes:
        pytest.skip(f"{adapter.name} has no {dtype}")
    cases = [*growing_cases(implementation, adapter.count), *map(parse, adapter.more)]
    results = [r for case in cases for r in examine(case, dtype, [implementation])]
    assert [r for r in results if r.verdict == "fault"] == []
    words = Counter(r.verdict for r in results)
    assert words["agree"] + words["known deviation"] > 0.9 * len(results)
    assert sum(len(r.tensors) for r in results) > 2 * len(cases)
    met = {i for r in results if r.verdict == "known deviation" for i in r.note.split(", ")}
    assert met == getattr(adapter, dtype)


@pytest.mark.parametrize("adapter", BROKEN, ids=name_of)
def test_a_mistake_in_an_adapter_is_a_fault(adapter):
    implementation = implementation_of(adapter)

    def doubled(params):
        return {name: 2 * p if name.startswith("weight_hh") else p for name, p in params.items()}

    if implementation.layer is not None:
        layer = implementation.layer
        broken = implementation._replace(
            layer=lambda mode, p, *rest: layer(mode, doubled(p), *rest),
        )
    else:
        net = implementation.net
        broken = implementation._replace(
            net=lambda options, params, *rest: net(options, doubled(params), *rest)
        )
    case = parse("LSTM.T3.B2.I3.H4.L1.time.h0.output+h_n.generic.s0")
    assert examine(case, "float32", [implementation])[0].verdict == "agree"
    assert examine(case, "float32", [broken])[0].verdict == "fault"


def test_a_net_without_biases_ends_the_process_of_paddle():
    if find_spec("paddle") is None:
        pytest.skip("paddle is not installed")
    name = "bptt_oracle.implementations.adapters.paddle_layers:paddle_without_biases"
    case = parse("LSTM.T1.B1.I1.H1.L1.nobias.time.output.generic.s0")
    with pytest.raises(Crash):
        run_isolated(partial(examine_named, dtype="float32", names=[name]), case)


@pytest.mark.parametrize("program", sorted(PROGRAM_OF))
def test_a_program_shows_the_mistake_by_itself(program, tmp_path):
    needed = PROGRAM_OF[program]
    frameworks, environment = (needed,), os.environ.copy()
    if isinstance(needed, tuple):
        if BACKEND not in needed:
            pytest.skip(f"{program}: the mistake is not in Keras on {BACKEND}")
        frameworks, environment["KERAS_BACKEND"] = ("keras", BACKEND), BACKEND
    for framework in frameworks:
        if find_spec(framework) is None:
            pytest.skip(f"{framework} is not installed")
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, PROGRAMS / f"{program}.py"]
    finished = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    assert finished.stdout


def test_every_program_is_tested_and_needs_nothing_of_this_project():
    found = {path.stem: ast.parse(path.read_text("utf-8")) for path in PROGRAMS.glob("*.py")}
    assert found.keys() == PROGRAM_OF.keys()
    for tree in found.values():
        imports = [
            node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        modules = {getattr(node, "module", None) or node.names[0].name for node in imports}
        assert not {m.split(".")[0] for m in modules} & {"bptt_oracle", "reference", "torch_impl"}


def test_every_expected_deviation_is_a_section_of_the_page_and_met_by_a_test():
    listed = {d.id for file in DEVIATIONS.glob("*.toml") for d in load_deviations(file)}
    assert listed == set(re.findall(r"^### `(\S+)`$", PAGE.read_text("utf-8"), re.M))
    keras = [expected for of_backend in KERAS.values() for expected in of_backend.values()]
    tested = [ids for adapter in ADAPTERS for ids in (adapter.float32, adapter.float64)]
    assert listed == set().union(*tested, *(ids for expected in keras for ids in expected))


def test_a_textbook_gru_with_saturated_gates_is_left_out():
    case = parse("GRU_TEXTBOOK.T3.B2.I3.H4.L1.time.h0.output.generic.s0")
    saturated = case._replace(regime="saturated")
    assert with_moderate_gates(case) == case
    assert with_moderate_gates(saturated) is None
    assert with_moderate_gates(saturated._replace(cell="GRU")) is not None
