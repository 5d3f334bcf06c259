"""Releases of a package: what names one, and which options go with it."""

import pytest

from bptt_oracle.__main__ import main
from bptt_oracle.processes.failures import CommandError
from bptt_oracle.runs.releases import Release, find_problem, parse_releases


def test_a_bare_version_is_one_of_torch():
    assert parse_releases(["2.4.1", "torch==2.13+cpu"]) == [
        Release("torch", "2.4.1"),
        Release("torch", "2.13.0+cpu"),
    ]


def test_a_name_is_written_as_pip_writes_it():
    first, second = parse_releases(["ONNXRuntime_GPU==1.32rc1", "onnxruntime-gpu==v1.32"])
    assert first == Release("onnxruntime-gpu", "1.32rc1")
    assert second == Release("onnxruntime-gpu", "1.32.0")
    assert second.requirement == "onnxruntime-gpu==1.32.0"
    assert second.folder == second.run == "onnxruntime-gpu-1.32.0"


def test_a_run_of_torch_is_named_by_its_version():
    assert Release("torch", "2.13.0").run == "2.13.0"


@pytest.mark.parametrize(
    "texts, words",
    [
        (["onnx==1.0", "onnxruntime==1.0"], "onnx and onnxruntime are different packages"),
        (["onnx==1.0", "1.1"], "onnx and torch are different packages; .* alone is of torch"),
        (["onnx==1", "onnx==1.0.0"], "name at least two versions, each once"),
        (["onnx==1.0"], "name at least two versions, each once"),
        (["onnx==1.*", "onnx==1.0"], r"'1\.\*' is not a version of onnx; write 2.13.0 or"),
        (["onnx", "1.0"], "'onnx' is not a version of torch; write .* onnxruntime=="),
        (["==2.13.0", "2.12.0"], "'==2.13.0' names no package"),
        (["../a==1", "../a==2"], "'../a==1' names no package"),
        (["torch==2.3.1", "2.13.0"], "torch 2.3.1 is too old; 2.4 is the first"),
    ],
)
def test_what_names_no_releases_of_one_package_is_rejected(texts, words):
    with pytest.raises(CommandError, match=f"^{words}"):
        parse_releases(texts)


@pytest.mark.parametrize(
    "package, implementations, requirements, paths, words",
    [
        ("onnx", [], [], [], "onnx does not say what to judge"),
        ("onnx", [], [], ["cpu-cells"], "onnx does not say what to judge"),
        ("torch", ["my:lstm"], [], ["cpu-cells"], "replaces --path"),
        ("onnx", ["lstm"], [], [], "'lstm' does not name an implementation"),
        ("onnx", ["my:lstm"], ["-r file"], [], "'-r file' is not a package to install"),
        ("torch", [], ["../folder"], [], "'../folder' is not a package to install"),
        ("torch", [], [], ["cpu-cells"], ""),
        ("torch", [], ["triton"], [], ""),
        ("torch", ["my:lstm"], [], [], ""),
        ("onnx", ["my.py:lstm"], ["a[b]>=1,<2", "c"], [], ""),
    ],
)
def test_options_must_fit_the_package(package, implementations, requirements, paths, words):
    problem = find_problem(package, implementations, requirements, paths)
    assert words in problem and bool(words) == bool(problem)


@pytest.mark.parametrize("options", [[], ["--implementation", "lstm"], ["--with", "/"]])
def test_a_problem_is_one_sentence_and_status_2(tmp_path, capsys, options):
    command = ["versions", "onnx==1.0", "onnx==1.1", "--cache", str(tmp_path / "cache"), *options]
    with pytest.raises(SystemExit) as stop:
        main(command)
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "cache").exists()
