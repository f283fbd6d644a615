"""What the resident loop needs of a network, whatever speaks it: take one message, answer it, stay known."""

from __future__ import annotations

from typing import Protocol

from flwr.app import Message


class Transport(Protocol):
    """A node's connection to its coordinator. Methods raise ConnectionLostError when it is worth trying again, and
    UntrustedError or NotAdmittedError when a person has to act first."""

    def connect(self) -> None:
        """Make this node known; called again after a fault."""
        ...

    def receive(self) -> Message | None:
        """The next message, whole, or None when there is none now. A damaged one is refused and skipped."""
        ...

    def reply(self, message: Message) -> None:
        """Send an answer, made as a reply to a received message."""
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
