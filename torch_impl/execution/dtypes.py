"""torch's name for each tested dtype, and a tensor as an array."""

import numpy as np
import torch

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def array_of(value: torch.Tensor) -> np.ndarray:
    """The tensor as an array, bit for bit; bfloat16, which NumPy lacks, becomes float32."""
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
