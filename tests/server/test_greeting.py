"""The first message settles the versions: a node too old or too new is named with the reason and asked no more."""

from __future__ import annotations

from functools import partial

from medquorum.client.answering import reply
from medquorum.privacy import wire
from medquorum.privacy.messages import Introduction
from medquorum.server.courier import Courier
from medquorum.simulations.engine.local_grid import LocalGrid


class Node:
    """Answers a greeting with these bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def answer(self, kind: str, body: bytes) -> bytes:
        return self._answer


def test_versions_are_settled_at_the_greeting() -> None:
    later = wire.encode(Introduction("c", "0.1.0")).replace(b"av\x01", b"av\x02")
    answers = [wire.encode(Introduction("a", "0.2.5")), wire.encode(Introduction("b", "0.9.0")), later]
    courier = Courier(LocalGrid({number: partial(reply, Node(said)) for number, said in enumerate(answers, 1)}))
    courier.locate(["a", "b", "c"], 5.0)
    assert courier.located == {"a"}, "one minor release apart still talks"
    assert list(courier.strangers) == ["b"]
    assert "runs medquorum 0.9.0" in courier.strangers["b"] and "MQ305" in courier.strangers["b"]
    assert "schema version 2 is not spoken here" in courier.unknown and "MQ305" in courier.unknown
