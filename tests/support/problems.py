"""A problem: a net and its arrays by name, evaluated by the reference and by torch.

Inputs are x, the initial state h_0 and c_0 (optional), and every parameter. Outputs are output
(except for a single-step cell), h_n and c_n. A gradient has the name of its input.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from reference import PackedSequence

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Problem:
    """A net and its inputs. If x is packed rows, `packing` holds their batch sizes and order."""

    net: Any
    inputs: Arrays
    packing: PackedSequence | None = None
    masks: tuple[np.ndarray, ...] = ()

    def __repr__(self):
        sizes = {name: value.shape for name, value in self.inputs.items() if name in STATE_OR_X}
        lengths = None if self.packing is None else lengths_of(self.packing)
        return f"<{self.net}, {sizes}, lengths {lengths}, {len(self.masks)} masks>"

    def wrap(self, rows):
        """An array as the net takes it: packed rows become a PackedSequence."""
        return rows if self.packing is None else self.packing._replace(data=rows)

    def unwrap(self, value):
        """The inverse of `wrap`."""
        return value if self.packing is None else value.data

    def with_inputs(self, **inputs):
        """The same problem with these inputs replaced."""
        return replace(self, inputs=self.inputs | inputs)


STATE_OR_X = ("x", "h_0", "c_0")


def is_cell(net):
    """Whether the net is a single-step cell."""
    return type(net).__name__.endswith("Cell")


def draw(net, T=5, B=3, lengths=None, unbatched=False, state=True, seed=0):
    """A problem of random arrays. With `lengths`, in any order, x is packed.

    Net inputs stay within a few units of 0, because in a saturated gate 1 − tanh² is rounding
    error, and no identity holds to 1e-12.
    """
    rng = np.random.default_rng(seed)
    packing = None if lengths is None else pack_of(lengths)
    outer = (B,) if is_cell(net) else (B, T) if getattr(net, "batch_first", False) else (T, B)
    if unbatched:
        outer = () if is_cell(net) else (T,)
    if packing is not None:
        outer, B = (sum(lengths),), len(lengths)
    inputs = {"x": rng.uniform(-1, 1, (*outer, net.input_size))}
    if state:
        depth = () if is_cell(net) else (net.num_layers * (1 + net.bidirectional),)
        batch = () if unbatched else (B,)
        P = getattr(net, "proj_size", 0) or net.hidden_size
        inputs["h_0"] = rng.uniform(-1, 1, (*depth, *batch, P))
        if len(net.state_sizes) == 2:
            inputs["c_0"] = rng.uniform(-1, 1, (*depth, *batch, net.hidden_size))
    for name, shape in net.parameter_shapes().items():
        scale = 1 if "bias" in name else 1.5 / shape[-1] ** 0.5
        inputs[name] = scale * rng.uniform(-1, 1, shape)
    return Problem(net, inputs, packing)


def cast(problem, dtype):
    """The same problem with every array in another dtype."""
    inputs = {name: value.astype(dtype) for name, value in problem.inputs.items()}
    return replace(problem, inputs=inputs)


def solve(problem):
    """Outputs by name, and the tape, of the reference."""
    net, inputs = problem.net, problem.inputs
    params = {name: v for name, v in inputs.items() if name not in STATE_OR_X}
    state = inputs.get("h_0")
    if "c_0" in inputs:
        state = (inputs["h_0"], inputs["c_0"])
    if is_cell(net):
        after, tape = net.forward(params, inputs["x"], state)
        return _name_state(net, after, "n"), tape
    masks = [problem.wrap(mask) for mask in problem.masks]
    output, after, tape = net.forward(params, problem.wrap(inputs["x"]), state, masks or None)
    return {"output": problem.unwrap(output)} | _name_state(net, after, "n"), tape


def pull_back(problem, tape, cotangents):
    """Gradients by name, from cotangents by name; an absent cotangent is passed as None."""
    net = problem.net
    d_state = cotangents.get("h_n")
    if len(net.state_sizes) == 2 and ("h_n" in cotangents or "c_n" in cotangents):
        d_state = (cotangents.get("h_n"), cotangents.get("c_n"))
    if is_cell(net):
        grads = net.backward(tape, d_state)
    else:
        d_output = problem.wrap(cotangents["output"]) if "output" in cotangents else None
        grads = net.backward(tape, d_output, d_state)
    d_x = grads.x if is_cell(net) else problem.unwrap(grads.x)
    named = {"x": d_x} | _name_state(net, grads.state, "0") | grads.params
    return {name: named[name] for name in problem.inputs}


def solve_by_torch(problem, cotangents, training=True, seed=0):
    """Outputs and gradients by name, as torch computes them in the dtype of the inputs.

    In training mode torch draws its dropout masks from the seed.
    """
    import torch

    module = torch_module(problem.net, problem.inputs["x"].dtype).train(training)
    leaves = dict(module.named_parameters())
    for name, value in problem.inputs.items():
        if name in STATE_OR_X:
            leaves[name] = torch.tensor(value, requires_grad=True)
        else:
            leaves[name].data = torch.tensor(value)
    x = leaves["x"]
    if problem.packing is not None:
        indices = [None if i is None else torch.as_tensor(i) for i in problem.packing[1:]]
        x = torch.nn.utils.rnn.PackedSequence(x, *indices)
    state = leaves.get("h_0")
    if "c_0" in leaves:
        state = (leaves["h_0"], leaves["c_0"])
    torch.manual_seed(seed)
    value = module(x, state)
    output, after = (None, value) if is_cell(problem.net) else value
    outputs = _name_state(problem.net, after, "n")
    if output is not None:
        outputs["output"] = problem.unwrap(output)
    names = list(cotangents)
    d_inputs = torch.autograd.grad(
        [outputs[name] for name in names],
        [leaves[name] for name in problem.inputs],
        [torch.tensor(cotangents[name]) for name in names],
        allow_unused=True,
        materialize_grads=True,
    )
    grads = {name: d.numpy() for name, d in zip(problem.inputs, d_inputs, strict=True)}
    return {name: v.detach().numpy() for name, v in outputs.items()}, grads


def torch_module(net, dtype=np.float64):
    """The torch.nn module of the same name and constructor arguments."""
    import torch

    options = {name: v for name, v in asdict(net).items() if v is not None}
    module = getattr(torch.nn, type(net).__name__)(**options)
    return module.to(getattr(torch, np.dtype(dtype).name))


def pack_of(lengths, keep_order=False):
    """The PackedSequence of sequences of these lengths, with data None."""
    lengths = np.asarray(lengths)
    order = np.argsort(-lengths, kind="stable")
    batch_sizes = np.array([(lengths > t).sum() for t in range(lengths.max())])
    if keep_order:
        return PackedSequence(None, batch_sizes, None, None)
    return PackedSequence(None, batch_sizes, order, np.argsort(order))


def lengths_of(packing):
    """The length of every sequence, in the caller's order."""
    B = packing.batch_sizes[0]
    lengths = (packing.batch_sizes > np.arange(B)[:, None]).sum(axis=1)
    return lengths if packing.unsorted_indices is None else lengths[packing.unsorted_indices]


def sequences(problem, value):
    """x, output or a gradient of one, split by sequence: a list of [T_b, ·]."""
    if problem.packing is not None:
        sizes, order = problem.packing.batch_sizes, problem.packing.unsorted_indices
        start = np.cumsum(sizes) - sizes
        ranks = range(sizes[0]) if order is None else order
        return [value[start[sizes > rank] + rank] for rank in ranks]
    if value.ndim == 2:
        return [value]
    return list(value) if problem.net.batch_first else list(value.swapaxes(0, 1))


def _name_state(net, state, suffix):
    if len(net.state_sizes) == 2:
        return {f"h_{suffix}": state[0], f"c_{suffix}": state[1]}
    return {f"h_{suffix}": state}
