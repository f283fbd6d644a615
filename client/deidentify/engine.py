"""De-identification of one data set: every element at every depth, by the rules of a profile (PS3.15 annex E).

Elements stay the bytes they were read as wherever that is possible: nothing is decoded to be kept, so that a header of
hundreds of elements takes as long as looking each of them up, and pixels are not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self, cast

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID

from .dates import shift_date, shift_moment, shift_time
from .keys import Keys
from .original import Original
from .overlay_bits import clear_overlay_bits
from .profile import Profile
from .rules import Action, rules
from .table import table
from .values import capped_age, checked, cleaned, dummy, padded

# Ours, made from a random UUID (PS3.5 B.2).
IMPLEMENTATION_CLASS_UID = UID("2.25.240921747935417283146091274190310561037")
IMPLEMENTATION_VERSION = "MEDQUORUM"
_STANDARD_ROOT = b"1.2.840.10008."
_HL7_SCHEMES = b"2.16.840.1.113883.6."
_CODING_SCHEME_UID, _CHARACTER_SET, _DESIGNATOR = 0x0008010C, 0x00080005, 0x00080102
# Published coding schemes (PS3.16 table 8-1) that code sequences of images use.
_SCHEMES = frozenset((b"DCM", b"SCT", b"SRT", b"SNM3", b"LN", b"UCUM", b"RADLEX", b"FMA", b"UMLS", b"NCIt", b"ICDO3"))
_CHARACTER_SETS = (b"ISO", b"GB")
# Families within which a file may state another VR than the dictionary's without anything being hidden by it.
_FAMILIES = {
    vr: family
    for family in (("LO", "LT", "SH", "ST", "UC", "UT", "PN"), ("DS", "IS"), ("OB", "OW"), ("US", "SS", "UL", "SL"))
    for vr in family
}


@dataclass(frozen=True, slots=True)
class Deidentification:
    """How a node de-identifies: its profile and its secret."""

    profile: Profile
    keys: Keys

    def plain(self) -> dict[str, Any]:
        """As plain values, for the gate's workers."""
        return {"profile": self.profile.plain(), "secret": self.keys.secret.hex()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """What `plain` was made of."""
        return cls(Profile(**plain["profile"]), Keys(bytes.fromhex(plain["secret"])))


@dataclass(frozen=True, slots=True)
class Deidentified:
    """A de-identified data set with its file meta information, and what it was, which never leaves the node."""

    dataset: Dataset
    original: Original = field(repr=False)


def deidentify(dataset: Dataset, profile: Profile, keys: Keys) -> Deidentified:
    """De-identify `dataset`, as `pixels.open_dicom` gives it, under a node's profile and secret.

    The data set itself is left as it is, except that pydicom keeps what it decodes on the way. The result shares bulk
    data with it. Elements that cannot be read are removed. The same data set, profile and secret give the same result.
    To be written as a file it needs a SOP class and a SOP instance UID, which the gate asks of every file.
    """
    original = Original.of(dataset)
    identity = original.issuer_of_patient_id, original.patient_id
    clean = _Cleaner(profile, keys, keys.shift(*identity), keys.pseudonym(*identity)).top(dataset)
    clear_overlay_bits(dataset, clean)
    _say_what_was_done(clean, profile)
    clean.file_meta = _file_meta(dataset, clean)
    return Deidentified(clean, original)


class _Cleaner:
    """The rules at work on one data set and the items in it."""

    def __init__(self, profile: Profile, keys: Keys, span: timedelta, pseudonym: bytes) -> None:
        self._rules = rules(profile)
        self._keys = keys
        self._span = span
        self._pseudonym = pseudonym
        self._uids: dict[bytes, bytes] = {}

    def top(self, dataset: Dataset) -> Dataset:
        return self._item(dataset, self._clean)

    def _item(self, item: Dataset, treat: Callable[[Dataset, BaseTag, Action, str], _Element | None]) -> Dataset:
        """`item` with `treat` applied to each element that has a rule."""
        actions = self._rules.actions
        kept: dict[BaseTag, _Element] = {}
        for tag in list(item.keys()):
            rule = actions.get(tag)
            if rule is None or rule[0] == "remove":
                continue
            try:
                made = treat(item, tag, *rule)
            except Exception:  # an element that pydicom cannot make sense of, of which there are many kinds
                continue
            if made is not None:
                kept[tag] = made
        clean = Dataset(kept)
        clean.set_original_encoding(*item.original_encoding, item.original_character_set)
        return clean

    def _clean(self, item: Dataset, tag: BaseTag, action: Action, vr: str) -> _Element | None:
        if vr == "SQ":
            return self._sequence(item, tag, action)
        match action:
            case "dummy":
                return _raw(item, tag, vr, dummy(vr))
            case "empty":
                return _raw(item, tag, vr, b"")
            case "patient-id" | "patient-name":
                return _raw(item, tag, vr, self._pseudonym)
            case _:
                element = item.get_item(tag)
                if not _stated_vr_fits(element, vr):
                    return None
                return self._value(item, element, action, vr)

    def _value(self, item: Dataset, element: _Element, action: Action, vr: str) -> _Element | None:
        tag = element.tag
        if action == "keep":
            return element
        if action == "check" and not _is_text(vr) and not element.is_raw:
            return element  # numbers that were read as numbers
        value = _bytes_of(element)
        if value is None:
            return None
        match action:
            case "uid":
                new = b"\\".join(self._uid(tag, part.strip(b" \0")) for part in value.split(b"\\"))
            case "shift":
                new = self._shifted(item, tag, vr, value)
            case "words":
                new = cleaned(value)
            case "code":
                new = value if self._published(item) else cleaned(value)
            case "age":
                new = capped_age(value)
            case _ if tag == _CHARACTER_SET:
                new = _character_set(value)
            case _:
                new = checked(value, vr)
        if new is value and element.is_raw:
            return element
        return _raw(item, tag, vr, padded(new, vr))

    def _uid(self, tag: int, uid: bytes) -> bytes:
        if not uid or uid.startswith(_STANDARD_ROOT) or (tag == _CODING_SCHEME_UID and uid.startswith(_HL7_SCHEMES)):
            return uid
        mapped = self._uids.get(uid)
        if mapped is None:
            mapped = self._uids[uid] = self._keys.uid(uid)
        return mapped

    def _shifted(self, item: Dataset, tag: BaseTag, vr: str, value: bytes) -> bytes:
        parts = [part.strip(b" \0") for part in value.split(b"\\")]
        if vr == "TM":
            return b"\\".join(shift_time(part, self._span) for part in parts)
        if vr == "DT":
            return b"\\".join(shift_moment(part, self._span) for part in parts)
        times = self._rules.times.get(tag)
        paired = item.get_item(times) if times is not None and times in item else None
        clock = (_bytes_of(paired) or b"").strip(b" \0").split(b"\\") if paired is not None else []
        return b"\\".join(
            shift_date(part, clock[number] if number < len(clock) else b"", self._span)
            for number, part in enumerate(parts)
        )

    def _published(self, item: Dataset) -> bool:
        scheme = item.get_item(_DESIGNATOR) if _DESIGNATOR in item else None
        return scheme is not None and (_bytes_of(scheme) or b"").strip(b" \0") in _SCHEMES

    def _sequence(self, item: Dataset, tag: BaseTag, action: Action) -> _Element | None:
        if action == "empty":
            return DataElement(tag, "SQ", Sequence())
        treat = {"only-uids": self._only_uids, "dummy": self._dummies}.get(action, self._clean)
        element = item[tag]
        if element.VR != "SQ":
            return None
        made = [self._item(nested, treat) for nested in cast("list[Dataset]", element.value)]
        return DataElement(tag, "SQ", Sequence(made))

    def _only_uids(self, item: Dataset, tag: BaseTag, action: Action, vr: str) -> _Element | None:
        return self._clean(item, tag, action, vr) if vr == "UI" else None

    def _dummies(self, item: Dataset, tag: BaseTag, action: Action, vr: str) -> _Element | None:
        """In a sequence that is to be replaced: its form stays, and no value of it."""
        if vr == "SQ":
            return self._sequence(item, tag, "dummy")
        if vr == "UI":
            return self._value(item, item.get_item(tag), "uid", vr)
        return _raw(item, tag, vr, dummy(vr.split(" or ")[0]))


_Element = DataElement | RawDataElement


def _stated_vr_fits(element: _Element, vr: str) -> bool:
    """Whether the VR in the file is the dictionary's, or hides nothing by being another."""
    stated = element.VR
    if stated is None or stated == "UN" or stated in vr:
        return True
    family = _FAMILIES.get(stated)
    return family is not None and vr.split(" or ")[0] in family


def _is_text(vr: str) -> bool:
    return vr in _TEXT_OR_UID


_TEXT_OR_UID = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI",
                          "UR", "UT"))  # fmt: skip


def _bytes_of(element: _Element) -> bytes | None:
    """An element's value as a file holds it; characters beyond ASCII of decoded text are lost, and never needed."""
    if element.is_raw:
        return cast("bytes | None", element.value) or b""
    value = element.value
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    many = value if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else (value,)
    return "\\".join(str(one) for one in many).encode("ascii", "replace")


def _raw(item: Dataset, tag: BaseTag, vr: str, value: bytes) -> RawDataElement:
    implicit, little = item.original_encoding
    return RawDataElement(tag, vr.split(" or ")[0], len(value), value, 0, bool(implicit), little is not False)


def _character_set(value: bytes) -> bytes:
    parts = [part.strip(b" \0") for part in value.split(b"\\")]
    return value if all(not part or part.startswith(_CHARACTER_SETS) for part in parts) else b""


def _say_what_was_done(clean: Dataset, profile: Profile) -> None:
    """Patient Identity Removed and the method, as PS3.3 C.7.1.1 and PS3.15 E.2 and E.3 want them."""
    clean.PatientIdentityRemoved = "YES"
    clean.DeidentificationMethod = f"medquorum, PS3.15 {table().edition}"
    codes: list[Dataset] = []
    for value, meaning in profile.methods:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        codes.append(code)
    clean.DeidentificationMethodCodeSequence = Sequence(codes)
    clean.LongitudinalTemporalInformationModified = profile.longitudinal


def _file_meta(dataset: Dataset, clean: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = clean.get("SOPClassUID", "")
    meta.MediaStorageSOPInstanceUID = clean.get("SOPInstanceUID", "")
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    return meta
