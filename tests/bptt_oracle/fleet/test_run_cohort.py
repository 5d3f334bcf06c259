"""Runs of several workers: the odd one out by file, tensor, element and mask of bits."""

import numpy as np
import pytest

from bptt_oracle.fleet import run_cohort
from bptt_oracle.fleet.run_cohort import compare_runs, runs_among
from bptt_oracle.runs.row import TensorDigest, array_digest, digest
from bptt_oracle.runs.run import check_run, connection_to
from bptt_oracle.runs.schema import Head, to_record
from bptt_oracle.runs.store import finish, write_database
from support.command_line import bptt_oracle
from support.fleet_lines import healthy_line, write_lines
from support.runs import PLAN, row, write_run

KEY = "/".join(row().key)


def runs_of(folder, *contents, **options):
    """A run for each list of rows."""
    files = [folder / f"worker{n}" for n in range(len(contents))]
    for file, rows in zip(files, contents, strict=True):
        write_run(file, *rows, **options)
    return files


def odd_of(groups):
    return [(odd.worker[0][-1], odd.parts, odd.place) for group in groups for odd in group.odd]


def test_equal_workers_agree(tmp_path, capsys):
    files = runs_of(tmp_path, *[[row(n) for n in range(4)]] * 3)
    status, out, err = bptt_oracle(capsys, "cohort", *map(str, files), "-q")
    sentence = "3 devices in 1 cohort: all agree in every bit with the majority of their cohort\n"
    assert (status, out, err) == (0, sentence, "")


def test_the_odd_one_is_named_with_its_results_and_tensors(tmp_path, capsys):
    usual = [row(n) for n in range(4)]
    odd = [row(0), row(1, bits="other"), row(2), row(3, bits="another", R=30, verdict="fault")]
    files = runs_of(tmp_path, usual, odd, usual, usual)
    case = row(1).case
    status, out, err = bptt_oracle(capsys, "cohort", *map(str, files))
    assert (status, err) == (1, "")
    place = f"first in {case}/cpu-native/float32: output; to name the element, record with --values"
    parts = ", ".join("/".join(row(n).key) for n in (1, 3))
    assert f"{files[1]} differs from 3 equal devices, in {parts}: {place} {case}\n" in out
    assert out.endswith("1 differ from the majority, 0 wrong by their own preflight\n")


@pytest.mark.parametrize("dtype, digits", [("f2", 4), ("f4", 8), ("f8", 16)])
def test_the_element_and_the_mask_are_named_if_values_were_kept(tmp_path, dtype, digits):
    usual = {"output": np.arange(24, dtype=dtype).reshape(4, 3, 2), "h_n": np.ones(3, dtype)}
    flipped = {name: value.copy() for name, value in usual.items()}
    flipped["output"].reshape(-1).view(f"u{digits // 2}")[[9, 20]] ^= 4
    flipped["h_n"][:] = 2
    files = []
    for n, values in enumerate((usual, usual, flipped)):
        tensors = {name: TensorDigest(0.5, array_digest(v)) for name, v in values.items()}
        files += [tmp_path / f"worker{n}"]
        write_run(files[n], row()._replace(tensors=tensors), kept=values)
    place = f"first in {KEY}: output, h_n; output[1, 1, 1], xor 0x{4:0{digits}x}, 2 of 24 elements "
    assert odd_of(compare_runs(files)) == [("2", (KEY,), f"{place}differ")]


def test_kept_values_of_other_shapes_and_equal_ones_are_named_so(tmp_path):
    for value, words in (
        (np.zeros((2, 2), "f4"), "output is float32 [2, 2], not float32 [3]"),
        (np.zeros(3, "f8"), "output is float64 [3], not float32 [3]"),
        (np.zeros(3, "f4"), "the values that were kept of output are equal"),
    ):
        for n in range(3):
            bits, kept = ("other", value) if n == 2 else ("same", np.zeros(3, "f4"))
            write_run(tmp_path / f"worker{n}", row(bits=bits), kept={"output": kept})
        files = [tmp_path / f"worker{n}" for n in range(3)]
        assert odd_of(compare_runs(files))[0][2] == f"first in {KEY}: output; {words}"


def test_a_crash_and_other_masks_are_odd(tmp_path):
    crash = row(note="SIGSEGV", verdict="crash", R=float("inf"))
    files = runs_of(tmp_path, [row()], [row()], [row()], [crash], [row(masks=digest(b"m"))])
    assert odd_of(compare_runs(files)) == [
        ("3", (KEY,), f"in {KEY}; SIGSEGV"),
        ("4", (KEY,), f"in {KEY}; its dropout masks are others"),
    ]


@pytest.mark.parametrize("contents", [["a", "b"], ["a", "a"], ["a"], ["a", "a", "b", "b"]])
def test_without_a_majority_nothing_is_odd(tmp_path, capsys, contents):
    files = runs_of(tmp_path, *[[row(bits=bits)] for bits in contents])
    (group,) = compare_runs(files)
    assert group.odd == () and group.undecided == (KEY,)
    assert bptt_oracle(capsys, "cohort", *map(str, files))[0] == 2


def test_other_software_another_plan_and_other_code_are_other_cohorts(tmp_path):
    differing = [{}, {"torch": "2.4.1"}, {"code": "f" * 16}, {"seed": 9}]
    files = []
    for n, options in enumerate(differing):
        (tmp_path / str(n)).mkdir()
        files += runs_of(tmp_path / str(n), *[[row(bits=str(n))]] * 3, **options)
    groups = compare_runs(files)
    assert [len(group.workers) for group in groups] == [3] * 4 and odd_of(groups) == []
    assert compare_runs([]) == ()


def test_the_environments_of_a_campaign_are_its_workers(tmp_path):
    """Two kinds of workers, whose platforms do not matter; each result is of one of them."""
    files = [tmp_path / f"campaign{n}" for n in range(3)]
    for n, file in enumerate(files):
        environments = [{"torch": "2", "platform": f"host {n}"}, {"torch": "3"}]
        rows = [
            row(0),
            row(1, bits="odd" if n == 1 else "same")._replace(environment=1),
            row(2)._replace(environment=n % 2),
        ]
        write_database(file, Head("0" * 16, 16.0, environments, PLAN.facts), map(to_record, rows))
        finish(file)
    groups = compare_runs(files)
    workers = [[worker[:2] for worker in group.workers] for group in groups]
    assert workers == [[(str(file), f"environment {e}") for file in files] for e in (0, 1)]
    assert odd_of(groups)[0][:2] == ("1", ("/".join(row(1).key),)) and len(odd_of(groups)) == 1
    assert all(group.undecided == ("/".join(row(2).key),) for group in groups)


def test_lists_of_results_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(run_cohort, "MOST", 3)
    rows, others = [row(n) for n in range(9)], [row(n, bits="x") for n in range(9)]
    groups = compare_runs(runs_of(tmp_path, rows, rows, others))
    assert len(groups[0].odd[0].parts) == 3
    assert len(compare_runs(runs_of(tmp_path, rows, others))[0].undecided) == 3


def test_runs_and_lines_are_compared_together(tmp_path, capsys):
    lines = write_lines(tmp_path / "lines", [healthy_line(host=f"node{n}") for n in range(3)])
    files = runs_of(tmp_path, [row()], [row()], [row(bits="other")])
    assert runs_among([lines, *files]) == files
    status, out, _ = bptt_oracle(capsys, "cohort", str(lines), *map(str, files))
    assert status == 1 and "6 devices in 2 cohorts: 1 differ" in out
    assert f"{files[2]} differs from 2 equal devices" in out


def test_a_file_votes_once(tmp_path, capsys):
    run, other = runs_of(tmp_path, [row()], [row()])
    link = tmp_path / "link"
    link.symlink_to(run)
    for again in (run, link):
        status, out, err = bptt_oracle(capsys, "cohort", str(run), str(other), str(again))
        sentence = f"{run} and {again} are one file, which would vote twice; name it once"
        assert (status, out, err) == (2, "", f"bptt-oracle: {sentence}\n")


def test_a_damaged_run_is_one_sentence_and_status_2(tmp_path, capsys):
    files = runs_of(tmp_path, [row()], [row()], [row()])
    files[1].write_bytes(files[1].read_bytes()[:-5])
    status, out, err = bptt_oracle(capsys, "cohort", *map(str, files))
    assert (status, out, err.count("\n")) == (2, "", 1) and "was cut off or changed" in err


def test_the_values_of_one_result_are_those_of_its_path(tmp_path):
    files = runs_of(tmp_path, [row()], kept={"output": np.ones(2)})
    run = check_run(files[0])
    assert [n for n, _ in run_cohort.kept_values(run, row().key)] == ["output"]
    assert list(run_cohort.kept_values(run, (row().case, "other", "float32"))) == []
    with connection_to(run) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1,)
