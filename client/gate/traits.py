"""A patient's sex and band of age as a DICOM file states them: what gates on subgroups need, and no more."""

from __future__ import annotations

import re
from datetime import date

from pydicom.dataset import Dataset

from ...privacy.subgroups import Traits, stated
from ..pixels import UnreadableError
from ..pixels.header import text

# PS3.5 section 6.2, AS.
_AGE = re.compile(r"([0-9]{3})([DWMY])")
_IN_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")


def traits_of(dataset: Dataset) -> Traits:
    """By Patient's Sex (0010,0040), and Patient's Age (0010,1010) or else the birth date and the study's.

    An element that is absent, empty or nonsense leaves its trait unknown and is no reason to refuse a file.
    """
    return stated(_text(dataset, "PatientSex"), _years(dataset))


def _years(dataset: Dataset) -> float | None:
    age = _AGE.fullmatch(_text(dataset, "PatientAge"))
    if age is not None:
        return int(age[1]) / _IN_YEAR[age[2]]
    born = _date(_text(dataset, "PatientBirthDate"))
    seen = next((found for name in _DATES if (found := _date(_text(dataset, name))) is not None), None)
    if born is None or seen is None:
        return None
    return seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        return text(dataset, keyword, 16)
    except UnreadableError:
        return ""


def _date(digits: str) -> date | None:
    plain = digits.replace(".", "").replace("-", "")
    try:
        return date(int(plain[:4]), int(plain[4:6]), int(plain[6:])) if len(plain) == 8 else None
    except ValueError:
        return None
