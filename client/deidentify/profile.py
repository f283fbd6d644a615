"""Which of the standard's options a node's de-identification uses: one section of a TOML file in the node's folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ...errors import BadInputError
from ...toml_table import Table
from ..errors import NodeError

Dates = Literal["shift", "remove", "keep"]
BurnedIn = Literal["none", "mask", "quarantine"]
FILE = "deidentification.toml"


class ProfileError(NodeError, BadInputError):
    """The de-identification profile cannot be used as it is."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Options of PS3.15 annex E; `_COMMENTS`, written into the file, says what each does.

    The basic profile always applies, to every element at every depth. Raises ProfileError on a value that is none.
    """

    dates: Dates = "shift"
    burned_in_text: BurnedIn = "none"
    clean_descriptors: bool = False
    clean_structured_content: bool = False
    retain_patient_characteristics: bool = False
    retain_device_identity: bool = False
    retain_institution_identity: bool = False
    retain_uids: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("dates", get_args(Dates)), ("burned_in_text", get_args(BurnedIn))):
            if getattr(self, name) not in allowed:
                raise ProfileError(
                    f"{name} is {getattr(self, name)!r}", where=FILE, fix=f"choose among {', '.join(allowed)}"
                )

    def plain(self) -> dict[str, Any]:
        """As a map of plain values, for the gate's workers; `Profile(**plain)` is this profile again."""
        return asdict(self)

    @property
    def options(self) -> frozenset[str]:
        """The columns of table E.1-1 that are chosen, by the names they have in e1_1.json."""
        chosen = {
            "descriptors": self.clean_descriptors,
            "structured": self.clean_structured_content,
            "patient": self.retain_patient_characteristics,
            "device": self.retain_device_identity,
            "institution": self.retain_institution_identity,
            "uids": self.retain_uids,
            "full_dates": self.dates == "keep",
            "modified_dates": self.dates == "shift",
        }
        return frozenset(name for name, on in chosen.items() if on)

    @property
    def methods(self) -> tuple[tuple[str, str], ...]:
        """Code value and meaning (DCM) of what is applied, from CID 7050 (PS3.16)."""
        return _BASIC, *(_CODES[name] for name in _CODES if name in self.options)

    @property
    def longitudinal(self) -> str:
        """The value of Longitudinal Temporal Information Modified (0028,0303)."""
        return {"shift": "MODIFIED", "remove": "REMOVED", "keep": "UNMODIFIED"}[self.dates]

    def write(self, path: Path) -> None:
        """Write the profile as commented TOML, for people to edit."""
        lines = ["# How received DICOM is de-identified (docs/deidentification.md). Read when the node starts.", ""]
        lines += ["[deidentification]"]
        for name, comment in _COMMENTS.items():
            value = getattr(self, name)
            written = str(value).lower() if isinstance(value, bool) else f'"{value}"'
            lines += [f"# {comment}", f"{name} = {written}"]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Profile:
        """Read the section [deidentification] of a TOML file; missing keys keep their defaults.

        Raises ProfileError naming the first unknown key or wrong value.
        """
        root = Table.read(path, ProfileError, "de-identification")
        section = root.table("deidentification")
        root.done()
        default = cls()
        dates = section.text("dates", default.dates, get_args(Dates))
        burned_in = section.text("burned_in_text", default.burned_in_text, get_args(BurnedIn))
        flags = {name: section.flag(name, getattr(default, name)) for name in _FLAGS}
        section.done()
        return cls(dates=dates, burned_in_text=burned_in, **flags)  # pyright: ignore[reportArgumentType]

    @classmethod
    def of_node(cls, folder: Path) -> Profile:
        """The profile of the node in `folder`: that of its file, or the default one where there is no file."""
        path = folder / FILE
        return cls.read(path) if path.exists() else cls()


_COMMENTS = {
    "dates": 'dates and times: "shift" by one keyed time span for each patient, "remove", or "keep" as they are',
    "burned_in_text": 'text suspected in the pixels: "none" (do not look), "mask" it black, or "quarantine" the file',
    "clean_descriptors": "keep, of descriptions and comments, the words of a fixed list; false: remove them whole",
    "clean_structured_content": "clean content, acquisition context and specimen sequences; false: replace them",
    "retain_patient_characteristics": "keep age (at most 90), sex, size, weight and the like",
    "retain_device_identity": "keep serial numbers, station names and other identities of devices",
    "retain_institution_identity": "keep names and addresses of institutions",
    "retain_uids": "keep UIDs as they are; false: map them under the node's secret",
}
_FLAGS = tuple(name for name in _COMMENTS if name not in ("dates", "burned_in_text"))
_BASIC = ("113100", "Basic Application Confidentiality Profile")
_CODES = {
    "structured": ("113104", "Clean Structured Content Option"),
    "descriptors": ("113105", "Clean Descriptors Option"),
    "full_dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "modified_dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "patient": ("113108", "Retain Patient Characteristics Option"),
    "device": ("113109", "Retain Device Identity Option"),
    "uids": ("113110", "Retain UIDs Option"),
    "institution": ("113112", "Retain Institution Identity Option"),
}
