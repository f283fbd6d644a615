"""Which releases talk to each other."""

from __future__ import annotations

import pytest

from medquorum import __version__
from medquorum.privacy.errors import VersionError
from medquorum.privacy.versions import compatible, require_compatible


@pytest.mark.parametrize(
    ("one", "other", "talk"),
    [
        ("0.1.0", "0.1.9", True),
        ("0.1.0", "0.2.0", True),
        ("0.1.0", "0.3.0", False),
        ("1.0.0", "0.9.0", False),
        ("0.9.1", "0.10.0", True),
        ("0.2.0rc1", "0.2.0+local.3", True),
        ("0.1.0", "", False),
        ("0.1.0", "latest", False),
        ("0.1.0", "0.1.0\n", False),
        ("0.1.0", "0." + "9" * 5000, False),
    ],
)
def test_one_minor_release_apart(one: str, other: str, talk: bool) -> None:
    assert compatible(one, other) is talk
    assert compatible(other, one) is talk


def test_the_refusal_names_both_and_what_to_do() -> None:
    require_compatible(__version__, __version__, "the coordinator")
    with pytest.raises(VersionError, match=r"the node of 'a' runs medquorum 3\.0.*0\.1\.0.*MQ305"):
        require_compatible("0.1.0", "3.0", "the node of 'a'")
    with pytest.raises(VersionError, match="no version that is known here"):
        require_compatible("0.1.0", "\x1b[31mred", "the coordinator")
