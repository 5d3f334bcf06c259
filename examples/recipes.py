"""A tutorial's training recipes for the sum of digits modulo 10, run with many seeds.

Task: the class of 2 to 5 digits is their sum modulo 10. Model: an embedding of width 10 with a
padding row, a stacked RNN over packed sequences, a linear head on h_n[−1]. Training: Adam, whose
learning rate falls along a cosine to 1e-4.

Source: github.com/ShaohonChen/tutorial_with_rnn, README and train_cls_rnn.py.
"""

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reference import GRU, LSTM, RNN
from reference.models import optim
from reference.models.classifier import SequenceClassifier
from reference.models.loss import cross_entropy, cross_entropy_back
from reference.models.parameters import Params, add_prefix, select_prefix
from reference.nets.initializers import orthogonal_recurrence

PAD, CLASSES, FLOOR = 10, 10, 1e-4
CELLS = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}


class Recipe(NamedTuple):
    """One training configuration."""

    name: str
    published: float | None = None  # accuracy reported by the tutorial
    cell: str = "RNN"
    hidden: int = 16
    layers: int = 1
    batch: int = 16
    lr: float = 1e-3
    warmup: float = 0.0  # share of the steps
    clip: float = float("inf")  # largest global norm of the gradient
    orthogonal: bool = False  # orthogonal initial recurrent weights


together = Recipe("all together", None, "RNN", 32, 3, 64, 5e-3)
PUBLISHED = [
    Recipe("baseline", 0.75),
    Recipe("batch 64", batch=64),  # "lower than the baseline"
    Recipe("batch 64, 5e-3", 0.91, batch=64, lr=5e-3),
    Recipe("32 × 3 layers", 0.99, hidden=32, layers=3),
    together,  # "one run of three converged"
    together._replace(name="all + warm-up", published=1.0, warmup=0.1),
]
REMEDIES = [
    together._replace(name="all + clip 1", clip=1.0),
    together._replace(name="all + orthogonal", orthogonal=True),
    together._replace(name="all + orthogonal + warm-up", orthogonal=True, warmup=0.1),
    together._replace(name="all, GRU", cell="GRU"),
    together._replace(name="all, LSTM", cell="LSTM"),
    together._replace(name="all, GRU, 1 layer", cell="GRU", layers=1),
]


class StepRecord(NamedTuple):
    """Quantities recorded at one training step."""

    step: int
    loss: float
    norm: float  # of the whole gradient, before clipping
    input_norm: float  # of the gradient of the embedding, the farthest parameter from the loss
    spread: float  # standard deviation of h_n[−1] over the batch; 0: the state ignores the input
    slack: float  # mean of 1 − h², the slope of tanh; 0: the state is saturated


class Findings(NamedTuple):
    """A summary of a run's records. Medians over its last tenth, relative to its first step."""

    outcome: str
    spread: float
    input_norm: float
    largest_norm: float  # of the gradient at any recorded step; not relative


class TrainingRun(NamedTuple):
    """One recipe trained with one seed by one backend."""

    recipe: str
    backend: str
    seed: int
    steps: int
    accuracy: float
    findings: Findings | None  # None for torch, whose steps are not recorded


def draw(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random ids [B, 5] padded on the right, lengths [B] from 2 to 5, and labels [B]."""
    lengths = rng.integers(2, 6, size)
    real = np.arange(5) < lengths[:, None]
    digits = rng.integers(0, 10, (size, 5))
    return np.where(real, digits, PAD), lengths, np.where(real, digits, 0).sum(axis=1) % CLASSES


def draw_test_data(seed: int, size: int = 1000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Test data of a run with this seed, drawn from another stream than its training data."""
    return draw(np.random.default_rng([seed, 1]), size)


def make_model(recipe: Recipe) -> SequenceClassifier:
    """The recipe's classifier."""
    net = CELLS[recipe.cell](10, recipe.hidden, recipe.layers)
    return SequenceClassifier(PAD + 1, CLASSES, net, padding_idx=PAD)


def initialize(recipe: Recipe, seed: int) -> tuple[Params, np.random.Generator]:
    """Initial parameters, and the generator that then draws the batches."""
    clf, rng = make_model(recipe), np.random.default_rng(seed)
    params = clf.init(rng)
    if recipe.orthogonal:
        rnn = orthogonal_recurrence(
            clf.rnn, select_prefix(params, "rnn."), np.random.default_rng([seed, 2])
        )
        params |= add_prefix(rnn, "rnn.")
    return params, rng


def learning_rate(recipe: Recipe, t: int, steps: int) -> float:
    """The learning rate of step t."""
    return optim.warmup_cosine(t, recipe.lr, FLOOR, steps, round(recipe.warmup * steps))


def train(recipe: Recipe, seed: int, steps: int) -> Iterator[tuple[StepRecord, Params]]:
    """Train in NumPy; yield each step's record and the parameters after it."""
    clf, (params, rng) = make_model(recipe), initialize(recipe, seed)
    state = optim.adam_start(params)
    for t in range(steps):
        ids, lengths, labels = draw(rng, recipe.batch)
        logits, tape = clf.forward(params, ids, lengths)
        loss, loss_tape = cross_entropy(logits, labels)
        grads = clf.backward(tape, cross_entropy_back(loss_tape))
        clipped, norm = optim.clip_by_global_norm(grads, recipe.clip)
        params, state = optim.adam(params, clipped, state, learning_rate(recipe, t, steps))
        h, input_norm = tape.head.x, optim.global_norm({"emb": grads["emb.weight"]})
        values = loss, norm, input_norm, h.std(axis=0).mean(), (1 - h * h).mean()
        yield StepRecord(t, *map(float, values)), params


def train_in_torch(recipe: Recipe, seed: int, steps: int) -> Iterator[tuple[float, Any]]:
    """Train in torch with the same parameters and batches; yield each loss and the model."""
    import torch

    from torch_impl.models.classifier import SequenceClassifier as TorchClassifier
    from torch_impl.models.classifier import classifier_step
    from torch_impl.models.optim import adam, clip_by_global_norm, warmup_cosine

    params, rng = initialize(recipe, seed)
    model = TorchClassifier(make_model(recipe), params)
    optimizer = adam(model.parameters(), recipe.lr)
    schedule = warmup_cosine(optimizer, FLOOR, steps, round(recipe.warmup * steps))
    for _ in range(steps):
        loss = classifier_step(model, *map(torch.tensor, draw(rng, recipe.batch)))
        optimizer.zero_grad()
        loss.backward()
        clip_by_global_norm(model.parameters(), recipe.clip)
        optimizer.step()
        schedule.step()
        yield loss.item(), model


def predict(recipe: Recipe, params: Params, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The most likely classes [B] according to the NumPy model."""
    logits, _ = make_model(recipe).forward(params, ids, lengths)
    classes: np.ndarray = logits.argmax(axis=1)
    return classes


def torch_predict(model: Any, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The most likely classes [B] according to the torch model."""
    import torch

    with torch.no_grad():
        classes: np.ndarray = model(torch.tensor(ids), torch.tensor(lengths)).argmax(dim=1).numpy()
    return classes


def run(recipe: Recipe, backend: str, seed: int, steps: int) -> TrainingRun:
    """Train, and measure the accuracy on a thousand unseen sequences."""
    ids, lengths, labels = draw_test_data(seed)
    records: list[StepRecord] = []
    if backend == "torch":
        _, model = deque(train_in_torch(recipe, seed, steps), maxlen=1).pop()
        classes = torch_predict(model, ids, lengths)
    else:
        for record, latest in train(recipe, seed, steps):
            params = latest
            if record.step % max(steps // 100, 1) == 0:
                records.append(record)
        classes = predict(recipe, params, ids, lengths)
    accuracy = float((classes == labels).mean())
    findings = summarize(accuracy, records) if records else None
    return TrainingRun(recipe.name, backend, seed, steps, accuracy, findings)


def summarize(accuracy: float, records: list[StepRecord]) -> Findings:
    """Summarize the records of a run, and classify its outcome."""
    first, tail = records[0], records[-max(len(records) // 10, 1) :]
    spread = float(np.median([r.spread for r in tail])) / first.spread
    input_norm = float(np.median([r.input_norm for r in tail])) / first.input_norm
    largest_norm = float(np.max([r.norm for r in records]))  # NaN if any is
    if accuracy >= 0.99:
        outcome = "learned"
    elif not largest_norm < 1e3 * first.norm:
        outcome = "exploded"
    elif accuracy >= 0.15:
        outcome = "half-way"
    elif spread < 0.5:
        outcome = "died: state ignores input"
    else:
        outcome = "at chance"
    return Findings(outcome, spread, input_norm, largest_norm)


def load(file: Path) -> list[TrainingRun]:
    """The runs in a file, [] if there is no file. Raises SystemExit if it is not a file of runs."""
    if not file.exists():
        return []
    try:
        runs = [TrainingRun(*run) for run in json.loads(file.read_bytes())]
        return [run._replace(findings=run.findings and Findings(*run.findings)) for run in runs]
    except (OSError, ValueError, TypeError):
        raise SystemExit(f"{file} is not a file of recipe runs; name another file.") from None
