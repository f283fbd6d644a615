"""Sex and band of age of stored images' patients: sealed with each image, opened only for gates on subgroups."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from ...privacy.subgroups import UNKNOWN, Traits
from .coding import pack, unpack
from .schema import instances
from .sealing import Seal
from .vault import Vault

_PLACE = "traits"


def sealed(traits: Traits, seal: Seal, instance: str) -> bytes | None:
    """What the image's row keeps: ciphertext under its patient's data key; None where nothing is known."""
    if traits == UNKNOWN:
        return None
    return seal.seal(pack({"sex": traits.sex, "age": traits.age}), _PLACE, instance)


def opened(vault: Vault, connection: Connection, chosen: Iterable[str]) -> dict[str, Traits]:
    """The traits stated with each of some images; images that are not stored are left out."""
    wanted = set(chosen)
    found: dict[str, Traits] = {}
    for row in connection.execute(select(instances.c.id, instances.c.patient, instances.c.traits)):
        if row.id not in wanted:
            continue
        if row.traits is None:
            found[row.id] = UNKNOWN
            continue
        plain = unpack(vault.seal_of(connection, row.patient).open(row.traits, _PLACE, row.id))
        found[row.id] = Traits(plain["sex"], plain["age"])
    return found
