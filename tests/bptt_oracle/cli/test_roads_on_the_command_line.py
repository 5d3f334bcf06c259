"""The group `roads`: chosen by name only, without invalid calls, and without a --script."""

import pytest

from bptt_oracle.cli.options import Device, paths_of
from bptt_oracle.implementations import demonstrations
from bptt_oracle.implementations.demonstrations_of_roads import ANY, RUNS_WITH
from bptt_oracle.judging.deviation_entries import load
from bptt_oracle.runs.checking import check
from bptt_oracle.runs.results import INVALID_CALLS_PATH
from support.command_line import bptt_oracle
from support.drawn_cases import pinned
from torch_impl.roads.catalogue import ROADS

SLOW = {name: road for name, road in RUNS_WITH.items() if road != ANY}
PACKED = pinned(layout="packed", lengths=(2, 5, 1))


def test_roads_are_chosen_by_their_group_and_by_name_but_not_by_all():
    assert paths_of(Device.auto, ["roads"])[0] == list(ROADS)
    assert paths_of(Device.cpu, ["cpu-jvp", "roads"])[0][0] == "cpu-jvp"
    others = [*paths_of(Device.auto, None)[0], *paths_of(Device.auto, ["all"])[0]]
    assert others and not ROADS.keys() & set(others)


def test_no_invalid_calls_are_made_where_only_roads_are_chosen():
    def paths(names):
        (results,) = check([PACKED], ["float32"], names)
        return {r.path for r in results}

    assert paths(["cpu-deepcopy"]) == {"cpu-deepcopy"}
    assert INVALID_CALLS_PATH in paths(["cpu-deepcopy", "cpu-native"])


def test_a_road_has_no_script(capsys):
    code, _, error = bptt_oracle(capsys, "replay", PACKED.id, "--path", "cpu-jvp", "--script")
    assert code == 2 and "cpu-jvp is a road" in error


def test_a_case_is_replayed_on_a_road(capsys):
    code, out, _ = bptt_oracle(capsys, "replay", PACKED.id, "--path", "cpu-double-backward")
    assert code == 0 and "hv_weight_hh_l1" in out


def test_a_replay_of_a_known_deviation_has_the_status_of_the_check(capsys):
    """Here torch raises."""
    case = "LSTM.T6.B4.I7.H5.L1.bi.nobias.P1.batch.strided.c_n.saturated.s22"
    options = ["--path", "cpu-vmap-rows", "--dtype", "float32"]
    code, out, _ = bptt_oracle(capsys, "replay", case, *options)
    known = "verdict: known deviation vmap-road-of-projections-without-a-state"
    assert code == 0 and out.rstrip().endswith(known)
    assert bptt_oracle(capsys, "check", "--case", case, *options, "--workers", "1")[0] == code


@pytest.mark.parametrize("path, runs", [("cpu-native", False), ("cpu-deepcopy", True)])
def test_demonstrations_of_roads_run_only_with_a_road(capsys, monkeypatch, path, runs):
    shown = []
    monkeypatch.setattr(demonstrations, "demonstrate", lambda name: shown.append(name) or True)
    code, _, _ = bptt_oracle(capsys, "check", "--path", path, "--cases", "4", "--workers", "1")
    of_roads = {d.demonstrates for d in load() if demonstrations.is_of_roads(d.demonstrates)}
    assert code == 0 and len(of_roads) > 10
    assert bool(of_roads & set(shown)) is runs and set(shown) - of_roads
    assert not set(shown) & SLOW.keys()


def test_a_demonstration_that_compiles_runs_with_the_road_that_does():
    for name, road in SLOW.items():
        assert road in ROADS
        assert demonstrations.runs_with(name, [road])
        assert not demonstrations.runs_with(name, ["cpu-deepcopy"])
