"""A run with several environments: it is read, compared and exported, and a run of schema 3, which
has one, still is."""

import json
import os
import sqlite3
from contextlib import closing

import pytest

from bptt_oracle.__main__ import main
from bptt_oracle.runs.compare import compare, name_environments
from bptt_oracle.runs.opening import open_runs
from bptt_oracle.runs.row import BadRun, merged
from bptt_oracle.runs.run import check_run, read_rows
from bptt_oracle.runs.schema import MOST_ENVIRONMENTS, Head, to_record
from bptt_oracle.runs.seal import LENGTH, seal
from bptt_oracle.runs.store import FinishedCase, finish, open_store, write_database
from support.runs import PLAN, made_up, read, row

A, B = {"torch": "2.13.0", "gpu": "A100"}, {"torch": "2.13.0", "gpu": "H100", "cuda": "12"}


def run_of(file, environments, *rows):
    """A finished run; each row has the number of its environment."""
    head = Head("0123456789abcdef", 16.0, environments, PLAN._asdict())
    write_database(file, head, map(to_record, rows))
    finish(file)
    return file


def numbered(n, environment, **options):
    return row(n, **options)._replace(environment=environment)


@pytest.fixture
def two(tmp_path):
    """Two runs: the cases 2, 3 and 4 have moved to a worker of the other kind, where other bits are
    right; and case 4 is a fault there."""
    old = [numbered(n, n % 2, bits=str(n % 2)) for n in range(6)]
    new = [numbered(n, n % 2, bits=str(n % 2)) for n in range(6)]
    new[2], new[3] = numbered(2, 1, bits="1"), numbered(3, 0, bits="0")
    new[4] = numbered(4, 1, R=20, verdict="fault")
    return run_of(tmp_path / "old", [A, B], *old), run_of(tmp_path / "new", [A, B], *new)


def test_facts_that_differ_between_environments_have_all_their_values():
    assert merged([A, A]) == A
    assert merged([A, B]) == {"torch": "2.13.0", "gpu": ["A100", "H100"], "cuda": ["12", "none"]}
    assert merged([]) == {}


def test_changes_are_counted_by_pairs_of_environments(two):
    with open_runs(*two) as (old, new):
        found = compare(old, new)
        assert found.total == {"equal": 3, "moved": 2, "fault": 1}
        assert found.environments == {
            (0, 0): {"equal": 1},
            (0, 1): {"moved": 1, "fault": 1},
            (1, 0): {"moved": 1},
            (1, 1): {"equal": 2},
        }
        assert name_environments(old) == ["gpu A100, cuda none", "gpu H100, cuda 12"]


def test_runs_with_one_environment_each_are_compared_without_pairs():
    old, new = made_up(row(1), torch="2.4.1"), made_up(row(1))
    found = compare(old, new)
    assert found.environments == {} and name_environments(old) == ["the only one"]


def test_every_report_says_that_there_are_several_environments(two, tmp_path, capsys):
    files = [tmp_path / name for name in ("c.json", "c.html")]
    for options in ([], ["--markdown"], ["--json", files[0]], ["--html", files[1], "-q"]):
        with pytest.raises(SystemExit) as end:
            main(["compare", *map(str, [*two, *options])])
        out = capsys.readouterr().out
        assert end.value.code == 1
        assert "The runs have several environments, 4 pairs of which are compared." in out
        assert options[-1:] == ["-q"] or "gpu A100, cuda none" in out
    found = json.loads(files[0].read_text())
    assert found["environments"] == {"old": [A, B], "new": [A, B]}
    assert {"old": 1, "new": 0, "moved": 1} in found["by environments"]
    assert "Pairs of environments" in files[1].read_text()


def test_the_json_of_a_run_keeps_the_environment_of_each_result(two, tmp_path, capsys):
    file = tmp_path / "new.json"
    with pytest.raises(SystemExit):
        main(["export", str(two[1]), "--json", str(file)])
    assert read(file) == read(two[1])
    with open_runs(*two) as pair, open_runs(two[0], file) as other:
        assert compare(*pair) == compare(*other)
    content = json.loads(file.read_text())
    assert content["environment"]["gpu"] == ["A100", "H100"]
    assert [r["environment"] for r in content["results"]] == [
        r.environment for r in read(file).rows
    ]


def test_the_environments_of_added_cases_get_numbers(tmp_path):
    file = tmp_path / "run"
    with open_store(file, Head("0123456789abcdef", 16.0, [], PLAN._asdict())) as store:
        for n, facts in enumerate((A, B, A, {})):
            store.add(FinishedCase(row(n).case, [row(n)], []), environment=facts)
        finished = store.connection.execute("SELECT environment FROM results ORDER BY case_id")
        assert finished.fetchall() == [(0,), (1,), (0,), (2,)]
        many = [{"host": str(n)} for n in range(MOST_ENVIRONMENTS)]
        with pytest.raises(
            BadRun, match="1001 environments take .* bytes, and a run holds 1000 of"
        ):
            for n, facts in enumerate(many):
                store.add(FinishedCase(f"c{n}", [], []), environment=facts)


def to_schema_3(file):
    """Make a run one of schema 3, as the version before wrote it."""
    os.truncate(file, file.stat().st_size - LENGTH)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for statement in (
            "INSERT INTO run SELECT 'environment', facts FROM environments",
            "DROP TABLE environments",
            "ALTER TABLE results DROP COLUMN environment",
            "PRAGMA user_version = 3",
        ):
            connection.execute(statement)
    seal(file)
    return file


@pytest.mark.parametrize("older", [(True, False), (False, True), (True, True)])
def test_a_run_of_schema_3_is_read_and_compared(tmp_path, older):
    pair = [
        run_of(tmp_path / name, [A | {"torch": name}], row(1), row(2), row(3, bits=name))
        for name in ("old", "new")
    ]
    with open_runs(*pair) as runs:
        expected, rows = compare(*runs), [list(read_rows(run)) for run in runs]
    for file, change in zip(pair, older, strict=True):
        if change:
            to_schema_3(file)
    with open_runs(*pair) as runs:
        assert [run.version for run in runs] == [3 if change else 4 for change in older]
        assert compare(*runs) == expected and [list(read_rows(run)) for run in runs] == rows
        assert [run.environment["torch"] for run in runs] == ["old", "new"]


def test_a_run_of_schema_3_with_the_tables_of_schema_4_is_rejected(tmp_path):
    file = run_of(tmp_path / "run", [A], row(1))
    os.truncate(file, file.stat().st_size - LENGTH)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 3")
    seal(file)
    with pytest.raises(BadRun, match="its tables are others"):
        check_run(file)
