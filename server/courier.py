"""Carries our messages over Flower's Grid: the only file of the coordinator's that knows Flower's message types.

Our messages are canonical bytes; each travels as the `body` of one ConfigRecord. Sites are known by name: a greeting
asks every connected node which site it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from flwr.app import ConfigRecord, Message, RecordDict

from .. import __version__
from ..privacy import wire
from ..privacy.errors import VersionError, WireError
from ..privacy.messages import Greeting, Introduction
from ..privacy.versions import require_compatible
from .errors import ServerError
from .outcome import SiteBytes


class Post(Protocol):
    """What the courier needs of Flower's Grid, with the meaning that it has there."""

    def get_node_ids(self) -> Iterable[int]: ...

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]: ...

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]: ...


Kind = Literal["query", "train", "evaluate"]
_GREETING = wire.encode(Greeting())

# Looked at often, since an aggregation has five exchanges; a grid that answers at once is never waited for.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25
# A node answers one message after another, so one that answers a later greeting first has lost the earlier message:
# its process was started again. Greeting the silent ones now and then costs little and spares the whole deadline.
_FIRST_PROBE, _LONGEST_PROBE = 5.0, 60.0
_LOST = "its node was started again and lost the message"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The answers that came before the deadline, and for every other site the reason why there is none."""

    answers: Mapping[str, bytes]
    missing: Mapping[str, str]


class Courier:
    """Sends one body to each of several sites and collects what comes back before a deadline."""

    def __init__(self, grid: Post) -> None:
        self._grid = grid
        self._nodes: dict[str, int] = {}
        self._strangers: dict[str, str] = {}
        self._unknown: dict[str, str] = {}
        self._down: dict[str, int] = {}
        self._up: dict[str, int] = {}

    @property
    def located(self) -> frozenset[str]:
        """The sites whose node is known."""
        return frozenset(self._nodes)

    @property
    def strangers(self) -> Mapping[str, str]:
        """The sites whose node runs a version that does not speak to this one, and why."""
        return dict(self._strangers)

    @property
    def unknown(self) -> str:
        """In words, why connected nodes did not say which site they are; "" when all did."""
        return "; ".join(f"a connected node did not say who it is: {why}" for why in sorted(self._unknown.values()))

    @property
    def traffic(self) -> tuple[SiteBytes, ...]:
        """Bytes of our messages to and from each site so far, by name."""
        sites = sorted(self._down.keys() | self._up.keys())
        return tuple(SiteBytes(site, self._down.get(site, 0), self._up.get(site, 0)) for site in sites)

    def locate(self, sites: Iterable[str], seconds: float) -> None:
        """Ask the connected nodes that are not known yet who they are.

        Raises ServerError when two connected nodes claim the same one of `sites`.
        """
        wanted = set(sites)
        connected = set(self._grid.get_node_ids())
        self._nodes = {site: node for site, node in self._nodes.items() if node in connected}
        unknown = connected - set(self._nodes.values())
        body = wire.encode(Greeting())
        greetings = {str(node): (node, body) for node in sorted(unknown)}
        answers, self._unknown = self._exchange("query", greetings, seconds, "0")
        for name, answer in answers.items():
            try:
                introduction = wire.decode(Introduction, answer)
            except WireError as fault:
                self._unknown[name] = str(fault)
                continue
            site = introduction.site
            if site not in wanted:
                continue
            try:
                require_compatible(__version__, introduction.version, f"the node of {site!r}")
                self._strangers.pop(site, None)
            except VersionError as fault:
                self._strangers[site] = str(fault)
                continue
            if site in self._nodes:
                raise ServerError(
                    f"two connected nodes say that they are site {site!r}",
                    where="greeting",
                    fix="stop one of them; each site has one node",
                )
            self._nodes[site] = int(name)
            self._count(self._down, site, len(body))
            self._count(self._up, site, len(answer))

    def send(
        self,
        kind: Kind,
        bodies: Mapping[str, bytes],
        seconds: float,
        round: int,
        on_answer: Callable[[str], None] | None = None,
    ) -> Delivery:
        """Send each site its body and wait at most `seconds` for the answers."""
        missing = {site: "its node is not connected" for site in bodies if site not in self._nodes}
        parcels = {site: (self._nodes[site], body) for site, body in bodies.items() if site in self._nodes}
        for site, (_, body) in parcels.items():
            self._count(self._down, site, len(body))
        answers, faults = self._exchange(kind, parcels, seconds, str(round), on_answer)
        for site, answer in answers.items():
            self._count(self._up, site, len(answer))
        return Delivery(answers, missing | faults)

    def _exchange(
        self,
        kind: Kind,
        parcels: Mapping[str, tuple[int, bytes]],
        seconds: float,
        group: str,
        on_answer: Callable[[str], None] | None = None,
    ) -> tuple[dict[str, bytes], dict[str, str]]:
        """Push the parcels and pull until the deadline. The time to live makes a node that wakes up later not find
        them any more."""
        deadline = time.monotonic() + seconds
        answers: dict[str, bytes] = {}
        faults: dict[str, str] = {}
        pushed = self._push(kind, parcels, deadline, group)
        waiting = {identifier: name for name, identifier in pushed.items()}
        faults.update(dict.fromkeys(parcels.keys() - pushed.keys(), "the message could not be handed to Flower"))
        pause = _FIRST_PAUSE
        probes: dict[str, str] = {}
        lost: set[str] = set()
        probe_at, probe_pause = time.monotonic() + _FIRST_PROBE, _FIRST_PROBE
        while waiting:
            if time.monotonic() >= probe_at:
                probe_pause = min(2.0 * probe_pause, _LONGEST_PROBE)
                probe_at = time.monotonic() + probe_pause
                silent = set(waiting.values()) - set(probes.values())
                greetings = {name: (parcels[name][0], _GREETING) for name in silent}
                probes |= {
                    identifier: name for name, identifier in self._push("query", greetings, deadline, group).items()
                }
            # Whoever answered a probe at the last look has had its say on the message itself by this one.
            settled = lost.copy()
            replies = list(self._grid.pull_messages([*waiting, *probes]))
            for reply in replies:
                answered = reply.metadata.reply_to_message_id
                if answered in probes:
                    lost.add(probes.pop(answered))
                    continue
                name = waiting.pop(answered, None)
                if name is None:
                    continue
                body = _body(reply)
                if isinstance(body, bytes):
                    answers[name] = body
                    if on_answer is not None:
                        on_answer(name)
                else:
                    faults[name] = body
            for identifier, name in list(waiting.items()):
                if name in settled:
                    faults[name] = _LOST
                    del waiting[identifier]
            if not waiting or time.monotonic() >= deadline:
                break
            if replies:
                pause = _FIRST_PAUSE
            else:
                time.sleep(min(pause, max(deadline - time.monotonic(), 0.0)))
                pause = min(2.0 * pause, _LONGEST_PAUSE)
        faults.update(dict.fromkeys(waiting.values(), f"no answer within {seconds:g} s"))
        return answers, faults

    def _push(
        self, kind: Kind, parcels: Mapping[str, tuple[int, bytes]], deadline: float, group: str
    ) -> dict[str, str]:
        """Hand messages to Flower; the identifier of each, by name, but for those that it does not take.

        All go in one call, which stores what they have in common once. A call that fails as a whole (Flower refuses
        what is too large for one request) is made again for each message by itself, so that none costs another.
        """
        names = sorted(parcels)
        if not names:
            return {}
        messages = [self._message(*parcels[name], kind, deadline, group) for name in names]
        identifiers = list(self._grid.push_messages(messages))
        if len(identifiers) != len(names):
            if len(names) == 1:
                return {}
            alone = (self._push(kind, {name: parcels[name]}, deadline, group) for name in names)
            return {name: identifier for one in alone for name, identifier in one.items()}
        return {name: identifier for name, identifier in zip(names, identifiers, strict=True) if identifier}

    @staticmethod
    def _message(node: int, body: bytes, kind: Kind, deadline: float, group: str) -> Message:
        content = RecordDict({"message": ConfigRecord({"body": body})})
        return Message(content, node, kind, ttl=max(deadline - time.monotonic(), 1.0), group_id=group)

    @staticmethod
    def _count(ledger: dict[str, int], site: str, size: int) -> None:
        ledger[site] = ledger.get(site, 0) + size


def _body(reply: Message) -> bytes | str:
    """The body of an answer, or in words why there is none."""
    if reply.has_error():
        return f"its node could not answer: {reply.error.reason or f'Flower error {reply.error.code}'}"
    record = reply.content.config_records.get("message")
    body = record.get("body") if record is not None else None
    return body if isinstance(body, bytes) else "its node's answer is not one of our messages"
