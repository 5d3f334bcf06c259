"""The unit roundoff of each tested dtype, and rounding to it. NumPy only.

NumPy has no bfloat16: such values are held in float32, of which bfloat16 is the upper half.
"""

import numpy as np

UNIT_ROUNDOFF = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "tf32": 2.0**-11,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
DTYPES = tuple(dtype for dtype in UNIT_ROUNDOFF if dtype != "tf32")  # of arrays


def stored(value: np.ndarray, dtype: str) -> np.ndarray:
    """The value [...] rounded to a tested dtype; bfloat16 is returned in float32."""
    return _bfloat16(value) if dtype == "bfloat16" else value.astype(dtype)


def _bfloat16(value: np.ndarray) -> np.ndarray:
    """Round to float32, then to bfloat16, each time to nearest with ties to even.

    torch rounds float64 twice as well, because c10::BFloat16 is constructed from a float. A NaN
    becomes 0x7FC0 as in c10's BFloat16.h; torch's vectorised code writes 0xFFFF instead.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        bits = value.astype(np.float32).view(np.uint32)
    odd = bits >> np.uint32(16) & np.uint32(1)  # the lowest bit that stays decides a tie
    rounded = bits + odd + np.uint32(0x7FFF) & np.uint32(0xFFFF0000)
    rounded = np.where(np.isnan(value), np.uint32(0x7FC00000), rounded)
    return rounded.view(np.float32)
