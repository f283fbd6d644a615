"""What becomes of single elements: sequences, UIDs, codes, values that are not of their VR, bits above the pixels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import dataset, written
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from medquorum.client.deidentify import Keys, Profile, ProfileError, deidentify, file_bytes
from medquorum.client.deidentify.table import table
from medquorum.client.deidentify.values import capped_age, checked, cleaned, safe_words
from medquorum.client.pixels import open_dicom

KEYS = Keys(bytes(range(32)))


def item(**elements: Any) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def done(made: Dataset, profile: Profile | None = None, keys: Keys = KEYS) -> Dataset:
    return open_dicom(file_bytes(deidentify(open_dicom(written(made)), profile or Profile(), keys).dataset))


def test_the_table_is_whole() -> None:
    rows = table().rows
    assert (table().edition, len(rows)) == ("2026c", 652)
    codes = {row.basic for row in rows.values()}
    assert codes == {"X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*"}
    assert rows[0x00100010].basic == "Z" and rows[0x00080018].options == {"uids": "K"}
    assert {action for row in rows.values() for action in row.options.values()} == {"K", "C"}


def test_a_sequence_of_references_keeps_its_uids_and_nothing_else() -> None:
    reference = item(
        ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.7",
        ReferencedSOPInstanceUID="1.2.3.1",
        ReferencedFrameNumber="1",
        PurposeOfReferenceCodeSequence=[item(CodeValue="1", CodeMeaning="Doe")],
        PatientName="Doe^Jane",
    )
    made = done(dataset(number=1, ReferencedImageSequence=[reference]))
    (kept,) = made.ReferencedImageSequence
    assert [element.keyword for element in kept] == ["ReferencedSOPClassUID", "ReferencedSOPInstanceUID"]
    assert kept.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert kept.ReferencedSOPInstanceUID == made.SOPInstanceUID  # 1.2.3.1 is this file


def test_uids_agree_over_files_and_nodes_do_not() -> None:
    first = done(dataset(number=1))
    second = done(dataset(number=2, StudyInstanceUID="1.2.4.1"))
    assert first.StudyInstanceUID == second.StudyInstanceUID != "1.2.4.1"
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.StudyInstanceUID.startswith("2.25.") and first.StudyInstanceUID.is_valid
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    elsewhere = done(dataset(number=1), keys=Keys(b"x" * 32))
    assert elsewhere.StudyInstanceUID != first.StudyInstanceUID and elsewhere.PatientID != first.PatientID
    assert done(dataset(number=1), Profile(retain_uids=True)).StudyInstanceUID == "1.2.4.1"
    assert file_bytes(deidentify(open_dicom(written(dataset())), Profile(), KEYS).dataset) == file_bytes(
        deidentify(open_dicom(written(dataset())), Profile(), KEYS).dataset
    )


def test_a_patient_has_one_shift_and_days_between_studies_stay() -> None:
    days = []
    for number, day in enumerate(("20240102", "20240301", "20250101")):
        made = done(dataset(number=number, PatientID="ONE", StudyDate=day, StudyTime="101500"))
        days.append(np.datetime64(f"{made.StudyDate[:4]}-{made.StudyDate[4:6]}-{made.StudyDate[6:]}"))
        assert made.StudyDate < "20240101"
    assert [int((day - days[0]).astype(int)) for day in days] == [0, 59, 365]
    other = done(dataset(number=1, PatientID="TWO", StudyDate="20240102", StudyTime="101500"))
    assert other.StudyDate != str(days[0]).replace("-", "")


def test_codes_of_published_schemes_stay_and_local_ones_do_not() -> None:
    published = item(CodeValue="51185008", CodingSchemeDesignator="SCT", CodeMeaning="Thoracic structure")
    local = item(CodeValue="DRDOE", CodingSchemeDesignator="99LOCAL", CodeMeaning="Chest of Mrs Doe")
    made = done(dataset(AnatomicRegionSequence=[published], ViewCodeSequence=[local]))
    assert made.AnatomicRegionSequence[0].CodeMeaning == "Thoracic structure"
    assert made.ViewCodeSequence[0].CodeMeaning == "Chest of" and made.ViewCodeSequence[0].CodeValue == ""


def raw(tag: int, vr: str, value: bytes) -> bytes:
    """One element in explicit VR little endian, whatever it says; UN and sequences have a long length field."""
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr.encode()
    length = b"\0\0" + len(value).to_bytes(4, "little") if vr == "UN" else len(value).to_bytes(2, "little")
    return head + length + value


def test_text_hides_in_no_number_and_under_no_other_vr() -> None:
    content = written(dataset())
    content += raw(0x00181150, "LO", b"Jane Doe")  # Exposure Time, IS
    content += raw(0x00200013, "UN", b"Jane Doe")  # Instance Number, IS
    content += raw(0x00185100, "UN", b"Jane Doe was here ")  # Patient Position, CS
    content += raw(0x00280030, "UN", b"0.5\\0.5 ")  # Pixel Spacing, DS
    again = open_dicom(file_bytes(deidentify(open_dicom(content), Profile(), KEYS).dataset))
    assert "ExposureTime" not in again
    assert not again.InstanceNumber and not again.PatientPosition
    assert [float(value) for value in again.PixelSpacing] == [0.5, 0.5]


def test_a_replaced_sequence_keeps_its_form_and_no_value() -> None:
    content = item(ValueType="PNAME", PersonName="Doe^Jane", ContentSequence=[item(TextValue="Jane", NumericValue="7")])
    made = done(dataset(ContentSequence=[content]))
    (kept,) = made.ContentSequence
    assert (kept.PersonName, kept.ValueType) == ("REMOVED", "REMOVED")
    assert (kept.ContentSequence[0].TextValue, str(kept.ContentSequence[0].NumericValue)) == ("REMOVED", "0")
    cleaned_up = done(dataset(ContentSequence=[content]), Profile(clean_structured_content=True)).ContentSequence[0]
    assert cleaned_up.ValueType == "PNAME" and "Doe" not in str(cleaned_up)


def test_what_was_done_is_said() -> None:
    made = done(dataset(PatientIdentityRemoved="NO", DeidentificationMethod="by Jane Doe"))
    assert (made.PatientIdentityRemoved, made.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    assert [code.CodeValue for code in made.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert "Doe" not in made.DeidentificationMethod and len(made.DeidentificationMethod) <= 64
    every = Profile("keep", "none", True, True, True, True, True, True)
    values = [code.CodeValue for code in done(dataset(), every).DeidentificationMethodCodeSequence]
    assert values == ["113100", "113104", "113105", "113106", "113108", "113109", "113110", "113112"]
    assert all(len(meaning) <= 64 for _, meaning in every.methods)


def test_descriptions_keep_the_words_of_the_list_only_where_that_is_wanted() -> None:
    made = dataset(StudyDescription="CT chest abdomen - 55F Dr. Smith", LUTExplanation="linear by J. Doe")
    assert "StudyDescription" not in done(made) and done(made).LUTExplanation == "linear"
    assert done(made, Profile(clean_descriptors=True)).StudyDescription == "CT chest abdomen"
    assert cleaned("山田".encode("iso2022_jp")) == cleaned(b"") == b"" and cleaned(b"a\\Doe") == b""
    assert all(word == word.lower() and word.isalpha() for word in safe_words())


def test_ages_stop_at_ninety() -> None:
    assert [capped_age(age) for age in (b"045Y", b"097Y", b"012M", b"old", b"")] == [
        b"045Y",
        b"090Y",
        b"012M",
        b"",
        b"",
    ]
    assert done(dataset(PatientAge="101Y"), Profile(retain_patient_characteristics=True)).PatientAge == "090Y"
    assert checked(b"1.5e3\\-2 ", "DS") and not checked(b"1;2", "DS") and not checked(b"abc", "US")


def test_bits_of_an_embedded_overlay_go_with_it() -> None:
    pixels = np.full((3, 4), 0xF123, np.uint16)
    made = dataset(pixels, BitsStored=12, HighBit=11)
    assert (np.frombuffer(done(made).PixelData, "<u2") == 0xF123).all()  # no overlay: pixels are not touched
    for tag, vr, value in (
        (0x60000010, "US", 3),
        (0x60000011, "US", 4),
        (0x60000100, "US", 16),
        (0x60000102, "US", 12),
    ):
        made.add(DataElement(tag, vr, value))
    again = done(made)
    assert (np.frombuffer(again.PixelData, "<u2") == 0x0123).all()
    assert not [element for element in again if 0x6000 <= element.tag.group <= 0x60FF]


def test_a_sequence_that_was_written_as_unknown_is_gone_into() -> None:
    inside = b"\x10\x00\x10\x00\x08\x00\x00\x00Doe^Jane" + b"\x08\x00\x02\x01\x04\x00\x00\x00SCT "
    one = b"\xfe\xff\x00\xe0" + len(inside).to_bytes(4, "little") + inside
    content = written(dataset()) + raw(0x00082218, "UN", one)
    out = file_bytes(deidentify(open_dicom(content), Profile(), KEYS).dataset)
    assert b"Doe" not in out
    (kept,) = open_dicom(out).AnatomicRegionSequence
    assert kept.CodingSchemeDesignator == "SCT"


def test_a_profile_survives_its_file_and_mistakes_are_one_line(tmp_path: Path) -> None:
    profile = Profile("remove", "mask", clean_descriptors=True, retain_uids=True)
    path = tmp_path / "deidentification.toml"
    profile.write(path)
    assert Profile.read(path) == Profile.of_node(tmp_path) == profile
    assert Profile.of_node(tmp_path / "none") == Profile()
    for text, named in (
        ("[deidentification]\ndates = 'never'", "dates"),
        ("[deidentification]\nretain_uid = true", "retain_uid"),
        ("[deidentification]\nretain_uids = 'yes'", "retain_uids"),
        ("dates = 'shift'", "deidentification"),
    ):
        path.write_text(text)
        with pytest.raises(ProfileError) as caught:
            Profile.read(path)
        assert named in str(caught.value) and caught.value.fix and str(path) in str(caught.value)


def test_secrets_and_originals_are_never_shown() -> None:
    result = deidentify(open_dicom(written(dataset(PatientName="Doe^Jane"))), Profile(), Keys(b"secret" * 5 + b"!!"))
    assert "Doe" not in repr(result) and result.original.patient_name == "Doe^Jane"
    assert "secret" not in repr(Keys(b"secret" * 5 + b"!!"))


def test_the_text_detector_is_not_loaded_unless_it_is_wanted() -> None:
    program = "import sys, medquorum.client.gate; print(sorted({'rapidocr', 'onnxruntime'} & set(sys.modules)))"
    done_ = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done_.stdout.strip() == "[]"
