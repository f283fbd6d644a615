"""De-identification of DICOM by PS3.15 table E.1-1: what a node does to every file before it stores it."""

from __future__ import annotations

from .encoding import file_bytes
from .engine import Deidentification, Deidentified, deidentify
from .keys import SECRET_BYTES, Keys
from .original import Original
from .profile import FILE, Profile, ProfileError

__all__ = [
    "FILE",
    "SECRET_BYTES",
    "Deidentification",
    "Deidentified",
    "Keys",
    "Original",
    "Profile",
    "ProfileError",
    "deidentify",
    "file_bytes",
]
