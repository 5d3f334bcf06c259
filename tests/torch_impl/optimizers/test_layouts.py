"""Layouts of tensors among guards."""

import pytest
import torch

from bptt_oracle.optimizers.cases import SHAPES
from torch_impl.optimizers.layouts import AFTER, GRADIENT_LAYOUTS, place

GUARDS = torch.tensor([7.0, -3.0])


@pytest.mark.parametrize("layout", GRADIENT_LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_placed_tensor_has_its_values_and_the_rest_of_the_buffer_is_guards(layout, shape):
    values = torch.arange(1.0, 1 + torch.Size(shape).numel()).reshape(shape)
    if layout == "expanded" and shape:
        values = values[:1].expand(shape).contiguous()
    placed = place(values, layout, GUARDS)
    assert torch.equal(placed.tensor, values)
    assert placed.tensor.untyped_storage().data_ptr() == placed.buffer.untyped_storage().data_ptr()
    assert set(placed.buffer[~placed.inside].tolist()) <= {7.0, -3.0}
    distinct = values[:1] if layout == "expanded" and shape else values
    assert int(placed.inside.sum()) == distinct.numel(), "elements share memory"
    last = int(placed.inside.nonzero().max())
    assert len(placed.buffer) - last > AFTER, "a read past the end would leave the buffer"


def test_the_layouts_are_what_they_are_called():
    def strides(layout, *shape):
        return place(torch.zeros(shape), layout, GUARDS).tensor.stride()

    assert strides("contiguous", 6, 11) == strides("offset", 6, 11) == (11, 1)
    assert place(torch.zeros(6, 11), "offset", GUARDS).tensor.storage_offset() == 1
    assert strides("transposed", 6, 11) == (1, 6)
    assert strides("columns", 6, 11) == (14, 1)
    assert strides("permuted", 6, 11) == (1, 9)
    assert strides("expanded", 6, 11) == (0, 1)
    channels_last = torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last).stride()
    wider = torch.zeros(2, 6, 4, 5).to(memory_format=torch.channels_last)[:, :3].stride()
    assert strides("permuted", 2, 3, 4, 5) == wider != channels_last
    assert strides("columns", 19) == (2,)
    assert strides("expanded", 19) == (0,)


def test_the_bits_of_a_buffer_are_a_copy():
    placed = place(torch.ones(3), "columns", torch.tensor([torch.nan]))
    before = placed.bits()
    assert torch.equal(before, placed.bits()), "NaN has bits"
    placed.tensor[1] = 2
    assert int((placed.bits() != before).sum()) == 1
