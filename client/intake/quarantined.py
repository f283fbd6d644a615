"""Dealing with what is in quarantine: finding an item by its first digits, releasing it, saying what would help."""

from __future__ import annotations

from dataclasses import replace

from ..errors import IntakeError, RefusedIntakeError
from ..gate import Examiner
from ..pixels import UnreadableError
from ..pixels.preview import PREVIEW
from ..store import QuarantineRow, Store, Stored
from .instance import deidentification_of, new_instance

_ADVICE = {
    "empty": "ask its sender to send it again",
    "truncated": "ask its sender to send it again",
    "unreadable-file": "make the file readable, or send it again",
    "not-dicom": "nothing, if it belongs to something else; delete it",
    "no-pixels": "nothing: reports, structures and directories are not taken in; delete it",
    "missing-identifiers": "complete it at its source: without its identifiers nobody can say whose it is",
    "unsupported-class": "if it is an image, add its storage class to extra_classes in intake.toml and release it",
    "unsupported-syntax": "let its source send it uncompressed, or compressed otherwise",
    "conflict": "find out at its source which of the two is right; the first stays stored",
    "too-large": "if it is wanted, raise file_megabytes in intake.toml, or send it in parts, and release it",
    "too-slow": "release it when this machine is less busy",
    "burned-in-text": "look at it; release it, as it is, if nobody is named in it, or let its source remove the text",
    "crashed": "do not open it elsewhere: it ended the program that read it; ask its sender what it is",
}


def advice(code: str) -> str:
    """What a person can do about a file quarantined with this code."""
    return _ADVICE.get(code, "ask its sender to make it again, or delete it")


def chosen(store: Store, start: str) -> QuarantineRow:
    """The item whose id begins with `start`. Raises IntakeError when none or several do."""
    found = [row for row in store.quarantined() if start and row.id.startswith(start)]
    if len(found) != 1:
        what = "nothing is quarantined under" if not found else f"{len(found)} items begin with"
        raise IntakeError(f"{what} {start!r}", fix="see medquorum node quarantine list")
    return found[0]


def release(store: Store, gate: Examiner, start: str) -> Stored:
    """Take in the item whose id begins with `start` after all.

    It stays in quarantine, file and all, unless the store then holds it. Raises RefusedIntakeError with the reason when
    the gate or the store still refuses it.
    """
    row = chosen(store, start)
    content = store.quarantined_content(row.id)
    if content is None:
        raise RefusedIntakeError(
            "the file itself was not kept", where=row.source, fix="import it again from where it came, and delete this"
        )
    how = deidentification_of(store)
    if row.code == "burned-in-text":  # whoever releases it has looked
        how = replace(how, profile=replace(how.profile, burned_in_text="none"))
    try:
        instance, preview = new_instance(gate.examine(content, how), content, row.source)
    except UnreadableError as fault:
        raise RefusedIntakeError(
            f"it is still refused: {fault.what} ({fault.code})", where=row.source, fix=advice(fault.code)
        ) from fault
    stored = store.add(instance)
    if stored.new:
        store.cache_put(stored.instance, PREVIEW, preview)
    store.release_quarantined(row.id)
    return stored
