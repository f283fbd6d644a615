"""What `medquorum node import PATH` offers to the gate: a folder, a medium with its DICOMDIR, a ZIP file, one file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..errors import IntakeError
from ..gate import Gate
from ..pixels import DEFAULT_LIMITS, Limits, UnreadableError
from .archive import Archive
from .files import Source, existing_folder, list_files, read_inside
from .folder import folder_sources

DIRECTORY = "DICOMDIR"


@contextmanager
def offered(path: Path, gate: Gate, limits: Limits = DEFAULT_LIMITS) -> Generator[list[Source], None, None]:
    """The files that `path` stands for, for as long as the block lasts.

    A folder gives every file below it; one with a DICOMDIR also names what that lists and the folder has not. A
    DICOMDIR gives exactly the files that it lists, a ZIP file its members. Raises IntakeError when there is no such
    path, or when the ZIP or the DICOMDIR itself cannot be used.
    """
    if path.is_dir():
        yield _medium(path, gate, limits)
        return
    if not path.is_file() or not os.access(path, os.R_OK):
        raise IntakeError("there is no such file or folder", where=str(path), fix="give what is to be imported")
    if path.name.upper() == DIRECTORY:
        root = path.parent.resolve()
        yield _listed(root, path.name, gate, limits)
    elif _is_archive(path):
        archive = Archive(path, limits)
        try:
            yield archive.sources
        finally:
            archive.close()
    else:
        root = path.parent.resolve()
        yield [Source(path.name, partial(read_inside, root, path.name, limits))]


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(132)
    return start[128:] != b"DICM" and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path))


def _medium(folder: Path, gate: Gate, limits: Limits) -> list[Source]:
    """A folder's files; with a DICOMDIR in it, those that it lists and that are missing, and not itself."""
    root = existing_folder(folder)
    directory = next((path.name for path in sorted(root.iterdir()) if path.name.upper() == DIRECTORY), None)
    sources = folder_sources(root, limits)
    if directory is None or not (root / directory).is_file():
        return sources
    try:
        listed = _listed(root, directory, gate, limits)
    except IntakeError:
        return sources  # the file that calls itself DICOMDIR is no directory: quarantined like any other
    there = {source.name for source in sources} - {directory}
    missing = [source for source in listed if source.name not in there]
    return [source for source in sources if source.name != directory] + missing


def _listed(root: Path, directory: str, gate: Gate, limits: Limits) -> list[Source]:
    where = str(root / directory)
    try:
        names = gate.directory(read_inside(root, directory, limits))
    except UnreadableError as fault:
        raise IntakeError(
            f"the DICOMDIR cannot be read ({fault.what})", where=where, fix="import its folder instead"
        ) from fault
    # Media are mounted with their names in upper or lower case, and with ISO 9660's version number or without.
    there = {name.casefold().partition(";")[0].rstrip("."): name for name in list_files(root)}
    sources: list[Source] = []
    for name in names:
        found = there.get(name.casefold().rstrip("."))
        read = _absent if found is None else partial(read_inside, root, found, limits)
        sources.append(Source(found or name, read))
    return sources


def _absent() -> bytes:
    raise UnreadableError("unreadable-file", "the DICOMDIR names it, and it is not there")
