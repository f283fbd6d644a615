"""Import DICOM files, wherever they come from: in one order, every file accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from ..deidentify import Deidentification
from ..gate import Examiner
from ..ordered import in_order
from ..pixels import DEFAULT_LIMITS, Limits
from ..store import Store
from .batches import Account, Read, attempt, workers
from .files import Source, existing_folder, list_files, read_inside
from .instance import deidentification_of, new_instance
from .report import IntakeReport, Progress


def import_dicom(
    store: Store, folder: Path, gate: Examiner, progress: Progress | None = None, limits: Limits = DEFAULT_LIMITS
) -> IntakeReport:
    """Import every DICOM image below `folder` through `gate`, whatever the files are called.

    Each file ends imported, as a duplicate of what the store holds, or in quarantine with a code and a reason; a
    file's `source` is its path relative to `folder`. Files are taken in code-point order of that path, so that the
    same folder gives the same store. Raises IntakeError when the folder itself cannot be read.
    """
    return import_sources(store, folder_sources(folder, limits), gate, progress)


def folder_sources(folder: Path, limits: Limits = DEFAULT_LIMITS) -> list[Source]:
    """Every file below a folder, in code-point order. Raises IntakeError when the folder cannot be read."""
    root = existing_folder(folder)
    return [Source(name, partial(read_inside, root, name, limits)) for name in list_files(root)]


def import_sources(
    store: Store, sources: Sequence[Source], gate: Examiner, progress: Progress | None = None
) -> IntakeReport:
    """Import files in the order given; see `import_dicom`."""
    account = Account(store, len(sources), progress)
    threads = workers()
    with ThreadPoolExecutor(threads, thread_name_prefix="intake") as pool:
        reading = partial(_read, gate, deidentification_of(store))
        for read in in_order(pool, reading, sources, 4 * threads):
            account.take(read)
    account.flush()
    return account.report()


def _read(gate: Examiner, how: Deidentification, source: Source) -> Read:
    return attempt(
        source.name,
        source.read,
        lambda content: new_instance(gate.examine(content, how), content, source.name),
    )
