"""What several adapters share."""

from pathlib import Path

from ...cases.case import Case

DEVIATIONS = Path(__file__).with_name("deviations")  # a file of expected deviations for each


def with_moderate_gates(case: Case) -> Case | None:
    """The case, unless it is one of GRU_TEXTBOOK with gates near 0 or 1.

    There z is the share of the new state, and ONNX and Keras compute 1 − z, the share of the old.
    The two have the same values, but where z is near 0 its relative accuracy is lost in 1 − z.
    """
    if case.cell == "GRU_TEXTBOOK" and case.regime not in ("generic", "tiny"):
        return None
    return case
