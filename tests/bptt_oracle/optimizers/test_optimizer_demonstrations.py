"""Deviations of optimisers that functions show: each still happens, and a check reports the day on
which one does not."""

import pytest

from bptt_oracle.judging.deviations import installed_torch
from bptt_oracle.optimizers import demonstrations
from bptt_oracle.optimizers.demonstrations import RUNS_WITH, check_demonstration, demonstrate
from bptt_oracle.optimizers.examine import known_deviations, optimizer_paths
from support.command_line import bptt_oracle

SHOWN = {d.demonstrates: d.id for d in known_deviations() if d.demonstrates}


@pytest.mark.parametrize("name", RUNS_WITH)
def test_what_a_function_shows_still_happens(name):
    occurs = demonstrate(name, [RUNS_WITH[name]])
    version = installed_torch()
    assert occurs or name not in SHOWN, (
        f"mended in torch {version}: close the range of {SHOWN[name]}"
    )
    assert demonstrate(name, ["cpu-sgd-loop"]) is None


def test_every_function_runs_with_a_path_and_has_an_entry():
    assert SHOWN.keys() <= RUNS_WITH.keys() <= vars(demonstrations).keys()
    assert {*RUNS_WITH.values()} <= optimizer_paths().keys()
    with pytest.raises(ValueError, match="no demonstration 'demonstrate'"):
        check_demonstration("demonstrate")


@pytest.mark.parametrize("occurs, status", [(True, 0), (False, 1)])
def test_a_check_reports_what_no_longer_happens(capsys, monkeypatch, occurs, status):
    monkeypatch.setattr(demonstrations, "rate_in_a_tensor", lambda: occurs)
    code, out, _ = bptt_oracle(
        capsys, "check", "--path", "cpu-adam-loop", "--cases", "2", "--workers", "1"
    )
    assert code == status, out
    assert ("rate-in-a-tensor" in out) == (not occurs), "a known deviation is listed on request"
