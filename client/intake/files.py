"""The files below a folder, in one order on every machine, and their bytes: regular files inside it, nothing else."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import IntakeError
from ..pixels import Limits, UnreadableError


@dataclass(frozen=True, slots=True)
class Source:
    """One file that is offered: its name as the user knows it, and how to get its bytes (UnreadableError if not)."""

    name: str
    read: Callable[[], bytes] = field(repr=False)


def existing_folder(folder: Path) -> Path:
    """The folder, resolved. Raises IntakeError when it is absent, not a folder, or closed to us."""
    if not folder.exists():
        raise IntakeError("there is no such folder", where=str(folder), fix="give the folder that holds the images")
    if not folder.is_dir():
        raise IntakeError("this is not a folder", where=str(folder), fix="give the folder, not a file in it")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise IntakeError("the folder cannot be read", where=str(folder), fix="let this user read it")
    return folder.resolve()


def list_files(folder: Path) -> list[str]:
    """Every entry below `folder` that is not itself a folder, as relative POSIX paths in code-point order.

    Links to folders are listed, not followed, and so end in quarantine: a link may lead anywhere, even back.
    """
    found: list[str] = []
    for at, folders, files in os.walk(folder):
        here = Path(at)
        entries = files + [name for name in folders if (here / name).is_symlink()]
        found += [(here / name).relative_to(folder).as_posix() for name in entries]
        found += [
            (here / name).relative_to(folder).as_posix()
            for name in folders
            if not (here / name).is_symlink() and not os.access(here / name, os.R_OK | os.X_OK)
        ]
    return sorted(found)


def read_inside(folder: Path, source: str, limits: Limits) -> bytes:
    """The bytes of a regular file below the resolved `folder`.

    Raises UnreadableError: unreadable-file for anything that is not one or lies outside, too-large before reading.
    """
    path = folder / source
    try:
        resolved = path.resolve(strict=True)
        if not resolved.is_relative_to(folder):
            raise UnreadableError("unreadable-file", "it is a link that leads out of the folder")
        status = resolved.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder that cannot be entered" if resolved.is_dir() else "not a regular file"
            raise UnreadableError("unreadable-file", f"it is {kind}")
        if status.st_size > limits.file_bytes:
            raise UnreadableError("too-large", f"the file has {status.st_size} bytes; {limits.file_bytes} are allowed")
        return resolved.read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead to each other
        raise UnreadableError("unreadable-file", f"it cannot be read ({error})") from error
