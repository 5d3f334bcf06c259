"""The weights of one layer and direction: a framework's arrays to torch's, and back.

    G, H, I, P   gates, hidden width, input width, width of a projection

In between, the arrays have torch's names without a suffix, torch's shapes and torch's gate order:
weight_ih [G·H, I], weight_hh [G·H, H] or [G·H, P], bias_ih and bias_hh [G·H] if there are biases,
weight_hr [P, H] with a projection, and the peepholes weight_ch [3H], packed i f o.

Page: docs/porting/porting.md
"""

from collections.abc import Iterable, Mapping

import numpy as np

from .conventions import (
    FRAMEWORKS,
    JOINED,
    ROWS,
    SUM_AND_B_HN,
    SUM_WITHOUT_B_HN,
    TWO,
    Convention,
    convention_of,
)

Arrays = Mapping[str, np.ndarray]
OPTIONAL = ("bias_ih", "bias_hh", "bias", "b_hn", "weight_hr")


def read(arrays: Arrays, framework: str, cell: str) -> dict[str, np.ndarray]:
    """The arrays in torch's names, shapes and gate order, from those of a framework.

    A single bias b becomes bias_ih = b and bias_hh = 0. Raises ValueError if an array is missing,
    unknown, or of another shape.
    """
    convention = convention_of(framework, cell)
    torch = FRAMEWORKS["torch"].cells[cell]
    if sorted(convention.gates) != sorted(torch.gates):
        raise ValueError(
            f"Expected the gates of {cell} in {FRAMEWORKS[framework].title} to be "
            f"{', '.join(torch.gates)}, each once, in any order, got {convention.gates!r}."
        )
    _check_names(arrays, framework, cell)
    found = {ours: arrays[name] for ours, name in convention.names.items() if name in arrays}
    found = {n: v.T if n in convention.transposed else v for n, v in found.items()}
    _check_shapes(found, framework, cell)
    biases = _two_biases(found, convention)
    found = {n: v for n, v in found.items() if n.startswith("weight")} | biases
    return {
        name: _regate(found[name], name, convention, torch) for name in torch.names if name in found
    }


def write(arrays: Arrays, framework: str, cell: str) -> dict[str, np.ndarray]:
    """The arrays of a framework, from those in torch's names, shapes and gate order.

    Where a framework stores one bias, it is bias_ih + bias_hh. Raises ValueError if the framework
    cannot store a projection, or a b_hn that is not zero.
    """
    convention = convention_of(framework, cell)
    title, _, _, always_biased = FRAMEWORKS[framework]
    if "weight_hr" in arrays and "weight_hr" not in convention.names:
        raise ValueError(f"{title} has no LSTM with a projection, and weight_hr was given.")
    if always_biased and "bias_ih" not in arrays:
        zeros = np.zeros_like(arrays["weight_hh"][:, 0])
        arrays = {**arrays, "bias_ih": zeros, "bias_hh": zeros}
    torch = FRAMEWORKS["torch"].cells[cell]
    found = {name: _regate(value, name, torch, convention) for name, value in arrays.items()}
    if "bias_ih" in found:
        found |= _stored_biases(found["bias_ih"], found["bias_hh"], convention, title)
    return {
        name: found[ours].T.copy() if ours in convention.transposed else found[ours]
        for ours, name in convention.names.items()
        if ours in found
    }


def _regate(value: np.ndarray, name: str, source: Convention, target: Convention) -> np.ndarray:
    """A contiguous copy with the blocks of H rows in the target's order.

    z changes sign if its meaning does. A projection has no gates.
    """
    if name == "weight_hr":
        return value.copy()
    peepholes = name == "weight_ch"
    before, after = [c.peepholes if peepholes else c.gates for c in (source, target)]
    blocks = dict(zip(before, np.split(value, len(before)), strict=True))
    if source.flips_z != target.flips_z:
        blocks["z"] = -blocks["z"]
    return np.ascontiguousarray(np.concatenate([blocks[gate] for gate in after]))


def _two_biases(found: Arrays, convention: Convention) -> dict[str, np.ndarray]:
    """bias_ih and bias_hh [G·H] in the framework's gate order; {} without biases."""
    if convention.biases == TWO:
        return {n: found[n] for n in ("bias_ih", "bias_hh") if n in found}
    if "bias" not in found:
        return {}
    bias = found["bias"]
    if convention.biases == ROWS:
        bias_ih, bias_hh = bias
    elif convention.biases == JOINED:
        bias_ih, bias_hh = np.split(bias, 2)
    else:
        bias_ih, bias_hh = bias, np.zeros_like(bias)
        if convention.biases == SUM_AND_B_HN:
            bias_hh[_rows_of_n(bias, convention)] = found["b_hn"]
    return {"bias_ih": bias_ih, "bias_hh": bias_hh}


def _stored_biases(
    bias_ih: np.ndarray, bias_hh: np.ndarray, convention: Convention, title: str
) -> dict[str, np.ndarray]:
    """The biases as the framework stores them, from two [G·H] in its gate order."""
    if convention.biases == TWO:
        return {"bias_ih": bias_ih, "bias_hh": bias_hh}
    if convention.biases == ROWS:
        return {"bias": np.stack([bias_ih, bias_hh])}
    if convention.biases == JOINED:
        return {"bias": np.concatenate([bias_ih, bias_hh])}
    bias = bias_ih + bias_hh
    if convention.biases not in (SUM_AND_B_HN, SUM_WITHOUT_B_HN):
        return {"bias": bias}
    n = _rows_of_n(bias, convention)  # r multiplies b_hn, so that it cannot be added to b_in
    bias[n] = bias_ih[n]
    if convention.biases == SUM_AND_B_HN:
        return {"bias": bias, "b_hn": bias_hh[n]}
    if bias_hh[n].any():
        raise ValueError(
            f"Expected b_hn = 0, because the GRU of {title} has none, got values up to "
            f"{np.abs(bias_hh[n]).max():.3g} in the last third of bias_hh."
        )
    return {"bias": bias}


def _rows_of_n(bias: np.ndarray, convention: Convention) -> slice:
    """The rows of the GRU's candidate."""
    H, n = len(bias) // 3, convention.gates.index("n")
    return slice(n * H, (n + 1) * H)


def _check_names(arrays: Iterable[str], framework: str, cell: str) -> None:
    """Raise ValueError for a name that is missing or unknown. Biases are there or all absent."""
    convention, title = convention_of(framework, cell), FRAMEWORKS[framework].title
    given, names = set(arrays), convention.names
    biases = {name for ours, name in names.items() if ours.startswith("b")}
    required = {name for ours, name in names.items() if ours not in OPTIONAL}
    if given & biases:
        required |= biases
    missing, unknown = required - given, given - set(names.values())
    if missing or unknown:
        what = f"no {', '.join(sorted(missing))}" if missing else ", ".join(sorted(unknown))
        raise ValueError(
            f"Expected {', '.join(names.values())} in the {cell} of {title}, got {what}."
        )


def _check_shapes(found: Arrays, framework: str, cell: str) -> None:
    """Raise ValueError for an array, already in torch's orientation, of another shape than the
    recurrent weight implies."""
    convention, title = convention_of(framework, cell), FRAMEWORKS[framework].title
    G = len(convention.gates)
    for name in ("weight_ih", "weight_hh"):
        if found[name].ndim != 2 or not found[name].shape[0] or found[name].shape[0] % G:
            expected = _shown((f"{G} · H", "·"), name not in convention.transposed)
            raise ValueError(
                f"Expected {convention.names[name]} {expected} in the {cell} of {title}, "
                f"got {list(_stored(found, name, convention).shape)}."
            )
    rows = found["weight_hh"].shape[0]
    H = rows // G
    projected = found["weight_hr"].shape[0] if "weight_hr" in found else H
    bias = {ROWS: (2, rows), JOINED: (2 * rows,)}.get(convention.biases, (rows,))
    expected_shapes: dict[str, tuple[int, ...]] = {
        "weight_ih": (rows, found["weight_ih"].shape[1]),
        "weight_hh": (rows, projected),
        "bias_ih": (rows,),
        "bias_hh": (rows,),
        "bias": bias,
        "b_hn": (H,),
        "weight_hr": (projected, H),
        "weight_ch": (3 * H,),
    }
    for name, value in found.items():
        shape = expected_shapes[name]
        if value.shape != shape:
            stored = _stored(found, name, convention).shape
            option = f" ({convention.variant})" if convention.variant else ""
            raise ValueError(
                f"Expected {convention.names[name]} "
                f"{_shown(shape, name not in convention.transposed)} in the {cell}{option} of "
                f"{title} with H = {H}, got {list(stored)}."
            )


def _stored(found: Arrays, name: str, convention: Convention) -> np.ndarray:
    """An array in the framework's orientation."""
    return found[name].T if name in convention.transposed else found[name]


def _shown(shape: tuple[object, ...], as_in_torch: bool) -> str:
    """A shape in the framework's orientation."""
    return f"[{', '.join(map(str, shape if as_in_torch else shape[::-1]))}]"
