"""The check of a range of states, shared by every function that takes s_k and s_t.

Page: docs/dynamics/dynamics.md
"""


def check_range(k: int, t: int, T: int) -> None:
    """Raise ValueError unless s_k and s_t are states of s_0 … s_T, with k ≤ t."""
    if not 0 <= k <= t <= T:
        raise ValueError(f"Expected states 0 ≤ k ≤ t ≤ T = {T}, got k={k} and t={t}.")
