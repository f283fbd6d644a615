"""Closed stores for tests of what is on disk: a filled one, its database and files, and how somebody changes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from sqlalchemy import Connection, text

from medquorum.client.annotations import Annotation, Proposal, new_id
from medquorum.client.keys import read_node_key
from medquorum.client.store import NewInstance, Store
from medquorum.client.store.database import open_engine
from medquorum.client.store.sealing import Keyring

Image = Callable[..., NewInstance]
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PLAN = b"\x01" * 32


def on_database(folder: Path, change: Callable[[Connection], Any]) -> Any:
    """Work on a closed store's database as somebody with the node's key could."""
    engine = open_engine(folder / "store.db", Keyring(read_node_key(folder / "node.key")).database)
    try:
        with engine.begin() as connection:
            return change(connection)
    finally:
        engine.dispose()


def without_triggers(statement: str) -> Callable[[Connection], None]:
    def change(connection: Connection) -> None:
        for name in connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(text(f"DROP TRIGGER {name}"))
        assert connection.execute(text(statement)).rowcount >= 1

    return change


def filled(folder: Path, image: Image) -> Path:
    """A closed store with three images, proposals, annotations, a consent, a quarantined file and a frozen plan."""
    with Store.create(folder, "hospital-a", 0.0) as store:
        kept = [store.add(image(n)) for n in range(3)]
        for one in kept:
            shown = Proposal(new_id(), one.instance, 0, "aa", True, "", (("MARKEDFINDING", 0.7),), (), NOW)
            store.add_proposals([shown])
            store.annotate(
                Annotation(
                    new_id(),
                    one.instance,
                    0,
                    "MARKEDREADER",
                    NOW,
                    "aa",
                    shown.id,
                    (("MARKEDFINDING", "present"),),
                    (),
                    1,
                    1.0,
                    None,
                )
            )
            store.cache_put(one.instance, "ready", b"MARKEDDERIVED")
        store.consent(kept[0].patient, "consent", date(2026, 1, 1))
        store.quarantine("MARKEDWARD/x.dcm", "truncated", "MARKEDREASON", b"MARKEDQUARANTINE")
        store.freeze(PLAN, NOW)
    return folder


def decrypted_pages(folder: Path) -> bytes:
    """The whole database file as plaintext, freed pages included.

    SQLCipher 4: pages of 4096 bytes, AES-256-CBC, the last 80 bytes of a page being IV (16) and HMAC (64); the first
    page begins with the salt (16 bytes).
    """
    key = Keyring(read_node_key(folder / "node.key")).database
    stored = (folder / "store.db").read_bytes()
    plain = bytearray()
    for start in range(0, len(stored), 4096):
        page = stored[start + (16 if start == 0 else 0) : start + 4096]
        decryptor = Cipher(algorithms.AES(key), modes.CBC(page[-80:-64])).decryptor()
        plain += decryptor.update(page[:-80]) + decryptor.finalize()
    return bytes(plain)


def asset_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "assets").rglob("*") if path.is_file())
