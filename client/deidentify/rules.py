"""What is done to each element under a profile: table E.1-1 and its options, and for what the table does not list,
the value representation. Made once for each profile, looked up once for each element."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import keyword_dict

from .profile import Profile
from .table import Row, table

Action = Literal[
    "remove",
    "empty",  # zero length; a sequence without items
    "dummy",  # a value that means nothing; in a sequence, one for each element of its items
    "uid",  # the keyed UID; UIDs of the standard itself stay
    "only-uids",  # a sequence whose items keep nothing but their UIDs, mapped
    "shift",  # dates and times, by the patient's span
    "words",  # of free text, the words known to be safe
    "check",  # kept if the value is of its VR's form; a sequence is gone into
    "age",
    "code",  # kept in an item whose coding scheme is a published one, else as "words"
    "keep",
    "patient-id",
    "patient-name",
]

# Not in the table and free text by their VR, and yet what a reader or a network needs: the device's make, and how
# pixel values are to be understood.
_KEPT_TEXT = (
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "DetectorManufacturerName",
    "DetectorManufacturerModelName",
    "ConvolutionKernel",
    "RescaleType",
    "ModalityLUTType",
    "CodingSchemeDesignator",
    "CodingSchemeVersion",
    "SequenceName",
    "PulseSequenceName",
    "ImagedNucleus",
    "FilterType",
    "ReceiveCoilName",
    "TransmitCoilName",
)
_CODES = ("CodeValue", "LongCodeValue", "URNCodeValue", "CodeMeaning")
# Bulk data that images are made of. All other unlisted OB and UN is removed: nobody can say what is in it.
_KEPT_BYTES = ("PixelData", "ICCProfile")
_FREE_TEXT = ("LO", "LT", "SH", "ST", "UC", "UT")
_TIMES = ("DA", "DT", "TM")
# Group 0000 is of messages, 0002 is made anew, 0004 is of DICOMDIR; odd groups are private.
_FIRST_GROUP = 0x0008
_CURVES, _OVERLAYS, _REPEATING = 0x5000, 0x6000, 0xFF00


class Rules:
    """The actions of one profile, by tag; whatever has no rule is unknown and removed."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.actions: dict[int, tuple[Action, str]] = {}
        for tag, (vr, *_) in DicomDictionary.items():
            if _ordinary(tag):
                self.actions[tag] = _unlisted(vr, profile), vr
        for keyword in _KEPT_TEXT + _KEPT_BYTES:
            self._set(keyword, "keep")
        for keyword in _CODES:
            self._set(keyword, "code")
        for tag, row in table().rows.items():
            if _ordinary(tag):
                self.actions[tag] = _listed(row, profile), row.vr
        self._set("PatientID", "patient-id")
        self._set("PatientName", "patient-name")
        # The tags of times that belong to a date, so that both move over midnight together.
        self.times = _times_of_dates()

    def _set(self, keyword: str, action: Action) -> None:
        tag = keyword_dict[keyword]
        self.actions[tag] = action, self.actions[tag][1]


@cache
def rules(profile: Profile) -> Rules:
    """The rules of a profile."""
    return Rules(profile)


def _ordinary(tag: int) -> bool:
    group = tag >> 16
    return (
        group >= _FIRST_GROUP
        and group % 2 == 0
        and tag & 0xFFFF != 0  # group lengths, retired
        and group & _REPEATING not in (_CURVES, _OVERLAYS)
        and group < 0xFFFC
    )


def _listed(row: Row, profile: Profile) -> Action:
    chosen = {row.options[name] for name in profile.options if name in row.options}
    if "K" in chosen:
        return "age" if row.vr == "AS" else "check"
    if "C" in chosen:
        return "shift" if row.vr in _TIMES else "check" if row.vr == "SQ" else "words"
    # Which of several codes applies depends on the object's definition: the one that is allowed in all of them.
    match row.basic.split("/")[-1]:
        case "X":
            return "remove"
        case "Z":
            return "empty"
        case "U":
            return "uid"
        case "U*":
            return "only-uids"
        case _:
            return "uid" if row.vr == "UI" else "dummy"


def _unlisted(vr: str, profile: Profile) -> Action:
    if vr in _TIMES:
        return {"shift": "shift", "remove": "remove", "keep": "check"}[profile.dates]  # pyright: ignore[reportReturnType]
    if vr in _FREE_TEXT:
        return "words"
    match vr:
        case "PN":
            return "empty"
        case "UI":
            return "check" if profile.retain_uids else "uid"
        case "AE" | "UR" | "UN" | "OB":
            return "remove"
        case _:
            return "check"


def _times_of_dates() -> Mapping[int, int]:
    found: dict[int, int] = {}
    for keyword, tag in keyword_dict.items():
        if "Date" in keyword and DicomDictionary.get(tag, ("",))[0] == "DA":
            time = keyword_dict.get(keyword.replace("Date", "Time"))
            if time is not None and DicomDictionary[time][0] == "TM":
                found[tag] = time
    return found
