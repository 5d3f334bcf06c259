"""An element's place, in words: which time, row, layer, direction, gate and unit."""

from reference.cells.table import CELL_TABLE

from ..cases.case import Case


def location(case: Case, tensor: str, index: tuple[int, ...]) -> str:
    """The place of `tensor[index]` in a case's results."""
    if not index:
        return "shape"
    tensor = tensor.removeprefix("t_")
    tensor = f"d_{tensor[3:]}" if tensor.startswith("hv_") else tensor
    if tensor in ("output", "d_x"):
        return _in_batch(case, tensor, index)
    if tensor in ("h_n", "c_n", "d_h_0", "d_c_0"):
        D = 1 + case.bidirectional
        row = f" row {index[1]}" if len(index) == 3 else ""
        return f"layer {index[0] // D}{' reverse' * (index[0] % D)}{row} unit {index[-1]}"
    if tensor.startswith("d_weight_hr"):
        return f"unit {index[0]} from unit {index[1]}"
    gate, unit = divmod(index[0], case.H)
    gates = CELL_TABLE[case.cell].gates
    if "_ch_" in tensor:  # peepholes of i, f and o
        gates = tuple(name for name in gates if name != "g")
    name = gates[gate] if len(gates) > 1 else ""
    source = f" from {'input' if '_ih_' in tensor else 'unit'} {index[1]}" if index[1:] else ""
    return f"{f'gate {name} ' * bool(name)}unit {unit}{source}"


def _in_batch(case: Case, tensor: str, index: tuple[int, ...]) -> str:
    """The place in an output or in the gradient of an input."""
    if case.layout == "unbatched":
        t, row = index[0], 0
    else:
        t, row = (index[1], index[0]) if case.layout == "batch" else index[:2]
    if tensor == "d_x":
        return f"time {t} row {row} input {index[-1]}"
    direction, unit = divmod(index[-1], case.P or case.H)
    return f"time {t} row {row}{' reverse' * direction} unit {unit}"
