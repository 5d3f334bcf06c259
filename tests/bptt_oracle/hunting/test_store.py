"""The state of a hunt: it goes on where it stopped, and is never written over another file."""

import sqlite3
from collections import Counter

import pytest

from bptt_oracle.hunting.programs.subject import Outcome
from bptt_oracle.hunting.store import (
    Find,
    Progress,
    add_find,
    count_met,
    open_state,
    read_finds,
    read_progress,
    save_progress,
    widen,
)
from bptt_oracle.processes.failures import CommandError

FIND = Find(
    "optimizers",
    {"form": ["fused"], "rows": 2},
    Outcome("silent wrong value", "theta", float("inf"), "theta[0]: expected 1, actual 2"),
    {"form": "fused", "rows": 2, "seed": 5},
    "import torch\n",
    "2.13.0",
    3,
    77,
)


def test_finds_and_progress_are_read_again(tmp_path):
    file = tmp_path / "hunt"
    with open_state(file) as connection:
        add_find(connection, FIND)
        add_find(connection, FIND)
        count_met(connection, FIND)
        save_progress(connection, "2.13.0", 3, Progress(78, 1.5, Counter(a=2)))
    with open_state(file) as connection:
        (find,) = read_finds(connection, "2.13.0")
        assert find.met == 2
        assert find.outcome.R == 9e99  # stands for what is not finite
        assert find._replace(met=1, outcome=FIND.outcome) == FIND
        assert read_progress(connection, "2.13.0", 3) == Progress(78, 1.5, Counter(a=2))
        assert read_progress(connection, "2.13.0", 4) == Progress(0, 0.0, Counter())
        assert read_finds(connection, "2.15.0") == []  # another version may be right


def test_counts_of_one_hunt_are_not_those_of_the_next():
    with open_state(None) as connection:
        read_progress(connection, "2.13.0", 3).counts["paths: drawn"] += 5
        assert read_progress(connection, "2.13.0", 4).counts == {}


def test_a_find_is_widened(tmp_path):
    with open_state(tmp_path / "hunt") as connection:
        add_find(connection, FIND)
        widen(connection, FIND, {"form": ["fused"]})
        (find,) = read_finds(connection, "2.13.0")
    assert (find.cause, find.met) == ({"form": ["fused"]}, 2)


@pytest.mark.parametrize("content", [b"my thesis", b"", "database"])
def test_another_file_is_left_as_it_is(tmp_path, content):
    file = tmp_path / "hunt"
    if content == "database":
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE mine (x)")
        connection.close()
    else:
        file.write_bytes(content)
    before = file.read_bytes()
    if not before:  # an empty file is nobody's
        with open_state(file):
            pass
        return
    message = "is not the state of a hunt and was left unchanged"
    with pytest.raises(CommandError, match=message), open_state(file):
        pass
    assert file.read_bytes() == before


def test_a_state_of_another_version_is_rejected(tmp_path):
    with open_state(tmp_path / "hunt") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(CommandError, match="version 99"), open_state(tmp_path / "hunt"):
        pass


def test_a_damaged_state_is_reported_in_one_sentence(tmp_path):
    with open_state(tmp_path / "hunt") as connection:
        add_find(connection, FIND)
    content = bytearray((tmp_path / "hunt").read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (tmp_path / "hunt").write_bytes(content)
    damaged = pytest.raises(CommandError, match="cannot be used")
    with damaged, open_state(tmp_path / "hunt") as connection:
        read_finds(connection, "2.13.0")
