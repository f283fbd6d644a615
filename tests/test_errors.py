"""Every numbered error has its paragraph, no number is used twice, and one line says what, where and how to mend it."""

from __future__ import annotations

import re
from pathlib import Path

from medquorum.client import federation  # noqa: F401  loads every error of the node
from medquorum.client.network import errors as node_errors
from medquorum.errors import BadInputError, MedquorumError

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"


def everything(kind: type[MedquorumError]) -> set[type[MedquorumError]]:
    return {kind}.union(*(everything(one) for one in kind.__subclasses__()))


def test_numbers_and_paragraphs_match() -> None:
    assert node_errors.UntrustedError.number == "MQ302"
    own = [kind.number for kind in everything(MedquorumError) if "number" in vars(kind) and kind.number]
    headings = re.findall(r"^## (MQ\d+): ", PAGE.read_text(), re.MULTILINE)
    assert sorted(own) == sorted(headings)
    assert len(set(own)) == len(own)


def test_one_line_says_what_where_and_how() -> None:
    error = BadInputError("the key is unknown", where="study.toml, plan.epsilonn", fix="did you mean 'epsilon'?")
    assert str(error) == "study.toml, plan.epsilonn: the key is unknown. Fix: did you mean 'epsilon'?"
    assert str(node_errors.NotAdmittedError("no", fix="ask")) == "no. Fix: ask (MQ303, see docs/errors.md)"
