"""The courier notices a node that lost a message with its process, long before the deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from medquorum.privacy import wire
from medquorum.privacy.messages import Greeting, Introduction
from medquorum.server import courier as module
from medquorum.server.courier import Courier
from medquorum.simulations.engine.local_grid import LocalGrid


class ForgetfulGrid(LocalGrid):
    """Nodes behind it lose the messages that `loses` says, as a node does that is killed after it took one."""

    def __init__(self, replies: dict[int, Callable[[Message], Message]], loses: Callable[[Message], bool]) -> None:
        super().__init__(replies)
        self._loses = loses
        self._lost = count(1)
        self.pushed: list[Message] = []

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        for message in messages:
            self.pushed.append(message)
            if self._loses(message):
                yield f"lost-{next(self._lost)}"
            else:
                yield from super().push_messages([message])


def answer(message: Message) -> Message:
    body = message.content["message"]["body"]
    said = wire.encode(Introduction("east", "0.1.0")) if body == wire.encode(Greeting()) else b"answer"
    return Message(RecordDict({"message": ConfigRecord({"body": said})}), reply_to=message)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PROBE", 0.05)


@pytest.mark.usefixtures("quick")
def test_a_node_that_answers_a_later_greeting_first_has_lost_the_message() -> None:
    grid = ForgetfulGrid({1: answer}, lambda message: message.metadata.message_type == "train")
    courier = Courier(grid)
    courier._nodes = {"east": 1}  # pyright: ignore[reportPrivateUsage]
    delivery = courier.send("train", {"east": b"step"}, 3600.0, 1)
    assert not delivery.answers
    assert "started again" in delivery.missing["east"]


@pytest.mark.usefixtures("quick")
def test_a_node_that_is_only_slow_is_waited_for_and_greeted_once() -> None:
    """It answers neither the step nor the greeting until it is done, and then the step first."""
    looks = count()

    class SlowGrid(ForgetfulGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            return super().pull_messages(message_ids) if next(looks) > 12 else []

    grid = SlowGrid({1: answer}, lambda message: False)
    courier = Courier(grid)
    courier._nodes = {"east": 1}  # pyright: ignore[reportPrivateUsage]
    delivery = courier.send("train", {"east": b"step"}, 3600.0, 1)
    assert delivery.answers == {"east": b"answer"} and not delivery.missing
    assert [message.metadata.message_type for message in grid.pushed] == ["train", "query"]


def test_a_silent_node_is_given_up_at_the_deadline() -> None:
    grid = ForgetfulGrid({1: answer}, lambda message: True)
    courier = Courier(grid)
    courier._nodes = {"east": 1}  # pyright: ignore[reportPrivateUsage]
    assert "no answer within" in courier.send("train", {"east": b"step"}, 0.1, 1).missing["east"]
