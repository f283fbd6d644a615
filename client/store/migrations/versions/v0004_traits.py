"""Images state their patient's sex and band of age, as far as gates on subgroups need them."""

from __future__ import annotations

from datetime import date
from typing import Any

import cbor2
import sqlalchemy as sa
from alembic import context, op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Where bands of age began when this was written, in years.
_AGES = (0, 2, 12, 18, 30, 40, 50, 60, 65, 70, 80)


def upgrade() -> None:
    """Add the column and fill it from the headers that are kept of images received before; of others nothing is known.

    The keys that open those headers are the vault's, handed over with the connection.
    """
    op.add_column("instances", sa.Column("traits", sa.LargeBinary(), nullable=True))
    keys: Any = context.config.attributes["keys"]
    connection = op.get_bind()
    kept = connection.execute(
        sa.text(
            "SELECT o.instance, o.sealed, i.patient, p.wrapped_key FROM originals o"
            " JOIN instances i ON i.id = o.instance JOIN patients p ON p.id = i.patient WHERE p.wrapped_key IS NOT NULL"
        )
    ).all()
    for instance, sealed, patient, wrapped in kept:
        seal = keys.data_key(patient, wrapped)
        stated = cbor2.loads(seal.open(sealed, "original", instance))
        sex = str(stated["patient_sex"]).upper()
        traits = {"sex": sex if sex in ("F", "M", "O") else "", "age": _band(stated)}
        if traits != {"sex": "", "age": None}:
            hidden = seal.seal(cbor2.dumps({"v": 1, **traits}), "traits", instance)
            update = sa.text("UPDATE instances SET traits = :traits WHERE id = :id")
            connection.execute(update, {"traits": hidden, "id": instance})


def _band(stated: dict[str, Any]) -> int | None:
    born, seen = _date(stated["patient_birth_date"]), _date(stated["study_date"])
    if born is None or seen is None:
        return None
    years = seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))
    return max(start for start in _AGES if start <= years) if 0 <= years <= 150 else None


def _date(text: str) -> date | None:
    digits = "".join(character for character in str(text) if character.isascii() and character.isdigit())
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:])) if len(digits) == 8 else None
    except ValueError:
        return None
