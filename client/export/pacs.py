"""The PACS that results may go to, as the hospital's IT describes them: one TOML file in the node's folder."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ...toml_table import Table
from .errors import ExportRequestError

FILE = "pacs.toml"
_AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_EXAMPLE = """\
# The PACS that results may be sent to, one [pacs.NAME] each; then: medquorum node export --to NAME.
#
# By DICOMweb (STOW-RS), which is preferred because the PACS can be asked again what it holds:
#
# [pacs.archive]
# web = "https://pacs.hospital/dicom-web"
# authority = ""        # the certificate (PEM) that the PACS's own must be signed by; empty: the system's
# user = ""             # HTTP Basic; empty: none
# password_file = ""    # a file (mode 0600) that holds that user's password
#
# Or by C-STORE:
#
# [pacs.store]
# host = "10.0.0.5"
# port = 104
# called = "ARCHIVE"    # the PACS's AE title
# calling = "MEDQUORUM" # ours, as the PACS must know it
# tls = false
# authority = ""
"""


@dataclass(frozen=True, slots=True)
class Pacs:
    """One PACS; results go by STOW-RS where `web` is given, else by C-STORE.

    host, port: its DICOM listener. called, calling: AE titles, its own and ours. tls: whether that connection is TLS.
    web: the DICOMweb service's address. authority: a CA certificate (PEM) for either, None: the system's. user,
    password: for HTTP Basic. Raises ExportRequestError where neither way is described whole.
    """

    name: str
    host: str = ""
    port: int = 0
    called: str = ""
    calling: str = "MEDQUORUM"
    tls: bool = False
    web: str = ""
    authority: Path | None = None
    user: str = ""
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.web:
            faults = [] if re.fullmatch(r"https?://[^\s@]+", self.web) else ["web is no address"]
        else:
            checks = (
                ("web or host is missing", bool(self.host)),
                ("port is missing", 0 < self.port < 65536),
                ("called is no AE title", _AE_TITLE.fullmatch(self.called) is not None),
                ("calling is no AE title", _AE_TITLE.fullmatch(self.calling) is not None),
            )
            faults = [fault for fault, holds in checks if not holds]
        if faults:
            raise ExportRequestError(
                faults[0], where=f"[pacs.{self.name}]", fix="describe it as the comments of pacs.toml show"
            )


def find_pacs(node: Path, name: str) -> Pacs:
    """The PACS of this name; ExportRequestError when none is described. Writes a file of examples where none is."""
    path = node / FILE
    if not path.exists():
        path.write_text(_EXAMPLE, encoding="utf-8")
    table = Table.read(path, ExportRequestError, "PACS settings").table("pacs", required=False)
    if not table.has(name):
        raise ExportRequestError(
            f"there is no PACS called {name!r}",
            where=str(path),
            fix=f"describe it there as [pacs.{name}], as the file's comments show, or name one that is described",
        )
    entry = table.table(name)
    authority, password_file = entry.text("authority", ""), entry.text("password_file", "")
    if authority and not Path(authority).is_file():
        raise ExportRequestError("there is no such certificate", where=authority, fix=f"correct pacs.{name}.authority")
    pacs = Pacs(
        name=name,
        host=entry.text("host", ""),
        port=entry.whole("port", 0, 0, 65535),
        called=entry.text("called", ""),
        calling=entry.text("calling", "MEDQUORUM"),
        tls=entry.flag("tls", False),
        web=entry.text("web", "").rstrip("/"),
        authority=Path(authority) if authority else None,
        user=entry.text("user", ""),
        password=_password(Path(password_file)) if password_file else "",
    )
    entry.done()
    return pacs


def _password(path: Path) -> str:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise ExportRequestError("the password cannot be read", where=str(path), fix="check the file") from fault
    if mode & 0o077:
        raise ExportRequestError(
            f"the password is open to other users (mode {mode:04o})", where=str(path), fix=f"chmod 600 {path}"
        )
    return text
