"""Between Flower's message and the node: every fault becomes a Flower error, and says nothing it should not."""

from __future__ import annotations

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from medquorum.client.answering import Kind, reply
from medquorum.privacy.errors import WireError


class Echo:
    """Answers a body with its kind and itself, or fails as its body says."""

    def answer(self, kind: Kind, body: bytes) -> bytes:
        if body == b"foreign":
            raise WireError("not a Step")
        if body == b"broken":
            raise ValueError("patient Miller, born 1950")
        return kind.encode() + b":" + body


@pytest.fixture(autouse=True)
def identity() -> None:
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1


def ask(content: RecordDict, kind: str = "train") -> Message:
    return reply(Echo(), Message(content, 7, kind))


def body(data: bytes) -> RecordDict:
    return RecordDict({"message": ConfigRecord({"body": data})})


@pytest.mark.parametrize("kind", ["query", "train", "evaluate"])
def test_the_body_is_answered_with_a_body(kind: str) -> None:
    answer = ask(body(b"\x00\xff"), kind)
    assert answer.content.config_records["message"]["body"] == kind.encode() + b":\x00\xff"
    assert answer.metadata.dst_node_id == 1
    assert answer.metadata.src_node_id == 7


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (body(b"x"), "train.secret", "no messages of that type"),
        (RecordDict(), "train", "not one body of ours"),
        (RecordDict({"message": ConfigRecord({"body": "text"})}), "train", "not one body of ours"),
        (RecordDict({"other": ConfigRecord({"body": b"x"})}), "train", "not one body of ours"),
        (body(b"foreign"), "train", "not a Step"),
        (body(b"broken"), "train", "the node failed (ValueError)"),
    ],
)
def test_whatever_else_comes_is_an_error_without_data(content: RecordDict, kind: str, reason: str) -> None:
    answer = ask(content, kind)
    assert answer.has_error()
    assert answer.error.reason is not None
    assert reason in answer.error.reason
    assert "Miller" not in answer.error.reason
