"""The command line run in this process."""

import pytest

from bptt_oracle.__main__ import main


def bptt_oracle(capsys, *arguments):
    """Exit status, standard output and standard error of one command."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out, err = capsys.readouterr()
    return stop.value.code, out, err
