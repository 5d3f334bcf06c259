"""The tested types: torch's name for each, its unit roundoff, and how a number is stored in it."""

import numpy as np
import torch

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
UNIT_ROUNDOFF = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "tf32": 2.0**-11,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}


def stored(value: np.ndarray, dtype: str) -> np.ndarray:
    """The value rounded to a tested type; bfloat16, which NumPy lacks, is held in float32."""
    if dtype == "bfloat16":
        return torch.from_numpy(value).to(torch.bfloat16).to(torch.float32).numpy()
    return value.astype(dtype)


def array_of(value: torch.Tensor) -> np.ndarray:
    """The tensor's numbers, every bit of them; bfloat16 is held in float32."""
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
