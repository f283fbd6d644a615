"""The resident loop outlives every fault of its transport and stops when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flwr.app import ConfigRecord, Message, Metadata, RecordDict
from flwr.app.message import make_message

from medquorum.client.network.errors import ConnectionLostError, NotAdmittedError
from medquorum.client.network.resident import Pace, Resident

QUICK = Pace(busy=0.001, busy_for=0.01, idle=0.01, fault_first=0.001, fault_longest=0.004, refused=0.001)


class ScriptedTransport:
    """Plays a list of events: a fault to raise, a message to hand out, or None for silence."""

    heartbeat_seconds = 0.002

    def __init__(self, events: list[Message | Exception | None], at_end: Callable[[], None]) -> None:
        self.events = events
        self.at_end = at_end
        self.connects = 0
        self.replies: list[Message] = []
        self.beats = 0
        self.closed = False

    def connect(self) -> None:
        self.connects += 1

    def receive(self) -> Message | None:
        if not self.events:
            self.at_end()
            return None
        event = self.events.pop(0)
        if isinstance(event, Exception):
            raise event
        return event

    def reply(self, message: Message) -> None:
        self.replies.append(message)

    def stay_known(self) -> None:
        self.beats += 1
        raise ConnectionLostError("a heartbeat was lost")

    def close(self) -> None:
        self.closed = True


def message(text: str) -> Message:
    metadata = Metadata(
        run_id=1,
        message_id="",
        src_node_id=1,
        dst_node_id=7,
        reply_to_message_id="",
        group_id="",
        created_at=0.0,
        ttl=60.0,
        message_type="query",
    )
    return make_message(metadata, RecordDict({"message": ConfigRecord({"body": text.encode()})}))


class AdmittedTransport(ScriptedTransport):
    """One whose heartbeats are taken."""

    def stay_known(self) -> None:
        self.beats += 1


def run(
    events: list[Message | Exception | None], pace: Pace = QUICK, kind: type[ScriptedTransport] = ScriptedTransport
) -> ScriptedTransport:
    resident: list[Resident] = []
    transport = kind(events, lambda: resident[0].stop())
    resident.append(Resident(transport, lambda received: received, pace))
    thread = threading.Thread(target=resident[0].run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    return transport


def test_messages_are_answered_in_order() -> None:
    transport = run([message("one"), None, message("two")])
    assert [reply.content["message"]["body"] for reply in transport.replies] == [b"one", b"two"]
    assert transport.closed and transport.connects == 1


def test_lost_connections_and_refused_keys_are_waited_out() -> None:
    faults: list[Message | Exception | None] = [ConnectionLostError("gone")] * 5 + [NotAdmittedError("no")] * 2
    transport = run([*faults, message("after")])
    assert transport.connects == 8
    assert len(transport.replies) == 1


def test_what_breaks_the_code_that_reads_it_ends_nothing() -> None:
    faults: list[Message | Exception | None] = [ValueError("hostile"), RecursionError(), KeyError("x"), MemoryError()]
    transport = run([*faults, message("after")])
    assert len(transport.replies) == 1


def test_heartbeats_go_on_beside_the_polling_and_their_faults_are_harmless() -> None:
    transport = run([None] * 40)
    assert transport.beats > 0
    assert transport.connects == 1


def test_a_refusal_about_a_run_that_is_over_does_not_send_the_node_away() -> None:
    """SuperLink refuses answers to a run that was stopped in the words it has for strangers."""
    pace = Pace(busy=0.001, busy_for=0.01, idle=0.01, fault_first=3600.0, fault_longest=3600.0, refused=3600.0)
    transport = run([message("one"), NotAdmittedError("refused"), message("two")], pace, AdmittedTransport)
    assert [bytes(reply.content["message"]["body"]) for reply in transport.replies] == [b"one", b"two"]
    assert transport.connects == 1


def test_a_node_that_is_refused_itself_asks_again_after_its_pause() -> None:
    transport = run([NotAdmittedError("refused"), message("two")])
    assert transport.connects == 2
