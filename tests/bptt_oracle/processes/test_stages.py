"""Stages of long items: written by the process that works, read by another; and left by none."""

import os
import time
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread

import pytest

from bptt_oracle.processes import stages
from bptt_oracle.processes.stages import current_stages, read_stages, work_in_stages
from bptt_oracle.processes.workers import map_unordered

DEADLINE = 60.0  # seconds, in which a text must arrive


def show_and_wait(folder, item):
    """Show the item until the file `seen` is in the folder; whether another process did so."""
    stages._FIRST = 0
    return work_in_stages(folder, partial(_show_and_wait, folder), item)


def _show_and_wait(folder, item):
    current_stages().show(f"item {item}")
    end = time.monotonic() + DEADLINE
    while not (folder / "seen").exists() and time.monotonic() < end:
        time.sleep(0.01)
    return parent_process() is not None


@pytest.mark.parametrize("workers", [1, 2])
def test_what_workers_are_doing_is_read_while_they_do_it(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(stages, "_FIRST", 0)
    seen = []

    def watch():
        end = time.monotonic() + DEADLINE
        while len(seen) < workers and time.monotonic() < end:
            seen[:] = read_stages(tmp_path)
        (tmp_path / "seen").touch()

    watcher = Thread(target=watch)
    watcher.start()
    in_workers = list(map_unordered(partial(show_and_wait, tmp_path), range(workers), workers))
    watcher.join()
    assert sorted(seen) == [f"item {n}" for n in range(workers)]
    assert in_workers == [workers > 1] * workers
    assert [file.name for file in tmp_path.iterdir()] == ["seen"]


def test_a_short_item_writes_nothing(tmp_path):
    def show(item):
        current_stages().show("first", at_once=True)
        return list(tmp_path.iterdir())

    assert work_in_stages(tmp_path, show, 0) == []


def test_texts_that_follow_each_other_at_once_are_not_all_written(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "_FIRST", 0)

    def show(item):
        found = []
        for text, at_once in (("first", False), ("second", False), ("third", True)):
            current_stages().show(text, at_once)
            found += read_stages(tmp_path)
        return found

    assert work_in_stages(tmp_path, show, 0) == ["first", "first", "third"]


def test_without_a_folder_and_after_an_exception_there_are_no_stages(tmp_path):
    assert work_in_stages(None, lambda item: current_stages(), 0) is None
    with pytest.raises(ZeroDivisionError):
        work_in_stages(tmp_path, lambda item: 1 / item, 0)
    assert current_stages() is None


def test_what_cannot_be_written_or_read_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "_FIRST", 0)
    work = partial(work_in_stages, tmp_path / "none", lambda item: current_stages().show("x"))
    assert work(0) is None
    (tmp_path / "12").mkdir()
    (tmp_path / "13").write_bytes(b"\xff\xfe")
    (tmp_path / "14.aside").write_text("half")
    (tmp_path / "15").write_text("y" * 999)
    assert read_stages(Path(tmp_path)) == ["y" * stages.LONGEST]
    assert os.listdir(tmp_path / "12") == []
