"""The second net: with the right equations it is the reference."""

import numpy as np
import pytest

from bptt_oracle.cases.case import draw
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.cases.masks import draw_masks
from bptt_oracle.diagnosis.cases import diagnostic_cases, dropout_cases
from bptt_oracle.diagnosis.equations import CELLS, RIGHT
from bptt_oracle.diagnosis.evidence import question_of
from bptt_oracle.diagnosis.question import RIGHT_EQUATIONS, Question, evaluate_change
from bptt_oracle.judging.judge import judge

CASES = corpus(200)
PARTS = 4


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_the_right_equations_are_those_of_the_reference(part):
    for case in CASES[part::PARTS]:
        question = Question(draw(case), "float32")
        truth, expected = question.truth(RIGHT_EQUATIONS), question.right()
        assert list(sorted(truth)) == list(sorted(expected.truth))
        assert judge(truth, expected).word in ("agree", "untrusted"), case.id
        if case.regime == "generic":
            for name, exact in expected.truth.items():
                largest = np.abs(exact).max(initial=0)
                np.testing.assert_allclose(truth[name], exact, rtol=0, atol=1e-9 * largest)


@pytest.mark.parametrize("cell", ["GRU_TEXTBOOK", "LSTM_PEEPHOLE"])
def test_cells_that_torch_lacks_are_those_of_the_reference(cell):
    for case in diagnostic_cases(cell) + dropout_cases(cell):
        question = Question(draw(case), "float64")
        truth = question.truth(RIGHT_EQUATIONS)
        assert truth.keys() == question.right().truth.keys()
        assert judge(truth, question.right()).word == "agree", case.id


def test_in_float64_too():
    for case in CASES[:40]:
        question = Question(draw(case), "float64")
        truth = question.truth(RIGHT_EQUATIONS)
        assert judge(truth, question.right()).word in ("agree", "untrusted"), case.id
        assert all(value.dtype == np.longdouble for value in truth.values())


@pytest.mark.parametrize("cell", CELLS)
def test_the_noise_of_the_second_net_is_that_of_the_judge(cell):
    """Within a factor of 16, the limit of the judge, in small generic cases."""
    case = CASES[0]._replace(
        cell=cell, T=3, B=2, I=4, H=3, layers=1, bidirectional=False, P=0, tied=False,
        layout="time", lengths=(), dropout=0.0, regime="generic", cotangents=("output", "h_n"),
        seed=3,
    )  # fmt: skip
    question = question_of(case, "float32")
    own, theirs = question.expected(RIGHT_EQUATIONS), question.right()
    for name, (largest, _) in own.noise.items():
        assert 1 / 16 < largest / theirs.noise[name][0] < 16


def test_values_alone_are_those_of_the_whole():
    case = CASES[3]
    run = [
        evaluate_change(draw(case), RIGHT_EQUATIONS, lambda v: v, gradients=gradients)
        for gradients in (True, False)
    ]
    assert run[1] and not any(name.startswith("d_") for name in run[1])
    assert all(np.array_equal(run[0][name], value) for name, value in run[1].items())


def test_a_changed_equation_changes_the_results():
    """Every place where people err is used: none of the functions is called in vain."""
    called = set()

    def spy(name, function):
        def wrapped(*arguments):
            called.add(name)
            return function(*arguments)

        return wrapped

    names = [name for name in RIGHT._fields if name != "d_of_read"]
    spied = RIGHT._replace(**{name: spy(name, getattr(RIGHT, name)) for name in names})
    change = RIGHT_EQUATIONS._replace(equations=spied)
    for cell in CELLS:
        case = CASES[0]._replace(
            cell=cell, T=2, B=2, I=2, H=2, layers=2, bidirectional=True, P=0, tied=False,
            layout="packed", lengths=(2, 1), dropout=0.3, regime="generic", cotangents=("output",),
        )  # fmt: skip
        problem = draw(case)
        evaluate_change(problem, change, lambda v: v, masks=draw_masks(problem, "float64"))
    assert called == set(names)
