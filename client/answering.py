"""From Flower's message to the node and back: the only file of the node's that knows Flower's message types."""

from __future__ import annotations

import logging
from typing import Literal, Protocol

from flwr.app import ConfigRecord, Error, Message, RecordDict

from ..privacy.errors import WireError

Kind = Literal["query", "train", "evaluate"]

_KINDS: dict[str, Kind] = {"query": "query", "train": "train", "evaluate": "evaluate"}
_LOG = logging.getLogger(__name__)
# Flower leaves the meaning of codes above its own to applications; ours says "the node could not answer this".
_CODE = 7100


class Answering(Protocol):
    """What answers a message's body: a node."""

    def answer(self, kind: Kind, body: bytes) -> bytes:
        """The body of the answer; see Node.answer."""
        ...


def reply(node: Answering, message: Message) -> Message:
    """Answer one Flower message with another, whatever happens: a fault becomes Flower's error, never an exception.

    The error's text is ours and fixed, but where the coordinator's own bytes were at fault.
    """
    try:
        kind = _KINDS.get(message.metadata.message_type)
        if kind is None:
            return Message(Error(_CODE, "this node answers no messages of that type"), reply_to=message)
        body = _body(message)
        if body is None:
            _LOG.warning("refused a message that is not one body of ours and nothing else")
            return Message(Error(_CODE, "the message is not one body of ours and nothing else"), reply_to=message)
        return Message(RecordDict({"message": ConfigRecord({"body": node.answer(kind, body)})}), reply_to=message)
    except WireError as refusal:
        return Message(Error(_CODE, str(refusal)), reply_to=message)
    except Exception as fault:
        _LOG.exception("a message could not be answered")
        return Message(Error(_CODE, f"the node failed ({type(fault).__name__}); its log says more"), reply_to=message)


def _body(message: Message) -> bytes | None:
    """The message's body; None when it carries anything else, or anything besides (arrays, metrics, other fields)."""
    if not message.has_content() or list(message.content) != ["message"]:
        return None
    record = message.content.config_records.get("message")
    body = record.get("body") if record is not None and list(record) == ["body"] else None
    return body if isinstance(body, bytes) else None
