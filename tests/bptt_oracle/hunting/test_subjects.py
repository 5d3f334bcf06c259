"""The subjects: right programs are right, planted mistakes are found, and programs stand alone."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from bptt_oracle.hunting import trying
from bptt_oracle.hunting.programs import written
from bptt_oracle.hunting.programs.fields import SEED, draw_program
from bptt_oracle.hunting.programs.functions import Function
from bptt_oracle.hunting.programs.subject import SYMPTOMS
from bptt_oracle.hunting.subjects.table import SUBJECTS, subject_named
from bptt_oracle.hunting.trying import new_trier


def plain(name, **changes):
    """The plain program of a subject, with some fields changed."""
    fields = subject_named(name).fields
    program = {field: value.plain for field, value in fields.items()} | {SEED: 1}
    program = subject_named(name).tidy(program | changes)
    assert program is not None
    return program


def attempt(name, **changes):
    return subject_named(name).attempt(plain(name, **changes))


@pytest.mark.parametrize("name", SUBJECTS)
def test_plain_programs_are_right(name):
    for seed in range(5):
        outcome = subject_named(name).attempt(plain(name) | {SEED: seed})
        assert outcome.symptom == "", outcome


@pytest.mark.parametrize("name", SUBJECTS)
def test_most_random_programs_make_sense_and_are_tidied_once(name):
    subject, made = subject_named(name), 0
    for k in range(300):
        program = subject.tidy(draw_program(subject.fields, np.random.default_rng(k)))
        if program is not None:
            made += 1
            assert subject.tidy(program) == program
    assert made > 30


PLANTED = {  # what to change in torch, a program that shows it, and the symptom
    "optimizers": (torch.Tensor, "add_", lambda x, *a, **k: x, {}, "silent wrong value"),
    "cross_entropy": (
        *(torch.nn.functional, "cross_entropy"),
        lambda x, t, **k: -(x.log_softmax(1) * torch.eye(2, dtype=x.dtype)[t]).sum() * 1.001,
        *({"rows": 3}, "silent wrong value"),
    ),
    "embedding": (
        *(torch.nn.functional, "embedding"),
        lambda index, weight, **k: weight.detach()[index] + 0 * weight.sum(),
        *({}, "silent wrong gradient"),
    ),
    "ctc_loss": (
        *(torch.nn.functional, "ctc_loss"),
        lambda x, *a, **k: x.sum() * 0 + 1,
        *({"T": 4}, "silent wrong value"),
    ),
    "clipping": (
        *(torch.nn.utils, "clip_grad_norm_"),
        lambda params, *a, **k: torch.tensor(1.0),
        *({"rows": 2}, "silent wrong value"),
    ),
    "packing": (
        *(torch.nn.utils.rnn, "pad_packed_sequence"),
        lambda packed, *a, **k: (packed.data[None].clone(), torch.tensor([1])),
        *({"T": 2}, "silent wrong value"),
    ),
    "cells": (
        *(torch.func, "functional_call"),
        lambda net, p, x: x[1] + 0 * (x[0].sum() + sum(q.sum() for q in p.values())),
        *({}, "silent wrong value"),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found(name, monkeypatch):
    owner, attribute, mistake, changes, symptom = PLANTED[name]
    program = plain(name, **changes)
    assert subject_named(name).attempt(program).symptom == ""
    monkeypatch.setattr(owner, attribute, mistake)
    outcome = subject_named(name).attempt(program)
    assert SYMPTOMS.index(outcome.symptom) <= SYMPTOMS.index(symptom), outcome


def test_every_function_subject_has_its_gradient_from_its_formula():
    """Complex steps against central differences of the same formula."""
    for name, subject in SUBJECTS.items():
        if not isinstance(subject, Function):
            continue
        program = plain(name, dtype="float64")
        w = subject.written()
        inputs = {
            n: a.astype(np.longdouble) if a.dtype.kind == "f" else a
            for n, a in written.inputs_of(w, program).items()
        }
        first = next(iter(subject.shapes(program)))
        truth = w.truth(program, inputs, lambda value: value)[f"d_{first}"]
        at = (0,) * truth.ndim
        ends = []
        for h in (1e-5, -1e-5):
            moved = inputs[first].copy()
            moved[at] += h
            values = subject.formula(program, inputs | {first: moved})
            ends.append((values * inputs["cotangent"]).sum())
        assert abs((ends[0] - ends[1]) / 2e-5 - truth[at]) < 1e-8, name


FAILING = {  # of torch 2.13
    "optimizers": {"form": "fused", "gradient": "transposed", "rows": 2, "columns": 2},
    "packing": {"method": "to copy"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAILING)
def test_a_program_stands_alone_and_exits_with_1_while_the_mistake_exists(name, tmp_path):
    program = plain(name, **FAILING[name])
    outcome = subject_named(name).attempt(program)
    assert outcome.symptom in SYMPTOMS
    assert run_alone(subject_named(name).text(program, outcome), tmp_path) == 1
    right = plain(name)  # the same symptom, in a program that does not show it
    assert run_alone(subject_named(name).text(right, outcome), tmp_path) == 0


def run_alone(text, folder):
    """The exit status of a program, in a folder where nothing of this project can be imported."""
    (folder / "program.py").write_text(text)
    command = [sys.executable, "-I", "program.py"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in ran.stderr, ran.stderr
    assert "bptt_oracle" not in text
    return ran.returncode


def test_memory_that_nobody_wrote_is_found(monkeypatch):
    """A product with a tensor on the device meta is filled with what was in memory."""

    def uninitialised(rows, *arguments):
        return torch.empty(1, 64, 2) if torch.empty(64).numel() else None

    monkeypatch.setattr(torch.nn.utils.rnn, "pad_sequence", uninitialised)
    outcome = attempt("packing", way="pad_sequence")
    assert outcome.symptom == "memory unsafety", outcome


@pytest.mark.slow
def test_a_child_that_dies_is_a_crash_and_the_next_program_runs():
    with new_trier() as trier:
        program = plain("optimizers")
        assert trier.attempt("optimizers", program).symptom == ""
        os.kill(trier.process.pid, signal.SIGABRT)
        assert trier.attempt("optimizers", program).symptom == ""  # repeated in a new child
        os.kill(trier.process.pid, signal.SIGABRT)
        assert trier._attempt_once("optimizers", program).symptom == "crash"
        assert trier.attempt_alone("optimizers", program).symptom == ""


@pytest.mark.parametrize("second", ["", "crash"])
def test_a_program_that_takes_long_is_tried_again_with_more_time(monkeypatch, second):
    with new_trier() as trier:
        program = plain("optimizers")
        longest = 0.001
        monkeypatch.setattr(trying, "PATIENCE", (120 if second == "" else 0.001) / trying.LONGEST)
        once = trier._attempt_once

        def attempt_once(name, program, seconds=longest):
            return once(name, program, seconds)

        monkeypatch.setattr(trier, "_attempt_once", attempt_once)
        outcome = trier.attempt("optimizers", program)
        assert outcome.symptom == second
        assert outcome.detail.startswith(trying.TOO_LONG) == (second == "crash")


def test_a_child_that_is_killed_is_no_find():
    """The system kills it for lack of memory, or a user does."""
    with new_trier() as trier:
        program = plain("optimizers")
        assert trier.attempt("optimizers", program).symptom == ""
        trier.process.kill()
        assert trier._attempt_once("optimizers", program).symptom == "unsupported"


@pytest.mark.parametrize(
    "line, symptom",
    [("torch.export.Dim.AUTO", "unsupported"), ("torch.export.Dim.OTHER", "rejected valid input")],
)
def test_what_an_older_torch_does_not_have_is_no_find(monkeypatch, line, symptom):
    """torch 2.4 has no sizes that are dynamic by themselves, with which the hunt exports nets."""

    monkeypatch.setattr(torch.export, "Dim", lambda name: None)  # a function, as in 2.4
    with pytest.raises(AttributeError) as raised:
        written.run(f"results = {{'x': {line}}}\n", {})
    assert written._of_exception(raised.value, expected=False).symptom == symptom
