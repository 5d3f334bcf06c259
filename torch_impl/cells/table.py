"""The steps of cells that torch.nn does not have, by the name of their row in the cell table."""

from collections.abc import Callable

import torch

from . import gru_textbook, lstm_peephole

STEPS: dict[str, Callable[..., list[torch.Tensor]]] = {
    "GRU_TEXTBOOK": gru_textbook.step,
    "LSTM_PEEPHOLE": lstm_peephole.step,
}
