"""The examples in short form: they run, print their tables, and NumPy and torch agree."""

import io

import numpy as np
import pytest
from rich.console import Console

from bptt_oracle.ledger.claims import ROOT
from examples import character_lm, recipes, sum_mod_10
from examples.recipes import PUBLISHED, REMEDIES, StepRecord, TrainingRun


def printed(main, *arguments):
    """The text that an example prints."""
    console = Console(file=io.StringIO(), width=100)
    main(arguments, console)
    return console.file.getvalue()


@pytest.mark.claim("B1")
def test_the_character_model_writes_its_sentence_in_numpy_and_in_torch():
    report = printed(character_lm.main, "--steps", "60", "--hidden", "24")
    assert report.count(character_lm.SENTENCE) >= 2  # greedy in NumPy and in torch
    for words in ("loss, NumPy", "loss, torch", "largest gap so far", "sampled, torch"):
        assert words in report


def test_the_character_model_reads_a_file_and_rejects_one_with_a_single_character(tmp_path):
    book = tmp_path / "book.txt"
    book.write_text("the [bold]cat[/bold] sat on the mat; " * 20, encoding="utf-8")
    options = "--steps", "5", "--length", "12", "--cell", "LSTM", "--hidden", "8"
    assert "740 characters" in printed(character_lm.main, str(book), *options)
    book.write_text("a", encoding="utf-8")
    with pytest.raises(SystemExit, match="has fewer than two characters"):
        printed(character_lm.main, str(book))


def test_an_unreadable_file_is_reported_in_one_sentence(tmp_path):
    book = tmp_path / "book.txt"
    book.write_bytes(b"\xff\xfe\x00")
    for file, words in (tmp_path / "none", "cannot be read"), (tmp_path, "cannot"), (book, "UTF-8"):
        with pytest.raises(SystemExit, match=words):
            printed(character_lm.main, str(file))
    for text in ("{", "[1]", "[[1, 2]]", '{"a": 1}', "3"):
        book.write_text(text)
        with pytest.raises(SystemExit, match="is not a file of recipe runs"):
            printed(sum_mod_10.main, "--recipes", "--show", "--keep", str(book))
        assert book.read_text() == text
    with pytest.raises(SystemExit, match="is not a file of recipe runs"):
        printed(sum_mod_10.main, "--recipes", "--show", "--keep", str(tmp_path))


@pytest.mark.claim("B11")
def test_one_recipe_runs_in_both_and_reports_accuracy_by_length():
    report = printed(sum_mod_10.main, "--steps", "20", "--recipe", "all + warm-up")
    for words in ("Accuracy on 1000 unseen", "loss, torch", "ms in torch", "digits", "modulo 5"):
        assert words in report


@pytest.mark.claim("B11")
def test_all_recipes_with_many_seeds_are_compared_with_the_published_accuracies():
    chosen = "--only", "baseline", "all, GRU", "--remedies", "--torch"
    report = printed(sum_mod_10.main, "--recipes", "--steps", "5", "--seeds", "2", *chosen)
    assert report.count("0 of 2") == 4  # two recipes, two backends
    for words in ("○", "max ‖g‖", "4 runs ended at chance"):
        assert words in report


@pytest.mark.claim("B11")
def test_saved_runs_are_not_run_again_and_are_drawn(tmp_path):
    options = "--recipes", "--steps", "3", "--keep", str(tmp_path / "runs.json")
    chosen = "--only", "baseline", "--torch"
    once = printed(sum_mod_10.main, *options, *chosen, "--seeds", "1")
    saved = recipes.load(tmp_path / "runs.json")
    again = printed(sum_mod_10.main, *options, *chosen, "--plot", str(tmp_path / "a.svg"))
    all_runs = recipes.load(tmp_path / "runs.json")
    report = printed(sum_mod_10.main, *options, "--show", "--seeds", "11")
    assert "seed 10" not in report and report.count("0 of 10") == 1 and "batch 64" not in report
    assert once.count("seed 0, ") == 2 and "seed 0, " not in again and again.count("seed 9, ") == 2
    assert len(saved) == 2 and saved == all_runs[:2] and len(all_runs) == 20
    assert {run.backend for run in all_runs if run.findings} == {"NumPy"}
    assert "<svg" in (tmp_path / "a.svg").read_text()


@pytest.mark.claim("B11")
@pytest.mark.parametrize("recipe", PUBLISHED + REMEDIES, ids=lambda r: r.name)
def test_every_recipe_takes_the_same_steps_in_numpy_and_in_torch(recipe):
    steps = zip(recipes.train(recipe, 3, 12), recipes.train_in_torch(recipe, 3, 12), strict=True)
    losses = [(record.loss, loss) for (record, _), (loss, _) in steps]
    np.testing.assert_allclose(*np.transpose(losses), rtol=1e-12)


@pytest.mark.claim("B11")
def test_batches_have_the_tutorials_digits_lengths_padding_and_sums():
    ids, lengths, labels = recipes.draw(np.random.default_rng(0), 3000)
    assert set(lengths) == {2, 3, 4, 5} and ids.shape == (3000, 5)
    for row, n, label in zip(ids, lengths, labels, strict=True):
        assert (row[n:] == recipes.PAD).all() and row[:n].max() <= 9
        assert row[:n].sum() % 10 == label
    training_ids, _, _ = recipes.draw(np.random.default_rng(0), 1000)
    assert not np.array_equal(recipes.draw_test_data(0)[0], training_ids)


def test_the_outcome_follows_from_the_records():
    def outcome(accuracy, spread, norm):
        first = StepRecord(0, 2.3, 0.3, 0.01, 0.2, 0.9)
        last = StepRecord(9, 2.3, norm, 0.01, spread, 0.9)
        return recipes.summarize(accuracy, [first, last]).outcome

    assert outcome(0.995, 0.01, 0.3) == "learned"
    assert outcome(0.10, 0.01, 0.3) == "died: state ignores input"
    assert outcome(0.10, 0.19, 0.3) == "at chance"
    assert outcome(0.10, 0.19, 1e4) == outcome(0.10, 0.19, np.nan) == "exploded"
    assert outcome(0.50, 0.90, 2.0) == "half-way"


def test_marks_are_at_the_accuracies():
    assert sum_mod_10.strip([1.0] * 12, None, width=3) == "··+"
    assert sum_mod_10.strip([0.0, 0.5, 0.52, 1.0], None, width=5) == "●·2·●"
    assert sum_mod_10.strip([0.0], 0.75, width=5) == "●··○·"


def test_a_ring_is_explained_if_there_is_one():
    baseline = PUBLISHED[0]
    for accuracy, ring in (0.2, True), (baseline.published, False):
        runs = [TrainingRun("baseline", "NumPy", 0, 5, accuracy, None)]
        table = sum_mod_10.distributions([baseline], ["NumPy"], runs, 5)
        assert ("○" in table.title) == ring


@pytest.mark.claim("B11")
def test_final_accuracies_differ_only_for_the_simple_rnn_at_the_high_rate():
    """In the recorded runs, torch and NumPy reach the same accuracy in all other recipes."""
    runs = recipes.load(ROOT / "docs" / "records" / "recipes.json")
    accuracy = {(run.recipe, run.seed, run.backend): run.accuracy for run in runs}
    gaps = {"some": [], "none": []}
    for recipe in PUBLISHED + REMEDIES:
        kind = "some" if recipe.cell == "RNN" and recipe.lr == 5e-3 else "none"
        for seed in range(10):
            if (recipe.name, seed, "torch") in accuracy:
                numpy, torch = (accuracy[recipe.name, seed, by] for by in ("NumPy", "torch"))
                gaps[kind].append(round(abs(numpy - torch), 3))
    assert len(gaps["none"]) == 40 and not any(gaps["none"])
    assert len(gaps["some"]) == 30 and sum(gap > 0 for gap in gaps["some"]) == 22
    assert sum(0 < gap < 0.01 for gap in gaps["some"]) == 12
    assert sum(gap > 0.3 for gap in gaps["some"]) == 3
