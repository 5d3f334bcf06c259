"""The tutorial's recipes for the sum of digits modulo 10, run over many seeds.

Task: digits 0–9, 2 to 5 of them; the class is their sum modulo 10. Embedding of 10 with a padding
row, a stacked RNN over packed sequences, a head on h_n[−1]; Adam, its rate falling along a cosine
to 1e-4 over the whole run.

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
    """One row of the table. `warmup` is a share of the steps; `published` the tutorial's point."""

    name: str
    published: float | None = None
    cell: str = "RNN"
    hidden: int = 16
    layers: int = 1
    batch: int = 16
    lr: float = 1e-3
    warmup: float = 0.0
    clip: float = float("inf")
    orthogonal: bool = False


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


class Record(NamedTuple):
    """What is watched while training: norms, and whether the state still follows its input."""

    step: int
    loss: float
    norm: float  # of the whole gradient, before clipping
    input_norm: float  # of the embedding's gradient: what arrives at the far end
    spread: float  # standard deviation of h_n[−1] over the batch; 0 is a state that ignores it
    slack: float  # mean of 1 − h², the slope of tanh; 0 is a saturated state


class Findings(NamedTuple):
    """A run's records in short: the middle of its last tenth, relative to its first step."""

    verdict: str
    spread: float
    input_norm: float
    largest: float  # gradient at any recorded step; not relative


class Run(NamedTuple):
    """One recipe with one seed, by one backend; only a run in NumPy is watched."""

    recipe: str
    backend: str
    seed: int
    steps: int
    accuracy: float
    findings: Findings | None


def draw(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids [B, 5] padded on the right, lengths [B] from 2 to 5, labels [B]."""
    lengths = rng.integers(2, 6, size)
    real = np.arange(5) < lengths[:, None]
    digits = rng.integers(0, 10, (size, 5))
    return np.where(real, digits, PAD), lengths, np.where(real, digits, 0).sum(axis=1) % CLASSES


def unseen(seed: int, size: int = 1000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a run with this seed is judged by: drawn apart from what it learns from."""
    return draw(np.random.default_rng([seed, 1]), size)


def model_of(recipe: Recipe) -> SequenceClassifier:
    """The recipe's classifier."""
    net = CELLS[recipe.cell](10, recipe.hidden, recipe.layers)
    return SequenceClassifier(PAD + 1, CLASSES, net, padding_idx=PAD)


def start(recipe: Recipe, seed: int) -> tuple[Params, np.random.Generator]:
    """Initial parameters, and the generator that goes on to draw the batches."""
    clf, rng = model_of(recipe), np.random.default_rng(seed)
    params = clf.init(rng)
    if recipe.orthogonal:
        rnn = orthogonal_recurrence(
            clf.rnn, select_prefix(params, "rnn."), np.random.default_rng([seed, 2])
        )
        params |= add_prefix(rnn, "rnn.")
    return params, rng


def rate(recipe: Recipe, t: int, steps: int) -> float:
    """The learning rate of step t."""
    return optim.warmup_cosine(t, recipe.lr, FLOOR, steps, round(recipe.warmup * steps))


def train(recipe: Recipe, seed: int, steps: int) -> Iterator[tuple[Record, Params]]:
    """Every step in NumPy: what was seen, and the parameters after it."""
    clf, (params, rng) = model_of(recipe), start(recipe, seed)
    state = optim.adam_start(params)
    for t in range(steps):
        ids, lengths, labels = draw(rng, recipe.batch)
        logits, tape = clf.forward(params, ids, lengths)
        loss, loss_tape = cross_entropy(logits, labels)
        grads = clf.backward(tape, cross_entropy_back(loss_tape))
        clipped, norm = optim.clip_by_global_norm(grads, recipe.clip)
        params, state = optim.adam(params, clipped, state, rate(recipe, t, steps))
        h, reached = tape.head.x, optim.global_norm({"emb": grads["emb.weight"]})
        watched = loss, norm, reached, h.std(axis=0).mean(), (1 - h * h).mean()
        yield Record(t, *map(float, watched)), params


def train_in_torch(recipe: Recipe, seed: int, steps: int) -> Iterator[tuple[float, Any]]:
    """Every step in torch, from the same start over the same batches: the loss and the model."""
    import torch

    from torch_impl.models.classifier import SequenceClassifier as TorchClassifier
    from torch_impl.models.classifier import classifier_step
    from torch_impl.models.optim import adam, clip_by_global_norm, warmup_cosine

    params, rng = start(recipe, seed)
    model = TorchClassifier(model_of(recipe), params)
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


def guesses(recipe: Recipe, params: Params, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The classes [B] that the NumPy model finds most likely."""
    return model_of(recipe).forward(params, ids, lengths)[0].argmax(axis=1)


def torch_guesses(model: Any, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The same of the torch model."""
    import torch

    with torch.no_grad():
        return model(torch.tensor(ids), torch.tensor(lengths)).argmax(dim=1).numpy()


def run(recipe: Recipe, backend: str, seed: int, steps: int) -> Run:
    """One whole run, judged by a thousand unseen sequences."""
    ids, lengths, labels = unseen(seed)
    records: list[Record] = []
    if backend == "torch":
        _, model = deque(train_in_torch(recipe, seed, steps), maxlen=1).pop()
        found = torch_guesses(model, ids, lengths)
    else:
        for record, latest in train(recipe, seed, steps):
            params = latest
            if record.step % max(steps // 100, 1) == 0:
                records.append(record)
        found = guesses(recipe, params, ids, lengths)
    accuracy = float((found == labels).mean())
    said = findings(accuracy, records) if records else None
    return Run(recipe.name, backend, seed, steps, accuracy, said)


def findings(accuracy: float, records: list[Record]) -> Findings:
    """What the records say of a run, and what became of it."""
    first, tail = records[0], records[-max(len(records) // 10, 1) :]
    spread = float(np.median([r.spread for r in tail])) / first.spread
    input_norm = float(np.median([r.input_norm for r in tail])) / first.input_norm
    largest = float(np.max([r.norm for r in records]))  # NaN if one is
    if accuracy >= 0.99:
        verdict = "learned"
    elif not largest < 1e3 * first.norm:
        verdict = "exploded"
    elif accuracy >= 0.15:
        verdict = "half-way"
    elif spread < 0.5:
        verdict = "died: state ignores input"
    else:
        verdict = "at chance"
    return Findings(verdict, spread, input_norm, largest)


def load(file: Path) -> list[Run]:
    """The runs a file holds; none where there is no file. SystemExit where it holds no runs."""
    if not file.exists():
        return []
    try:
        kept = [Run(*run) for run in json.loads(file.read_bytes())]
        return [run._replace(findings=run.findings and Findings(*run.findings)) for run in kept]
    except (OSError, ValueError, TypeError):
        raise SystemExit(f"{file} holds no runs of these recipes; name another file.") from None
