"""Every check convicts wrong models, passes right ones, and rejects cases that show nothing."""

import warnings

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook

from adversary_table import PAGE, table
from bptt_oracle import checklist
from support.adversary import CASES, EXPECTED, KINDS, outcome
from support.adversary.case import Case
from support.adversary.models import UNUSUAL, Model

CHECKS = list(dict.fromkeys(case.check for case in CASES))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("check", CHECKS)
def test_every_model_is_judged_as_it_is(check, kind):
    wrongly_judged = {}
    for case in CASES:
        if (case.check, case.kind) == (check, kind):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                seen, text = outcome(case)
            if seen != EXPECTED[kind]:
                wrongly_judged[case.name] = f"{seen}: {text}"
    assert not wrongly_judged


def test_every_check_has_ten_wrong_and_ten_right_models():
    public = set(checklist.__all__) - {"CheckResult", "CheckTable", "check_all"}
    assert set(CHECKS) == public and len(public) == 17
    for check in CHECKS:
        for kind, least in (("wrong", 10), ("right", 10), ("blind", 2)):
            assert sum((case.check, case.kind) == (check, kind) for case in CASES) >= least


def test_a_case_says_what_the_check_says():
    """An outcome must be able to be each of the three."""
    for holds, seen in ((True, "holds"), (False, "FAILS")):
        result = checklist.CheckResult(1, "claim", holds, "evidence")
        assert outcome(Case("", "", "", lambda r=result: r)) == (seen, "evidence")

    def rejected():
        raise ValueError("why")

    assert outcome(Case("", "", "", rejected)) == ("rejected", "why")


def test_a_crash_of_a_check_is_no_rejection():
    with pytest.raises(TypeError):
        outcome(Case("", "", "", lambda: len(1)))


@pytest.mark.filterwarnings("ignore")
def test_a_case_of_an_unusual_model_calls_that_model(monkeypatch):
    def forward(*arguments):
        raise NotImplementedError("the model is called")

    monkeypatch.setattr(Model, "forward", forward)
    uncalled = []
    for case in CASES:
        if case.name in UNUSUAL:
            try:
                uncalled.append((case.check, case.name, outcome(case)))
            except NotImplementedError:
                continue
    assert not uncalled


SEEN = {  # in one call of a module at least
    "compiled": lambda module, args, output: hasattr(module, "_orig_mod"),
    "autocast": lambda module, args, output: torch.is_autocast_enabled("cpu"),
    "state kept inside, in a dict": lambda module, args, output: isinstance(output, dict),
    "h and c in a list": lambda module, args, output: isinstance(args[-1], list),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("word", SEEN)
def test_a_case_is_what_its_name_says(word):
    calls, unseen = [], []
    with register_module_forward_hook(lambda *call: calls.append(SEEN[word](*call))):
        for case in CASES:
            calls.clear()
            if word in case.name:
                outcome(case)
                if not any(calls):
                    unseen.append((case.check, case.kind, case.name))
    assert not unseen


def test_the_page_has_the_table_of_all_cases():
    assert table(CASES) in PAGE.read_text(encoding="utf-8")
