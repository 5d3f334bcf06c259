"""Record one step of the user's own model: each call of a recurrent layer, judged, and the loss.

    model:NAME.MODULE.call3.layer1      a result: what torch computed in that call, and R
    model:NAME.loss                     the loss
    model:NAME.inputs                   no result: the weights and the batch, for `--inputs`

Two runs can be compared if their models got the same numbers. Each result therefore has a digest of
the weights, of the batch and, if the step draws random numbers, of what this torch draws after the
seed; `compare` finds it where other results have that of the dropout masks.

Page: docs/runs/your_model.md
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..implementations.implementation import Answer
from ..judging.judge import LIMIT
from ..processes.failures import CommandError
from ..runs.examine import JudgedOutcome
from ..runs.finish import code_digest, to_row
from ..runs.kept import kept_tensors
from ..runs.opening import open_runs
from ..runs.record import protect_other_run
from ..runs.results import Result
from ..runs.row import MODEL, Row, TensorDigest, array_digest, digest
from ..runs.schema import Head, KeptTensor
from ..runs.store import FinishedCase, Store, Summary, open_store, publish
from .judged_call import JudgedCall, judge_call
from .layer_call import LayerCall
from .layer_calls import record_layer_calls
from .model_loss import judge_loss
from .model_subject import (
    Subject,
    digest_of,
    load_subject,
    numbers_of,
    probe_random_numbers,
    random_state,
    run_users_code,
    seed_all,
    with_numbers,
)
from .recurrent_modules import overriding_classes

PATH = "model"


class Step(NamedTuple):
    """One step of a model."""

    calls: list[LayerCall]
    loss: Tensor
    draws_random_numbers: bool


class WorstCall(NamedTuple):
    """The call with the largest R."""

    row: Row
    call: LayerCall
    judged: JudgedCall


class Recorded(NamedTuple):
    """What was recorded: a summary, the worst call of those that were judged now and not by an
    interrupted command, and the classes that override torch's forward, of which only the calls of
    torch inside were judged."""

    summary: Summary
    worst: WorstCall | None
    overriding: tuple[str, ...]


def _ignore_progress(finished: int, total: int) -> None:
    """The default of `record_model`."""


def record_model(
    file: Path,
    name: str,
    environment: dict[str, Any],
    inputs: Path | None = None,
    report_progress: Callable[[int, int], None] = _ignore_progress,
) -> Recorded:
    """Record the model that the function `name` returns, and write the run to `file`.

    `inputs` is an earlier run of the same model, whose weights and batch are used. Raises
    CommandError, with one sentence, and OSError.
    """
    subject = load_subject(name)
    if inputs is not None:
        subject = _with_inputs_of(inputs, subject)
    numbers = numbers_of(subject)
    step = run_step(subject)
    plan = {
        "model": subject.name,
        "weights": digest_of(numbers, "weights"),
        "batch": digest_of(numbers, "batch"),
        "random numbers": probe_random_numbers(subject.model)
        if step.draws_random_numbers
        else "none",
    }
    same = digest(*(value.encode() for value in plan.values()))
    environment = environment | {"model": _devices(subject.model)}
    head = Head(code_digest(), LIMIT, [environment], plan)
    prefix = f"{MODEL}{subject.name}"
    with open_store(file, head) as store:
        protect_other_run(file, head)
        worst = _judge_calls(store, prefix, step.calls, same, report_progress)
        if not store.has(f"{prefix}.loss"):
            # The step may have changed the model, and another call of make() may draw others.
            again = with_numbers(load_subject(name), numbers, "its first call")
            row = _loss_row(f"{prefix}.loss", again, step)._replace(masks=same)
            store.add(FinishedCase(row.case, [row], []))
        if not store.has(f"{prefix}.inputs"):
            kept = [KeptTensor(PATH, str(v.dtype), n, v) for n, v in numbers.items()]
            store.add(FinishedCase(f"{prefix}.inputs", [], kept))
        if worst is not None:
            store.add(FinishedCase(worst.row.case, [worst.row], _tensors_of(worst)))
        summary = store.summary()
        publish(store, file)
    return Recorded(summary, worst, overriding_classes(subject.model))


def _judge_calls(
    store: Store,
    prefix: str,
    calls: list[LayerCall],
    inputs_digest: str,
    report_progress: Callable[[int, int], None],
) -> WorstCall | None:
    """Judge the calls that the store does not have, and add them to it, all but the worst one,
    which is returned."""
    worst: WorstCall | None = None
    for done, call in enumerate(calls):
        report_progress(done, len(calls))
        case = f"{prefix}.{call.module}.call{call.number}.layer{call.layer}"
        if store.has(case):
            continue
        judged = _judged(call)
        row = row_of(case, call, judged)._replace(masks=inputs_digest)
        ours = WorstCall(row, call, judged)
        if worst is None:
            worst = ours
            continue
        worst, other = (ours, worst) if _rank(row) > _rank(worst.row) else (worst, ours)
        store.add(FinishedCase(other.row.case, [other.row], []))
    report_progress(len(calls), len(calls))
    return worst


def run_step(subject: Subject) -> Step:
    """Run the loss and, unless it did so itself, the backward pass. Raises CommandError."""
    model = subject.model
    seed_all()
    before = random_state(model)
    with record_layer_calls(model, with_gradients=True) as calls:
        loss = run_users_code(subject.name, subject.loss, model, subject.batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            what = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise CommandError(
                f"the loss of {subject.name} returned {what}; expected a tensor of one element"
            )
        if loss.requires_grad and not any(call.cotangents for call in calls):
            run_users_code(subject.name, loss.backward)
    if not calls and (overriding := overriding_classes(model)):
        raise CommandError(
            f"{overriding[0]} overrides forward and does not call torch's, so there is nothing of "
            "torch to record; judge it with bptt_oracle.judge"
        )
    if not calls:
        raise CommandError(
            f"the loss of {subject.name} calls no recurrent module of the model where it can be "
            "seen; return the model that it calls, not a copy or a scripted one"
        )
    after = random_state(model)
    drew = any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    return Step(calls, loss.detach(), drew)


def _rank(row: Row) -> tuple[bool, float]:
    """The order in which calls are bad: by R, first of those that can be judged."""
    return row.verdict != "untrusted", row.R


def _with_inputs_of(file: Path, subject: Subject) -> Subject:
    """The subject with the weights and the batch that an earlier run kept."""
    with open_runs(file) as (run,):
        numbers = dict(kept_tensors(run, f"{MODEL}{subject.name}.inputs"))
    if not numbers:
        raise CommandError(
            f"{file} holds no weights and batch of {subject.name}; name a run that "
            f"`record --model` wrote for it"
        )
    return with_numbers(subject, numbers, str(file))


def _judged(call: LayerCall) -> JudgedCall:
    """`judge_call`, whose ValueError becomes a CommandError."""
    try:
        return judge_call(call)
    except ValueError as error:
        raise CommandError(str(error)) from None


def row_of(case: str, call: LayerCall, judged: JudgedCall) -> Row:
    """The result of a call as a row of the run."""
    verdict, note = judged.verdict, judged.expected.untrusted
    if not call.cotangents:
        note = "; ".join(filter(None, (note, "no gradient arrived, so only values were judged")))
    result = Result(
        case,
        PATH,
        judged.dtype,
        call.mode,
        verdict.word,
        verdict.worst.R,
        verdict.worst.tensor,
        judged.place,
        call.kernel,
        0.0,
        note,
        {s.tensor: s.R for s in verdict.scores if not s.ill},
    )
    return to_row(JudgedOutcome(result, [], Answer(judged.results)))


def _loss_row(case: str, subject: Subject, step: Step) -> Row:
    """The result of the loss: untrusted where it cannot be judged."""
    R, note = judge_loss(subject, step.loss, step.draws_random_numbers)
    loss = step.loss.float() if step.loss.dtype == torch.bfloat16 else step.loss
    bits = array_digest(loss.cpu().numpy())
    return Row(
        case=case,
        path=PATH,
        dtype=str(step.loss.dtype).removeprefix("torch."),
        verdict="untrusted" if R is None else "agree",
        R=0.0 if R is None else R,
        tensor="loss",
        place="",
        kernel="",
        seconds=0.0,
        note=note,
        masks="",
        tensors={"loss": TensorDigest(R, bits)},
    )


def _tensors_of(worst: WorstCall) -> list[KeptTensor]:
    """What the worst call got and returned."""
    problem = worst.judged.problem
    given = {"x": problem.x, "d_output": problem.d_output, **problem.params}
    given |= dict(zip(("h_0", "c_0"), problem.state or (), strict=False))
    given |= dict(zip(("d_h_n", "d_c_n"), problem.d_state, strict=False))
    tensors = {f"given.{name}": value for name, value in given.items() if value is not None}
    tensors |= worst.judged.results
    return [KeptTensor(PATH, worst.row.dtype, name, value) for name, value in tensors.items()]


def _devices(model: nn.Module) -> str:
    """Where the parameters are, and whether the model trains."""
    found: Iterator[str] = (p.device.type for p in model.parameters())
    mode = "training" if model.training else "evaluation"
    return f"on {', '.join(sorted(set(found)))}, in {mode} mode"
