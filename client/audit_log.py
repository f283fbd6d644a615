"""The audit log: who did what on this node and when, in one file that only grows.

Each entry is a line with its number, its time and its sealed content (AES-256-GCM under a key of the node's own), and
carries the SHA-256 of itself and of the line before. The head, which is the number and hash of the last line, lies in
a file beside under an HMAC, and in the store's encrypted database whenever the store is written to. An edit, a line
taken out or put in, and lines cut off the end are therefore found (`verify`); a forged line cannot be made without the
node's key. What nobody can find here is that the whole folder, log, head and database, was set back together: that is
what the ledger's witnesses are for (client/witnesses.py).

Entries name patients, images and files by the store's own random ids, never by anything of the hospital's.
"""

from __future__ import annotations

import base64
import fcntl
import getpass
import hashlib
import hmac
import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import cbor2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .disk import DiskFullError, is_full
from .errors import TamperError
from .keys import NodeKey, sync_folder

LOG, HEAD = "audit.log", "audit.head"
Kind = Literal[
    "access",
    "sign_in",
    "account",
    "import",
    "review",
    "export",
    "agreement",
    "refusal",
    "charge",
    "gate",
    "consent",
    "held_out",
    "merge",
    "quarantine",
    "erasure",
    "key",
    "backup",
    "restore",
    "settings",
    "break",
]
Plain = str | int | float | bool
_GENESIS = hashlib.sha256(b"medquorum audit log").digest()
_NONCE_BYTES = 12
_HEAD_BYTES = 320
# No line is longer: what an entry says is a handful of ids and numbers.
_LONGEST = 65536
_KEEP = "keep both files as evidence; then medquorum node audit begin-again starts a new log that says so"


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The end of the log: how many entries it has, the hash of the last (32 bytes), and where that ends (bytes)."""

    entries: int = 0
    hash: bytes = _GENESIS
    size: int = 0


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry. at: UTC in ISO 8601. who: a reader, a user of this machine, or "coordinator"."""

    number: int
    at: str
    kind: str
    who: str
    what: Mapping[str, Plain] = field(default_factory=dict[str, Plain])


class Trail(Protocol):
    """What a room needs in order to leave a trace: an audit log, or nothing (`Untraced`)."""

    def append(self, kind: Kind, who: str, **what: Plain) -> object:
        """Note one thing, durably."""
        ...


class Untraced:
    """The trail of a hospital that does not exist: a simulation's."""

    def append(self, kind: Kind, who: str, **what: Plain) -> None:
        """Note nothing."""


class AuditLog:
    """The audit log in a store's folder; made when missing. Any number of threads and processes may append."""

    def __init__(self, folder: Path, key: NodeKey) -> None:
        self._log, self._head = folder / LOG, folder / HEAD
        self._cipher = AESGCM(key.derive("audit log"))
        self._mac = key.derive("audit head")

    def append(self, kind: Kind, who: str, **what: Plain) -> AuditHead:
        """Append one entry; it is on disk when this returns. See `append_many`."""
        return self.append_many(kind, who, [what])

    def append_many(self, kind: Kind, who: str, items: Sequence[Mapping[str, Plain]]) -> AuditHead:
        """Append an entry for each item, all on disk when this returns; the new head.

        what: the store's ids, counts and words of ours; never a name, identifier, path or text that came from outside.
        Raises TamperError when lines are missing that the head says were there (nothing is appended to a log that was
        cut), DiskFullError when the disk is full.
        """
        try:
            with self._locked(fcntl.LOCK_EX) as log:
                head = self._end(log)
                start = head.size
                written: list[bytes] = []
                for item in items:
                    line, head = self._line(kind, who, item, head)
                    written.append(line)
                log.seek(start)
                log.truncate()  # what a power cut left of a line that nobody was told of
                log.write(b"".join(written))
                log.flush()
                os.fsync(log.fileno())
                self._keep_head(head)
                return head
        except OSError as fault:
            if is_full(fault):
                raise DiskFullError(
                    "the disk is full, and nothing is done that cannot be noted in the audit log",
                    where=str(self._log),
                    fix="free space on this disk, then repeat the step",
                ) from fault
            raise

    def head(self) -> AuditHead:
        """The end of the log as its head says, not verified; TamperError when the head was changed."""
        with self._locked(fcntl.LOCK_SH):
            return self._kept()

    def entries(self) -> Iterator[AuditEntry]:
        """Every entry, oldest first. Raises TamperError at the first that is not what was written."""
        with self._locked(fcntl.LOCK_SH) as log:
            yield from (entry for entry, _ in self._walk(log))

    def verify(self, remembered: AuditHead | None = None) -> AuditHead:
        """Check every entry, the head, and that the log passes through `remembered`; returns the true end.

        Raises TamperError naming the first entry that does not fit, or how many are missing from the end.
        """
        with self._locked(fcntl.LOCK_SH) as log:
            kept = self._kept()
            end, passed = AuditHead(), {0: _GENESIS}
            for entry, head in self._walk(log):
                end = head
                if entry.number in (kept.entries, remembered.entries if remembered else 0):
                    passed[entry.number] = head.hash
        for known, keeper in ((kept, "its head"), (remembered, "the store's database")):
            if known is None:
                continue
            if end.entries < known.entries:
                raise self._broken(
                    f"{known.entries - end.entries} entries are missing from the end of the audit log: it has "
                    f"{end.entries} and {keeper} says {known.entries}"
                )
            if passed[known.entries] != known.hash:
                raise self._broken(f"entry {known.entries} of the audit log is not the one that {keeper} names")
        return end

    def passes(self, known: AuditHead) -> bool:
        """Whether the log has, where it should be, the very entry that a head from earlier names. Unlike `verify` this
        looks at no other entry."""
        with self._locked(fcntl.LOCK_SH) as log:
            if known.entries == 0:
                return True
            log.seek(max(0, known.size - _LONGEST))
            lines = log.read(known.size - log.tell()).splitlines(keepends=True)
            ends = log.tell() == known.size and bool(lines) and lines[-1].endswith(b"\n")
            return ends and known.hash.hex().encode() in lines[-1]

    def begin_again(self, who: str) -> Path | None:
        """Put a broken log aside under a name with the time, and begin a new one whose first entry says so; returns
        where the old one lies now (None when there was none)."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        aside: Path | None = None
        for path in (self._head, self._log):
            if path.exists():
                aside = path.with_name(f"{path.name}.broken-{stamp}")
                path.rename(aside)
        self.append("break", who, put_aside="" if aside is None else aside.name)
        return aside

    @contextmanager
    def _locked(self, how: int) -> Generator[BinaryIO]:
        """The log's file under a lock of the whole machine; made, with an empty head, when neither is there."""
        with os.fdopen(os.open(self._log, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            if not self._head.exists() and os.fstat(log.fileno()).st_size == 0:
                self._keep_head(AuditHead())
                sync_folder(self._log.parent)
            fcntl.flock(log, how)
            yield log

    def _end(self, log: BinaryIO) -> AuditHead:
        """What the next line follows: the head, or whole lines that a power cut left after it."""
        head = self._kept()
        if os.fstat(log.fileno()).st_size < head.size:
            raise self._broken(f"the audit log is shorter than its head says ({head.entries} entries)")
        ends = [end for _, end in self._walk(log, head)]
        return ends[-1] if ends else head

    def _walk(self, log: BinaryIO, after: AuditHead | None = None) -> Iterator[tuple[AuditEntry, AuditHead]]:
        """Each whole line after a head, checked: its entry, and the head it makes. A last line without its end was
        never acknowledged and does not count."""
        head = after or AuditHead()
        log.seek(head.size)
        for line in log:
            if not line.endswith(b"\n"):
                return
            entry, head = self._read(line, head)
            yield entry, head

    def _line(self, kind: str, who: str, what: Mapping[str, Plain], after: AuditHead) -> tuple[bytes, AuditHead]:
        number, at = after.entries + 1, datetime.now(UTC).isoformat(timespec="milliseconds")
        nonce = os.urandom(_NONCE_BYTES)
        place = _place(number, at, after.hash)
        sealed = nonce + self._cipher.encrypt(nonce, cbor2.dumps([kind, who, dict(what)]), place)
        digest = hashlib.sha256(place + sealed).digest()
        plain = {"n": number, "at": at, "sealed": base64.b64encode(sealed).decode(), "hash": digest.hex()}
        line = json.dumps(plain, separators=(",", ":")).encode() + b"\n"
        return line, AuditHead(number, digest, after.size + len(line))

    def _read(self, line: bytes, after: AuditHead) -> tuple[AuditEntry, AuditHead]:
        number = after.entries + 1
        try:
            plain: dict[str, Any] = json.loads(line)
            at, sealed = str(plain["at"]), base64.b64decode(plain["sealed"], validate=True)
            place = _place(number, at, after.hash)
            digest = hashlib.sha256(place + sealed).digest()
            if plain["n"] != number or plain["hash"] != digest.hex() or set(plain) != {"n", "at", "sealed", "hash"}:
                raise ValueError("hash")
            content = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place)
            kind, who, what = cbor2.loads(content)
        except (ValueError, KeyError, TypeError, InvalidTag) as fault:
            raise self._broken(f"the audit log was changed at entry {number}") from fault
        return AuditEntry(number, at, kind, who, what), AuditHead(number, digest, after.size + len(line))

    def _kept(self) -> AuditHead:
        """The head as its file says."""
        try:
            plain: dict[str, Any] = json.loads(self._head.read_bytes())
            head = AuditHead(plain["entries"], bytes.fromhex(plain["hash"]), plain["size"])
            if not hmac.compare_digest(bytes.fromhex(plain["mac"]), self._mac_of(head)):
                raise ValueError("mac")
        except FileNotFoundError as fault:
            raise self._broken("the audit log's head is missing") from fault
        except (ValueError, KeyError, TypeError) as fault:
            raise self._broken("the audit log's head was changed") from fault
        return head

    def _keep_head(self, head: AuditHead) -> None:
        mac = self._mac_of(head).hex()
        plain = {"entries": head.entries, "hash": head.hash.hex(), "size": head.size, "mac": mac}
        # In place, within one sector and without waiting for the disk: a power cut leaves this head or an older one,
        # and the lines after an older one are sealed, and count.
        descriptor = os.open(self._head, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, json.dumps(plain).encode().ljust(_HEAD_BYTES), 0)
            if head.entries == 0:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _mac_of(self, head: AuditHead) -> bytes:
        return hmac.digest(self._mac, cbor2.dumps([head.entries, head.hash, head.size]), hashlib.sha256)

    def _broken(self, what: str) -> TamperError:
        return TamperError(what, where=str(self._log), fix=_KEEP)


def _place(number: int, at: str, previous: bytes) -> bytes:
    """What a line is bound to: its number, its time and the line before."""
    return cbor2.dumps(["medquorum audit", number, at, previous])


def this_user() -> str:
    """The user of this machine as whom this process acts."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return f"uid {os.getuid()}"
