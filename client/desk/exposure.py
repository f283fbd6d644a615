"""Serving the desk beyond this machine: where, under which names, with which certificate. Always TLS."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from ..errors import NodeError

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII)
_MAKE = "name the hospital's own with --certificate and --key, or make one with medquorum node review-certificate NAME"
HTTPS = 443


class ExposureError(NodeError):
    """The desk cannot be served on the LAN as asked."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Exposure:
    """listen: "HOST:PORT", of which the port may be 0 for any that is free. names: what browsers call this machine, as
    "reading.hospital" or, where they see another port, "reading.hospital:443". certificate, key: PEM files. oidc: the
    settings of the hospital's identity provider; None: accounts with passwords. Raises ExposureError."""

    listen: str
    names: tuple[str, ...]
    certificate: Path | None
    key: Path | None
    oidc: Path | None = None

    def __post_init__(self) -> None:
        host_and_port(self.listen)
        if not self.names:
            raise ExposureError(
                "browsers must be told apart from strangers by the name they use",
                where=self.listen,
                fix="say what this machine is called in the hospital, as --name reading.hospital.example",
            )
        for name in self.names:
            host, _, port = name.partition(":")
            if not _NAME.fullmatch(host) or (port and not port.isdecimal()):
                raise ExposureError(f"{name!r} is no host name", fix="give one as reading.hospital.example")

    @property
    def files(self) -> tuple[Path, Path]:
        """Certificate and key. Raises ExposureError when one is not given: nothing leaves this machine in the clear."""
        if self.certificate is None or self.key is None:
            raise ExposureError("plain HTTP is for this machine alone", where=self.listen, fix=_MAKE)
        return self.certificate, self.key

    def hosts(self, port: int) -> list[str]:
        """What a browser's Host header may say when the listener has this port."""
        seen = [name if ":" in name else f"{name}:{port}" for name in self.names]
        return [name.removesuffix(f":{HTTPS}") for name in seen]


def exposure_of(
    listen: str, names: Sequence[str] | None, certificate: Path | None, key: Path | None, oidc: Path | None
) -> Exposure | None:
    """What a command's options ask for; None without `listen`. Raises ExposureError."""
    if listen:
        return Exposure(listen, tuple(names or ()), certificate, key, oidc)
    if names or certificate or key or oidc:
        raise ExposureError(
            "a name, certificate or identity provider is for the LAN", fix="say where to listen, as 0.0.0.0:8787"
        )
    return None


def host_and_port(listen: str) -> tuple[str, int]:
    """The two parts of HOST:PORT (an IPv6 address stands in brackets). Raises ExposureError."""
    host, _, port = listen.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        bare = ""
    if not bare or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ExposureError(
            f"{listen!r} is no address to listen on",
            fix="give ADDRESS:PORT; 0.0.0.0:8787 is every address of this machine",
        )
    return bare, int(port)


def listener(host: str, port: int, option: str) -> socket.socket:
    """A socket that listens there. option: how the port is given. Raises ExposureError."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(64)
    except OSError as fault:
        made.close()
        raise ExposureError(
            f"port {port} cannot be listened on ({fault.strerror})", where=host, fix=f"give another with {option}"
        ) from fault
    return made


def tls(exposure: Exposure) -> ssl.SSLContext:
    """TLS 1.2 or newer with the certificate, which must be for every name and valid now. Raises ExposureError."""
    certificate, key = exposure.files
    _require_for(certificate, exposure.names)
    try:
        if key.stat().st_mode & 0o077:
            raise ExposureError("the certificate's key is open to other users", where=str(key), fix=f"chmod 600 {key}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as fault:
        raise ExposureError(
            f"the key does not belong to the certificate, or has a password ({fault.reason})", where=str(key), fix=_MAKE
        ) from fault
    except OSError as fault:
        raise ExposureError(f"the key cannot be read ({fault.strerror})", where=str(key), fix=_MAKE) from fault
    return context


def _require_for(path: Path, names: Sequence[str]) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        said = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except OSError as fault:
        raise ExposureError(f"the certificate cannot be read ({fault.strerror})", where=str(path), fix=_MAKE) from fault
    except (ValueError, x509.ExtensionNotFound) as fault:
        raise ExposureError("this is no server's certificate in PEM", where=str(path), fix=_MAKE) from fault
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        until = certificate.not_valid_after_utc.date()
        raise ExposureError(f"the certificate is not valid now (until {until})", where=str(path), fix=_MAKE)
    known = [one.lower() for one in said.get_values_for_type(x509.DNSName)]
    known += [str(one) for one in said.get_values_for_type(x509.IPAddress)]
    for name in (one.partition(":")[0] for one in names):
        if name not in known and f"*.{name.partition('.')[2]}" not in known:
            raise ExposureError(
                f"the certificate is not for {name!r}, so that every browser would warn",
                where=str(path),
                fix=f"use one for it, or call this machine {known[0] if known else 'otherwise'} with --name",
            )
