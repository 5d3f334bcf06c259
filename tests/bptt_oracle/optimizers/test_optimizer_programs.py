"""The programs that show the deviations of torch's optimisers."""

from pathlib import Path

import pytest

from bptt_oracle.judging.deviation_entries import load
from bptt_oracle.judging.deviations import in_range, installed_torch
from bptt_oracle.optimizers.cases import OptimizerCase
from bptt_oracle.optimizers.examine import FILE
from support.programs import imported_by, run_program

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "optimizers" / "optimizers.md"
PROGRAMS = PAGE.parent / "programs"
SHOWS = {
    "fused_columns": "fused-parameter-not-contiguous",
    "fused_columns_lstm": "fused-parameter-not-contiguous",
    "fused_expanded_gradient": "fused-gradient-not-contiguous",
    "fused_sgd_in_half": "fused-sgd-in-half",
    "bias_correction_in_float32": "bias-correction-in-float32",
    "compiled_bias_correction": "compiled-bias-correction-in-float32",
    "compiled_numbers_in_float32": "compiled-numbers-in-float32",
    "compiled_number_unchanged": "compiled-number-unchanged",
    "state_in_float32": "state-in-float32",
    "radam_foreach_in_float16": "radam-foreach-in-float16",
    "rprop_product_underflows": "rprop-product-underflows",
}
COMPILED = [name for name in SHOWS if name.startswith("compiled")]


def test_every_deviation_has_a_program_and_the_page_links_to_each():
    listed = load(FILE, OptimizerCase)
    assert set(SHOWS.values()) == {d.id for d in listed if not d.demonstrates}
    assert {file.stem for file in PROGRAMS.glob("*.py")} == SHOWS.keys()
    text = PAGE.read_text()
    for name in SHOWS:
        assert f"(programs/{name}.py)" in text
    for deviation in listed:
        assert f"`{deviation.id}`" in text


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in COMPILED)) for n in SHOWS]
)
def test_a_program_ends_with_1_as_long_as_torch_has_the_mistake(name):
    deviation = {d.id: d for d in load(FILE, OptimizerCase)}[SHOWS[name]]
    status, printed = run_program(PROGRAMS / f"{name}.py")
    assert status in (0, 1), printed
    if in_range(deviation):
        assert status, f"mended in torch {installed_torch()}: close the range of {deviation.id}"
    assert not status or in_range(deviation), printed


def test_programs_need_torch_and_numpy_alone():
    for name in SHOWS:
        assert imported_by(PROGRAMS / f"{name}.py") <= {"numpy", "torch"}, name
