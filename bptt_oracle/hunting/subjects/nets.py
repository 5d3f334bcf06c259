"""torch.nn.RNN, GRU and LSTM as they are shipped: compiled, exported, traced, quantised, autocast.

    module     the net itself
    moved      a call, other weights written into the same parameters, and the call that is judged
    autocast   the same inside of one torch.autocast in bfloat16
    traced     torch.jit.trace with one step and one row less
    exported   torch.export with T and B dynamic, called as a module, from an example one smaller
    packaged   the same, compiled by AOTInductor
    onnx       the same, exported to ONNX by torch.onnx and run in ONNX Runtime
    quantised  torch.ao.quantization.quantize_dynamic; weights and inputs are multiples of 1/8, and
               the noise is that of 8 bits
    compiled   torch.compile with allow_rnn

Truth is the reference's net.
"""

from typing import Any

import numpy as np

import reference

from ..programs.fields import Choice, Program, Size
from ..programs.written import Arrays, Move, Written

EXPORTED = ("exported", "packaged", "onnx")
VALUES_ONLY = ("traced", *EXPORTED)
EIGHT_BITS = 2.0**-8
FIELDS: dict[str, Any] = {
    "road": Choice(
        ("module", "moved", "autocast", "traced", "exported", "packaged", "onnx")
        + ("quantised", "compiled"),
        (2, 1, 1, 1, 0.5, 0.1, 0.3, 2, 0.15),
    ),
    "cell": Choice(("RNN", "GRU", "LSTM")),
    "dtype": Choice(("float32", "float64")),
    "layers": Choice((1, 2), (2, 1)),
    "bidirectional": Choice((False, True), (2, 1)),
    "batch_first": Choice((False, True), (2, 1)),
    "bias": Choice((True, False), (3, 1)),
    "state": Choice((False, True)),
    "d_x": Choice((True, False), (3, 1)),  # whether x requires a gradient
    "T": Size(1, 8),
    "B": Size(1, 4),
    "I": Size(1, 5),
    "H": Size(1, 8),
}


def _tidy(program: Program) -> Program | None:
    road = program["road"]
    if road == "quantised":
        program = program | {"bias": True}  # torch has no others
    if road in ("autocast", "quantised") and program["dtype"] != "float32":
        return None
    if road in VALUES_ONLY:
        program = program | {"d_x": True}
    small = program["T"] < 3 or program["B"] < 3  # sizes 0 and 1 are special in torch.export
    if road in EXPORTED and (small or program["dtype"] != "float32"):
        return None
    if road in ("packaged", "compiled") and program["T"] * program["layers"] > 8:
        return None  # every step is compiled
    return program


def _net(program: Program) -> Any:
    kinds: dict[str, Any] = {"RNN": reference.RNN, "GRU": reference.GRU, "LSTM": reference.LSTM}
    return kinds[program["cell"]](
        program["I"],
        program["H"],
        num_layers=program["layers"],
        bias=program["bias"],
        batch_first=program["batch_first"],
        bidirectional=program["bidirectional"],
    )


def _inputs(program: Program, rng: np.random.Generator) -> Arrays:
    net, T, B, H = _net(program), program["T"], program["B"], program["H"]
    D = 1 + program["bidirectional"]

    def draw(*shape: int) -> np.ndarray:
        values = rng.uniform(-1, 1, shape)
        return np.round(values * 8) / 8 if program["road"] == "quantised" else np.round(values, 2)

    batch = (B, T) if program["batch_first"] else (T, B)
    found = {name: draw(*shape) for name, shape in net.parameter_shapes().items()}
    found |= {"x": draw(*batch, program["I"]), "d_output": draw(*batch, D * H)}
    if program["state"]:
        found["h"] = draw(program["layers"] * D, B, H)
        if program["cell"] == "LSTM":
            found["c"] = draw(program["layers"] * D, B, H)
    return found


def _source(program: Program) -> str:
    road, cell, dtype = program["road"], program["cell"], program["dtype"]
    tensor = f"torch.tensor({{}}_values, dtype=torch.{dtype})"
    options = "".join(
        f", {name}={program[field]!r}"
        for name, field in (("num_layers", "layers"), ("bias", "bias"))
        if program[field] != FIELDS[field].plain
    )
    options += ", batch_first=True" * program["batch_first"]
    options += ", bidirectional=True" * program["bidirectional"]
    lines = f"net = torch.nn.{cell}({program['I']}, {program['H']}{options}).to(torch.{dtype})\n"
    names = list(_net(program).parameter_shapes())
    lines += "\ndef set_weights(factor=1.0):\n    with torch.no_grad():\n"
    for name in names:
        lines += f"        net.{name}.copy_(factor * {tensor.format(name)})\n"
    lines += "\nset_weights()\n"
    lines += f"x = {tensor.format('x')}\n"
    state = ["h", *(["c"] if cell == "LSTM" else [])] if program["state"] else []
    lines += "".join(f"{name} = {tensor.format(name)}\n" for name in state)
    arguments = ["x"]
    if state:
        arguments.append("(h, c)" if cell == "LSTM" else "h")
    call = ", ".join(arguments)
    if road == "moved":
        lines += f"set_weights(-0.5)\nnet({call})\nset_weights()\n"
    small = _small(program, arguments)
    if road == "traced":
        lines += f"net = torch.jit.trace(net, ({small},), check_trace=False)\n"
    if road in ("exported", "packaged"):
        lines += _exported(program, small)
        lines += "net = program.module()\n"
        if road == "packaged":
            lines += "package = torch._inductor.aoti_compile_and_package(program)\n"
            lines += "net = torch._inductor.aoti_load_package(package)\n"
    if road == "onnx":
        return lines + _onnx(program, small, state)
    if road == "quantised":
        lines += "net = torch.ao.quantization.quantize_dynamic(\n"
        lines += f"    torch.nn.Sequential(net), {{torch.nn.{cell}}}, dtype=torch.qint8)[0]\n"
    if road == "compiled":
        lines += "torch._dynamo.config.allow_rnn = True\nnet = torch.compile(net)\n"
    if road in VALUES_ONLY:
        lines += f"with torch.no_grad():\n    output, final = net({call})\n"
        return lines + "results = {'output': output}\n" + _final(cell)
    leaves = ["x"] * program["d_x"] + state
    if road != "quantised":
        lines += "params = dict(net.named_parameters())\n"
    lines += "".join(f"{name}.requires_grad_()\n" for name in leaves)
    if road == "autocast":
        lines += "with torch.autocast('cpu', dtype=torch.bfloat16):\n    set_weights(-0.5)\n"
        lines += f"    net({call})\n    set_weights()\n    output, final = net({call})\n"
    else:
        lines += f"output, final = net({call})\n"
    lines += "results = {'output': output}\n" + _final(cell)
    params = "" if road == "quantised" else ", *params.values()"
    if not leaves and not params:
        return lines
    lines += f"leaves = [{', '.join(leaves)}{params if leaves else params[2:]}]\n"
    lines += f"d_output = {tensor.format('d_output')}\n"
    lines += "grads = torch.autograd.grad(output, leaves, d_output, materialize_grads=True)\n"
    kept = [*(f"d_{name}" for name in leaves)]
    lines += f"names = {kept!r}"
    lines += "\n" if not params else " + ['d_' + name.split('.')[-1] for name in params]\n"
    return lines + "results |= dict(zip(names, grads))\n"


def _final(cell: str) -> str:
    if cell == "LSTM":
        return "results |= {'h_n': final[0], 'c_n': final[1]}\n"
    return "results |= {'h_n': final}\n"


def _small(program: Program, arguments: list[str]) -> str:
    """The arguments with one step and one row less, where there are two."""
    T, B = max(1, program["T"] - 1), max(1, program["B"] - 1)
    x = f"x[:{B}, :{T}]" if program["batch_first"] else f"x[:{T}, :{B}]"
    states = {"h": f"h[:, :{B}]", "(h, c)": f"(h[:, :{B}], c[:, :{B}])"}
    small = [x, *(states[a] for a in arguments[1:])]
    return ", ".join(s.replace("]", "].contiguous()") for s in small)


def _dynamic(program: Program) -> str:
    batch, time = "torch.export.Dim.AUTO", "torch.export.Dim.AUTO"
    axes = f"{{0: {batch}, 1: {time}}}" if program["batch_first"] else f"{{0: {time}, 1: {batch}}}"
    if not program["state"]:
        return f"({axes},)"
    state = f"{{1: {batch}}}"
    return f"({axes}, {f'({state}, {state})' if program['cell'] == 'LSTM' else state})"


def _exported(program: Program, small: str) -> str:
    return f"program = torch.export.export(net, ({small},), dynamic_shapes={_dynamic(program)})\n"


def _onnx(program: Program, small: str, state: list[str]) -> str:
    """Exported and run; the file is in a folder that is removed."""
    lines = "import os, tempfile\nimport onnxruntime\n"
    lines += "folder = tempfile.TemporaryDirectory()\n"
    lines += "file = os.path.join(folder.name, 'net.onnx')\n"
    lines += f"torch.onnx.export(net, ({small},), file, dynamo=True, verbose=False,\n"
    lines += f"    dynamic_shapes={_dynamic(program)})\n"
    lines += "session = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])\n"
    values = ", ".join(["x", *state])
    lines += f"feed = dict(zip([i.name for i in session.get_inputs()], [{values}]))\n"
    lines += "returned = session.run(None, {n: v.numpy() for n, v in feed.items()})\n"
    names = ["output", "h_n", *(["c_n"] if program["cell"] == "LSTM" else [])]
    return lines + f"results = dict(zip({names!r}, returned))\n"


def _truth(program: Program, inputs: Arrays, move: Move) -> Arrays:
    net = _net(program)
    params = {name: inputs[name] for name in net.parameter_shapes()}
    state: Any = None
    if program["state"]:
        state = (inputs["h"], inputs["c"]) if program["cell"] == "LSTM" else inputs["h"]
    output, final, tape = net.forward(params, inputs["x"], state)
    finals = final if isinstance(final, tuple) else (final,)
    found = {"output": output, **dict(zip(("h_n", "c_n"), finals, strict=False))}
    road = program["road"]
    if road not in VALUES_ONLY:
        grads = net.backward(tape, d_output=inputs["d_output"], d_state=None)
        if program["d_x"]:
            found["d_x"] = grads.x
        if program["state"]:
            states = grads.state if isinstance(grads.state, tuple) else (grads.state,)
            found |= dict(zip(("d_h", "d_c"), states, strict=False))
        if road != "quantised":
            found |= {f"d_{name}": g for name, g in grads.params.items()}
    return {name: move(value) for name, value in found.items()}


def _scale(program: Program, inputs: Arrays) -> float:
    """In units of the roundoff of float32: that of bfloat16, or of 8 bits."""
    if program["road"] == "autocast":
        return 2.0**18
    return EIGHT_BITS * 2.0**24 if program["road"] == "quantised" else 4.0


WRITTEN = Written("nets", FIELDS, _tidy, _inputs, _source, _truth, scale=_scale)
