"""clip_grad_norm_ and clip_grad_value_ in both forms, on every layout, with inf and NaN."""

import numpy as np
import pytest
import torch
from torch.nn.utils import clip_grad_norm_

from bptt_oracle.judging.judge import judge
from bptt_oracle.optimizers.clipping import (
    NORMS,
    SPECIAL,
    draw_clipping,
    expect_clipping,
    judge_clipping,
)
from reference.models import optim
from support.calculus import rejects
from torch_impl.optimizers.clip import clip
from torch_impl.optimizers.layouts import LAYOUTS

DTYPES = ["float64", "float32", "bfloat16", "float16"]
BY = [*NORMS, None]  # the norms, and clipping by value


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", BY)
@pytest.mark.parametrize("special", SPECIAL)
def test_clipped_gradients_and_their_norm_agree_on_every_layout(dtype, p, special):
    for seed, layout in enumerate(LAYOUTS):
        for limit in (0.7, 1e4):
            problem = draw_clipping(p, limit, special, layout, dtype, seed)
            for foreach in (False, True):
                verdict, damaged = judge_clipping(problem, dtype, foreach)
                assert verdict.word == "agree", (layout, limit, foreach, verdict.worst)
                assert not damaged


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", BY)
def test_wrong_clipping_is_a_fault(dtype, p):
    """Another limit, another norm, a gradient left out, a NaN that is removed."""
    problem = draw_clipping(p, 0.7, "finite", "columns", dtype, 0)
    expected = expect_clipping(problem, dtype)
    wrong = [clip(problem._replace(limit=2.1), dtype, False).results]
    if p is None:
        wrong.append(dict(problem.grads))
    else:
        other = clip(problem._replace(p=1.0 if p == 2 else 2.0), dtype, False).results
        each = {n: clip(problem._replace(grads={n: g}), dtype, False).results
                for n, g in problem.grads.items()}  # fmt: skip
        alone = {n: results[n] for n, results in each.items()}
        wrong += [other, alone | {"norm": other["norm"]}]
    for results in wrong:
        assert judge(results, expected).word == "fault"
    special = draw_clipping(p, 0.7, "nan", "columns", dtype, 0)
    results = {n: np.nan_to_num(v) for n, v in clip(special, dtype, False).results.items()}
    assert judge(results, expect_clipping(special, dtype)).word == "fault"


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("special", SPECIAL)
def test_error_if_nonfinite_raises_in_torch_where_it_does_here(foreach, p, special):
    problem = draw_clipping(p, 0.7, special, "offset", "float32", 0)
    problem = problem._replace(error_if_nonfinite=True)
    if special in ("finite", "zero"):
        verdict, _ = judge_clipping(problem, "float32", foreach)
        assert verdict.word == "agree"
        return
    with pytest.raises(RuntimeError, match="non-finite"):
        clip(problem, "float32", foreach)
    call = lambda: optim.clip_by_global_norm(problem.grads, 0.7, p, error_if_nonfinite=True)  # noqa: E731
    rejects(RuntimeError, "finite norm", call)


@pytest.mark.parametrize("foreach", [False, True])
def test_a_gradient_of_stride_0_is_rejected_by_torch(foreach):
    leaf = torch.nn.Parameter(torch.zeros(3, 4))
    leaf.grad = torch.ones(1, 1).expand(3, 4)
    with pytest.raises(RuntimeError, match="more than one element"):
        clip_grad_norm_([leaf], 0.5, foreach=foreach)
