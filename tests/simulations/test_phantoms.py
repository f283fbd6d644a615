"""Phantoms: real DICOM files, invented headers, findings where the masks say, the same from the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from medquorum.client.pixels import render
from medquorum.simulations.phantoms.anatomy import draw_bodies, draw_chests
from medquorum.simulations.phantoms.findings import PLANTERS
from medquorum.simulations.phantoms.hospital import PhantomHospital, write_hospital
from medquorum.simulations.phantoms.vendor import VENDORS

PREVALENCE = (("consolidation", 0.5), ("effusion", 0.5), ("nodule", 0.3))


def hospital(vendor: str, patients: int = 12, visibility: float = 1.0, damaged: float = 0.0) -> PhantomHospital:
    return PhantomHospital("Testfield", patients, vendor, PREVALENCE, visibility, damaged)


@pytest.mark.parametrize("vendor", VENDORS)
def test_files_are_radiographs_whose_headers_say_that_they_are_invented(tmp_path, vendor):
    truth = write_hospital(tmp_path, hospital(vendor), 0, seed=1)
    look = VENDORS[vendor]
    assert len({image.patient for image in truth}) == 12
    assert {len([i for i in truth if i.patient == p]) for p in {i.patient for i in truth}} <= {1, 2, 3}
    uids = set()
    for image in truth:
        ds = pydicom.dcmread(tmp_path / image.source)
        assert ds.Modality == "CR" and ds.BodyPartExamined == "CHEST"
        assert ds.pixel_array.shape == (look.rows, look.columns) and ds.BitsStored == look.bits
        assert ds.pixel_array.max() < 2**look.bits
        assert ds.PhotometricInterpretation == ("MONOCHROME1" if look.inverted else "MONOCHROME2")
        assert str(ds.PatientName).startswith("Invented^") and "invented" in ds.InstitutionName
        assert "Synthetic" in ds.DerivationDescription and image.patient == ds.PatientID
        uids.add(ds.SOPInstanceUID)
    assert len(uids) == len(truth)


def test_bright_is_dense_whatever_the_device_stores(tmp_path):
    # Lungs must render darker than the body around them for both photometric interpretations.
    for vendor in VENDORS:
        truth = write_hospital(tmp_path / vendor, hospital(vendor, visibility=0.0), 0, seed=2)
        for image in truth[:3]:
            shown = render((tmp_path / vendor / image.source).read_bytes(), "dicom").image
            rows, columns = shown.shape
            spine = shown[rows // 2 - 10 : rows // 2, columns // 2 - 3 : columns // 2 + 3].mean()
            lung = shown[rows * 2 // 5 : rows // 2, columns // 4 : columns * 3 // 10].mean()
            assert spine > lung + 0.1


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    def written(name: str, seed: int, number: int = 0) -> list[bytes]:
        write_hospital(tmp_path / name, hospital("aurora", 4), number, seed)
        return [path.read_bytes() for path in sorted((tmp_path / name).rglob("*.dcm"))]

    assert written("a", 1) == written("b", 1)
    assert written("c", 2) != written("d", 1)
    assert written("e", 1, number=1) != written("f", 1)


@pytest.mark.parametrize("key", PLANTERS)
def test_a_planted_finding_brightens_its_mask_and_no_other_place(key):
    generator = np.random.default_rng(3)
    chests = draw_chests(generator, draw_bodies(generator, 6))
    severity = np.array([0, 0.5, 1, 1, 2, 2], dtype=np.float32)
    added, mask = PLANTERS[key](generator, chests, severity)
    assert not added[0].any() and not mask[0].any()
    for image in range(1, 6):
        assert mask[image].any()
        assert added[image][mask[image]].mean() > 5 * added[image][~mask[image]].mean()
        assert added.min() >= 0
        lungs = (chests.left + chests.right)[image]
        assert lungs[mask[image]].mean() > 0.5


def test_prevalence_and_masks_follow_the_truth(tmp_path):
    truth = write_hospital(tmp_path, hospital("cirrus", 80), 0, seed=4)
    patients = {image.patient: dict(image.present) for image in truth}
    for key, share in PREVALENCE:
        assert abs(np.mean([states[key] for states in patients.values()]) - share) < 0.2
    for image in truth:
        assert dict(image.present) == patients[image.patient]
        for key, mask in image.masks:
            assert (mask is not None) == dict(image.present)[key]
            assert mask is None or mask.shape == (VENDORS["cirrus"].rows, VENDORS["cirrus"].columns)


def test_damaged_files_stand_beside_the_good_ones(tmp_path):
    truth = write_hospital(tmp_path, hospital("aurora", 30, damaged=0.1), 0, seed=5)
    damaged = list((tmp_path / "damaged").iterdir())
    assert len(damaged) == round(0.1 * len(truth))
    assert not {str(Path("damaged") / path.name) for path in damaged} & {image.source for image in truth}


@pytest.mark.parametrize("key", ["consolidation", "effusion", "nodule"])
def test_a_finding_of_one_side_lies_in_that_lung(key):
    """The patient's left is at the image's right, as in a frontal radiograph."""
    generator = np.random.default_rng(5)
    chests = draw_chests(generator, draw_bodies(generator, 8))
    for side, lung in (("left", chests.left), ("right", chests.right)):
        _, mask = PLANTERS[f"{key}_{side}"](generator, chests, np.ones(8, np.float32))
        assert all(lung[image][mask[image]].mean() > 0.5 for image in range(8))
        across = np.array([np.nonzero(one)[1].mean() for one in mask])
        assert ((across > mask.shape[2] / 2) == (side == "left")).all()
