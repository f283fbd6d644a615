"""The store's tables, as the newest migration leaves them (a test compares the two).

Columns named `sealed` are AES-GCM ciphertext under the data key of the row's patient, `blind` is a keyed hash by
which a known identifier is found again. Times are microseconds since 1970 UTC. `number` keeps the order of arrival.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    false,
)

ASSET_KINDS = ("image", "volume", "waveform", "text")
LEVELS = ("patient", "study", "series", "instance", "frame")
EVENT_KINDS = (
    "import",
    "proposal",
    "annotation",
    "send_back",
    "acceptance",
    "accepted",
    "withdrawal",
    "consent",
    "held_out",
    "merge",
    "freeze",
    "quarantine",
    "erasure",
)


def one_of(column: str, values: tuple[str, ...]) -> str:
    """The SQL condition that `column` is one of `values`."""
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

settings = Table(
    "settings",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)

# wrapped_key: the patient's data key under the node's secret; NULL once erased. merged_into always names a patient who
# is not merged further.
patients = Table(
    "patients",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("wrapped_key", LargeBinary),
    Column("held_out", Boolean, nullable=False),
    Column("merged_into", String, ForeignKey("patients.id")),
    Column("created_at", Integer, nullable=False),
    Column("erased_at", Integer),
)

# sealed: issuer and identifier.
identifiers = Table(
    "identifiers",
    metadata,
    Column("blind", LargeBinary, primary_key=True),
    Column("patient", String, ForeignKey("patients.id"), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
)

# sealed: the study's UID. A study UID met under two patients gives each of them a study of their own.
studies = Table(
    "studies",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("patient", String, ForeignKey("patients.id"), nullable=False),
    Column("blind", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    UniqueConstraint("patient", "blind"),
)

# sealed: the series' UID.
series = Table(
    "series",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("study", String, ForeignKey("studies.id"), nullable=False),
    Column("blind", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    UniqueConstraint("study", "blind"),
)

# sealed: SOP instance UID, source path and acquisition time. traits: sealed as well, the patient's sex and band of age
# as the image states them, NULL where it states neither. fingerprint: keyed hash of the file as it was received.
instances = Table(
    "instances",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("patient", String, ForeignKey("patients.id"), nullable=False, index=True),
    Column("series", String, ForeignKey("series.id"), nullable=False, index=True),
    Column("blind", LargeBinary, nullable=False, unique=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("modality", String, nullable=False),
    Column("body_part", String, nullable=False),
    Column("view", String, nullable=False),
    Column("laterality", String, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("columns", Integer, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("encoding", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("traits", LargeBinary),
)

# The re-identification map: what a DICOM instance stated of its patient and study when it was received, which its
# de-identified content no longer does. sealed: deidentify.Original. Erased with the patient's data key.
originals = Table(
    "originals",
    metadata,
    Column("instance", String, ForeignKey("instances.id"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

# The file of this id under assets/ holds the content.
assets = Table(
    "assets",
    metadata,
    Column("id", String, primary_key=True),
    Column("instance", String, ForeignKey("instances.id"), nullable=False),
    Column("kind", String, CheckConstraint(one_of("kind", ASSET_KINDS), name="kind"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    UniqueConstraint("instance", "kind", "version"),
)

# Append-only. hash: SHA-256 over the previous row's hash and every other column of this one. level, target, frame:
# what the event is about; no foreign key, since events outlive an erased patient's other rows. sealed: under the
# patient's key, or under the node's where the event is about no single patient.
events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("kind", String, CheckConstraint(one_of("kind", EVENT_KINDS), name="kind"), nullable=False),
    Column("patient", String, ForeignKey("patients.id"), index=True),
    Column("level", String, CheckConstraint(one_of("level", LEVELS), name="level")),
    Column("target", String, index=True),
    Column("frame", Integer),
    Column("release", String),
    Column("supersedes", String, index=True),
    Column("at", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Index(None, "kind", "release", "target"),
)

# digest: SHA-256 over the plan's frozen records, which the freeze's event carries as well.
freezes = Table(
    "freezes",
    metadata,
    Column("plan", LargeBinary, primary_key=True),
    Column("at", Integer, nullable=False),
    Column("records", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
)

frozen_records = Table(
    "frozen_records",
    metadata,
    Column("plan", LargeBinary, ForeignKey("freezes.plan"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("instance", String, nullable=False),
    Column("frame", Integer, nullable=False),
    Column("patient", String, ForeignKey("patients.id"), nullable=False),
    Column("annotation", String, nullable=False),
    Column("held_out", Boolean, nullable=False, server_default=false()),
)

# Each item has a key of its own, since nobody knows yet whose file it is. blind: of source, code and content, so
# that importing a folder twice does not list its faults twice. sealed: source and reason.
quarantine = Table(
    "quarantine",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("blind", LargeBinary, nullable=False, index=True),
    Column("wrapped_key", LargeBinary),
    Column("code", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("size", Integer),
    Column("at", Integer, nullable=False),
    Column(
        "outcome",
        String,
        CheckConstraint(one_of("outcome", ("held", "released", "deleted")), name="outcome"),
        nullable=False,
    ),
)
