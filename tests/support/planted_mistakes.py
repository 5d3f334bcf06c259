"""The mistakes of `bptt_oracle.diagnosis`, planted by other means than its own.

    numpy   in the text of `textbook_net`, or in the arrays around it
    torch   in torch's own nets: in the tensors of a call, or in a step, by `faults.inject`

A plant returns None for a case that such a program could not compute, as a square transpose of a
weight that is not square.
"""

from functools import cache

from bptt_oracle.cases.case import draw
from bptt_oracle.diagnosis.cases import diagnostic_cases, dropout_cases
from bptt_oracle.diagnosis.evidence import Evidence
from support.planted_in_arrays import in_parameters, in_peepholes, in_results, in_states
from support.planted_in_dropout import in_dropout
from support.planted_in_gates import in_gates
from support.planted_in_text import in_text
from support.planted_in_torch import in_torch, of_faults, unnamed
from support.planted_in_variants import in_text_of_variants

__all__ = ["evidence_of", "plants", "unnamed"]


@cache
def plants():
    """All plants."""
    in_arrays = [*in_parameters(), *in_peepholes(), *in_states(), *in_results()]
    return [
        *in_text(),
        *in_gates(),
        *in_text_of_variants(),
        *in_arrays,
        *in_torch(),
        *of_faults(),
        *in_dropout(),
    ]


def evidence_of(plant, cell, dtype):
    """The results of a planted mistake in the diagnostic cases that its program can compute."""
    cases = diagnostic_cases(cell) + plant.dropout * dropout_cases(cell)
    results = [plant.run(case, draw(case), dtype) for case in cases]
    return [
        Evidence(case, dtype, own)
        for case, own in zip(cases, results, strict=True)
        if own is not None
    ]
