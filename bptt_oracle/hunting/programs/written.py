"""Subjects that are written as source code: what is printed is what runs.

    inputs   arrays by name, which the source reads as NAME_values
    source   statements in torch and NumPy that define the dict `results` of tensors or arrays
    truth    the same results by a formula, from the inputs as the tested type stores them, in a
             wide type. `move` is applied to whatever a careful evaluation would round

The noise of a result is what moving by the unit roundoff makes of it, and at least what storing it
makes. Names that begin with `d_` are gradients, and those with `outside` memory that the call must
leave alone. A source runs twice, with unused memory filled by one byte and by another (glibc's
M_PERTURB): results that differ depend on memory that nobody wrote.
"""

import ctypes
import math
import pprint
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from torch_impl.execution.precision import UNIT_ROUNDOFF, stored

from ...judging import judge
from ...judging.noise import Floors, tensor_noise
from ...judging.wide import wide_dtype, widen
from ...processes.failures import first_line, lacks_resources
from .fields import SEED, Fields, Program
from .subject import UNSUPPORTED, Outcome, Subject

Arrays = dict[str, np.ndarray]
Move = Callable[[Any], Any]
MOVED_RUNS = 2
M_PERTURB = -6  # of mallopt
FILLS = 0x55, 0xAA
NOT_THERE = (  # in messages that say that torch lacks something
    "not implemented",
    "not supported",
    "not yet supported",
    "unsupported",
    "does not support",
    "doesn't support",
    "only support",
    "no batching rule",
    "batching rule not implemented",
    "does not have a",
    "no attribute 'auto'",  # of torch.export.Dim, in 2.4
)


class Written(NamedTuple):
    """A subject as source code and formula."""

    name: str
    fields: Fields
    tidy: Callable[[Program], Program | None]
    inputs: Callable[[Program, np.random.Generator], Arrays]
    source: Callable[[Program], str]
    truth: Callable[[Program, Arrays, Move], Arrays]
    invalid: Callable[[Program], str] = lambda program: ""  # why the call must be rejected
    scale: Callable[[Program, Arrays], float] = lambda program, inputs: 0.0  # of intermediates

    def subject(self) -> Subject:
        """The subject that the engine knows."""
        return Subject(
            self.name,
            self.fields,
            self.tidy,
            lambda program: attempt(self, program),
            lambda program, outcome: text(self, program, outcome),
        )


def attempt(written: Written, program: Program) -> Outcome:
    """Run a program and judge its results."""
    inputs = inputs_of(written, program)
    invalid = written.invalid(program)
    runs = []
    for fill in FILLS:
        fill_memory(fill)
        try:
            runs.append(run(written.source(program), inputs))
        except Exception as error:
            return _of_exception(error, bool(invalid))
        finally:
            fill_memory(0)
    if invalid:
        return Outcome("accepted bad input", "", math.inf, invalid)
    outcome = judge_results(written, program, inputs, runs[0])
    differing = [n for n in runs[0] if runs[0][n].tobytes() != runs[1][n].tobytes()]
    if differing:
        return Outcome("memory unsafety", differing[0], math.inf, _UNINITIALISED)
    return outcome


_UNINITIALISED = "the result changes with the content of unused memory"


def inputs_of(written: Written, program: Program) -> Arrays:
    """The arrays of a program, from its seed."""
    return written.inputs(program, np.random.default_rng(program[SEED]))


def fill_memory(byte: int) -> None:
    """Let malloc and free fill memory with a byte, where the C library can; 0: no longer."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_PERTURB, byte)


def run(source: str, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """The results of a source as NumPy arrays: floating-point numbers as float64, which holds those
    of every tested type."""
    import torch

    names: dict[str, Any] = {f"{name}_values": value for name, value in inputs.items()}
    names |= {"torch": torch, "np": np}
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(source, "<program>", "exec"), names)
    return {name: _array(value) for name, value in names["results"].items()}


def _array(value: Any) -> np.ndarray:
    import torch

    if isinstance(value, torch.Tensor):
        value = value.detach().to_dense() if value.is_sparse else value.detach()
        if value.is_floating_point():
            value = value.to(torch.float64)
        value = value.cpu().resolve_neg().numpy()
    array: np.ndarray = np.array(value)
    return array.astype(np.float64) if array.dtype.kind in "biu" else array


def _of_exception(error: Exception, expected: bool) -> Outcome:
    """The outcome of a call that raised."""
    message = str(error).lower()
    if isinstance(error, NotImplementedError) or any(words in message for words in NOT_THERE):
        return Outcome(UNSUPPORTED, detail=first_line(error))
    if expected and not isinstance(error, AssertionError):
        return Outcome()
    if lacks_resources(error):
        return Outcome(UNSUPPORTED, detail=first_line(error))
    return Outcome("rejected valid input", "", math.inf, first_line(error)[:200])


def judge_results(
    written: Written, program: Program, inputs: Mapping[str, np.ndarray], results: Arrays
) -> Outcome:
    """The worst of the results, by R."""
    worst = Outcome()
    for name, (truth, noise) in expected_of(written, program, inputs).items():
        value = results.get(name, np.zeros(0))
        score = judge.score(name, value, truth, noise)
        if max(worst.R, judge.LIMIT) < score.R and not score.ill:
            symptom = "silent wrong gradient" if name.startswith("d_") else "silent wrong value"
            if name.startswith("outside"):
                symptom = "memory unsafety"
            worst = Outcome(symptom, name, score.R, _detail(name, value, truth, score.at))
    return worst


def _detail(name: str, value: np.ndarray, truth: np.ndarray, at: tuple[int, ...]) -> str:
    if value.shape != truth.shape:
        return f"{name}: expected the shape {truth.shape}, actual {value.shape}"
    return f"{name}{list(at)}: expected {float(truth[at]):.9g}, actual {float(value[at]):.9g}"


def expected_of(
    written: Written, program: Program, inputs: Mapping[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, tuple[float, float]]]:
    """Truth and noise of every result, by name."""
    dtype = program["dtype"]
    u, wide = UNIT_ROUNDOFF[dtype], wide_dtype("float64")
    limits = np.finfo("float32" if dtype == "bfloat16" else dtype)
    floors = Floors(u, float(limits.tiny), float(limits.tiny))
    arrays = {
        name: widen(stored(value, dtype), wide) if value.dtype.kind == "f" else value
        for name, value in inputs.items()
    }

    def moved_by(rng: np.random.Generator) -> Move:
        return lambda value: value * (1 + u * rng.uniform(-1, 1, np.shape(value)))

    with np.errstate(all="ignore"):
        truth = written.truth(program, dict(arrays), lambda value: value)
        moved = []
        for k in range(MOVED_RUNS):
            move = moved_by(np.random.default_rng([program[SEED], k]))
            near = {n: move(a) if a.dtype.kind in "fO" else a for n, a in arrays.items()}
            moved.append(written.truth(program, near, move))
    scale = u * written.scale(program, arrays)
    found = {}
    for name, exact in truth.items():
        exact = np.asarray(exact)
        with np.errstate(all="ignore"):
            errors = [np.nan_to_num(np.asarray(run[name] - exact, np.float64)) for run in moved]
            largest, mean = tensor_noise(errors, np.asarray(exact, np.float64), floors)
        found[name] = exact, (max(largest, scale), max(mean, scale))
    return found


def text(written: Written, program: Program, outcome: Outcome) -> str:
    """The program in torch and NumPy alone; it exits with 1 while the mistake exists."""
    inputs = inputs_of(written, program)
    described = ", ".join(f"{name} {value}" for name, value in program.items() if name != SEED)
    lines = [f'"""{written.name}: {described}.', "", f"{outcome.symptom}: {outcome.detail}"]
    lines += ["Exits with 1 while the mistake exists.", '"""', ""]
    lines += [
        "import sys",
        "",
        "import numpy as np",
        "import torch",
        "",
        "nan = np.nan",
        "inf = np.inf",
    ]
    for name, value in inputs.items():
        literal = pprint.pformat(value.tolist(), width=90, compact=True)
        lines += [
            f"{name}_values = np.array({literal}, {value.dtype.name!r}).reshape({value.shape})"
        ]
    body = written.source(program)
    if outcome.symptom in ("accepted bad input", "crash", "rejected valid input"):
        return "\n".join([*lines, _ENDINGS[outcome.symptom].format(body=_indented(body))])
    if outcome.detail == _UNINITIALISED:
        return "\n".join([*lines, _TWICE.format(body=_indented(body, 8))])
    truth, noise = expected_of(written, program, inputs)[outcome.tensor]
    literal = pprint.pformat(np.asarray(truth, np.float64).tolist(), width=90, compact=True)
    lines += [
        body,
        f"actual = results[{outcome.tensor!r}]",
        "if isinstance(actual, torch.Tensor):",
        "    actual = actual.to_dense() if actual.is_sparse else actual",
        "    actual = actual.detach().double().numpy()",
        f"expected = np.array({literal})  # from a formula, in a wider type",
        'print("torch", torch.__version__)',
        f'print("{outcome.tensor}: expected", expected.ravel(), "actual", np.ravel(actual))',
        f"error, limit = np.abs(actual - expected).max(), {judge.LIMIT * noise[0]!r}",
        "sys.exit(not error <= limit)",
        "",
    ]
    return "\n".join(lines)


def _indented(body: str, width: int = 4) -> str:
    return "".join(f"{' ' * width}{line}\n" if line else "\n" for line in body.splitlines())


_ENDINGS = {
    "accepted bad input": """\
try:
{body}except Exception as error:
    print("rejected:", error)
    sys.exit(0)
print("torch", torch.__version__, "accepted this call:", results)
sys.exit(1)
""",
    "crash": """\
print("torch", torch.__version__, flush=True)
if True:  # the process ends here
{body}
""",
    "rejected valid input": """\
print("torch", torch.__version__)
try:
{body}except Exception as error:
    print("rejected:", type(error).__name__, error)
    sys.exit(1)
""",
}
_TWICE = """\
import ctypes

found = []
for fill in (0x55, 0xAA):  # what glibc fills unused memory with
    ctypes.CDLL(None).mallopt(-6, fill)
    if True:
{body}
    found.append({{name: torch.as_tensor(value).clone() for name, value in results.items()}})
ctypes.CDLL(None).mallopt(-6, 0)
print("torch", torch.__version__, *found, sep="\\n")
sys.exit(any(str(found[0][name]) != str(found[1][name]) for name in found[0]))
"""
