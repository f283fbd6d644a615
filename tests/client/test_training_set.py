"""Training rows from frozen records: labels, masks, regions on the map grid, patients, cached features."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_files import dicom

from medquorum.client import training_set
from medquorum.client.annotations import Annotation, Box, Mask, Region, State, new_id, utc_now
from medquorum.client.gate import InProcess
from medquorum.client.intake import import_dicom
from medquorum.client.store import FrozenRecord, InstanceRow, NewInstance, Store
from medquorum.models.card import Architecture, InputTransform, ModelCard
from medquorum.models.checkpoint import Release
from medquorum.models.network import build
from medquorum.models.transform import prepare_mask
from medquorum.task import Finding, Task

FINDINGS = (Finding("opacity", "SCT", "128305008", "Opacity"), Finding("nodule", "SCT", "27925004", "Nodule"))
TRANSFORM = InputTransform(32, 0.5, 0.25)
PLAN = b"p" * 32


def make_release(transform: InputTransform = TRANSFORM) -> Release:
    architecture = Architecture("small", "random", False, 8, "lse", 4.0)
    card = ModelCard(Task(FINDINGS, "DX"), architecture, transform, (1.0, 1.0))
    return Release.of(build(architecture, 2, 1), card)


def frozen_release(folder: Path) -> Release:
    """A frozen backbone whose weights come from a file, as a site would get them."""
    from safetensors.torch import save_file

    start = build(Architecture("small", "random", False, 8, "lse", 4.0), 2, 5)
    file = folder / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in start.backbone.state_dict().items()}, file)
    architecture = Architecture("small", "file", True, 8, "lse", 4.0)
    card = ModelCard(Task(FINDINGS, "DX"), architecture, TRANSFORM, (1.0, 1.0))
    return Release.of(build(architecture, 2, 1, file), card)


def annotate(store: Store, row: InstanceRow, states: dict[str, State], *regions: Region) -> None:
    store.annotate(
        Annotation(new_id(), row.id, 0, "r", utc_now(), None, None, tuple(states.items()), regions, 3, 1.0, None)
    )


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    """Six images of four patients."""
    ward = tmp_path / "ward"
    ward.mkdir()
    generator = np.random.default_rng(3)
    for number in range(6):
        pixels = generator.integers(0, 4000, (40, 60), np.uint16)
        name = f"P{min(number, 3)}"
        (ward / f"{number}.dcm").write_bytes(dicom(pixels, number + 1, PatientID=name))
    import_dicom(store, ward, InProcess())
    return store


def frozen(store: Store) -> tuple[FrozenRecord, ...]:
    for row in store.instances():
        if not store.history(row.id):  # set aside
            annotate(store, row, {"opacity": "not_assessed"})
    return store.freeze(PLAN, datetime.now(UTC))


def test_labels_masks_regions_and_patients(filled: Store) -> None:
    rows = filled.instances()
    lesion = np.zeros((40, 60), np.bool_)
    lesion[10:20, 30:45] = True
    annotate(filled, rows[0], {"opacity": "present", "nodule": "absent"}, Region("opacity", Mask.of(lesion), "drawn"))
    annotate(filled, rows[1], {"opacity": "uncertain", "nodule": "not_assessed"})
    annotate(filled, rows[2], {"opacity": "present"})
    two = (Region("nodule", Box(0, 0, 10, 10), "proposed"), Region("nodule", Box(30.0, 20.0, 60.0, 40.0), "drawn"))
    annotate(filled, rows[3], {"nodule": "present"}, *two)
    annotate(filled, rows[4], {"opacity": "absent", "nodule": "absent"})
    made = training_set.build(filled, frozen(filled), make_release())
    assert made.inputs.shape == (5, 1, 32, 32) and made.inputs.dtype == torch.float32 and not made.features
    np.testing.assert_array_equal(made.patients, [0, 1, 2, 3, 3])
    assert made.patients.dtype == np.int64 and made.patient_count == 4
    assert made.targets.labels.tolist() == [[1, 0], [0, 0], [1, 0], [0, 1], [0, 0]]
    assert made.targets.assessed.tolist() == [[1, 1], [0, 0], [1, 0], [0, 1], [1, 1]]
    assert made.targets.drawn.tolist() == [[1, 1], [0, 0], [0, 0], [0, 1], [1, 1]]
    grid = made.targets.regions.shape[2:]
    np.testing.assert_allclose(made.targets.regions[0, 0], prepare_mask(lesion, TRANSFORM, *grid), atol=1e-6)
    union = Box(0, 0, 10, 10).mask(40, 60) | Box(30, 20, 60, 40).mask(40, 60)
    np.testing.assert_allclose(made.targets.regions[3, 1], prepare_mask(union, TRANSFORM, *grid), atol=1e-6)
    assert made.targets.regions[[1, 2, 4]].sum() == 0 and made.targets.regions[0, 1].sum() == 0
    strict = training_set.build(filled, frozen(filled), make_release(), absent_is_empty=False)
    assert strict.targets.drawn.tolist() == [[1, 0], [0, 0], [0, 0], [0, 1], [0, 0]]


def test_a_correction_after_the_freeze_does_not_count(filled: Store) -> None:
    row = filled.instances()[0]
    annotate(filled, row, {"opacity": "present"})
    records = frozen(filled)
    (before,) = filled.annotations([records[0].annotation]).values()
    filled.annotate(
        Annotation(new_id(), row.id, 0, "r", utc_now(), None, None, (("opacity", "absent"),), (), 1, 1.0, before.id)
    )
    assert training_set.build(filled, records, make_release()).targets.labels[0, 0] == 1


def test_an_undecodable_record_is_reported_and_has_no_row(filled: Store) -> None:
    bad = NewInstance("", "Q", "1.9", "1.9.1", "1.9.1.1", "DX", "", "", "", 4, 4, 1, "", "bad.dcm", "dicom", b"x")
    filled.add(bad)
    for row in filled.instances():
        annotate(filled, row, {"opacity": "present"})
    made = training_set.build(filled, frozen(filled), make_release())
    assert len(made.inputs) == len(made.records) == len(made.patients) == 6
    assert [failed.source for failed in made.failed] == ["bad.dcm"]


def test_no_records_make_an_empty_set(filled: Store) -> None:
    made = training_set.build(filled, (), make_release())
    assert made.inputs.shape == (0, 1, 32, 32) and made.targets.labels.shape == (0, 2) and made.patient_count == 0


def test_frozen_features_are_computed_once_and_read_back(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for row in filled.instances():
        annotate(filled, row, {"opacity": "present"})
    release, records = frozen_release(tmp_path), frozen(filled)
    seen: list[tuple[int, int]] = []
    first = training_set.build(filled, records, release, progress=lambda done, total: seen.append((done, total)))
    assert first.features and first.inputs.dtype == torch.float16 and seen[-1] == (6, 6)
    net = release.network()
    with torch.inference_mode():
        logits = net.head(first.inputs.float()).logits
        images = training_set.build(filled, records, make_release()).inputs
        np.testing.assert_allclose(logits, net(images).logits, atol=2e-2)

    def never(*_: object) -> None:
        raise AssertionError("an image was looked at again")

    monkeypatch.setattr("medquorum.client.inputs.Inputs.load", never)
    again = training_set.build(filled, records, release)
    assert torch.equal(first.inputs, again.inputs)
    np.testing.assert_array_equal(first.patients, again.patients)


def test_features_of_another_backbone_or_transform_have_another_name(tmp_path: Path) -> None:
    release = frozen_release(tmp_path)
    net, card = release.network(), release.card
    name = training_set.frozen_hash(net, card)
    assert name == training_set.frozen_hash(release.network(), card)
    moved = ModelCard(card.task, card.architecture, InputTransform(32, 0.4, 0.25), card.temperatures)
    assert training_set.frozen_hash(net, moved) != name
    with torch.no_grad():
        next(iter(net.backbone.parameters())).add_(1.0)
    assert training_set.frozen_hash(net, card) != name


def test_what_an_image_of_one_side_does_not_show_teaches_nothing(filled: Store) -> None:
    """Whoever states it all the same, as before the image's laterality was known."""
    left, right = FINDINGS[1].of_sides(["L", "R"])
    plain = make_release()
    release = replace(plain, card=replace(plain.card, task=Task((left, right), "DX")))
    store_of_left = dicom(np.ones((40, 60), np.uint16), 9, PatientID="P9", ImageLaterality="L")
    (filled.folder.parent / "more").mkdir()
    (filled.folder.parent / "more" / "left.dcm").write_bytes(store_of_left)
    import_dicom(filled, filled.folder.parent / "more", InProcess())
    rows = filled.instances()
    for row in (rows[0], rows[-1]):
        box = Region("nodule_right", Box(0, 0, 10, 10), "drawn")
        annotate(filled, row, {"nodule_left": "absent", "nodule_right": "present"}, box)
    targets = training_set.build(filled, frozen(filled), release).targets
    assert rows[-1].laterality == "L"
    assert targets.assessed.tolist() == [[1, 1], [1, 0]] and targets.drawn.tolist() == [[1, 1], [1, 0]]
    assert targets.labels.tolist() == [[0, 1], [0, 0]] and not targets.regions[1].any()
