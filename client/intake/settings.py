"""How images come in: one commented TOML file in the node's folder, read strictly each time a command starts."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from ...toml_table import Table
from ..errors import IntakeError

FILE = "intake.toml"
After = Literal["move", "delete"]
_AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_COMMENTS = {
    "ae_title": "what this node is called when DICOM is sent to it; senders must use this name",
    "listen": "the address that medquorum node receive listens on; 127.0.0.1 reaches nobody else, 0.0.0.0 everybody",
    "port": "its port; 0: any free one",
    "peers": 'who may send, as "AETITLE" or, better, "AETITLE@address"; nobody else is answered',
    "tls_certificate": "this node's certificate (PEM); empty: no TLS",
    "tls_key": "the certificate's private key (PEM)",
    "tls_authority": "if given, senders must show a certificate that this authority (PEM) has signed",
    "associations": "how many senders at a time",
    "file_megabytes": "the largest file that is accepted",
    "free_megabytes": "what must stay free on the disk for a file to be accepted",
    "extra_classes": "storage classes (UIDs) to be let in besides the standard's images, such as a maker's private one",
    "watched": "the folder that medquorum node watch takes files from",
    "quiet_seconds": "how long a file there must have stayed unchanged to be taken",
    "after": '"move" puts files that were taken into the subfolder "taken"; "delete" removes them',
    "dicomweb": 'the PACS for medquorum node pull, such as "https://pacs.hospital/dicom-web"; empty: none',
    "dicomweb_user": "the user to log in as there; empty: none",
    "dicomweb_password_file": "a file (mode 0600) that holds that user's password",
    "dicomweb_authority": "the certificate (PEM) that the PACS's own must be signed by; empty: the system's",
}


class IntakeSettingsError(IntakeError):
    """The intake settings cannot be used as they are."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who may send: an AE title, and the address it must come from ("" for any)."""

    ae_title: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """A node's intake; `_COMMENTS`, written into the file, says what each setting is.

    Raises IntakeSettingsError for a setting that makes no sense.
    """

    ae_title: str = "MEDQUORUM"
    listen: str = "127.0.0.1"
    port: int = 11112
    peers: tuple[str, ...] = ()
    tls_certificate: str = ""
    tls_key: str = ""
    tls_authority: str = ""
    associations: int = 8
    file_megabytes: int = 512
    free_megabytes: int = 1024
    extra_classes: tuple[str, ...] = ()
    watched: str = ""
    quiet_seconds: float = 10.0
    after: After = "move"
    dicomweb: str = ""
    dicomweb_user: str = ""
    dicomweb_password_file: str = ""
    dicomweb_authority: str = ""

    def __post_init__(self) -> None:
        for name, wrong in (
            ("ae_title", not _AE_TITLE.fullmatch(self.ae_title)),
            ("tls_key", bool(self.tls_key) != bool(self.tls_certificate)),
            ("tls_authority", bool(self.tls_authority) and not self.tls_certificate),
            ("extra_classes", not all(re.fullmatch(r"[0-9.]{1,64}", uid) for uid in self.extra_classes)),
            ("dicomweb", bool(self.dicomweb) and not re.fullmatch(r"https?://[^\s@]+", self.dicomweb)),
            ("dicomweb_password_file", bool(self.dicomweb_password_file) and not self.dicomweb_user),
        ):
            if wrong:
                value = getattr(self, name)
                raise IntakeSettingsError(f"{name} is {value!r}, which makes no sense here", fix=_COMMENTS[name])
        _ = self.allowed

    @property
    def allowed(self) -> tuple[Peer, ...]:
        """The peers, taken apart."""
        found: list[Peer] = []
        for peer in self.peers:
            title, _, address = peer.partition("@")
            try:
                plain = str(ipaddress.ip_address(address)) if address else ""
            except ValueError:
                plain = None
            if plain is None or not _AE_TITLE.fullmatch(title):
                raise IntakeSettingsError(
                    f"peers holds {peer!r}", fix='write "AETITLE" or "AETITLE@10.0.0.7": at most 16 characters, an IP'
                )
            found.append(Peer(title, plain))
        return tuple(found)

    def write(self, path: Path) -> None:
        """Write the settings as commented TOML, for people to edit."""
        lines = ["# How images come into this node. Read again each time a command starts; unknown keys are refused."]
        for field in fields(self):
            lines += ["", f"# {_COMMENTS[field.name]}", f"{field.name} = {_toml(getattr(self, field.name))}"]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @classmethod
    def of(cls, node: Path) -> IntakeSettings:
        """The settings of the node in this folder; the file is written, with its defaults, when there is none."""
        path = node / FILE
        if not path.exists():
            settings = cls()
            settings.write(path)
            return settings
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> IntakeSettings:
        """Read a settings file; missing keys keep their defaults. Raises IntakeSettingsError."""
        table = Table.read(path, IntakeSettingsError, "intake settings")
        default = cls()
        try:
            settings = cls(
                ae_title=table.text("ae_title", default.ae_title),
                listen=table.text("listen", default.listen),
                port=table.whole("port", default.port, 0, 65535),
                peers=table.texts("peers", ()),
                tls_certificate=table.text("tls_certificate", ""),
                tls_key=table.text("tls_key", ""),
                tls_authority=table.text("tls_authority", ""),
                associations=table.whole("associations", default.associations, 1, 64),
                file_megabytes=table.whole("file_megabytes", default.file_megabytes, 1, 512),
                free_megabytes=table.whole("free_megabytes", default.free_megabytes),
                extra_classes=table.texts("extra_classes", ()),
                watched=table.text("watched", ""),
                quiet_seconds=table.number("quiet_seconds", default.quiet_seconds, 0.0, 3600.0),
                after=_after(table.text("after", default.after, get_args(After))),
                dicomweb=table.text("dicomweb", ""),
                dicomweb_user=table.text("dicomweb_user", ""),
                dicomweb_password_file=table.text("dicomweb_password_file", ""),
                dicomweb_authority=table.text("dicomweb_authority", ""),
            )
        except IntakeSettingsError as fault:
            raise IntakeSettingsError(fault.what, where=fault.where or str(path), fix=fault.fix) from None
        table.done()
        return settings


def _after(text: str) -> After:
    return "delete" if text == "delete" else "move"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)
