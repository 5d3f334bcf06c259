"""Judge PyTorch's recurrent nets against derivations that do not come from PyTorch.

    bptt-oracle check            the command line, or `python -m bptt_oracle check`
    bptt_oracle.__version__      the version

Importing this package raises ImportError if another module named `reference` or `torch_impl` is
found before the ones it is installed with. It imports neither of them, nor torch.
"""

from .packages import hidden_package, runs_the_command_line, version

__all__ = ["__version__"]

# The command line reports the same sentence without a traceback; see __main__.
if not runs_the_command_line() and (_message := hidden_package()):
    raise ImportError(_message)

__version__ = version()
