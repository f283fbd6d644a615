"""The coordinator's identity: made once, sealed, for the operator's user only, and published."""

from __future__ import annotations

from pathlib import Path

import pytest

from medquorum.privacy import wire
from medquorum.privacy.enrolment import ConsortiumList
from medquorum.privacy.errors import CertificateError, IdentityError
from medquorum.server.network.consortium import Consortium
from medquorum.server.network.identity import create_identity, load_identity


def test_it_is_made_once_and_published(tmp_path: Path) -> None:
    consortium = Consortium.create(tmp_path, "tests")
    key = load_identity(tmp_path).public
    assert consortium.key == key == Consortium.create(tmp_path, "tests").key == create_identity(tmp_path)
    assert wire.decode(ConsortiumList, consortium.listing()).key == key
    assert all((tmp_path / name).stat().st_mode & 0o077 == 0 for name in ("identity", "identity.secret"))


def test_without_its_secret_or_open_to_others_it_does_not_load(tmp_path: Path) -> None:
    create_identity(tmp_path)
    secret = tmp_path / "identity.secret"
    secret.chmod(0o640)
    with pytest.raises(CertificateError, match="others may read"):
        load_identity(tmp_path)
    secret.chmod(0o600)
    secret.write_bytes(bytes(32))
    with pytest.raises(IdentityError, match="does not open"):
        load_identity(tmp_path)
    secret.unlink()
    with pytest.raises(CertificateError, match="bring it back"):
        load_identity(tmp_path)
