"""Subjects that are a function of tensors, on the roads on which torch differentiates it.

A formula in NumPy that also takes complex numbers is enough: its gradients are taken by complex
steps in the wide type, and derivatives of gradients by central differences of those.

    backward     autograd.grad of the values
    jvp          forward-mode AD along a direction
    double       the gradient of (gradient · direction)
    vmap         over a leading axis of the inputs, and backward
    decomposed   torch.compile without code generation: aot_eager_decomp_partition
    compiled     torch.compile, inductor
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .fields import Choice, Fields, Program
from .layouts import LAYOUTS, tensor_source, values_in
from .subject import Subject
from .written import Arrays, Move, Written

ROADS = Choice(
    ("backward", "jvp", "double", "vmap", "decomposed", "compiled"), (4, 1.5, 1.5, 2, 1.5, 0.1)
)
DTYPES = Choice(("float32", "float64", "bfloat16", "float16"), (3, 2, 2, 2))
LAYOUT = Choice(LAYOUTS, (6, 1, 1, 1, 1, 1))
COMMON: dict[str, Any] = {
    "road": ROADS,
    "dtype": DTYPES,
    "layout": LAYOUT,
    "cotangent": Choice(("random", "ones"), (3, 1)),
}
STEP = np.longdouble(1e-30)  # of complex steps
ROWS = 2  # of vmap


class Function(NamedTuple):
    """A function of tensors.

    shapes      of the inputs by which it is differentiated, by name; the first has the layout
    others      arrays that are not such an input: targets, lengths
    expression  the call in torch, of the names of the inputs and `NAME_values` of the others
    formula     the same in NumPy; must be analytic, or piecewise so by real parts
    """

    name: str
    fields: Fields
    tidy: Callable[[Program], Program | None]
    shapes: Callable[[Program], dict[str, tuple[int, ...]]]
    others: Callable[[Program, np.random.Generator], Arrays]
    expression: Callable[[Program], str]
    formula: Callable[[Program, Arrays], np.ndarray]
    adapt: Callable[[Program, Arrays], Arrays] = lambda program, inputs: inputs
    invalid: Callable[[Program], str] = lambda program: ""
    scale: Callable[[Program, Arrays], float] = lambda program, inputs: 0.0
    prelude: Callable[[Program], str] = lambda program: ""  # lines before the call

    def written(self) -> Written:
        """As a subject of source code."""
        return Written(
            self.name,
            COMMON | dict(self.fields),
            self._tidied,
            self._inputs,
            self._statements,
            self._truth,
            self.invalid,
            self._scale,
        )

    def subject(self) -> Subject:
        """The subject that the engine knows."""
        return self.written().subject()

    def _tidied(self, program: Program) -> Program | None:
        if program["road"] == "vmap" and program["layout"] != "contiguous":
            return None
        if program["road"] == "jvp":
            program = program | {"cotangent": "random"}
        return self.tidy(program)

    def _inputs(self, program: Program, rng: np.random.Generator) -> Arrays:
        lead = (ROWS,) if program["road"] == "vmap" else ()
        found: Arrays = {}
        for k, (name, shape) in enumerate(self.shapes(program).items()):
            layout = "contiguous" if k else program["layout"]
            found[name] = values_in(layout, lead + shape, rng)
        found = self.adapt(program, found)
        others = self.others(program, rng)
        value = self._value(program, found | others)
        found["cotangent"] = np.round(rng.uniform(-2, 2, value.shape), 2)
        if program["cotangent"] == "ones":
            found["cotangent"] = np.ones(value.shape)
        for name in self.shapes(program):
            found[f"along_{name}"] = np.round(rng.uniform(-2, 2, found[name].shape), 2)
        return found | others

    def _value(self, program: Program, inputs: Arrays) -> np.ndarray:
        if program["road"] != "vmap":
            return np.asarray(self.formula(program, inputs))
        names = tuple(self.shapes(program))
        rows = [
            self.formula(program, inputs | {name: inputs[name][k] for name in names})
            for k in range(ROWS)
        ]
        return np.array(rows)

    def _statements(self, program: Program) -> str:
        dtype, road = program["dtype"], program["road"]
        names = tuple(self.shapes(program))
        lead = (ROWS,) if road == "vmap" else ()
        lines = ""
        for k, (name, shape) in enumerate(self.shapes(program).items()):
            layout = "contiguous" if k else program["layout"]
            lines += tensor_source(name, layout, lead + shape, dtype)
            lines += f"{name}.requires_grad_()\n"
        arguments = ", ".join(names)
        lines += self.prelude(program)
        lines += f"\ndef f({arguments}):\n    return {self.expression(program)}\n\n"
        tensor = f"torch.tensor({{}}_values, dtype=torch.{dtype})"
        lines += f"cotangent = {tensor.format('cotangent')}\n"
        for name in names:
            if road in ("jvp", "double"):
                lines += f"along_{name} = {tensor.format(f'along_{name}')}\n"
        along = "".join(f"along_{name}, " for name in names)
        if road == "jvp":
            lines += f"value, d_value = torch.func.jvp(f, ({arguments},), ({along}))\n"
            return lines + "results = {'value': value, 'd_value': d_value}\n"
        call = {
            "vmap": "torch.func.vmap(f)",
            "decomposed": "torch.compile(f, backend='aot_eager_decomp_partition')",
            "compiled": "torch.compile(f)",
        }.get(road, "f")
        lines += f"value = {call}({arguments})\n"
        graph = ", create_graph=True" if road == "double" else ""
        lines += f"grads = torch.autograd.grad(value, ({arguments},), cotangent{graph})\n"
        lines += "results = {'value': value}\n"
        if road == "double":
            lines += f"total = sum((g * a).sum() for g, a in zip(grads, ({along})))\n"
            lines += f"total = total + 0 * sum(x.sum() for x in ({arguments},))  # needs a graph\n"
            lines += f"grads = torch.autograd.grad(total, ({arguments},))\n"
        prefix = "d_d_" if road == "double" else "d_"
        for k, name in enumerate(names):
            lines += f"results['{prefix}{name}'] = grads[{k}]\n"
        return lines

    def _truth(self, program: Program, inputs: Arrays, move: Move) -> Arrays:
        names = tuple(self.shapes(program))
        found = {"value": move(np.real(self._value(program, inputs)))}
        if program["road"] == "jvp":
            moved = {n: inputs[n] + 1j * STEP * inputs[f"along_{n}"] for n in names}
            d_value = self._value(program, inputs | moved).imag / STEP
            return found | {"d_value": move(d_value)}
        if program["road"] != "double":
            grads = self._gradients(program, inputs, names)
            return found | {f"d_{n}": move(g) for n, g in grads.items()}
        h = np.longdouble(2e-4)

        def change(h: np.longdouble) -> Arrays:
            ends = [
                self._gradients(
                    program,
                    inputs | {n: inputs[n] + sign * h * inputs[f"along_{n}"] for n in names},
                    names,
                )
                for sign in (1, -1)
            ]
            return {n: (ends[0][n] - ends[1][n]) / (2 * h) for n in names}

        levels = [change(h), change(2 * h), change(4 * h)]  # errors of h², then h⁴ are removed
        for factor in (4, 16):
            levels = [
                {n: (factor * fine[n] - coarse[n]) / (factor - 1) for n in names}
                for fine, coarse in zip(levels, levels[1:], strict=False)
            ]
        return found | {f"d_d_{n}": move(levels[0][n]) for n in names}

    def _gradients(self, program: Program, inputs: Arrays, names: Sequence[str]) -> Arrays:
        """The gradients of Σ cotangent · value, by one complex step for each element."""
        found = {}
        for name in names:
            x = inputs[name]
            gradient = np.zeros(x.shape, np.longdouble)
            for at in np.ndindex(x.shape):
                moved = x.astype(np.clongdouble)
                moved[at] += 1j * STEP
                value = self._value(program, inputs | {name: moved})
                gradient[at] = (inputs["cotangent"] * np.imag(value)).sum() / STEP
            found[name] = gradient
        return found

    def _scale(self, program: Program, inputs: Arrays) -> float:
        scale = self.scale(program, inputs)
        if program["road"] == "double" and program["dtype"] == "float64":
            scale = max(scale, 1e5)  # differences have some digits less than float64
        return scale


def sigmoid(a: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−a)), of real and complex numbers, without overflow."""
    small = np.exp(np.where(np.real(a) > 0, -a, a))
    result: np.ndarray = np.where(np.real(a) > 0, 1, small) / (1 + small)
    return result
