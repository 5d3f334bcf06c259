"""The subjects by name."""

from functools import cache

from ..programs.functions import Function
from ..programs.subject import Subject
from ..programs.written import Written
from . import cells, clipping, cross_entropy, ctc, embedding, nets, optimizers, packing, paths

SUBJECTS: dict[str, Written | Function | Subject] = {
    "optimizers": optimizers.WRITTEN,
    "cross_entropy": cross_entropy.FUNCTION,
    "embedding": embedding.FUNCTION,
    "ctc_loss": ctc.FUNCTION,
    "cells": cells.FUNCTION,
    "clipping": clipping.WRITTEN,
    "packing": packing.WRITTEN,
    "nets": nets.WRITTEN,
    "paths": paths.SUBJECT,
}


def names() -> tuple[str, ...]:
    """The names of all subjects."""
    return tuple(SUBJECTS)


@cache
def subject_named(name: str) -> Subject:
    """The subject with that name. Raises KeyError if there is none."""
    found = SUBJECTS[name]
    return found if isinstance(found, Subject) else found.subject()
