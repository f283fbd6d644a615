"""Reports and segmentations: what stands in them is what was meant, for whatever was said, and validators agree."""

from __future__ import annotations

import io
import os
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from exports import (
    COLUMNS,
    EFFUSION,
    MODEL,
    NODULE,
    ORIGINAL,
    READER,
    ROWS,
    SIGNATURE,
    dicom_errors,
    has_validator,
    make_maps,
    make_mask,
    make_object,
    make_result,
    make_row,
    opened,
    sided_result,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.client.annotations import STATES, Box, Mask, Region
from medquorum.client.export.errors import ExportError
from medquorum.client.export.identity import geometry_of
from medquorum.client.export.objects import KINDS
from medquorum.client.export.results import PRIVATE_SCHEME, Device, Person, Place, Said
from medquorum.task import Finding

ULTRASOUND = replace(ORIGINAL, sop_class_uid="1.2.840.10008.5.1.4.1.1.3.1", modality="US")


def boxes():
    corners = st.tuples(
        st.floats(0, COLUMNS - 2), st.floats(0, ROWS - 2), st.floats(0.5, COLUMNS), st.floats(0.5, ROWS)
    )
    return corners.map(lambda c: Box(c[0], c[1], min(COLUMNS, c[0] + c[2]), min(ROWS, c[1] + c[3])))


def masks():
    pixels = st.integers(0, 2**31).map(lambda seed: np.random.default_rng(seed).random((ROWS, COLUMNS)) < 0.1)
    return pixels.map(Mask.of)


@st.composite
def results(draw):
    observer = draw(st.sampled_from([MODEL, READER, Person("王^小東"), Person("O'Brien\\=x")]))
    findings = [Finding(f"f{n}", draw(st.sampled_from(["SCT", PRIVATE_SCHEME])), f"c{n}", "ü" * n) for n in range(1, 4)]
    said = tuple(
        Said(finding, draw(st.sampled_from(STATES)), draw(st.floats(0, 1)) if isinstance(observer, Device) else None)
        for finding in draw(st.lists(st.sampled_from(findings), min_size=1, unique=True))
    )
    stated, origins = st.sampled_from([one.finding for one in said]), st.sampled_from(["proposed", "drawn"])
    places = tuple(
        Place(draw(stated), Region("x", shape, draw(origins)))
        for shape in draw(st.lists(boxes() | masks(), max_size=3))
    )
    frames = draw(st.sampled_from([1, 4]))
    shown = draw(st.sampled_from([None, MODEL])) if isinstance(observer, Person) else None
    return make_result(
        observer,
        instance=make_row(frames),
        frame=draw(st.integers(0, frames - 1)),
        said=said,
        places=places,
        shown=shown,
    )


@settings(max_examples=8, deadline=None)
@given(results(), st.booleans(), st.sampled_from([None, SIGNATURE]))
def test_whatever_is_said_stands_in_the_objects_and_is_the_same_each_time(result, with_regions, signature):
    original = ULTRASOUND if result.instance.frames > 1 else ORIGINAL
    for kind in ("findings", "regions"):
        # It reads back itself what it made.
        made = make_object(kind, result, original, with_regions=with_regions, signature=signature)
        if made is None:
            assert kind == "regions" and not result.places
            continue
        again = make_object(kind, result, original, with_regions=with_regions, signature=signature)
        assert (again.data, again.key, again.sop_uid) == (made.data, made.key, made.sop_uid)
        dataset = opened(made)
        assert (dataset.PatientID, str(dataset.PatientName)) == ("P-4711", "Müller^Änne")
        assert dataset.StudyInstanceUID == ORIGINAL.study_uid
        assert dataset.SeriesInstanceUID not in (ORIGINAL.series_uid, ORIGINAL.study_uid)


@pytest.mark.parametrize("observer", [MODEL, READER], ids=["model", "reader"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_flags_follow_who_speaks_and_who_signs(observer, signed):
    made = make_object("findings", make_result(observer), signature=SIGNATURE if signed else None)
    report = opened(made)
    person = isinstance(observer, Person)
    assert report.PreliminaryFlag == ("FINAL" if person else "PRELIMINARY")
    assert report.CompletionFlag == "COMPLETE"
    verified = person and signed  # a model's word is never verified
    assert report.VerificationFlag == ("VERIFIED" if verified else "UNVERIFIED")
    assert ("VerifyingObserverSequence" in report) == verified
    if verified:
        assert str(report.VerifyingObserverSequence[0].VerifyingObserverName) == "Grace Hopper^"
        assert report.VerifyingObserverSequence[0].VerifyingOrganization == "St. Anna"
    assert (MODEL.release.encode() in made.data) == (not person)
    assert (b"Dr. Ada Lovelace^" in made.data) == person


def test_a_models_name_and_hash_stand_in_the_device_and_the_algorithm():
    report = make_object("findings", make_result(MODEL)).data
    assert b"medquorum chest 2026" in report
    assert report.count(MODEL.release.encode()) >= 2
    segment = opened(make_object("regions", make_result(MODEL))).SegmentSequence[0]
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == MODEL.release


def test_an_accepted_proposal_is_semiautomatic_and_a_drawing_manual():
    accepted = Place(NODULE, Region("nodule", Box(1, 1, 5, 5), "proposed"))
    drawn = Place(NODULE, Region("nodule", Box(2, 2, 9, 9), "drawn"))
    dataset = opened(make_object("regions", make_result(READER, places=(accepted, drawn), shown=MODEL)))
    assert [segment.SegmentAlgorithmType for segment in dataset.SegmentSequence] == ["SEMIAUTOMATIC", "MANUAL"]
    assert str(dataset.ContentCreatorName) == "Dr. Ada Lovelace^"


def test_a_segmentation_lies_on_the_radiographs_own_pixels():
    dataset = opened(make_object("regions", make_result()))
    assert (dataset.SegmentationType, dataset.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.RLELossless
    assert list(dataset.PatientOrientation) == ["L", "F"]
    assert "FrameOfReferenceUID" not in dataset
    pixels = dataset.pixel_array
    assert np.array_equal(pixels[0] == 255, Box(1.25, 2.0, 10.0, 20.5).mask(ROWS, COLUMNS))
    assert np.array_equal(pixels[1] == 255, make_mask().array())
    assert set(np.unique(pixels)) == {0, 255}


def test_a_heatmap_keeps_every_chance_to_the_nearest_of_255_steps():
    given_maps = make_maps()
    dataset = opened(make_object("heatmaps", make_result(MODEL), maps=given_maps))
    assert np.abs(dataset.pixel_array / 255.0 - given_maps).max() <= 0.5 / 255.0 + 1e-6
    assert dataset.MaximumFractionalValue == 255
    assert [segment.SegmentLabel for segment in dataset.SegmentSequence] == [
        "Nodule heatmap",
        "Pleural effusion heatmap",
    ]


def test_a_frame_of_many_is_named_from_one_on():
    result = make_result(instance=make_row(7), frame=4)
    report, segmentation = (opened(make_object(kind, result, ULTRASOUND)) for kind in ("findings", "regions"))
    derivation = segmentation.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    assert derivation.SourceImageSequence[0].ReferencedFrameNumber == 5
    assert derivation.SourceImageSequence[0].ReferencedSOPClassUID == ULTRASOUND.sop_class_uid
    assert "Referenced Frame Number             IS: '5'" in str(report)


def test_a_report_points_at_the_mask_that_the_segmentation_holds():
    result = make_result()
    report, segmentation = opened(make_object("findings", result)), opened(make_object("regions", result))
    wanted = segmentation.SOPInstanceUID
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert wanted in {one.ReferencedSOPInstanceUID for series in evidence for one in series.ReferencedSOPSequence}
    alone = opened(make_object("findings", result, with_regions=False))
    assert wanted not in str(alone) and "Image Region" not in str(alone)


def test_a_report_names_the_one_that_it_takes_the_place_of():
    report = opened(make_object("findings", make_result(), predecessors=["1.2.3.99"]))
    series = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.99"
    assert opened(make_object("findings", make_result())).SOPInstanceUID != report.SOPInstanceUID


def test_an_original_of_an_unknown_kind_is_refused_in_one_line():
    with pytest.raises(ExportError, match="no DICOM object can be made"):
        make_object("findings", make_result(), replace(ORIGINAL, sop_class_uid="9.9.9"))


def test_values_that_are_none_are_left_empty():
    odd = replace(
        ORIGINAL, patient_birth_date="around 1950", study_time="noon", patient_sex="X", patient_orientation=""
    )
    report = opened(make_object("findings", make_result(), odd))
    assert not report.PatientBirthDate and not report.StudyTime and not report.PatientSex
    assert not opened(make_object("regions", make_result(), odd)).PatientOrientation


def slice_header(**changes):
    header = pydicom.Dataset()
    header.ImagePositionPatient, header.ImageOrientationPatient = [-10, 20, 33.5], [1, 0, 0, 0, 1, 0]
    header.PixelSpacing, header.SliceThickness = [0.5, 0.5], 3
    for keyword, value in changes.items():
        setattr(header, keyword, value)
    return header


def part10(header, sop_class):
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = sop_class, "1.2"
    header.file_meta.MediaStorageSOPClassUID, header.file_meta.MediaStorageSOPInstanceUID = sop_class, "1.2"
    target = io.BytesIO()
    header.save_as(target, enforce_file_format=True)
    return target.getvalue()


def test_a_slice_keeps_its_place_in_the_original_frame_of_reference(tmp_path):
    mr = replace(ORIGINAL, sop_class_uid=KINDS_OF_IMAGE["mr"][0], modality="MR", frame_of_reference_uid="1.2.77")
    content = part10(slice_header(), mr.sop_class_uid)
    made = make_object("regions", make_result(), mr, geometry=geometry_of(mr, lambda: content))
    dataset = opened(made)
    assert dataset.FrameOfReferenceUID == "1.2.77"
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == [-10, 20, 33.5]
    shared = dataset.SharedFunctionalGroupsSequence[0]
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [0.5, 0.5]
    assert make_object("regions", make_result(), mr, geometry=geometry_of(mr, lambda: content)).data == made.data
    if has_validator():
        (tmp_path / "x.dcm").write_bytes(made.data)
        assert dicom_errors(tmp_path / "x.dcm") == []
    incomplete = part10(slice_header(SliceThickness=None), mr.sop_class_uid)
    assert geometry_of(mr, lambda: incomplete) is None
    assert geometry_of(ORIGINAL, lambda: pytest.fail("a radiograph has no place in space")) is None


KINDS_OF_IMAGE = {
    "dx": ("1.2.840.10008.5.1.4.1.1.1.1", "DX", 1),
    "cr": ("1.2.840.10008.5.1.4.1.1.1", "CR", 1),
    "mg": ("1.2.840.10008.5.1.4.1.1.1.2", "MG", 1),
    "ct": ("1.2.840.10008.5.1.4.1.1.2", "CT", 1),
    "mr": ("1.2.840.10008.5.1.4.1.1.4", "MR", 1),
    "enhanced mr": ("1.2.840.10008.5.1.4.1.1.4.1", "MR", 4),
    "us": ("1.2.840.10008.5.1.4.1.1.6.1", "US", 1),
    "us multi-frame": ("1.2.840.10008.5.1.4.1.1.3.1", "US", 4),
    "xa": ("1.2.840.10008.5.1.4.1.1.12.1", "XA", 4),
    "secondary capture": ("1.2.840.10008.5.1.4.1.1.7", "OT", 1),
}


@pytest.mark.skipif(
    not has_validator() and os.environ.get("CI") != "true", reason="dciodvfy (Debian: dicom3tools) is not installed"
)
@pytest.mark.parametrize(
    "image",
    [
        pytest.param(image, marks=() if image in ("dx", "us multi-frame") else pytest.mark.slow)
        for image in KINDS_OF_IMAGE
    ],
)
def test_the_validator_finds_no_error(image, tmp_path):
    sop_class, modality, frames = KINDS_OF_IMAGE[image]
    original = replace(ORIGINAL, sop_class_uid=sop_class, modality=modality)
    row = make_row(frames)
    odd = Said(Finding("odd", PRIVATE_SCHEME, "odd", "odd"), "not_assessed")
    model = make_result(MODEL, instance=row, frame=frames - 1)
    reader = make_result(READER, instance=row, frame=frames - 1, said=(*make_result().said, odd), shown=MODEL)
    unsure = make_result(READER, instance=row, said=(Said(NODULE, "uncertain"),), places=())
    made = [make_object(kind, model, original) for kind in KINDS]
    made += [make_object(kind, reader, original, predecessors=[made[0].sop_uid]) for kind in ("findings", "regions")]
    made += [make_object("findings", reader, original, signature=SIGNATURE), make_object("findings", unsure, original)]
    for number, one in enumerate(made):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(one.data)
        assert dicom_errors(path) == [], (image, one.kind)


def sides_of(report):
    """(code, side) of every finding in the tree, by the names that PS3.16 has for them."""
    groups = [group for part in report.ContentSequence for group in part.get("ContentSequence", [])]
    found = []
    for item in (item for group in groups for item in group.get("ContentSequence", [])):
        if item.get("ConceptNameCodeSequence", [{}])[0].get("CodeValue") == "121071":
            modifiers = item.get("ContentSequence", [])
            assert all(one.RelationshipType == "HAS CONCEPT MOD" for one in modifiers)
            assert all(one.ConceptNameCodeSequence[0].CodeValue == "272741003" for one in modifiers)
            meanings = [one.ConceptCodeSequence[0].CodeMeaning for one in modifiers]
            found.append((item.ConceptCodeSequence[0].CodeValue, *meanings))
    return found


def test_a_side_modifies_the_finding_and_the_segment(tmp_path):
    result = sided_result()
    report, segmentation = opened(make_object("findings", result)), opened(make_object("regions", result))
    fluid, nodule = EFFUSION.code, NODULE.code
    assert sides_of(report) == [
        (fluid, "Left"), (fluid, "Right"), (nodule,), (fluid, "Left"), (fluid, "Left"), (nodule,)
    ]  # fmt: skip
    kinds = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in segmentation.SegmentSequence]
    modifiers = [kind.get("SegmentedPropertyTypeModifierCodeSequence", []) for kind in kinds]
    assert [[one.CodeValue for one in each] for each in modifiers] == [["7771000"], ["7771000"], []]
    labels = [segment.SegmentLabel for segment in segmentation.SegmentSequence]
    assert labels == ["Pleural effusion, left 1", "Pleural effusion, left 2", "Nodule 3"]
    chances = tuple(replace(one, probability=0.5) for one in result.said)
    heatmap = opened(make_object("heatmaps", sided_result(MODEL, said=chances, places=())))
    assert [segment.SegmentLabel for segment in heatmap.SegmentSequence][:2] == [
        "Pleural effusion, left heatmap",
        "Pleural effusion, right heatmap",
    ]
    if has_validator():
        for dataset in (report, segmentation, heatmap):
            dataset.save_as(tmp_path / "x.dcm", enforce_file_format=True)
            assert dicom_errors(tmp_path / "x.dcm") == []
