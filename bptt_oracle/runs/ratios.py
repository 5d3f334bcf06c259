"""The distribution of R over all tensors of a run."""

import numpy as np

from .pairs import SIZE
from .run import Run, connection_to

_RATIOS = "SELECT dtype, ratios, R FROM results ORDER BY case_id, path, dtype"


def count_ratios(run: Run, edges: np.ndarray) -> dict[str, np.ndarray]:
    """For each dtype, the number of tensors whose R is in each bin between the edges, of which the
    first and the last are open; R of the result where torch raised and there is no tensor. Raises
    BadRun."""
    counts: dict[str, np.ndarray] = {}
    with connection_to(run) as connection:
        cursor = connection.execute(_RATIOS)
        while found := cursor.fetchmany(SIZE):
            for dtype in {row[0] for row in found}:
                rows = [row for row in found if row[0] == dtype]
                ratios = np.frombuffer(b"".join(row[1] for row in rows), "<f8")
                raised = [row[2] for row in rows if not row[1]]
                numbers = np.concatenate([ratios[~np.isnan(ratios)], raised])
                bins = np.searchsorted(edges, numbers)
                number = np.bincount(bins, minlength=len(edges) + 1)
                counts[dtype] = counts.get(dtype, 0) + number
    return counts
