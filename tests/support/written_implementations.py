"""Implementations for tests: a small LSTM in NumPy and in torch, right, and wrong in many ways."""

import os
import signal

import numpy as np
import torch

import reference
from bptt_oracle import Implementation
from bptt_oracle.judging.deviation_entries import expected_deviations_of
from bptt_oracle.judging.evaluation import evaluate


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def numpy_layer(mode, p, x, state, lengths, reverse):
    """One layer of an LSTM with its backward pass, rows of any length, both directions, by the
    reference."""
    H = p["weight_hh"].shape[1]
    net = reference.LSTM(x.shape[2], H, bias="bias_ih" in p)
    params = {f"{name}_l0": value for name, value in p.items()}
    x = reversed_rows(x, lengths) if reverse else x
    pair = None if state is None else tuple(s[None] for s in state)
    packed, pad = x, lambda value: value
    if lengths is not None:
        from reference.sequences.packing import pack_padded_sequence, pad_packed_sequence

        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        pad = lambda value: pad_packed_sequence(value)[0]  # noqa: E731
    y, (h, c), tape = net.forward(params, packed, pair)

    def back(d_y, d_final):
        d_y = reversed_rows(d_y, lengths) if reverse else d_y
        if lengths is not None:
            d_y = pack_padded_sequence(d_y, lengths, enforce_sorted=False)
        grads = net.backward(tape, d_y, tuple(d[None] for d in d_final))
        d_x = pad(grads.x)
        d_x = reversed_rows(d_x, lengths) if reverse else d_x
        d_p = {name.removesuffix("_l0"): d for name, d in grads.params.items()}
        return d_p, d_x, [d[0] for d in grads.state]

    y = pad(y)
    return (reversed_rows(y, lengths) if reverse else y), [h[0], c[0]], back


def reversed_rows(x, lengths):
    """Every row of x [T, B, ·] reversed within its length."""
    if lengths is None:
        return x[::-1]
    x = x.copy()
    for row, length in enumerate(lengths):
        x[:length, row] = x[:length, row][::-1]
    return x


def run_reference(problem, dtype):
    """All results of a problem, by the reference."""
    return evaluate(problem, dtype)


def torch_layer(mode, p, x, state, lengths, reverse):
    """One layer of a simple RNN, GRU or LSTM in torch, dense, both directions."""
    kind = {"LSTM": torch.lstm_cell, "GRU": torch.gru_cell, "RNN_TANH": torch.rnn_tanh_cell}
    cell = kind.get(mode, torch.rnn_relu_cell)
    H = p["weight_hh"].shape[1]
    zeros = [x.new_zeros(x.shape[1], H)] * (2 if mode == "LSTM" else 1)
    h = list(state or zeros)
    biases = [p.get(n, x.new_zeros(len(p["weight_ih"]))) for n in ("bias_ih", "bias_hh")]
    y = []
    for x_t in x.flip(0) if reverse else x:
        after = cell(x_t, h if mode == "LSTM" else h[0], p["weight_ih"], p["weight_hh"], *biases)
        h = list(after) if mode == "LSTM" else [after]
        y.append(h[0])
    y = torch.stack(y)
    return (y.flip(0) if reverse else y), h


class PlainLSTM(torch.nn.Module):
    """torch's constructor, fewer options: no layers, no directions, no projection."""

    def __init__(self, input_size, hidden_size, bias=True, batch_first=False):
        super().__init__()
        self.net = [torch.nn.LSTM(input_size, hidden_size, bias=bias, batch_first=batch_first)]
        for name, p in self.net[0].named_parameters():
            setattr(self, name, p)

    def forward(self, x, state=None):
        own = dict(self.named_parameters())
        return torch.func.functional_call(self.net[0], own, (x, state))


class OtherNames(torch.nn.Module):
    """A module whose parameters have names of their own."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.kernel = torch.nn.Parameter(torch.zeros(input_size, 4 * hidden_size))


def crash(problem, dtype):
    """End the process, as a kernel that writes out of bounds does."""
    os.kill(os.getpid(), signal.SIGSEGV)


def crash_on_twelve_steps(problem, dtype):
    """End the process in cases of twelve steps only."""
    return crash(problem, dtype) if len(problem.x) == 12 else run_reference(problem, dtype)


def raise_always(problem, dtype):
    raise RuntimeError("the kernel was not launched")


def double_gradients(problem, dtype):
    results = run_reference(problem, dtype)
    return {n: 2 * v if n.startswith("d_") else v for n, v in results.items()}


def shift_gradient_of_x(problem, dtype):
    """1 added to the gradient of x in steps that the loss does not depend on."""
    results = run_reference(problem, dtype)
    d_x = results["d_x"]
    return results | {"d_x": np.where(d_x == 0, d_x.dtype.type(1), d_x)}


ONE_CELL = {"cells": ("LSTM",)}
numpy_lstm = Implementation("numpy", numpy_layer, **ONE_CELL)
run_lstm = Implementation("run", run=run_reference, **ONE_CELL)
everything = Implementation("everything", run=run_reference, projection=True)
torch_nets = Implementation("torch", torch_layer, engine="torch", lengths=False)
torch_in_bfloat16 = torch_nets._replace(dtypes=("bfloat16",))
plain_module = Implementation("module", module=PlainLSTM, **ONE_CELL)
crashing = run_lstm._replace(name="crashing", run=crash)
crashing_sometimes = run_lstm._replace(name="sometimes", run=crash_on_twelve_steps)
shifted = run_lstm._replace(name="shifted", run=shift_gradient_of_x)
raising = run_lstm._replace(name="raising", run=raise_always)
doubling = run_lstm._replace(name="doubling", run=double_gradients)
doubling_as_expected = doubling._replace(
    name="as expected",
    deviations=expected_deviations_of({"tensor=d_*": "gradients of a sum of two losses"}),
)
without_back = numpy_lstm._replace(layer=lambda *arguments: numpy_layer(*arguments)[:2])
values_only = without_back._replace(engine="none")
not_an_implementation = 3
