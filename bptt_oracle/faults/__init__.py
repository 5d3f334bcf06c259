"""Historical faults of recurrent modules, re-created around a correct one, and others of their
kinds: what `bptt-oracle faults` holds the harness against.

    weights      W   another weight than the one given
    inputs       I   another input, state or length
    outputs      O   the right numbers in the wrong place
    gradients    G   the right value, the wrong gradient
    steps        P   a step of the recurrence, or what lies between layers
    rounding     R   operands of too few bits
    memory       S   something kept from an earlier call
    acceptance   N   an answer where there must be none

Each is told by its symptom and the public thread it comes from. As re-created none raises.
"""

from . import acceptance, gradients, inputs, memory, outputs, rounding, steps, weights
from .fault import FAULTS, KINDS, Fault, fault

__all__ = [
    "FAULTS",
    "KINDS",
    "Fault",
    "acceptance",
    "fault",
    "gradients",
    "inputs",
    "memory",
    "outputs",
    "rounding",
    "steps",
    "weights",
]
