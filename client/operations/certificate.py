"""Certificates of erasure: what was destroyed of whom and when, under the site's own signature.

A certificate names the patient by the store's random id, which leads nowhere once the identifiers are erased, so that
it may be kept for good, shown to whoever asks, and used to repeat the erasure on a restored backup.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...privacy.identity import Identity, verify
from ..errors import NodeError, TamperError
from ..keys import sync_folder
from ..store import ChainHead, Erasure, Store

_DOMAIN = "medquorum erasure certificate v1"
FOLDER = "erasures"


@dataclass(frozen=True, slots=True)
class ErasureStatement:
    """What the site states. patient: the store's id. at: UTC in ISO 8601. images, events: how many were destroyed.
    chain: the store's event chain after it, as number and hash. ledger: links of the privacy ledger and its newest
    hash; they are kept, since what was released about the patient stays released."""

    site: str
    patient: str
    at: str
    images: int
    events: int
    chain_events: int
    chain_hash: bytes
    ledger_links: int
    ledger_hash: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """A statement, the site's public key (Ed25519, 32 bytes) and its signature (64 bytes)."""

    erasure: ErasureStatement
    key: bytes
    signature: bytes

    @property
    def genuine(self) -> bool:
        """Whether the key signed exactly this statement."""
        return verify(self.key, _DOMAIN, self.erasure, self.signature)


def certify(identity: Identity, statement: ErasureStatement) -> Certificate:
    """The statement under the site's signature."""
    return Certificate(statement, identity.public, identity.sign(_DOMAIN, statement))


def statement_of(site: str, erasure: Erasure, links: int, ledger_hash: bytes) -> ErasureStatement:
    """What is to be stated of an erasure, beside the ledger as it stands."""
    return ErasureStatement(
        site,
        erasure.patient,
        erasure.at.isoformat(timespec="seconds"),
        erasure.instances,
        erasure.events,
        erasure.head.events,
        erasure.head.hash,
        links,
        ledger_hash,
    )


def write_certificate(certificate: Certificate, folder: Path) -> Path:
    """Write a certificate as JSON into a folder (made when missing), durably; returns its file."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{certificate.erasure.patient}.json"
    plain = {
        "erasure": {name: _texted(value) for name, value in asdict(certificate.erasure).items()},
        "key": certificate.key.hex(),
        "signature": certificate.signature.hex(),
    }
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(plain, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)
    return path


def read_certificate(path: Path) -> Certificate:
    """Read a certificate and check its signature; NodeError for another file, TamperError for a changed one."""
    try:
        plain: dict[str, Any] = json.loads(path.read_bytes())
        said = dict(plain["erasure"])
        for name in ("chain_hash", "ledger_hash"):
            said[name] = bytes.fromhex(said[name])
        certificate = Certificate(
            ErasureStatement(**said), bytes.fromhex(plain["key"]), bytes.fromhex(plain["signature"])
        )
    except OSError as fault:
        raise NodeError(
            f"the certificate cannot be read ({fault.strerror})", where=str(path), fix="check its name"
        ) from fault
    except (ValueError, KeyError, TypeError) as fault:
        raise NodeError(
            "the file is not an erasure certificate", where=str(path), fix="name one that node erase wrote"
        ) from fault
    if not certificate.genuine:
        raise TamperError(
            "the certificate was changed after it was signed", where=str(path), fix="ask the site for it again"
        )
    return certificate


def read_certificates(folder: Path) -> list[Certificate]:
    """Every certificate (`*.json`) in a folder, in the order of their names; raises as `read_certificate`."""
    return [read_certificate(path) for path in sorted(folder.glob("*.json"))]


def require_holds(certificate: Certificate, store: Store) -> None:
    """Check a certificate against the site's own store: TamperError unless the patient is gone and the event chain
    passes through the head that the certificate names."""
    said = certificate.erasure
    if any(row.id == said.patient for row in store.patients()):
        raise TamperError(
            "the certified patient is in the store again",
            where=said.patient,
            fix="a backup from before the erasure was restored: run node erase again, or restore with --erased",
        )
    store.verify(ChainHead(said.chain_events, said.chain_hash))


def _texted(value: str | int | bytes) -> str | int:
    return value.hex() if isinstance(value, bytes) else value
