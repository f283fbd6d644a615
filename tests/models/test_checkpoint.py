"""Releases: exact round trips, one hash, atomic folders, and hostile bytes refused in one line."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import torch as safetensors

from medquorum.models.card import Architecture, ModelCard
from medquorum.models.checkpoint import CARD, HASH, TENSORS, Release, load, save
from medquorum.models.errors import CheckpointError
from medquorum.models.network import FindingNet, build
from medquorum.models.parameters import to_vector

from .conftest import FROZEN, SMALL, needs_packaged_weights

MakeCard = Callable[[Architecture], ModelCard]


@pytest.fixture
def release(small: FindingNet, card: MakeCard) -> Release:
    return Release.of(small, card(SMALL))


def test_a_release_comes_back_exactly(release: Release, small: FindingNet, tmp_path: Path) -> None:
    save(release, tmp_path / "r1")
    loaded = load(tmp_path / "r1")
    assert loaded.hash == release.hash
    assert loaded.card == release.card
    assert loaded.to_bytes() == release.to_bytes()
    net = loaded.network()
    assert not net.training
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(net(images).logits, small.eval()(images).logits)
    assert sorted(path.name for path in (tmp_path / "r1").iterdir()) == sorted([CARD, TENSORS, HASH])
    assert [path.name for path in tmp_path.iterdir()] == ["r1"]


def test_a_release_is_a_copy_of_the_network(release: Release, small: FindingNet) -> None:
    before = release.hash
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(1.0)
    assert Release(release.card, release.tensors).hash == before


def test_the_hash_names_weights_and_card(release: Release, card: MakeCard) -> None:
    hotter = Release(replace(release.card, temperatures=(2.0, 1.0)), release.tensors)
    assert len(release.hash) == 32
    assert hotter.hash != release.hash
    nudged = {name: tensor.clone() for name, tensor in release.tensors.items()}
    next(iter(nudged.values())).view(-1)[0] += 1e-3
    assert Release(release.card, nudged).hash != release.hash


@needs_packaged_weights
def test_packaged_weights_are_not_stored_again(card: MakeCard) -> None:
    net = build(FROZEN, 2, 0)
    with torch.no_grad():
        net.head.map.weight.normal_()
    release = Release.of(net, card(FROZEN))
    assert all(name.startswith("head.") for name in release.tensors)
    assert len(release.to_bytes()[1]) < 10_000
    images = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(Release.from_bytes(*release.to_bytes()).network()(images).logits, net.eval()(images).logits)


def test_saving_twice_is_once_and_nothing_is_overwritten(release: Release, tmp_path: Path) -> None:
    save(release, tmp_path / "r")
    save(release, tmp_path / "r")
    other = Release(replace(release.card, temperatures=(2.0, 1.0)), release.tensors)
    with pytest.raises(CheckpointError, match="already holds something else"):
        save(other, tmp_path / "r")
    assert load(tmp_path / "r").hash == release.hash
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="already holds something else"):
        save(release, tmp_path / "file")


def test_a_crash_while_saving_leaves_nothing(release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = 0

    def fail_at_second(_: int) -> None:
        nonlocal synced
        synced += 1
        if synced == 2:
            raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail_at_second)
    with pytest.raises(OSError, match="disk full"):
        save(release, tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def refused(card: bytes, tensors: bytes, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        Release.from_bytes(card, tensors)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_tensors_that_do_not_fit_the_card_are_refused(release: Release) -> None:
    card, _ = release.to_bytes()
    tensors = dict(release.tensors)
    name = "head.map.weight"
    refused(card, safetensors.save({k: v for k, v in tensors.items() if k != name}), f"{name}' is missing")
    refused(card, safetensors.save({**tensors, "extra": torch.zeros(1)}), "'extra' does not belong")
    refused(card, safetensors.save({**tensors, name: tensors[name][:1].contiguous()}), r"head.map.weight' is .*\(1, 16")
    refused(card, safetensors.save({**tensors, name: tensors[name].double()}), "float64")
    refused(card, safetensors.save({**tensors, name: torch.full_like(tensors[name], float("nan"))}), "not finite")


def test_bytes_that_are_not_canonical_are_refused(release: Release) -> None:
    card, tensors = release.to_bytes()
    spaced = json.dumps(json.loads(card), sort_keys=True).encode()
    refused(spaced, tensors, "canonical")
    refused(card, safetensors.save(dict(release.tensors), metadata={"note": "x"}), "canonical")
    refused("é".encode(), tensors, "not ASCII")
    refused(card, b"\x80\x04\x95" + tensors, "safetensors")


@pytest.mark.parametrize("length", [0, 7, 8, 9, 100, -1])
def test_truncated_files_are_refused(release: Release, length: int) -> None:
    card, tensors = release.to_bytes()
    refused(card, tensors[:length], "safetensors")
    refused(card[:length], tensors, "card")


def test_headers_that_lie_are_refused(release: Release) -> None:
    card, _ = release.to_bytes()
    refused(card, struct.pack("<Q", 1 << 62), "safetensors")
    huge = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    refused(card, struct.pack("<Q", len(huge)) + huge, "safetensors")
    odd = json.dumps({"w": {"dtype": "BF17", "shape": [1], "data_offsets": [0, 4]}}).encode()
    refused(card, struct.pack("<Q", len(odd)) + odd + bytes(4), "safetensors")


def test_a_card_that_asks_for_another_network_is_refused_without_building_it(release: Release) -> None:
    wide = replace(release.card, architecture=replace(SMALL, width=512))
    refused(wide.to_json().encode(), release.to_bytes()[1], "head.|backbone.")


@given(st.integers(0, 10**9), st.integers(1, 255))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_byte_is_refused_or_changes_the_hash(release: Release, place: int, change: int) -> None:
    parts = [bytearray(part) for part in release.to_bytes()]
    joined = place % (len(parts[0]) + 2_000)  # mostly the card and the safetensors header
    part, index = (parts[0], joined) if joined < len(parts[0]) else (parts[1], joined - len(parts[0]))
    part[index] ^= change
    try:
        changed = Release.from_bytes(bytes(parts[0]), bytes(parts[1]))
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:
        assert changed.hash != release.hash


def test_folders_that_are_not_releases_are_refused(release: Release, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        load(tmp_path / "nowhere")
    save(release, tmp_path / "r")
    (tmp_path / "r" / HASH).write_text("0" * 64)
    with pytest.raises(CheckpointError, match="do not have the hash"):
        load(tmp_path / "r")
    (tmp_path / "r" / TENSORS).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"r/tensors\.safetensors"):
        load(tmp_path / "r")
    (tmp_path / "r" / HASH).unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(tmp_path / "r")


def test_a_card_of_another_network_is_not_released(small: FindingNet, card: MakeCard) -> None:
    with pytest.raises(CheckpointError, match="tensor 'backbone"):
        Release.of(small, card(replace(SMALL, width=32)))
    assert to_vector(small).numel() > 0
