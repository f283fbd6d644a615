"""The files that a DICOMDIR (PS3.3 annex F, PS3.10 section 8) refers to; read inside a worker, like any other file."""

from __future__ import annotations

import re

from ..pixels import Limits, UnreadableError, open_dicom
from ..pixels.header import value
from .structure import check_structure

# PS3.10 section 8.5: eight components of eight characters; real media hold longer and lower-case ones.
_COMPONENT = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_MOST_COMPONENTS = 16


def referenced_files(content: bytes, limits: Limits) -> list[str]:
    """Relative POSIX paths of all files that the directory's records name, in its order, each once.

    Raises UnreadableError when it is not a DICOMDIR, or names something that cannot be a file below its folder.
    """
    dataset = open_dicom(content, limits)
    check_structure(dataset, limits)
    records = value(dataset, "DirectoryRecordSequence")
    if records is None:
        raise UnreadableError("bad-header", "it is not a DICOMDIR: it has no directory records")
    found: dict[str, None] = {}
    for record in records:
        named = value(record, "ReferencedFileID")
        if named is None:
            continue
        parts = [named] if isinstance(named, str) else [str(part) for part in named]
        if len(parts) > _MOST_COMPONENTS or not all(_COMPONENT.fullmatch(part) and part.strip(".") for part in parts):
            raise UnreadableError("bad-header", f"it names {'/'.join(parts)[:200]!r}, which is no file's path")
        found["/".join(parts)] = None
    return list(found)
