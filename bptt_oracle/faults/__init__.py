"""Planted faults: known bugs of recurrent modules, re-created around a correct module.

`bptt-oracle faults` plants each one and shows that the judge detects it.

    weights      W   a parameter other than the one passed
    inputs       I   an input, state or length other than the one passed
    outputs      O   correct numbers in the wrong place
    gradients    G   a correct value with a wrong gradient
    steps        P   a wrong step of the recurrence, or a wrong connection between layers
    rounding     R   operands with too few bits
    memory       S   something kept from an earlier call
    roads        D   a net that is copied, lowered, quantised or differentiated along a direction
    acceptance   N   a result where an exception is required

Each fault has a symptom and, where one is known, the public thread that reports the bug. No planted
fault raises an exception.
"""

from . import acceptance, gradients, inputs, memory, outputs, roads, rounding, steps, weights
from .fault import FAULTS, KINDS, Fault

__all__ = [
    "FAULTS",
    "KINDS",
    "Fault",
    "acceptance",
    "gradients",
    "inputs",
    "memory",
    "outputs",
    "roads",
    "rounding",
    "steps",
    "weights",
]
