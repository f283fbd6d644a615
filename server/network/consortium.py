"""The sites that asked to join, as files in the coordinator's folder: one a site, replaced atomically.

Files rather than a database, because two processes meet here (the service that admits nodes, the operator's command
that approves them) and an operator should be able to look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ...privacy import wire
from ...privacy.enrolment import ConsortiumList, Enrolment, ListedSite, SignedEnrolment, open_enrolment
from ...privacy.errors import PrivacyError
from ...privacy.identity import fingerprint, same_fingerprint
from ..atomic import replace_file
from .errors import EnrolmentError
from .identity import create_identity

MAX_SITES = 1000


@dataclass(frozen=True, slots=True)
class Record:
    """A site's enrolment and what the operator decided: approved, or revoked (which is final for its keys)."""

    signed: SignedEnrolment
    approved: bool
    revoked: bool

    @property
    def enrolment(self) -> Enrolment:
        """The request itself."""
        return open_enrolment(self.signed)

    @property
    def words(self) -> str:
        """The six words of the site's identity."""
        return " ".join(fingerprint(self.enrolment.key))


@dataclass(frozen=True, slots=True)
class Founding:
    """What `coordinator init` settles: the consortium's name and the coordinator's public key (Ed25519, 32 bytes)."""

    consortium: str
    key: bytes


class Consortium:
    """The enrolments of one consortium, under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sites = folder / "sites"

    @classmethod
    def create(cls, folder: Path, name: str) -> Consortium:
        """Lay out an empty consortium and the coordinator's identity; EnrolmentError when the folder holds one of
        another name."""
        consortium = cls(folder)
        consortium._sites.mkdir(parents=True, exist_ok=True)
        if (folder / "consortium.cbor").exists():
            if consortium.name != name:
                raise EnrolmentError(
                    f"the folder holds the consortium {consortium.name!r}", where=str(folder), fix="choose another"
                )
        else:
            replace_file(folder / "consortium.cbor", wire.encode(Founding(name, create_identity(folder))))
        return consortium

    @property
    def name(self) -> str:
        """The consortium's name; EnrolmentError when the folder holds none."""
        return self._founding.consortium

    @property
    def key(self) -> bytes:
        """The coordinator's public key (32 bytes), which nodes pin; EnrolmentError when the folder holds none."""
        return self._founding.key

    @property
    def _founding(self) -> Founding:
        try:
            return wire.decode(Founding, (self._folder / "consortium.cbor").read_bytes())
        except (OSError, PrivacyError) as fault:
            raise EnrolmentError(
                "no consortium here", where=str(self._folder), fix="run medquorum coordinator init first"
            ) from fault

    def records(self) -> dict[str, Record]:
        """Every site by name, in the order of their names."""
        found: dict[str, Record] = {}
        for path in sorted(self._sites.glob("*.cbor")):
            try:
                found[path.stem] = wire.decode(Record, path.read_bytes())
            except (OSError, PrivacyError) as fault:
                raise EnrolmentError(
                    f"a site's record cannot be read: {fault}", where=str(path), fix="restore it, or let it enrol again"
                ) from fault
        return found

    def receive(self, data: bytes) -> bytes:
        """Take in an enrolment from the network and return it as receipt.

        The same enrolment again is harmless. Other keys under a name that is taken are refused: whoever holds the
        name keeps it until the operator revokes it.
        """
        try:
            signed = wire.decode(SignedEnrolment, data)
            enrolment = open_enrolment(signed)
        except PrivacyError as fault:
            raise EnrolmentError(fault.what, fix=fault.fix) from fault
        known = self.records()
        held = known.get(enrolment.site)
        if held is not None and held.signed == signed:
            return wire.encode(signed)
        if held is not None and (held.approved or not held.revoked):
            raise EnrolmentError(
                f"site {enrolment.site!r} is enrolled with other keys",
                fix="choose another name, or ask the operator to revoke the old keys",
            )
        if held is not None and held.enrolment.key == enrolment.key:
            raise EnrolmentError(f"the keys of site {enrolment.site!r} are revoked", fix="make a new identity")
        if held is None and len(known) >= MAX_SITES:
            raise EnrolmentError("the consortium is full", fix="ask the operator to remove what was never approved")
        self._write(enrolment.site, Record(signed, approved=False, revoked=False))
        return wire.encode(signed)

    def approve(self, site: str, words: str) -> Record:
        """Approve a site whose admin read out the six words; EnrolmentError when they are another key's."""
        record = self._of(site)
        if record.revoked:
            raise EnrolmentError(f"site {site!r} is revoked", fix="let it enrol again with a new identity")
        if not same_fingerprint(record.enrolment.key, words):
            raise EnrolmentError(
                f"these are not the words of site {site!r}'s key",
                fix="ask its admin to read them out again; if they still differ, someone else sent this enrolment",
            )
        return self._write(site, replace(record, approved=True))

    def revoke(self, site: str) -> Record:
        """Shut a site out."""
        return self._write(site, replace(self._of(site), approved=False, revoked=True))

    def listing(self) -> bytes:
        """What the front door publishes."""
        sites = tuple(ListedSite(one.signed, one.approved) for one in self.records().values() if not one.revoked)
        return wire.encode(ConsortiumList(self.name, self.key, sites))

    def _of(self, site: str) -> Record:
        record = self.records().get(site)
        if record is None:
            known = ", ".join(self.records()) or "none"
            raise EnrolmentError(f"no site {site!r} has asked to join", fix=f"sites that have: {known}")
        return record

    def _write(self, site: str, record: Record) -> Record:
        replace_file(self._sites / f"{site}.cbor", wire.encode(record))
        return record
