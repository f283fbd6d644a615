"""What the rooms of all readers share: what is in the store, the release that proposes, the network for heatmaps."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..annotations import utc_now
from ..releases import Releases
from ..store import Store
from .films import Films
from .heatmaps import Heatmaps
from .log import DeskLog
from .measuring import Measuring

if TYPE_CHECKING:
    from ...models.checkpoint import Release


class Shared:
    """Safe to use from several threads. saying: held while something is said, so that one follows the other."""

    def __init__(self, store: Store, releases: Releases) -> None:
        self._releases = releases
        self._entering = store.entering()
        self.view = store.desk()
        self.log = DeskLog(self.view)
        self.heatmaps, self.films, self.measuring = Heatmaps(store), Films(store), Measuring(store)
        self._epoch = self.log.epoch
        self.saying, self._loading = threading.Lock(), threading.Lock()
        self._release: Release | None = None

    def release(self) -> Release | None:
        """The release that proposes now; read again when another was adopted."""
        with self._loading:
            named = self._releases.current_hash()
            if named is None:
                self._release = None
            elif self._release is None or self._release.hash != named:
                self._release = self._releases.get(named)
            return self._release

    def sync(self) -> Release | None:
        """Take in what happened in the store and to the release, which is returned."""
        release, due = self.release(), self._entering.rule().turn(utc_now().date())
        if release is None:
            self.log.sync(None, "", due)
        else:
            self.log.sync(release.card.task, release.hash.hex(), due)
        if self.log.epoch != self._epoch:
            self._epoch = self.log.epoch
            self.films.forget()  # a patient may have been erased
        return release
