"""Objects are read back before they leave: whatever was changed in one is noticed."""

from __future__ import annotations

import io

import pytest
from exports import EFFUSION, NODULE, make_object, make_result, opened, sided_result

from medquorum.client.annotations import Box, Region
from medquorum.client.export.errors import ExportError
from medquorum.client.export.reading_back import check
from medquorum.client.export.results import Place


def changed(made, change):
    dataset = opened(made)
    change(dataset)
    target = io.BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()


def _other_presence(dataset):
    for group in dataset.ContentSequence[-1].ContentSequence:
        for item in group.ContentSequence:
            if item.ValueType == "CODE" and item.ConceptCodeSequence[0].CodeValue == "52101004":
                item.ConceptCodeSequence[0].CodeValue = "272519000"


def _other_pixel(dataset):
    dataset.decompress(generate_instance_uid=False)
    dataset.PixelData = bytes([dataset.PixelData[0] ^ 1]) + dataset.PixelData[1:]


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("findings", lambda d: setattr(d, "PatientID", "OTHER"), "patient id"),
        ("findings", lambda d: setattr(d, "PatientName", "Other^Person"), "patient name"),
        ("findings", lambda d: setattr(d, "StudyInstanceUID", "1.2.9"), "study uid"),
        ("findings", lambda d: setattr(d, "PreliminaryFlag", "PRELIMINARY"), "flags"),
        ("findings", _other_presence, "findings"),
        ("findings", lambda d: delattr(d, "ContentSequence"), "cannot be read again"),
        ("regions", _other_pixel, "frames"),
        ("regions", lambda d: setattr(d, "SegmentationType", "BINARY"), "kind"),
        ("regions", lambda d: d.SegmentSequence.reverse(), "segments"),
    ],
    ids=["patient", "name", "study", "flag", "presence", "tree", "pixel", "type", "order"],
)
def test_reading_back_notices_every_change(kind, change, said):
    places = (
        Place(NODULE, Region("x", Box(1, 1, 4, 4), "drawn")),
        Place(EFFUSION, Region("x", Box(2, 2, 9, 9), "drawn")),
    )
    made = make_object(kind, make_result(places=places))
    check(made.data, made.meant, "here")
    with pytest.raises(ExportError, match=said):
        check(changed(made, change), made.meant, "here")


def test_cut_bytes_are_noticed():
    made = make_object("regions", make_result())
    with pytest.raises(ExportError):
        check(made.data[: len(made.data) // 2], made.meant, "here")


def _other_side(dataset):
    for group in dataset.ContentSequence[-1].ContentSequence:
        for item in group.ContentSequence:
            for side in item.get("ContentSequence", []):
                if side.ConceptNameCodeSequence[0].CodeValue == "272741003":
                    side.ConceptCodeSequence[0].CodeValue = "24028007"


def _no_side(dataset):
    for segment in dataset.SegmentSequence:
        segment.SegmentedPropertyTypeCodeSequence[0].pop("SegmentedPropertyTypeModifierCodeSequence", None)


@pytest.mark.parametrize(
    ("kind", "change", "said"), [("findings", _other_side, "findings"), ("regions", _no_side, "segments")]
)
def test_reading_back_notices_another_side(kind, change, said):
    made = make_object(kind, sided_result())
    check(made.data, made.meant, "here")
    with pytest.raises(ExportError, match=said):
        check(changed(made, change), made.meant, "here")
