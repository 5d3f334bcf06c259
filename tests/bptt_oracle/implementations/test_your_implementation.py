"""The page docs/implementations/your_implementation.md, followed as a reader would."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bptt_oracle

PAGE = Path(__file__).parents[3] / "docs" / "implementations" / "your_implementation.md"
TEXT = PAGE.read_text(encoding="utf-8")
FILES = dict(re.findall(r"Write to `(\w+\.py)`:\n\n```python\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()
]


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(folder, *arguments):
    """The command in a process of its own: exit status and standard output."""
    module = {"bptt-oracle": "bptt_oracle", "pytest": "pytest"}[arguments[0]]
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        env=None,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_every_command_of_the_page_runs(folder):
    assert len(COMMANDS) == 10
    for command in COMMANDS:
        code, out = run(folder, *command.split())
        assert code == 0, out
        if "check" in command:
            counts, verdict = out.splitlines()[-2:]
            assert re.fullmatch(
                r"ran 60 of 60 cases, \d+ tensors judged, 0 not returned; "
                r"control: (\d+) mistakes planted in its answers, \1 detected",
                counts,
            )
            assert "agrees with the derivations: 120 results" in verdict
        if command.startswith("bptt-oracle compare numpy --imp"):
            assert out.splitlines()[-1] == "40 results: 40 bitwise equal."
        if command == "bptt-oracle compare numpy fused":
            (promised,) = re.findall(r"```text\n(my_lstm:lstm → .*)\n```", TEXT)
            pattern = r"[\d.]+".join(map(re.escape, promised.split("…")))
            assert re.fullmatch(pattern, out.splitlines()[-1]), out
        if command.startswith("pytest"):
            assert re.search(r"bptt-oracle: 30 cases, 60 results, \d+ tensors judged, 0 not", out)
            assert "31 passed" in out


@pytest.mark.slow
def test_the_mistake_of_the_page_is_named(folder):
    swapped = FILES["numpy_lstm.py"].replace("i, f, g, o = np.split", "f, i, g, o = np.split")
    assert swapped != FILES["numpy_lstm.py"]
    (folder / "numpy_lstm.py").write_text(swapped, encoding="utf-8")
    code, out = run(folder, "bptt-oracle", "check", "--implementation", "my_lstm:lstm")
    assert code == 1
    named = "diagnosis: the values agree with gate order f i g o in place of i f g o in "
    assert named in out and "cases, but the gradients do not" in out
    assert "\nsmallest failing case: LSTM.T1.B1.I1.H1.L1.time.output.generic.s0 --dtype f" in out
    code, out = run(folder, "pytest", "-n", "0", "-q", "test_my_lstm.py")
    assert code == 1 and "above 16, in " in out


def test_adapters_are_functions_of_at_most_ten_lines():
    for name in ("my_lstm.py", "my_fused.py"):
        body = FILES[name].partition("def layer")[2].partition("\n\n\n")[0].splitlines()
        assert 5 < len([line for line in body if line.strip()]) <= 10, name


def test_the_example_of_judge_runs(capsys):
    (example,) = re.findall(r"```python\n(import torch\nimport bptt_oracle.*?)```", TEXT, re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out == "True agree True\n"


def test_the_example_of_onnx_runs_on_a_session_that_computes_rightly(tmp_path, monkeypatch, capsys):
    """The page's lines, with a made-up onnxruntime whose session is the page's NumPy LSTM."""
    (example,) = re.findall(r"```python\n(# needs onnxruntime.*?)```", TEXT, re.DOTALL)
    namespace = {}
    exec(FILES["numpy_lstm.py"], namespace)
    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,)}
    shapes["bias_hh_l0"] = (16,)
    params = {n: rng.standard_normal(s).astype("float32") for n, s in shapes.items()}
    np.savez(tmp_path / "params.npz", **params)
    np.save(tmp_path / "x.npy", rng.standard_normal((5, 2, 3)).astype("float32"))
    monkeypatch.chdir(tmp_path)

    class Session:
        def __init__(self, file):
            assert file == "model.onnx"

        def get_inputs(self):
            return [type("Input", (), {"name": "x"})]

        def run(self, names, feeds):
            W, U, b, b_hh = params.values()
            zeros = np.zeros((2, 4), "float32")
            y, h, c, _ = namespace["forward"](feeds["x"], zeros, zeros, W, U, b + b_hh)
            return y, h[None], c[None]

    made_up = type(sys)("onnxruntime")
    made_up.InferenceSession = Session
    monkeypatch.setitem(sys.modules, "onnxruntime", made_up)
    exec(example, {})
    assert "agree: the worst is " in capsys.readouterr().out


@pytest.mark.parametrize("key, reason", [("d_h_0, bfloat16", "accumulates in bfloat16")])
def test_the_deviation_of_the_page_is_read(key, reason):
    from bptt_oracle.judging.deviation_entries import expected_deviations_of

    assert f'{{"{key}": "{reason}"}}' in TEXT
    (deviation,) = expected_deviations_of({key: reason})
    assert deviation.when == {"tensor": "d_h_0", "dtype": "bfloat16"}
    assert deviation.symptom == reason


def test_public_names_are_imported_when_they_are_used():
    assert set(bptt_oracle.__all__) - {"__version__"} == set(bptt_oracle._WHERE)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        bptt_oracle.nothing  # noqa: B018
