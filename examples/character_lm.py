"""A character language model, trained in NumPy and in torch from the same initial parameters.

    python -m examples.character_lm              on the sentence 深度学习很有趣
    python -m examples.character_lm a_book.txt   on a text file in UTF-8

Both train on the same windows of the text in the same order, and sample with the same random draws.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from reference import GRU, LSTM, RNN
from reference.models import generation, optim
from reference.models.language_model import TinyRNNLM, lm_step
from torch_impl.models import generation as torch_generation
from torch_impl.models import optim as torch_optim
from torch_impl.models.language_model import TinyRNNLM as TorchTinyRNNLM
from torch_impl.models.language_model import lm_step as torch_lm_step

SENTENCE = "深度学习很有趣"
CELLS = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}
BARS = "▁▂▃▄▅▆▇█"


def main(arguments: Sequence[str] | None = None, console: Console | None = None) -> None:
    """Train both models, print their losses, and print text that they generate."""
    options, console = parser().parse_args(arguments), console or Console()
    text = SENTENCE if options.file is None else read(options.file)
    if len(text) < 2:
        raise SystemExit(f"{options.file} has fewer than two characters; name a longer file.")
    letters = sorted(set(text))
    ids = np.array([letters.index(c) for c in text])
    lm = TinyRNNLM(len(letters), CELLS[options.cell](16, options.hidden, batch_first=True))
    console.print(f"{len(text)} characters, {len(letters)} different, {lm.rnn}")
    params, model, losses = train(console, lm, ids, options)
    console.print(curve(losses))
    console.print(samples(letters, lm, params, model, ids, options))


def read(file: Path) -> str:
    """The text of a file. Raises SystemExit with one sentence if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise SystemExit(f"{file} cannot be read: {error.strerror}; name a text file.") from None
    except UnicodeDecodeError:
        raise SystemExit(f"{file} is not UTF-8 text; name a text file in UTF-8.") from None


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    command = argparse.ArgumentParser(
        prog="python -m examples.character_lm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("file", nargs="?", type=Path, help="a text file in UTF-8")
    add("--cell", default="GRU", choices=CELLS)
    add("--hidden", type=int, default=64)
    add("--steps", type=int, default=300, help="steps of Adam")
    add("--batch", type=int, default=16, help="windows in a batch")
    add("--length", type=int, default=48, help="characters in a window")
    add(
        "--lr",
        type=float,
        default=1e-2,
        help="initial learning rate; it falls along a cosine to a tenth",
    )
    add("--clip", type=float, default=1.0, help="largest global norm of the gradient")
    add(
        "--sample",
        type=int,
        default=60,
        help="characters to generate, at most the length of the text less one",
    )
    add("--seed", type=int, default=0)
    return command


def windows(ids: np.ndarray, batch: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Random windows [batch, length + 1] of ids [N]; all ids [1, N] if N ≤ length + 1."""
    if len(ids) <= length + 1:
        return ids[None]
    starts = rng.integers(0, len(ids) - length, batch)
    chosen: np.ndarray = ids[starts[:, None] + np.arange(length + 1)]
    return chosen


def train(
    console: Console, lm: TinyRNNLM, ids: np.ndarray, options: argparse.Namespace
) -> tuple[dict[str, np.ndarray], TorchTinyRNNLM, np.ndarray]:
    """The parameters of the NumPy model, the torch model, and both losses [steps, 2]."""
    rng = np.random.default_rng(options.seed)
    params = lm.init(rng)
    state, losses = optim.adam_start(params), []
    model = TorchTinyRNNLM(lm, params)
    optimizer = torch_optim.adam(model.parameters(), options.lr)
    schedule = torch_optim.warmup_cosine(optimizer, options.lr / 10, options.steps)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("training", total=options.steps)
        for t in range(options.steps):
            batch = windows(ids, options.batch, options.length, rng)

            numpy_loss, grads = lm_step(lm, params, batch)
            grads, _ = optim.clip_by_global_norm(grads, options.clip)
            rate = optim.warmup_cosine(t, options.lr, options.lr / 10, options.steps)
            params, state = optim.adam(params, grads, state, rate)

            torch_loss = torch_lm_step(model, torch.tensor(batch))
            optimizer.zero_grad()
            torch_loss.backward()
            torch_optim.clip_by_global_norm(model.parameters(), options.clip)
            optimizer.step()
            schedule.step()

            losses.append((float(numpy_loss), torch_loss.item()))
            progress.update(task, advance=1, description=f"loss {numpy_loss:.3f}")
    return params, model, np.array(losses)


def curve(losses: np.ndarray) -> Table:
    """Both losses [steps, 2] at some steps, their largest relative gap so far, and a bar chart."""
    gap = np.maximum.accumulate(np.abs(losses[:, 0] / losses[:, 1] - 1))
    table = Table("step", "loss, NumPy", "loss, torch", "largest gap so far")
    for t in np.unique(np.geomspace(1, len(losses), 8).astype(int)) - 1:
        table.add_row(str(t + 1), *(f"{value:.6f}" for value in losses[t]), f"{gap[t]:.1e}")
    means = [part.mean() for part in np.array_split(losses[:, 0], min(40, len(losses)))]
    heights = np.array(means) / max(means) * (len(BARS) - 1)
    table.caption = "".join(BARS[round(h)] for h in heights) + f"  {means[0]:.2f} → {means[-1]:.2f}"
    return table


def samples(
    letters: list[str],
    lm: TinyRNNLM,
    params: dict[str, np.ndarray],
    model: TorchTinyRNNLM,
    ids: np.ndarray,
    options: argparse.Namespace,
) -> Table:
    """The text that both models generate after the first character of the training text."""
    steps = min(options.sample, len(ids) - 1)
    draws = np.random.default_rng(options.seed + 1).random((1, steps))
    prompt, torch_prompt = ids[None, :1], torch.tensor(ids[None, :1])
    torch_draws = torch.tensor(draws)
    generated = {
        "greedy, NumPy": generation.generate_greedy(lm, params, prompt, steps),
        "greedy, torch": torch_generation.generate_greedy(model, torch_prompt, steps).numpy(),
        "sampled, NumPy": generation.generate_sampled(lm, params, prompt, draws),
        "sampled, torch": torch_generation.generate_sampled(
            model, torch_prompt, torch_draws
        ).numpy(),
    }
    table = Table("by", Column("text", overflow="fold"))
    for name, tokens in generated.items():
        table.add_row(name, Text("".join(letters[i] for i in [ids[0], *tokens[0]])))
    return table


if __name__ == "__main__":
    main()
