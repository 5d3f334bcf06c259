"""The simulation of a fleet: every flip is named, and nothing else is."""

import sys

import pytest

from benchmarks import fleet
from bptt_oracle.fleet.preflight import Settings, examine_device
from bptt_oracle.fleet.truth_file import read


@pytest.fixture(scope="module")
def healthy():
    return examine_device("cpu", Settings(cases=("steps",)))


@pytest.mark.slow
def test_every_flip_is_named(healthy):
    counts = fleet.count_flips(6, healthy, read())
    for kind in ("weight", "gates", "c", "output"):
        for named in ("worker", "place", "once"):
            assert counts[f"{kind} {named}"] == counts[f"{kind} planted"]
    assert sum(counts[f"{kind} planted"] for kind in ("weight", "gates", "c", "output")) == 6


def test_a_fleet_without_a_flip_raises_no_alarm(healthy):
    assert list(fleet.honest_fleets(1, healthy)) == [(fleet.WORKERS, 0)]


def test_an_alarm_would_be_counted(healthy, monkeypatch):
    compare = fleet._compare

    def with_an_odd_one(texts):
        digest = healthy["digests"]["steps/float32"]
        texts[0] = texts[0].replace('"steps/float32": "0', '"steps/float32": "f')
        assert digest
        return compare(texts)

    monkeypatch.setattr(fleet, "_compare", with_an_odd_one)
    assert list(fleet.honest_fleets(1, healthy)) == [(fleet.WORKERS, 1)]


def test_the_command_prints_a_table(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fleet", "--flips", "0", "--fleets", "0"])
    fleet.main()
    out = capsys.readouterr().out
    assert "| weight | 0 | 0 | 0 | 0 | 0 |" in out
    assert out.endswith("0 false alarms in 0 simulated runs without a flip\n")
