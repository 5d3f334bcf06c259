"""One flipped bit, planted into a computation in steps, to test what a preflight detects."""

import torch

from .computing import Touch

_WORDS = {torch.float32: torch.int32, torch.float64: torch.int64, torch.bfloat16: torch.int16}


def flip_bit(tensor: str, step: int, element: tuple[int, ...], bit: int) -> Touch:
    """A `touch` of `computing.compute` that flips a bit, 0 the lowest and not the sign, of one
    element at one step. A weight stays flipped from that step on; gates [B, 4 H], c and output
    [B, H] are flipped after they are computed. Autograd does not know of it and reads the changed
    memory, as after a fault of the device."""

    def touch(name: str, t: int, value: torch.Tensor) -> None:
        if name == tensor and t == step:
            words = value.data.view(_WORDS[value.dtype])
            words[element] ^= 1 << bit

    return touch
