"""Every check convicts wrong models, passes right ones, and rejects cases that show nothing."""

import warnings

import pytest

from adversary_table import PAGE, table
from bptt_oracle import checklist
from support.adversary import CASES, EXPECTED, KINDS, outcome
from support.adversary.case import Case

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


def test_the_page_has_the_table_of_all_cases():
    assert table(CASES) in PAGE.read_text(encoding="utf-8")
