"""Certificates of our own: a private authority, and what it issues to servers and to those who may call them.

The coordinator has an authority that hospitals pin, a node one for the viewers it answers, so no public authority and
no cloud is needed. Keys are P-384 (the curve
that Flower's node authentication uses); files with a private key are made 0600 before a byte is written to them.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .errors import CertificateError

AUTHORITY_DAYS = 3650
SERVER_DAYS = 825
# A hospital's clock may run a little behind ours when the certificate is fresh.
BACKDATED = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate, its key and the authority it was issued by, as PEM files."""

    certificate: Path
    key: Path
    authority: Path


def write_private(path: Path, content: bytes) -> None:
    """Write `content` to a new 0600 file and replace `path` with it atomically."""
    scratch = path.with_suffix(path.suffix + ".new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    scratch.replace(path)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def make_authority(folder: Path, whose: str) -> Path:
    """Make a private authority in `folder` unless it is there; returns its certificate's path."""
    certificate_path, key_path = folder / "authority.pem", folder / "authority.key"
    if certificate_path.exists() and key_path.exists():
        return certificate_path
    key = ec.generate_private_key(ec.SECP384R1())
    now = datetime.datetime.now(datetime.UTC)
    name = _name(f"{whose} authority"[:64])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    write_private(key_path, _pem(key))
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate_path


def issue(folder: Path, name: str, hosts: tuple[str, ...]) -> Issued:
    """Issue a server certificate for `hosts` (DNS names or addresses) from the authority in `folder`.

    A certificate that is there already and covers the same hosts is kept. CertificateError when the authority is
    missing or `hosts` is empty.
    """
    if not hosts:
        raise CertificateError("a certificate for no host", fix="name the host that others will connect to")
    paths = Issued(folder / f"{name}.pem", folder / f"{name}.key", folder / "authority.pem")
    wanted = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
    if paths.certificate.exists() and paths.key.exists() and _covers(paths.certificate, wanted):
        return paths
    return _issue(folder, paths, hosts[0], ExtendedKeyUsageOID.SERVER_AUTH, wanted)


def issue_caller(folder: Path, into: Path, caller: str) -> Issued:
    """Issue a certificate to one who may call servers that ask for the authority in `folder`, into the folder `into`.

    It is always a new one. CertificateError when the authority is missing or the caller has no name.
    """
    if not caller:
        raise CertificateError("a certificate for nobody", fix="name who will call")
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = Issued(into / "caller.pem", into / "caller.key", into / "authority.pem")
    issued = _issue(folder, paths, caller, ExtendedKeyUsageOID.CLIENT_AUTH, None)
    paths.authority.write_bytes((folder / "authority.pem").read_bytes())
    return issued


def _issue(
    folder: Path, paths: Issued, subject: str, usage: x509.ObjectIdentifier, hosts: x509.SubjectAlternativeName | None
) -> Issued:
    if not (folder / "authority.pem").exists() or not (folder / "authority.key").exists():
        raise CertificateError("the authority is missing", where=str(folder), fix="make it first, with init")
    authority = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())
    loaded = serialization.load_pem_private_key((folder / "authority.key").read_bytes(), password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise CertificateError("the authority's key is not an elliptic-curve key", where=str(folder))
    key = ec.generate_private_key(ec.SECP384R1())
    now = datetime.datetime.now(datetime.UTC)
    issuer_key = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject[:64]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=SERVER_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), critical=False)
    )
    if hosts is not None:
        builder = builder.add_extension(hosts, critical=False)
    certificate = builder.sign(loaded, hashes.SHA384())
    write_private(paths.key, _pem(key))
    paths.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return paths


def _covers(path: Path, wanted: x509.SubjectAlternativeName) -> bool:
    """Whether the certificate at `path` names exactly the wanted hosts and has a month left."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    month = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(held) == set(wanted) and certificate.not_valid_after_utc > month


def fingerprint(certificate: Path) -> str:
    """SHA-256 of a PEM certificate, as colon-separated hexadecimal."""
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    digest = hashlib.sha256(loaded.public_bytes(serialization.Encoding.DER)).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
