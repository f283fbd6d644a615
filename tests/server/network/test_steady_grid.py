"""The grid that never waits inside a pull, against a SuperLink's run-time interface acted here."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid

from medquorum.server.network.steady_grid import SteadyGrid

RUN = 7


class Link:
    """Holds answers as SuperLink does: an announcement is given out once, parts as often as they are asked for."""

    def __init__(self) -> None:
        self.announced: list[Message] = []
        self.parts: dict[str, bytes] = {}
        self.there: set[str] = set()
        self.gone: set[str] = set()
        self.confirmed: list[str] = []
        self.asked: list[tuple[str, ...]] = []

    def answer(self, asked: Message, body: bytes) -> Message:
        """An answer to `asked`, announced and with none of its parts there yet."""
        reply = Message(RecordDict({"message": ConfigRecord({"body": body})}), reply_to=asked)
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            self.parts |= {name: part.deflate() for name, part in get_all_nested_objects(reply).items()}
        self.announced.append(reply)
        return reply

    def arrive(self, reply: Message) -> None:
        self.there |= set(get_all_nested_objects(reply))

    def PullMessages(self, request: PullAppMessagesRequest) -> PullAppMessagesResponse:
        self.asked.append(tuple(request.message_ids))
        given = [one for one in self.announced if one.metadata.reply_to_message_id in request.message_ids]
        self.announced = [one for one in self.announced if one not in given]
        return PullAppMessagesResponse(
            messages_list=[message_to_proto(remove_content_from_message(one)) for one in given],
            message_object_trees=[get_object_tree(one) for one in given],
        )

    def PullObject(self, request: PullObjectRequest) -> PullObjectResponse:
        name = request.object_id
        return PullObjectResponse(
            object_found=name not in self.gone,
            object_available=name in self.there,
            object_content=self.parts[name] if name in self.there else b"",
        )

    def ConfirmMessageReceived(self, request: ConfirmMessageReceivedRequest) -> ConfirmMessageReceivedResponse:
        self.confirmed.append(request.message_object_id)
        return ConfirmMessageReceivedResponse()


@pytest.fixture(autouse=True)
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower's messages take their run and sender from the process's task."""
    for name, value in (("_run_id", RUN), ("_task_id", 1), ("_node_id", 1)):
        monkeypatch.setattr(TaskIdentity, name, value)


def question(node: int) -> Message:
    asked = Message(RecordDict(), node, "train")
    asked.metadata.__dict__["_run_id"] = RUN
    asked.metadata.__dict__["_message_id"] = f"question {node}"
    return asked


def grid_on(link: Link) -> SteadyGrid:
    return SteadyGrid(cast(HttpGrid, cast(Any, SimpleNamespace(_runtime_client=link, node=Node(node_id=1)))))


def bodies(messages: Sequence[Message]) -> list[object]:
    return [one.content.config_records["message"]["body"] for one in messages]


def test_an_answer_still_on_its_way_holds_up_nobody() -> None:
    link = Link()
    slow, quick = question(1), question(2)
    late = link.answer(slow, b"late")
    link.arrive(link.answer(quick, b"quick"))
    grid = grid_on(link)
    names = ["question 1", "question 2"]
    assert bodies(list(grid.pull_messages(names))) == [b"quick"]
    assert list(grid.pull_messages(names[:1])) == []
    link.arrive(late)
    (whole,) = grid.pull_messages(names[:1])
    assert bodies([whole]) == [b"late"]
    assert (whole.metadata.reply_to_message_id, whole.metadata.run_id) == ("question 1", RUN)
    assert link.confirmed[-1] == whole.metadata.message_id == late.metadata.message_id
    assert list(grid.pull_messages(names[:1])) == []


def test_parts_that_are_here_are_not_asked_for_again() -> None:
    link = Link()
    reply = link.answer(question(1), b"in pieces")
    first, *rest = get_all_nested_objects(reply)
    link.there.add(first)
    grid = grid_on(link)
    assert list(grid.pull_messages(["question 1"])) == []
    link.there.remove(first)  # asking for it again would find nothing
    link.there |= set(rest)
    assert len(list(grid.pull_messages(["question 1"]))) <= 1
    link.there.add(first)
    assert len(link.asked) == 1, "an announcement that is known needs no asking"


def test_an_answer_that_will_never_be_whole_is_an_error() -> None:
    """Of a node killed between announcing and pushing, once SuperLink has given it up."""
    link = Link()
    reply = link.answer(question(1), b"lost")
    link.gone |= set(get_all_nested_objects(reply))
    (lost,) = grid_on(link).pull_messages(["question 1"])
    assert lost.has_error() and lost.metadata.reply_to_message_id == "question 1"


def test_what_nobody_waits_for_any_more_is_forgotten() -> None:
    link = Link()
    reply = link.answer(question(1), b"too late")
    grid = grid_on(link)
    list(grid.pull_messages(["question 1"]))
    assert list(grid.pull_messages(["question 2"])) == []
    link.arrive(reply)
    assert list(grid.pull_messages(["question 1"])) == []


def test_flowers_own_grid_still_waits_in_its_pull() -> None:
    """Once it does not, SteadyGrid can go."""
    source = inspect.getsource(HttpGrid.pull_messages)
    assert "pull_objects(" in source and "_runtime_client.PullMessages" in source
