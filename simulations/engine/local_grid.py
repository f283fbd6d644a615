"""A Flower Grid without a network: the coordinator's loop talks to node objects in the same process.

Every message is serialised to Flower's protobuf and back in both directions, so that a node gets nothing but bytes,
as it would from a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from uuid import uuid4

from flwr.app import Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

Reply = Callable[[Message], Message]


class LocalGrid(Grid):
    """Hands each message to the reply function of its node, one message at each pull, in the order they came."""

    def __init__(self, replies: Mapping[int, Reply]) -> None:
        self._replies = dict(replies)
        self._run = Run.create_empty(run_id=1)
        self._waiting: dict[str, bytes] = {}
        # Flower stamps every message with the identity of the process's task, which its launchers set.
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, SUPERLINK_NODE_ID

    def set_run(self, run: Run) -> None:
        """Take Flower's description of the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """Flower's description of the run."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message to one node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """The nodes that are there."""
        return list(self._replies)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Keep serialised messages until they are pulled; messages to unknown nodes get no identifier."""
        identifiers: list[str] = []
        for message in messages:
            if message.metadata.dst_node_id not in self._replies:
                continue
            proto = message_to_proto(message)
            proto.metadata.message_id = str(uuid4())
            self._waiting[proto.metadata.message_id] = proto.SerializeToString()
            identifiers.append(proto.metadata.message_id)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Let the node of the first waiting message answer it, and return that answer."""
        for identifier in message_ids:
            data = self._waiting.pop(identifier, None)
            if data is not None:
                message = _parse(data)
                answer = self._replies[message.metadata.dst_node_id](message)
                return [_parse(message_to_proto(answer).SerializeToString())]
        return []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, then pull every answer; `timeout` has no meaning where nobody is waited for."""
        return [reply for identifier in self.push_messages(messages) for reply in self.pull_messages([identifier])]


def _parse(data: bytes) -> Message:
    proto = ProtoMessage()
    proto.ParseFromString(data)
    return message_from_proto(proto)
