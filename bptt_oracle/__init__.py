"""Judge PyTorch's recurrent nets against derivations that do not come from PyTorch.

    bptt-oracle check            the command line, or `python -m bptt_oracle check`
    bptt_oracle.__version__      the version

    Implementation, judge, assert_agrees, parametrize_with_cases, diagnose
                                 for your own code: docs/implementations/your_implementation.md
    judge_optimizer              for an optimiser: docs/optimizers/optimizers.md
    check_adjoint                for a hand-written backward: docs/implementations/adjoint.md
    record_norms, first_nonfinite       for a training step: docs/inspection/norms.md
    to_torch_names, from_torch_names    for weights of other frameworks: docs/porting/porting.md

Importing this package raises ImportError if another module named `reference` or `torch_impl` is
found before the ones it is installed with. It imports neither of them, nor torch; the names above
are imported when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .packages import hidden_package, runs_the_command_line, version

if TYPE_CHECKING:
    from .cases.case import Case
    from .doors.assertions import assert_agrees, parametrize_with_cases
    from .doors.check_adjoint import check_adjoint
    from .doors.judgement import judge
    from .doors.optimizers import judge_optimizer
    from .implementations.implementation import Answer, Implementation
    from .inspection import first_nonfinite, record_norms
    from .porting.weights import from_torch_names, to_torch_names
    from .runs.study import diagnose

__all__ = [
    "Answer",
    "Case",
    "Implementation",
    "__version__",
    "assert_agrees",
    "check_adjoint",
    "diagnose",
    "first_nonfinite",
    "from_torch_names",
    "judge",
    "judge_optimizer",
    "parametrize_with_cases",
    "record_norms",
    "to_torch_names",
]

_WHERE = {
    "Answer": "implementations.implementation",
    "Case": "cases.case",
    "Implementation": "implementations.implementation",
    "assert_agrees": "doors.assertions",
    "check_adjoint": "doors.check_adjoint",
    "diagnose": "runs.study",
    "first_nonfinite": "inspection",
    "from_torch_names": "porting.weights",
    "judge": "doors.judgement",
    "judge_optimizer": "doors.optimizers",
    "parametrize_with_cases": "doors.assertions",
    "record_norms": "inspection",
    "to_torch_names": "porting.weights",
}

# The command line reports the same sentence without a traceback; see __main__.
if not runs_the_command_line() and (_message := hidden_package()):
    raise ImportError(_message)

__version__ = version()


def __getattr__(name: str) -> Any:
    """A public name, imported when it is used."""
    if name not in _WHERE:
        raise AttributeError(f"module 'bptt_oracle' has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
