"""The methods of torch's PackedSequence: conversions and copies keep rows, order and indices."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from bptt_oracle.cases.case import draw
from reference.sequences import packing
from support.drawn_cases import pinned
from support.nn_modules import agrees, call, differs, module_of, tensor_of
from support.skips import skip_inapplicable

LENGTHS = (2, 5, 1, 5)
PACKED = pinned(B=4, layout="packed", lengths=LENGTHS, bidirectional=True)
SORTED = pinned(B=4, layout="sorted", lengths=(5, 5, 2, 1), bidirectional=True)
GRU = pinned(cell="GRU", B=4, layout="packed", lengths=LENGTHS, cotangents=("output", "h_n"))
each_case = pytest.mark.parametrize("case", [PACKED, SORTED, GRU], ids=lambda c: c.id)


def pack(case, values):
    lengths = torch.tensor(case.lengths)
    return pack_padded_sequence(values, lengths, enforce_sorted=case.layout == "sorted")


def through_torch_save(packed):
    file = io.BytesIO()
    torch.save(packed, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "double and float": lambda p: p.double().float(),
    "to a dtype and back": lambda p: p.to(torch.float64).to(dtype=torch.float32),
    "to a tensor's dtype and back": lambda p: p.to(torch.zeros(1).double()).to(torch.zeros(1)),
    "to the device": lambda p: p.to("cpu"),
    "cpu": lambda p: p.cpu(),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda p: pickle.loads(pickle.dumps(p)),
    "torch.save": through_torch_save,
    "fields": lambda p: PackedSequence(*p),
    "replaced data": lambda p: p._replace(data=p.data.clone()),
}


WITHOUT_GRAPH = ("deepcopy", "pickle", "torch.save")  # they copy leaves only


@pytest.mark.parametrize("name", COPIES)
@each_case
def test_a_net_computes_the_same_from_a_copy(case, name):
    problem = draw(case)
    module = module_of(problem)
    made = []

    def forward(packed, state):
        if name in WITHOUT_GRAPH:
            packed = packed._replace(data=packed.data.detach())
        made.append((packed, COPIES[name](packed)))
        return module(made[-1][1], state)

    results = call(forward, problem, leaves={n: getattr(module, n) for n in problem.params})
    if name in WITHOUT_GRAPH:
        del results["d_x"]
    agrees(results, problem)
    differs(results, draw(case._replace(seed=8)))
    ((before, after),) = made
    assert type(after) is PackedSequence
    ours = packing.pack_padded_sequence(
        problem.x, problem.lengths, enforce_sorted=problem.enforce_sorted
    )
    for field in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        kept, own = getattr(after, field), getattr(before, field)
        assert (kept is None) == (own is None) and (kept is None or torch.equal(kept, own))
    assert np.array_equal(after.batch_sizes, ours.batch_sizes)


CASTS = {
    "double": "float64",
    "float": "float32",
    "half": "float16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "char": "int8",
    "byte": "uint8",
}


@pytest.mark.parametrize("method", CASTS)
@each_case
def test_a_cast_converts_the_data_and_nothing_else(case, method):
    x = np.abs(draw(case).x) * 9
    packed = pack(case, tensor_of(x))
    for cast in (getattr(packed, method)(), packed.to(getattr(torch, CASTS[method]))):
        padded, lengths = pad_packed_sequence(cast)
        expected = x.astype("float32").astype(CASTS[method])
        for row, length in enumerate(case.lengths):
            expected[length:, row] = 0
        assert padded.numpy().dtype == expected.dtype
        assert np.array_equal(padded.numpy(), expected)
        assert lengths.tolist() == list(case.lengths)
        assert cast.batch_sizes.dtype == torch.int64
    assert np.array_equal(pad_packed_sequence(packed)[0].numpy()[0], x.astype("float32")[0])


@each_case
def test_a_net_in_float64_computes_from_data_cast_to_float64(case):
    problem = draw(case)
    module = module_of(problem, "float64")
    rounded = problem._replace(x=problem.x.astype(np.float32).astype(np.float64))
    results = call(lambda p, state: module(p.float().double(), state), problem, "float64", {})
    agrees(results, rounded, "float64")
    differs(results, problem, "float64")


@each_case
def test_to_returns_the_same_object_if_nothing_changes(case):
    packed = pack(case, torch.ones(5, 4, 4))
    for same in (packed.to("cpu"), packed.to(torch.float32), packed.float(), packed.cpu()):
        assert same is packed
    assert not packed.is_cuda and not packed.is_pinned()


@each_case
def test_another_device_holds_data_and_indices_and_the_sizes_stay_on_the_cpu(case):
    moved = pack(case, torch.ones(5, 4, 4)).to("meta")
    indices = [i for i in (moved.sorted_indices, moved.unsorted_indices) if i is not None]
    assert len(indices) == (0 if case.layout == "sorted" else 2)
    assert {t.device.type for t in (moved.data, *indices)} == {"meta"}
    assert moved.batch_sizes.device.type == "cpu"


@each_case
def test_a_changed_deepcopy_leaves_the_original_unchanged(case):
    problem = draw(case)
    packed = pack(case, tensor_of(problem.x))
    other = copy.deepcopy(packed)
    for field in other:
        if field is not None:
            field.zero_()
    module = module_of(problem)
    agrees(call(lambda p, state: module(packed, state), problem, leaves={}), problem)


@each_case
def test_pinned_memory_holds_the_same_rows(case, request):
    if not torch.cuda.is_available():
        skip_inapplicable(request, "memory is pinned for a GPU, and this machine has none")
    problem = draw(case)
    pinned_rows = pack(case, tensor_of(problem.x)).pin_memory()
    assert pinned_rows.is_pinned() and pinned_rows.data.is_pinned()
    module = module_of(problem)
    agrees(call(lambda p, state: module(pinned_rows, state), problem, leaves={}), problem)
