"""Files of many frames, kept open while they are looked at: else every frame would decrypt and parse the whole file.

They are kept in memory only, few of them, and forgotten when the store's patients change.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from ..pixels import open_dicom
from ..store import InstanceRow, Store
from .frames import Frame, dicom_frame, read_frame

_MOST_BYTES = 1 << 29
_MOST = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Film:
    dataset: Dataset
    size: int
    turn: threading.Lock = field(default_factory=threading.Lock)  # pydicom's data sets are not for several threads


class Films:
    """Frames of stored images. Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = threading.Lock()
        self._open: OrderedDict[str, _Film] = OrderedDict()

    def frame(self, row: InstanceRow, frame: int) -> Frame:
        """A frame for the viewer. Raises UnreadableError."""
        if row.encoding != "dicom" or row.frames == 1:
            return read_frame(self._store.content(row.id), row.encoding, frame)
        film = self._film(row.id)
        with film.turn:
            return dicom_frame(film.dataset, frame)

    def forget(self) -> None:
        """Close all."""
        with self._turn:
            self._open.clear()

    def _film(self, image: str) -> _Film:
        with self._turn:
            film = self._open.pop(image, None)
            if film is None:
                content = self._store.content(image)
                film = _Film(open_dicom(content), len(content))
            self._open[image] = film
            while len(self._open) > 1 and (len(self._open) > _MOST or self._bytes() > _MOST_BYTES):
                self._open.popitem(last=False)
            return film

    def _bytes(self) -> int:
        return sum(film.size for film in self._open.values())
