"""What one call is answered with: an image through the gate and the release, without storing it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ...models.card import ModelCard
from ...models.errors import ModelError
from ..applicability import why_not_applicable
from ..errors import NodeError, StoreBusyError
from ..gate import Examined, Examiner
from ..inference import Image, Inference, Said
from ..inputs import Failed, Inputs, Preparation
from ..pixels import UnreadableError
from ..pixels.preview import preview_image
from ..releases import Releases
from ..store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Looked:
    """One answer. release: its hash; said: None where `reason` says why there is nothing."""

    release: bytes
    card: ModelCard
    said: Said | None
    reason: str = ""


class Looking(Protocol):
    """Whoever answers about an image."""

    def at_file(self, content: bytes) -> Looked:
        """About a whole DICOM file."""
        ...

    def at_stored(self, sop_uid: str) -> Looked:
        """About a stored image, by the hospital's SOP Instance UID."""
        ...


Lender = Callable[[], AbstractContextManager[Store | None]]


def lender(folder: Path) -> Lender:
    """Lends the store in `folder`, opened anew each time, so that others of the node's processes can have it."""
    one = threading.Lock()

    @contextmanager
    def lend() -> Generator[Store | None]:
        with one:
            try:
                store = Store.open(folder)
            except StoreBusyError:
                yield None
                return
            with store:
                yield store

    return lend


class NoReleaseError(NodeError):
    """The node holds no release that could propose."""


class Looker:
    """Answers by the node's current release; a release adopted meanwhile answers from the next image on.

    gate: reads files in workers that are shut in. store: lends the store, or None where another process has it open.
    at_once: how many images pass the network at a time; the others wait their turn. Safe to share between threads.
    """

    def __init__(self, releases: Releases, gate: Examiner, store: Lender, at_once: int) -> None:
        self._releases = releases
        self._gate = gate
        self._store = store
        self._turn = threading.BoundedSemaphore(at_once)
        self._changing = threading.Lock()
        self._known: tuple[bytes, Inference, Preparation] | None = None

    def at_file(self, content: bytes) -> Looked:
        """Raises UnreadableError for what the gate refuses, NoReleaseError before a release was adopted."""
        name, ask, prepare = self._current()
        found = self._gate.examine(content)
        if reason := why_not_applicable(ask.card.task, found):
            return Looked(name, ask.card, None, reason)
        return Looked(name, ask.card, self._said(ask, self._input(prepare, found), found))

    def at_stored(self, sop_uid: str) -> Looked:
        """As `at_file`; the image's first frame. Raises NodeError when the store is not to be had here."""
        name, ask, _ = self._current()
        with self._store() as store:
            if store is None:
                raise NodeError(
                    "another process of this node has its store open",
                    fix="send the image itself, or let that process answer: medquorum node run --realtime",
                )
            row = store.find(sop_uid)
            if row is None:
                return Looked(name, ask.card, None, "the node has stored no image of this SOP Instance UID")
            if reason := why_not_applicable(ask.card.task, row):
                return Looked(name, ask.card, None, reason)
            (loaded,) = Inputs(store, ask.card.transform).load([(row, 0)])
        if isinstance(loaded, Failed):
            return Looked(name, ask.card, None, loaded.reason)
        return Looked(name, ask.card, self._said(ask, loaded, row))

    def _input(self, prepare: Preparation, found: Examined) -> NDArray[np.float32]:
        if not prepare.preview_does(found.rows, found.columns):
            raise ModelError(
                f"the release looks at {prepare.size} pixels, more than the gate's preview of a larger image has",
                fix="let the node store the image and propose for it",
            )
        return prepare.standardised(prepare.grey(preview_image(found.preview)))

    def _said(self, ask: Inference, loaded: NDArray[np.float32], image: Image) -> Said:
        with self._turn:
            (said,) = ask(loaded[None], [image])
        return said

    def _current(self) -> tuple[bytes, Inference, Preparation]:
        name = self._releases.current_hash()
        if name is None:
            raise NoReleaseError("this node has no release yet", fix="take part in a federation, or adopt one")
        with self._changing:
            if self._known is None or self._known[0] != name:
                release = self._releases.get(name)
                self._known = name, Inference(release), Preparation(release.card.transform)
            return self._known


def why(fault: UnreadableError | NodeError | ModelError) -> str:
    """A refusal in a sentence for the caller: what was wrong with the image, and nothing of the node's own paths."""
    return f"{fault.code}: {fault.what}" if isinstance(fault, UnreadableError) else fault.what
