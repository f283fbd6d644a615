"""A release on disk and on the wire: a card in canonical JSON and tensors in safetensors, named by one hash.

No pickle is read. Loading is strict: bytes that are not exactly what `Release.to_bytes` would write for what they
hold are refused, so that one release has one hash. Packaged weights, which every node has from the package index and
checks against a pinned SHA-256 when it loads them, are not stored again, except those of trained blocks.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from .card import ModelCard
from .efficientnet_lite import EfficientNetLite0
from .errors import CardError, CheckpointError
from .network import FindingNet, has_fixed_norms, skeleton
from .parameters import movable

CARD, TENSORS, HASH = "card.json", "tensors.safetensors", "release.sha256"
_INTACT = "take the release again from where it came from"


@dataclass(frozen=True)
class Release:
    """A model that may travel: its card and the tensors that the card's network needs, by name."""

    card: ModelCard
    tensors: Mapping[str, Tensor]

    @staticmethod
    def of(net: FindingNet, card: ModelCard) -> Release:
        """The release of a network; CheckpointError when the card describes another one."""
        stored = {name: tensor.detach().clone().contiguous() for name, tensor in _stored(net).items()}
        _check(card, stored)
        return Release(card, stored)

    @cached_property
    def _bytes(self) -> tuple[bytes, bytes]:
        return self.card.to_json().encode("ascii"), safetensors.save(dict(self.tensors))

    def to_bytes(self) -> tuple[bytes, bytes]:
        """(card JSON, safetensors), both canonical."""
        return self._bytes

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 (32 bytes) over the length of the card's JSON, that JSON, and the safetensors bytes."""
        card, tensors = self._bytes
        return hashlib.sha256(len(card).to_bytes(8, "big") + card + tensors).digest()

    @staticmethod
    def from_bytes(card: bytes, tensors: bytes) -> Release:
        """The release these bytes spell; CheckpointError in one line for anything else, however it was made."""
        try:
            parsed = ModelCard.from_json(card.decode("ascii"))
        except UnicodeDecodeError:
            raise CheckpointError("the card is not ASCII JSON", where=CARD, fix=_INTACT) from None
        except CardError as error:
            raise CheckpointError(error.what, where=CARD, fix=error.fix) from None
        try:
            loaded = safetensors.load(tensors)
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"not readable as safetensors ({type(error).__name__}: {error})"
            raise CheckpointError(what, where=TENSORS, fix=_INTACT) from None
        _check(parsed, loaded)
        release = Release(parsed, loaded)
        if release.to_bytes() != (card, tensors):
            raise CheckpointError(
                "the bytes are not in their canonical form", where=f"{CARD} or {TENSORS}", fix=_INTACT
            )
        return release

    def network(self) -> FindingNet:
        """The network, in evaluation mode. WeightsError when packaged weights are needed and not installed."""
        net = skeleton(self.card.architecture, len(self.card.task.findings), has_fixed_norms(self.tensors))
        if isinstance(net.backbone, EfficientNetLite0):
            net.backbone.load_packaged()
        net.load_state_dict(dict(self.tensors), strict=False)
        return net.eval()


def save(release: Release, folder: Path) -> None:
    """Writes the release as a folder, all of it or nothing of it. A folder that already holds it is left alone.

    Releases are never overwritten: CheckpointError when the folder holds anything else.
    """
    if folder.exists():
        if folder.is_dir() and load(folder).hash == release.hash:
            return
        raise CheckpointError("it already holds something else", where=str(folder), fix="choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        card, tensors = release.to_bytes()
        for name, content in ((CARD, card), (TENSORS, tensors), (HASH, release.hash.hex().encode("ascii"))):
            with (unfinished / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _sync(folder.parent)


def load(folder: Path) -> Release:
    """The release in `folder`; CheckpointError when a file is missing, not its own, or not what the hash names."""
    try:
        card, tensors, stated = ((folder / name).read_bytes() for name in (CARD, TENSORS, HASH))
    except OSError as error:
        where = str(error.filename or folder)
        raise CheckpointError(
            f"cannot be read ({error.strerror})", where=where, fix="name a release's folder"
        ) from None
    try:
        release = Release.from_bytes(card, tensors)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=f"{folder}/{error.where}", fix=error.fix) from None
    if release.hash.hex().encode("ascii") != stated:
        raise CheckpointError("its contents do not have the hash it states", where=str(folder / HASH), fix=_INTACT)
    return release


def _stored(net: FindingNet) -> dict[str, Tensor]:
    tensors = net.state_dict()
    if not isinstance(net.backbone, EfficientNetLite0):
        return tensors
    moved = movable(net)
    return {name: tensor for name, tensor in tensors.items() if name in moved}


def _check(card: ModelCard, tensors: Mapping[str, Tensor]) -> None:
    with torch.device("meta"):  # shapes only: nothing is allocated for what a hostile card may ask
        expected = _stored(skeleton(card.architecture, len(card.task.findings), has_fixed_norms(tensors)))
    for name in sorted(expected.keys() ^ tensors.keys()):
        state = "is missing" if name in expected else "does not belong to the card's network"
        raise CheckpointError(f"tensor {name!r} {state}", where=TENSORS, fix=_INTACT)
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            raise CheckpointError(
                f"tensor {name!r} is {tensor.dtype} {tuple(tensor.shape)}, "
                f"not {expected[name].dtype} {tuple(expected[name].shape)}",
                where=TENSORS,
                fix=_INTACT,
            )
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"tensor {name!r} holds values that are not finite", where=TENSORS, fix=_INTACT)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
