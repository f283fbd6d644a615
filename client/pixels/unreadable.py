"""Why a file was not taken in: a stable code for machines and counts, and a sentence for the person who must act."""

from __future__ import annotations

from typing import Literal

from ..errors import PixelError

Code = Literal[
    "empty",  # no bytes, or one value of nothing but zeros
    "unreadable-file",  # the operating system would not give the bytes
    "not-dicom",
    "not-image",  # asked to read a PNG or JPEG, and it is something else
    "no-pixels",
    "bad-header",
    "missing-identifiers",
    "truncated",
    "too-large",
    "too-deep",
    "too-many-elements",
    "too-slow",  # not examined within the time that one file has
    "crashed",  # the process that examined it died of it
    "unsupported-class",
    "unsupported-syntax",
    "undecodable",
    "burned-in-text",  # text is suspected in the pixels, and the profile wants a person to look
    "conflict",  # the store holds other content, or another patient, under the same UID
]


class UnreadableError(PixelError):
    """One file or frame that cannot be rendered: `code` for machines, the sentence in `what`."""

    def __init__(self, code: Code, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where=where, fix=fix)
        self.code: Code = code


def first_line(error: BaseException, longest: int = 200) -> str:
    """The first line of a third-party message, shortened: such messages may quote whole files."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else text[: longest - 1] + "…"
