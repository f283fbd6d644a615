"""The resident node: one process that waits for messages, answers them, and outlives every interruption.

It polls, since a hospital allows connections outward only: quickly while a round is on, ever more slowly when nothing
comes. A lost network, a restarted coordinator or a refused key never end it; they are logged, waited out with growing
pauses, and tried again. Whatever must survive the process's own death is in the node's store and ledger, not here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import Message

from ..errors import NodeError
from .errors import ConnectionLostError, NotAdmittedError, UntrustedError
from .transport import Transport

log = logging.getLogger("medquorum.node")

Answer = Callable[[Message], Message]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between polls. busy: after a message, for `busy_for` seconds; then the pause doubles up to idle.
    fault_first, fault_longest: the pauses after a fault, doubling. refused: after a refusal that only a person can
    lift."""

    busy: float = 0.2
    busy_for: float = 20.0
    idle: float = 5.0
    fault_first: float = 0.5
    fault_longest: float = 10.0
    refused: float = 60.0


class Resident:
    """Runs a transport and an answering function until told to stop."""

    def __init__(self, transport: Transport, answer: Answer, pace: Pace | None = None) -> None:
        self._transport = transport
        self._answer = answer
        self._pace = pace or Pace()
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask `run` to return after the message at hand; may be called from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Poll and answer until `stop`. Returns normally; nothing that a coordinator sends ends it."""
        pause = self._pace.fault_first
        while not self._stop.is_set():
            try:
                self._transport.connect()
                log.info("connected to the coordinator")
                pause = self._pace.fault_first
                self._serve()
            except ConnectionLostError as fault:
                log.warning("%s Trying again in %.0f s.", fault, pause)
                self._stop.wait(pause)
                pause = min(2 * pause, self._pace.fault_longest)
            except (NotAdmittedError, UntrustedError) as refusal:
                log.error("%s Asking again in %.0f s.", refusal, self._pace.refused)
                self._stop.wait(self._pace.refused)
            except Exception:  # a coordinator's bytes may break Flower's code in ways that nobody listed
                log.exception("a message or an answer could not be handled. Trying again in %.0f s.", pause)
                self._stop.wait(pause)
                pause = min(2 * pause, self._pace.fault_longest)
        self._transport.close()
        log.info("stopped")

    def _serve(self) -> None:
        """Poll until `stop` or a fault, with a heartbeat beside it."""
        over = threading.Event()
        heart = threading.Thread(target=self._beat, args=(over,), name="heartbeat", daemon=True)
        heart.start()
        pause, busy_until = self._pace.busy, time.monotonic() + self._pace.busy_for
        try:
            while not self._stop.is_set():
                if self._attend():
                    pause, busy_until = self._pace.busy, time.monotonic() + self._pace.busy_for
                    continue
                self._stop.wait(pause)
                if time.monotonic() > busy_until:
                    pause = min(2 * pause, self._pace.idle)
        finally:
            over.set()
            heart.join()

    def _attend(self) -> bool:
        """Answer the next message, if there is one; whether there was."""
        try:
            message = self._transport.receive()
            if message is not None:
                self._transport.reply(self._answered(message))
            return message is not None
        except NotAdmittedError:
            # SuperLink refuses in the same words what is about a run that has ended, as after the coordinator's own
            # process was killed. A heartbeat tells the two apart: it fails when it is the node that is refused.
            self._transport.stay_known()
            log.warning("what was asked is not wanted any more: its run is over")
            return False

    def _answered(self, message: Message) -> Message:
        started = time.monotonic()
        reply = self._answer(message)
        log.info("answered a %s message in %.1f s", message.metadata.message_type, time.monotonic() - started)
        return reply

    def _beat(self, over: threading.Event) -> None:
        """Heartbeats, so that a long training step does not look like a lost node. Their faults are left to the
        polling loop, which meets the same ones and knows how to wait."""
        while not over.wait(self._transport.heartbeat_seconds):
            try:
                self._transport.stay_known()
            except NodeError as fault:
                log.debug("heartbeat failed: %s", fault)
