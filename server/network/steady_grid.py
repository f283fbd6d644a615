"""Flower's grid, but never waiting inside a pull.

A node announces its answer first and pushes the answer's parts next. Flower 1.41's grid, once it has seen the
announcement, pulls the parts in a loop with pauses of a second and more, and asks for nobody else's answer meanwhile;
of a node that was killed between the two it waits for three minutes. Here a pull takes what is there, keeps what has
been announced, and looks again the next time: whoever pulls decides how long to wait for whom.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from flwr.app import Error, Message, Metadata
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.superlink.grid.http_grid import HttpGrid


@dataclass(slots=True)
class _Arriving:
    """An announced answer and those of its parts that are here."""

    head: Metadata
    wanted: tuple[str, ...]
    parts: dict[str, bytes] = field(default_factory=dict[str, bytes])


class SteadyGrid:
    """What the courier needs of a grid, over Flower's connection to SuperLink."""

    def __init__(self, grid: HttpGrid) -> None:
        self._grid = grid
        self._arriving: dict[str, _Arriving] = {}

    def get_node_ids(self) -> Iterable[int]:
        """The connected nodes."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand messages to SuperLink; see flwr.serverapp.Grid."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The answers to these messages that are wholly there; at once, and each only once.

        An answer whose parts SuperLink does not have and no longer expects comes as an error. Answers to messages
        that are not asked for any more are forgotten.
        """
        wanted = set(message_ids)
        self._arriving = {name: one for name, one in self._arriving.items() if one.head.reply_to_message_id in wanted}
        unheard = wanted - {one.head.reply_to_message_id for one in self._arriving.values()}
        if unheard:
            pulled = self._client.PullMessages(PullAppMessagesRequest(message_ids=sorted(unheard)))
            for proto, tree in zip(pulled.messages_list, pulled.message_object_trees, strict=True):
                self._announce(message_from_proto(proto).metadata, tree)
        whole: list[Message] = []
        for name, one in list(self._arriving.items()):
            message = self._look(name, one)
            if message is not None:
                del self._arriving[name]
                whole.append(message)
        return whole

    @property
    def _client(self) -> Any:
        # Flower offers no other way to ask for a part without waiting for it.
        return cast("Any", self._grid)._runtime_client

    def _announce(self, head: Metadata, tree: ObjectTree) -> None:
        parts = tuple(dict.fromkeys(branch.object_id for branch in iterate_object_tree(tree)))
        self._arriving[head.message_id] = _Arriving(head, parts)

    def _look(self, name: str, one: _Arriving) -> Message | None:
        """Take the parts that are there; the message once all are, or an error when one never will be."""
        run = one.head.run_id
        for part in one.wanted:
            if part in one.parts:
                continue
            answer = self._client.PullObject(PullObjectRequest(node=self._grid.node, run_id=run, object_id=part))
            if not answer.object_found:
                return _lost(one.head)
            if not answer.object_available:
                return None
            one.parts[part] = answer.object_content
        self._client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(node=self._grid.node, run_id=run, message_object_id=name)
        )
        message = cast("Message", inflate_object_from_contents(name, one.parts))
        # Flower leaves the identifier, the hash of the message's head, for the caller to set.
        message.metadata.__dict__["_message_id"] = name
        return message


def _lost(head: Metadata) -> Message:
    """An answer in place of one that was announced and never came."""
    return make_message(metadata=head, error=Error(ErrorCode.MESSAGE_UNAVAILABLE, "the answer was never pushed whole"))
