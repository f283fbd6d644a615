"""A node's network side on disk: the coordinator's key is pinned when the node enrols, and stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from medquorum.client.keys import create_node_key
from medquorum.client.network.errors import SettingsError, UntrustedError
from medquorum.client.network.settings import Coordinator, NetworkSettings
from medquorum.privacy.identity import Identity, fingerprint


@pytest.fixture
def settings(tmp_path: Path) -> NetworkSettings:
    made = NetworkSettings(tmp_path, create_node_key(tmp_path / "node.key"))
    made.create_keys()
    return made


def test_the_pinned_key_is_whom_the_node_believes(settings: NetworkSettings) -> None:
    with pytest.raises(SettingsError, match="not joined"):
        settings.trust()
    key = Identity.create().public
    settings.join("north", Coordinator("tests", "host:1", "", key), b"pem")
    trust = settings.trust()
    assert (trust.consortium, trust.coordinator) == ("tests", key)
    assert trust.identity.public == settings.identity().public


def test_another_key_is_not_taken_by_enrolling_again(settings: NetworkSettings) -> None:
    first, other = Identity.create().public, Identity.create().public
    settings.join("north", Coordinator("tests", "host:1", "", first), b"pem")
    settings.join("north", Coordinator("tests", "moved:1", "", first), b"pem")
    assert settings.coordinator().address == "moved:1"
    with pytest.raises(UntrustedError, match=" ".join(fingerprint(other))):
        settings.join("north", Coordinator("tests", "moved:1", "", other), b"evil")
    assert settings.trust().coordinator == first
    assert settings.authority.read_bytes() == b"pem"
