"""Making a store (its folder, its key, its empty database, the settings it lives by), and unlocking one."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import insert

from ..annotations import new_id
from ..errors import StoreError
from ..keys import SEALED_SECRET, create_node_key, key_path, read_node_key
from . import schema
from .database import clear_errors
from .rows import Eligibility
from .tracing import note
from .vault import DATABASE, Vault, claim_folder, closed_on_failure, remove_store

# The settings that a store lives by, and those it keeps for itself.
FIXED = ("store", "site", "held_out_share", "eligibility", "audit head")


def found(
    folder: Path, site: str, held_out_share: float, eligibility: Eligibility, key_file: Path | None, audited: bool
) -> Vault:
    """A new store's vault, open; see Store.create."""
    if not site:
        raise StoreError("the store's site has no name", where=str(folder), fix="name the site")
    if not 0.0 <= held_out_share < 1.0:
        raise StoreError(
            f"a held-out share of {held_out_share}", where=str(folder), fix="choose it in [0, 1), such as 0.2"
        )
    if eligibility not in ("opt_out", "consent"):
        raise StoreError(f"an eligibility rule {eligibility!r}", where=str(folder), fix='choose "opt_out" or "consent"')
    with clear_errors(str(folder)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        claim_folder(folder)
    chosen, sealed = key_file or key_path(folder), folder / SEALED_SECRET
    rows = {"store": new_id(), "site": site, "held_out_share": repr(held_out_share), "eligibility": eligibility}
    try:
        key = create_node_key(chosen, sealed)
    except BaseException:
        remove_store(folder)
        raise
    try:
        vault = Vault(folder, key, audited)
        with closed_on_failure(vault), vault.transaction() as connection:
            connection.execute(
                insert(schema.settings), [{"name": name, "value": value} for name, value in rows.items()]
            )
    except BaseException:
        # Nothing was ever stored under this key, and a second attempt must not meet the first one's remains.
        remove_store(folder)
        chosen.unlink(missing_ok=True)
        sealed.unlink(missing_ok=True)
        raise
    return vault


def unlocked(folder: Path, key_file: Path | None, audited: bool) -> Vault:
    """The vault of the store in `folder`, open, and noted as such; see Store.open."""
    if not (folder / DATABASE).exists():
        raise StoreError("there is no store here", where=str(folder), fix="create one, or name its folder")
    vault = Vault(folder, read_node_key(key_file or key_path(folder), folder / SEALED_SECRET), audited)
    with closed_on_failure(vault), vault.transaction() as connection:
        note(vault, connection, "access", process=os.getpid())
    return vault
