"""Names of what is exported: UIDs, codes and person names, the same each time for the same result."""

from __future__ import annotations

import hashlib
import uuid

from highdicom.sr import CodedConcept

from ...task import Finding, Laterality

MAKER = "medquorum"
NOTICE = "Research use only. Not a medical device; a human decides."
_LONGEST_NAME = 64

# PS3.16 CID 244 "Laterality", of which a finding takes one side, and the concept that names it.
LATERALITY = CodedConcept("272741003", "SCT", "Laterality")
SIDE_CODES: dict[Laterality, CodedConcept] = {
    "L": CodedConcept("7771000", "SCT", "Left"),
    "R": CodedConcept("24028007", "SCT", "Right"),
}


def derived_uid(*parts: str) -> str:
    """A UID in the 2.25 form (PS3.5 section B.2) from a hash of the parts.

    What is exported again has its name again, so that a PACS holds it once. The parts include an opaque random
    identifier of the node's store, so that nobody outside can compute them.
    """
    digest = hashlib.sha256("\0".join(("medquorum export", *parts)).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def release_uid(release: str) -> str:
    """The UID of a release (its SHA-256 in hexadecimal) as a device; the same at every hospital that uses it."""
    return f"2.25.{uuid.UUID(bytes=bytes.fromhex(release)[:16], version=5).int}"


def concept(finding: Finding) -> CodedConcept:
    """The finding's coded entry, without its side; its meaning is cut to the 64 characters that one may have."""
    return CodedConcept(finding.code, finding.scheme, finding.meaning[:_LONGEST_NAME])


def person_name(name: str) -> str:
    """A name as a DICOM PN value (PS3.5 section 6.2): "family^given" stays, other names become a family name."""
    plain = "".join(character for character in name if character.isprintable() and character not in "\\=").strip()
    return plain[:_LONGEST_NAME] if "^" in plain else f"{plain[: _LONGEST_NAME - 1]}^"
