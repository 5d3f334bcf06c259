"""Recurrent networks derived by hand: forward and adjoint, in NumPy alone."""

from .modules import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from .packing import PackedSequence

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "PackedSequence", "RNNCell"]
