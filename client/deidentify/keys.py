"""The keyed mappings of a node: UIDs, pseudonyms and each patient's shift in time, all HMAC-SHA256 under one secret.

Who has the secret can repeat the mapping of a known value, so that all files of a study, received years apart, agree;
who has not can neither repeat nor undo it.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import dataclass, field
from datetime import timedelta

SECRET_BYTES = 32
# A shift of whole days and seconds into the past, at least a year, so that no shifted date is near the true one.
_LEAST_DAYS, _MOST_DAYS = 366, 3650
_PSEUDONYM_BYTES = 8


@dataclass(frozen=True, slots=True)
class Keys:
    """A node's secret for de-identification (32 bytes), never shown by repr()."""

    secret: bytes = field(repr=False)

    def _digest(self, kind: bytes, *parts: bytes) -> bytes:
        joined = b"".join(len(part).to_bytes(8, "big") + part for part in (kind, *parts))
        return hmac.digest(self.secret, joined, hashlib.sha256)

    def uid(self, uid: bytes) -> bytes:
        """The UID that stands for `uid` (both ASCII): 2.25 and a UUID's integer (PS3.5 B.2), 122 bits of the HMAC."""
        return b"2.25.%d" % uuid.UUID(bytes=self._digest(b"uid", uid)[:16], version=5).int

    def pseudonym(self, issuer: str, identifier: str) -> bytes:
        """What a patient is called in de-identified files: 16 hexadecimal digits."""
        return self._digest(b"patient", issuer.encode(), identifier.encode())[:_PSEUDONYM_BYTES].hex().upper().encode()

    def shift(self, issuer: str, identifier: str) -> timedelta:
        """The one shift of all of a patient's dates and times: 366 to 3650 days and any seconds, into the past."""
        drawn = int.from_bytes(self._digest(b"shift", issuer.encode(), identifier.encode())[:16], "big")
        days, seconds = divmod(drawn, 86400)
        return -timedelta(days=_LEAST_DAYS + days % (_MOST_DAYS - _LEAST_DAYS + 1), seconds=seconds)
