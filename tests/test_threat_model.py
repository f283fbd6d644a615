"""The threat model claims nothing without naming a test, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "threat-model.md").read_text()
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def names_in(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_named_test_exists() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 40
    missing = [f"{file}::{test}" for file, test in named if test not in names_in(TESTS / file)]
    assert missing == []


def test_every_claim_names_a_test() -> None:
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[2:]
    claims = [claim for section in sections for claim in re.findall(r"^- (.*?)(?=^- |^$)", section, re.S | re.M)]
    assert len(claims) > 25
    assert [claim for claim in claims if not NAMED.search(claim)] == []
