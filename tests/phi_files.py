"""DICOM files in which every place that can identify somebody holds a value of its own, to be looked for afterwards.

Each value is a `Mark`: unique to its place and element, in the file's character set where the element has one, and
with every form in which it could be found again. `benchmarks/deidentify.py` gives the same files to other tools.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from dicom_files import dataset
from pydicom import dcmread, dcmwrite
from pydicom._dicom_dict import DicomDictionary
from pydicom.charset import encode_string, python_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from medquorum.client.deidentify.table import table

# Specific Character Set (0008,0005), and a name that needs it.
CHARACTER_SETS: dict[str, tuple[tuple[str, ...], str]] = {
    "none": ((), "SMITHSON"),
    "ir6": (("ISO_IR 6",), "SMITHSON"),
    "ir100": (("ISO_IR 100",), "Müßgänger"),
    "ir101": (("ISO_IR 101",), "Łukaszęta"),
    "ir109": (("ISO_IR 109",), "Ġużeppĥ"),
    "ir110": (("ISO_IR 110",), "Jānisķēš"),
    "ir144": (("ISO_IR 144",), "Люксембург"),
    "ir127": (("ISO_IR 127",), "قباني"),
    "ir126": (("ISO_IR 126",), "Διονυσιος"),
    "ir138": (("ISO_IR 138",), "שרוןדבורה"),
    "ir148": (("ISO_IR 148",), "Çağrışen"),
    "ir13": (("ISO_IR 13",), "ﾔﾏﾀﾞﾀﾛｳ"),
    "ir166": (("ISO_IR 166",), "นามสกุล"),
    "utf8": (("ISO_IR 192",), "王小東山田김희중"),
    "gb18030": (("GB18030",), "王小东镕"),
    "gbk": (("GBK",), "王小东镕"),
    "jp87": (("", "ISO 2022 IR 87"), "山田太郎"),
    "jp13_87": (("ISO 2022 IR 13", "ISO 2022 IR 87"), "ﾔﾏﾀﾞ山田"),
    "jp159": (("", "ISO 2022 IR 159"), "丂丄丅"),
    "kr149": (("", "ISO 2022 IR 149"), "김희중길동"),
    "cn58": (("", "ISO 2022 IR 58"), "王小东"),
    "cyrillic_jp": (("ISO 2022 IR 144", "ISO 2022 IR 87"), "Люкс山田"),
}
PLACES = ("top", "kept sequence", "two levels deep", "listed sequence", "other text", "private", "unknown", "curve",
          "overlay", "file meta", "after the end", "native name")  # fmt: skip
_LETTERS = dict(zip(PLACES, "ABCDEFGHIJKL", strict=True))
_TEXT = ("LO", "LT", "SH", "ST", "UC", "UT", "PN")
# What the standard keeps and this package does too: the device's make, and how pixel values are to be understood;
# codes, which are looked at with their scheme (kept in the generated sequences, which are of published ones).
_NOT_MARKED = frozenset(
    (
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
        "DeidentificationMethod",
    )
)
_KEPT, _DEEPER = 0x00082218, 0x00082220  # Anatomic Region Sequence and its modifiers: kept by the standard


@dataclass(frozen=True, slots=True)
class Mark:
    """One value that must not survive. forms: the bytes by which it would be found."""

    place: str
    tag: int
    vr: str
    forms: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """A file and the marks in it."""

    content: bytes
    marks: tuple[Mark, ...]


class _Marker:
    """Makes values: text as MQX, a letter for the place and the tag, and the name of the character set."""

    def __init__(self, character_set: tuple[str, ...], name: str) -> None:
        encodings = [python_encoding[term] for term in character_set] or ["iso8859"]
        self._name = name
        # The name stands in many elements; it survives when it is found in one of them, in any encoding.
        forms = (name.encode(), name.encode("utf-16-le"), name.encode("utf-16-be"), encode_string(name, encodings))
        self.marks = [Mark("native name", 0, "PN", forms)]
        self._made = 0

    def text(self, place: str, tag: int, vr: str) -> str:
        plain = f"MQX{_LETTERS[place]}{tag:08X}"
        room = {"SH": 16, "LO": 64, "PN": 64}.get(vr, 1000) - len(plain) - 1
        native = self._name[: max(0, room)]
        forms = (plain.encode(), plain.encode("utf-16-le"), plain.encode("utf-16-be"))
        self.marks.append(Mark(place, tag, vr, forms))
        return f"{plain}{'^' if vr == 'PN' else ' '}{native}"

    def value(self, place: str, tag: int, vr: str) -> Any:
        """A value for an element, marked; None where the VR has none that is long enough to be told apart."""
        # A place's dates lie in one year, and its neighbours' twelve years off: none, moved by a tool into the past by
        # one to ten years, becomes another one. Times differ in their fractions, which nobody moves.
        number, year = self._made, 1930 + 12 * PLACES.index(place)
        self._made += 1
        moment = f"{year}{1 + number % 12:02}{1 + number // 12 % 28:02}"
        clock = f"13{number % 60:02}{number // 60 % 60:02}.{number:06}"
        plain = f"MQX{_LETTERS[place]}{tag:08X}"
        match vr:
            case "PN" | "LO" | "LT" | "SH" | "ST" | "UC" | "UT":
                return self.text(place, tag, vr)
            case "DA":
                made: Any = moment
            case "TM":
                made = clock
            case "DT":
                made = moment + clock
            case "UI":
                made = f"1.2.826.0.1.3680043.{PLACES.index(place) + 1}.{tag}"
            case "AE" | "CS":
                made = plain
            case "UR":
                made = f"https://{plain}.example/"
            case "AS":
                made = f"{100 + number % 800:03}D"
            case "DS":
                made = f"{PLACES.index(place)}7.31{number:05}4"
            case "IS":
                made = str(710000000 + number)
            case "OB" | "UN" | "OW" | "OB or OW":
                made = plain.encode()
            case _:
                return None
        form = made if isinstance(made, bytes) else str(made).encode()
        self.marks.append(Mark(place, tag, vr, (form,)))
        return made


def marked_file(character_set: str = "ir100", syntax: str = ExplicitVRLittleEndian) -> Marked:
    """A DX image with every element of table E.1-1 at top level, in a kept sequence, in one inside that, and in listed
    sequences; with all other text attributes of the dictionary; private, unknown, curve, overlay, meta elements; and
    bytes before and after the data set."""
    terms, name = CHARACTER_SETS[character_set]
    marker = _Marker(terms, name)
    made = dataset(np.arange(600, dtype=np.uint16).reshape(20, 30))
    made.SpecificCharacterSet = list(terms) if len(terms) > 1 else (terms[0] if terms else "")
    _fill_listed(made, marker, "top")
    _fill_other(made, marker)
    deeper, kept = Dataset(), Dataset()
    for item in (kept, deeper):
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "51185008", "SCT", "Chest"
    _fill_listed(kept, marker, "kept sequence")
    _fill_listed(deeper, marker, "two levels deep")
    kept[_DEEPER] = DataElement(_DEEPER, "SQ", Sequence([deeper]))
    made[_KEPT] = DataElement(_KEPT, "SQ", Sequence([kept]))
    for tag, vr in ((0x00090010, "LO"), (0x00091001, "LO"), (0x00091002, "UN"), (0x00091003, "PN")):
        _set(made, marker, "private", tag, vr)
    made[0x00091004] = DataElement(0x00091004, "SQ", Sequence([_item(marker, "private")]))
    for tag in (0x00089999, 0x00209999, 0x40009999):
        _set(made, marker, "unknown", tag, "LO")
    for tag, vr in ((0x50000022, "LO"), (0x50003000, "OW"), (0x50042500, "LO"), (0x50FE0022, "LO")):
        _set(made, marker, "curve", tag, vr)
    for tag, vr in ((0x60000022, "LO"), (0x60003000, "OW"), (0x60004000, "LT"), (0x60021500, "LO")):
        _set(made, marker, "overlay", tag, vr)
    _set(made, marker, "after the end", 0xFFFCFFFC, "OB")
    return Marked(_written(made, marker, syntax), tuple(marker.marks))


def _fill_listed(item: Dataset, marker: _Marker, place: str) -> None:
    for tag, row in table().rows.items():
        if not 8 <= tag >> 16 < 0xFFFC or tag == _KEPT:
            continue
        if row.vr == "SQ":
            item[tag] = DataElement(
                tag, "SQ", Sequence([_item(marker, "listed sequence" if place == "top" else place)])
            )
        else:
            _set(item, marker, place, tag, row.vr)


def _item(marker: _Marker, place: str) -> Dataset:
    """What a sequence that is to go may hold: names, text, dates, UIDs, a sequence, a private element."""
    item, inner = Dataset(), Dataset()
    for at in (item, inner):
        for tag, vr in ((0x00081150, "UI"), (0x00081155, "UI"), (0x00080100, "SH"), (0x00080104, "LO"),
                        (0x00100010, "PN"), (0x0040A160, "UT"), (0x0040A121, "DA"), (0x00091001, "LO")):  # fmt: skip
            _set(at, marker, place, tag, vr)
    item[0x0040A730] = DataElement(0x0040A730, "SQ", Sequence([inner]))
    return item


def _fill_other(made: Dataset, marker: _Marker) -> None:
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        unlisted = tag not in table().rows and tag not in made and 8 <= tag >> 16 < 0x5000
        if unlisted and not retired and vr in (*_TEXT, "AE", "UR") and keyword not in _NOT_MARKED:
            _set(made, marker, "other text", tag, vr)


def _set(item: Dataset, marker: _Marker, place: str, tag: int, vr: str) -> None:
    value = marker.value(place, tag, vr)
    if value is not None:
        item.add(DataElement(tag, vr, value))


def _written(made: Dataset, marker: _Marker, syntax: str) -> bytes:
    meta = made.file_meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    for tag, vr in ((0x00020016, "AE"), (0x00020017, "AE"), (0x00020018, "AE"), (0x00020013, "SH"),
                    (0x00020026, "UR"), (0x00020100, "UI"), (0x00020102, "OB")):  # fmt: skip
        meta.add(DataElement(tag, vr, marker.value("file meta", tag, vr)))
    out = BytesIO()
    made.preamble = b"MQXJ-preamble".ljust(128, b"\0")
    marker.marks.append(Mark("file meta", 0, "OB", (b"MQXJ-preamble",)))
    dcmwrite(out, made, enforce_file_format=True)
    return out.getvalue()


def haystack(content: bytes) -> bytes:
    """Everything that can be read in a DICOM file: its bytes, inflated too, and every value decoded, as UTF-8."""
    found = [content]
    read = dcmread(BytesIO(content), force=True)
    if read.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        found.append(inflated(content))
    found.append("\n".join([*_texts(read.file_meta), *_texts(read)]).encode())
    return b"\n".join(found)


def inflated(content: bytes) -> bytes:
    """The data set of a deflated file, which begins after group 0002 (its length is the first element's value)."""
    start = 144 + int.from_bytes(content[140:144], "little")
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[start:], 1 << 24)


def _texts(item: Dataset) -> Iterator[str]:
    for tag in list(item.keys()):
        try:
            element = item[tag]
        except Exception:
            continue
        if element.VR == "SQ":
            for nested in element.value:
                yield from _texts(nested)
        elif isinstance(element.value, bytes):
            continue  # is in the file as it is
        else:
            many = element.value if isinstance(element.value, list) or element.VM > 1 else [element.value]
            yield from (str(value) for value in many)


def surviving(marks: Iterable[Mark], seen: bytes) -> list[Mark]:
    """The marks of which any form is in `seen`."""
    # Most marks share a beginning, and most of what is searched holds none of them at all.
    there = {beginning: beginning in seen for beginning in _BEGINNINGS}
    known: dict[bytes, bool] = {}

    def found(form: bytes) -> bool:
        if not there.get(next((b for b in _BEGINNINGS if form.startswith(b)), b""), True):
            return False
        if form not in known:
            known[form] = form in seen
        return known[form]

    return [mark for mark in marks if any(found(form) for form in mark.forms)]


_BEGINNINGS = (b"MQX", "MQX".encode("utf-16-le"), "MQX".encode("utf-16-be"), b"1.2.826.0.1.3680043.")
