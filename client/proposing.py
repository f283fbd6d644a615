"""Proposals in the background: whenever a study has been quiet for a while, the current release looks at it.

A study is complete when nothing of it has arrived for `quiet` seconds; nothing in DICOM says so otherwise. A release
adopted meanwhile looks at everything again. Where the site wants it, what may be is then accepted unseen (accepting).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .accepting import Accepting
from .propose import propose
from .releases import Releases
from .repeating import Repeating
from .store import InstanceRow, Store

if TYPE_CHECKING:
    from ..models.checkpoint import Release

QUIET_SECONDS = 60.0
# A burst of studies is proposed for a few images at a time, so that whoever stops the node need not wait for all.
_AT_ONCE = 256


@dataclass
class _Watch:
    """A study's images so far, and since when there have been that many (seconds, monotonic)."""

    images: int
    since: float


class Quiet:
    """Which studies have been quiet for long enough. Pure but for the clock that its caller reads."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._study: dict[str, str] = {}
        self._watched: dict[str, _Watch] = {}

    def arrived(self, images: Sequence[tuple[str, str]], now: float) -> None:
        """Note images that arrived, as (image, study), at `now`."""
        for image, study in images:
            self._study[image] = study
            known = self._watched.get(study)
            self._watched[study] = _Watch(1 if known is None else known.images + 1, now)

    def ready(self, rows: Sequence[InstanceRow], now: float) -> list[InstanceRow]:
        """Of these images those whose study is quiet; an image that was never noted waits."""
        return [
            row
            for row in rows
            if row.id in self._study and now - self._watched[self._study[row.id]].since >= self._seconds
        ]


class Proposing(Repeating):
    """Proposes in a thread of its own for as long as its `with` block lasts. `pause`: seconds between two looks."""

    def __init__(self, store: Store, releases: Releases, quiet: float = QUIET_SECONDS, pause: float = 5.0) -> None:
        super().__init__("proposing", pause, "proposing failed; the images wait")
        self._store = store
        self._releases = releases
        self._quiet = Quiet(quiet)
        self._seen = 0
        self._current: Release | None = None
        self._failed: dict[str, set[str]] = {}
        self._accepting = Accepting(store)

    def once(self) -> None:
        """Propose for every image whose study is quiet now."""
        now = time.monotonic()
        fresh = self._store.desk().images(after=self._seen)
        if fresh:
            self._seen = fresh[-1].number
            self._quiet.arrived([(one.image.id, one.study) for one in fresh], now)
        release = self._release()
        if release is None:
            return
        name = release.hash.hex()
        failed = self._failed.setdefault(name, set())
        waiting = [row for row in self._store.without_proposal(name) if row.id not in failed]
        ready = self._quiet.ready(waiting, now)
        for start in range(0, len(ready), _AT_ONCE):
            if self._ending.is_set():
                return
            report = propose(self._store, release, instances=ready[start : start + _AT_ONCE])
            for one in report.failed:
                self._log.warning("no proposal for %s: %s", one.instance, one.reason)
            # Its file does not change, so it would fail again.
            failed.update(one.instance for one in report.failed)
            self._log.info("proposed for %d images, %d not applicable", report.proposed, report.not_applicable)
        accepted = self._accepting.step(release)
        if accepted is not None:
            self._log.info("%d images are accepted unseen", accepted)

    def _release(self) -> Release | None:
        named = self._releases.current_hash()
        if named is None:
            return None
        if self._current is None or self._current.hash != named:
            self._current = self._releases.get(named)
        return self._current
