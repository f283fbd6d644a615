"""Load what reading a file may need before the worker gives up its rights: decoders load parts when first used."""

from __future__ import annotations

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from .allowed import TRANSFER_SYNTAXES


def warm() -> None:
    """Import every decoder of the transfer syntaxes that are let in, and Python's text codecs for DICOM's."""
    for syntax in TRANSFER_SYNTAXES:
        _ = get_decoder(UID(syntax)).is_available
    for codec in ("latin_1", "utf_8", "iso8859_5", "iso2022_jp", "shift_jis", "euc_kr", "gb18030", "tis_620"):
        b"".decode(codec)
