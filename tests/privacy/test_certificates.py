"""The coordinator's authority and server certificates."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from medquorum.privacy.certificates import fingerprint, issue, make_authority
from medquorum.privacy.errors import CertificateError


def test_private_keys_are_for_the_owner_only(tmp_path: Path) -> None:
    make_authority(tmp_path, "c")
    certificate = issue(tmp_path, "front", ("localhost",))
    for key in (tmp_path / "authority.key", certificate.key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_certificates_are_kept_while_they_fit_and_reissued_for_other_hosts(tmp_path: Path) -> None:
    make_authority(tmp_path, "c")
    first = issue(tmp_path, "front", ("a.example", "127.0.0.1")).certificate.read_bytes()
    assert issue(tmp_path, "front", ("127.0.0.1", "a.example")).certificate.read_bytes() == first
    assert issue(tmp_path, "front", ("b.example",)).certificate.read_bytes() != first


def test_the_authority_is_made_once(tmp_path: Path) -> None:
    before = fingerprint(make_authority(tmp_path, "c"))
    assert fingerprint(make_authority(tmp_path, "c")) == before


def test_openssl_accepts_the_chain(tmp_path: Path) -> None:
    make_authority(tmp_path, "c")
    certificate = issue(tmp_path, "front", ("localhost",))
    context = ssl.create_default_context(cafile=str(certificate.authority))
    context.load_cert_chain(certificate.certificate, certificate.key)
    loaded = x509.load_pem_x509_certificate(certificate.certificate.read_bytes())
    loaded.verify_directly_issued_by(x509.load_pem_x509_certificate(certificate.authority.read_bytes()))


def test_without_authority_or_host_nothing_is_issued(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="authority is missing"):
        issue(tmp_path, "front", ("localhost",))
    with pytest.raises(CertificateError, match="no host"):
        issue(tmp_path, "front", ())
