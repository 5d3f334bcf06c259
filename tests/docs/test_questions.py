"""The page of questions: every proof runs, and every assertion fails when it is negated."""

import ast
import copy
import re

import pytest
import torch

from bptt_oracle.ledger.claims import ROOT

TEXT = (ROOT / "docs" / "questions.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
PROOFS = {
    title: ast.parse("".join(re.findall(r"```python\n(.*?)```", body, re.DOTALL)))
    for title, body in SECTIONS.items()
}
ASSERTIONS = [
    pytest.param(title, node.lineno, id=f"{title.partition('.')[0]}, line {node.lineno}")
    for title, proof in PROOFS.items()
    for node in ast.walk(proof)
    if isinstance(node, ast.Assert)
]


def run(proof):
    torch.manual_seed(0)
    exec(compile(proof, "docs/questions.md", "exec"), {"__name__": "proof"})


@pytest.mark.parametrize("title", SECTIONS)
def test_every_question_has_a_proof_that_runs(title):
    assert any(isinstance(node, ast.Assert) for node in ast.walk(PROOFS[title]))
    run(PROOFS[title])


@pytest.mark.parametrize(("title", "line"), ASSERTIONS)
def test_every_assertion_is_reached_and_fails_when_negated(title, line):
    class Negate(ast.NodeTransformer):
        def visit_Assert(self, node):
            if node.lineno == line:
                node.test = ast.UnaryOp(ast.Not(), node.test)
            return node

    negated = Negate().visit(copy.deepcopy(PROOFS[title]))
    with pytest.raises(AssertionError):
        run(ast.fix_missing_locations(negated))


def test_every_question_is_listed_at_the_top_and_links_a_thread_that_asks_it():
    listed = re.findall(r"^(\d+\.) \[(.*?)\]\(#(.*?)\)$", TEXT, re.MULTILINE)
    assert [f"{number} {words}" for number, words, _ in listed] == list(SECTIONS)
    anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in SECTIONS]
    assert [anchor for _, _, anchor in listed] == anchors
    assert [title for title, body in SECTIONS.items() if "](https://" not in body] == []
