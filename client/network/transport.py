"""What the resident loop needs of a network, whatever speaks it: take one message, answer it, stay known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["query", "train", "evaluate"]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message of ours: what kind of answer it asks for, its canonical bytes, and the transport's own reference."""

    kind: Kind
    body: bytes
    reference: object


class Transport(Protocol):
    """A node's connection to its coordinator. Methods raise ConnectionLostError when it is worth trying again, and
    UntrustedError or NotAdmittedError when a person has to act first."""

    def connect(self) -> None:
        """Make this node known; called again after a fault."""
        ...

    def receive(self) -> Incoming | None:
        """The next message, or None when there is none now. What is not one of ours is refused and skipped."""
        ...

    def reply(self, to: Incoming, body: bytes) -> None:
        """Answer a message."""
        ...

    def stay_known(self) -> None:
        """Say that this node is still there; due every `heartbeat_seconds`."""
        ...

    @property
    def heartbeat_seconds(self) -> float:
        """How often `stay_known` is due."""
        ...

    def close(self) -> None:
        """Say goodbye if possible, and let go of the connection."""
        ...
