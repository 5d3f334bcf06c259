"""Deviations of PyTorch that no case can show, each shown by a function.

A function returns True if the deviation occurs, False if it does not, and None if this build of
torch lacks what it needs. What may kill the process runs in a process of its own.
"""

import io
import os
import sys
import warnings
from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from torch.nn.utils import rnn

from ..processes.workers import limit_threads, worker_context
from . import demonstrations_of_roads
from .rejections import rejection

NAMES = (  # besides those of RUNS_WITH in demonstrations_of_roads
    "missing_layers_of_c_0",
    "onednn_packed_features",
    "batch_sizes_that_grow",
    "lstm_packed_unchecked",
    "state_of_another_type",
    "lengths_beyond_the_input",
    "lengths_that_are_no_integers",
    "unpad_transposes_its_argument",
    "unpad_of_a_leaf",
    "unpad_by_a_list",
    "inverse_of_no_permutation",
    "inconsistent_packed_sequence",
    "ties_in_any_order",
    "proj_size_by_position",
    "arguments_of_any_type",
    "layers_with_a_point",
    "cell_of_unknown_nonlinearity",
    "packed_sequence_not_loaded",
    "scripted_net_not_called",
    "vmap_without_a_gradient",
    "autocast_keeps_the_weights",
    "weight_on_meta",
)


def demonstrate(name: str) -> bool | None:
    """Run the demonstration with that name. Raises ValueError if there is none."""
    check_demonstration(name)
    functions = vars(demonstrations_of_roads) if is_of_roads(name) else globals()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torch deprecates, and of what exports assign
        occurs: bool | None = functions[name]()
    return occurs


def check_demonstration(name: str) -> None:
    """Raise ValueError if there is no demonstration with that name."""
    if name not in NAMES and not is_of_roads(name):
        raise ValueError(f"there is no demonstration {name!r} in demonstrations.py")


def is_of_roads(name: str) -> bool:
    """Whether the demonstration of that name is one of a road."""
    return name in demonstrations_of_roads.RUNS_WITH


def runs_with(name: str, roads: Collection[str]) -> bool:
    """Whether the demonstration of that name runs in a check of these roads, which may be none."""
    if not is_of_roads(name):
        return True
    road = demonstrations_of_roads.RUNS_WITH[name]
    return bool(roads) if road == demonstrations_of_roads.ANY else road in roads


def _packed(*lengths: int) -> rnn.PackedSequence:
    """Packed data of 4 features."""
    x = torch.randn(max(lengths), len(lengths), 4)
    return rnn.pack_padded_sequence(x, torch.tensor(lengths))


def _not_rejected_in_own_process(name: str) -> bool | None:
    """Whether a function of this file, run in a process of its own, is not rejected: it returns, or
    the process dies. None if no process could be started."""
    context: Any = worker_context()
    process = context.Process(target=_run_in_process, args=(name,))
    process.start()
    process.join()
    return {REJECTED: False, NOT_STARTED: None}.get(process.exitcode, True)


REJECTED, NOT_STARTED, RETURNED = 0, 1, 3  # 1 is Python's own


def _run_in_process(name: str) -> None:
    """The work of that process; it prints nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    limit_threads()
    sys.exit(REJECTED if rejection(globals()[name]) else RETURNED)


def missing_layers_of_c_0() -> bool | None:
    """h_0 of three layers, c_0 of one."""
    return _not_rejected_in_own_process("_missing_layers_of_c_0")


def _missing_layers_of_c_0() -> None:
    nn.LSTM(4, 6, 3)(_packed(5, 3, 2), (torch.randn(3, 3, 6), torch.randn(1, 3, 6)))


def onednn_packed_features() -> bool | None:
    """Four features where five are expected."""
    if not torch.backends.mkldnn.is_available():
        return None
    return _not_rejected_in_own_process("_onednn_packed_features")


def _onednn_packed_features() -> None:
    with torch.no_grad():
        nn.LSTM(5, 6)(_packed(3, 3))


def batch_sizes_that_grow() -> bool | None:
    """2, 1, and 2 again."""
    return _not_rejected_in_own_process("_batch_sizes_that_grow")


def _batch_sizes_that_grow() -> None:
    rnn.pad_packed_sequence(rnn.PackedSequence(torch.randn(5, 2), torch.tensor([2, 1, 2])))


def lstm_packed_unchecked() -> bool:
    """h_0 one unit too wide: the message is about parameters."""
    state = torch.randn(1, 3, 7), torch.randn(1, 3, 6)
    message = rejection(lambda: nn.LSTM(4, 6)(_packed(5, 3, 2), state))
    return "number of RNN parameters" in message


def state_of_another_type() -> bool | None:
    """float64 for a float32 LSTM, dense: the message is about oneDNN's types."""
    if not torch.backends.mkldnn.is_available():
        return None
    state = torch.randn(1, 3, 6).double(), torch.randn(1, 3, 6).double()
    return "mkldnn" in rejection(lambda: nn.LSTM(4, 6)(torch.randn(5, 3, 4), state))


def lengths_beyond_the_input() -> bool:
    """A length of 7 in 5 steps."""
    packed = rnn.pack_padded_sequence(torch.randn(5, 3, 4), torch.tensor([7, 3, 2]))
    return len(packed.data) < int(packed.batch_sizes.sum())


def lengths_that_are_no_integers() -> bool:
    """4.7 becomes 4."""
    packed = rnn.pack_padded_sequence(torch.randn(5, 3, 4), torch.tensor([4.7, 3, 2]))
    return len(packed.batch_sizes) == 4


def unpad_transposes_its_argument() -> bool:
    """[4, 2] before, [2, 4] after."""
    padded = torch.randn(4, 2)
    rnn.unpad_sequence(padded, torch.tensor([3, 2]))
    return padded.shape == (2, 4)


def unpad_of_a_leaf() -> bool:
    """A padded batch whose gradient is asked for."""
    padded = torch.randn(4, 2, requires_grad=True)
    return "in-place" in rejection(lambda: rnn.unpad_sequence(padded, torch.tensor([3, 2])))


def unpad_by_a_list() -> bool:
    """pack_padded_sequence takes a list."""
    lengths: Any = [3, 2]
    return "'list'" in rejection(lambda: rnn.unpad_sequence(torch.randn(4, 2), lengths))


def inverse_of_no_permutation() -> bool:
    """0, 0, 2 has no inverse, and is given one."""
    return not rejection(lambda: rnn.invert_permutation(torch.tensor([0, 0, 2])))


def inconsistent_packed_sequence() -> bool:
    """Nine rows, of which the sizes state five."""
    packed = rnn.PackedSequence(torch.randn(9, 4), torch.tensor([3, 2]))
    return len(nn.GRU(4, 6)(packed)[0].data) == 5


def ties_in_any_order() -> bool:
    """Forty equal lengths change places."""
    lengths = torch.full((40,), 3)
    packed = rnn.pack_padded_sequence(torch.randn(3, 40, 2), lengths, enforce_sorted=False)
    order = packed.sorted_indices
    return order is not None and order.tolist() != list(range(40))


def proj_size_by_position() -> bool:
    """The ninth argument of a GRU."""
    gru = nn.GRU(4, 6, 1, True, False, 0.0, False, 2)
    return "hidden size" in rejection(lambda: gru(torch.randn(5, 3, 4)))


def arguments_of_any_type() -> bool:
    """Three that are not a number, not a number and not a truth value."""
    return not (
        rejection(lambda: nn.GRU(4, True))
        or rejection(lambda: nn.GRU(4, 6, num_layers=True))
        or rejection(lambda: nn.GRU(4, 6, bidirectional="x"))
    )


def layers_with_a_point() -> bool:
    """2.0, although hidden_size=2.0 is rejected with the type that it should have."""
    message = rejection(lambda: nn.GRU(4, 6, num_layers=2.0))
    return "should be of type int" not in message


def cell_of_unknown_nonlinearity() -> bool:
    """gelu passes the constructor."""
    return not rejection(lambda: nn.RNNCell(4, 6, nonlinearity="gelu"))


def packed_sequence_not_loaded() -> bool:
    """Saved, then loaded as is the default."""
    file = io.BytesIO()
    torch.save(_packed(3, 2), file)
    file.seek(0)
    return "eights" in rejection(lambda: torch.load(file))


def scripted_net_not_called() -> bool:
    """A net scripted by itself; as a part of another module it can be called."""
    scripted = torch.jit.script(nn.GRU(4, 6))
    return "no attribute 'forward'" in rejection(lambda: scripted(torch.randn(5, 3, 4)))


def vmap_without_a_gradient() -> bool:
    """The values of two batches at once."""
    values = torch.func.vmap(nn.GRU(4, 6))
    return "Batching rule" in rejection(lambda: values(torch.randn(2, 5, 3, 4)))


def autocast_keeps_the_weights() -> bool:
    """A weight that changes inside of a torch.autocast, with its cache of weights and without."""

    def second(cache_enabled: bool) -> torch.Tensor:
        net: Any = nn.RNN(1, 1, bias=False)
        with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=cache_enabled):
            for weight in (0.25, 1.0):
                with torch.no_grad():
                    net.weight_ih_l0.fill_(weight)
                output: torch.Tensor = net(torch.ones(1, 1, 1))[0]
        return output.float()

    return not torch.equal(second(True), second(False))


def weight_on_meta() -> bool:
    """A cell with a weight on the device meta, which has no numbers, returns numbers."""
    cell = nn.GRUCell(4, 6)
    cell.weight_ih = nn.Parameter(torch.empty(18, 4, device="meta"))
    return not rejection(lambda: cell(torch.randn(3, 4))) and (
        cell(torch.randn(3, 4)).device.type == "cpu"
    )
