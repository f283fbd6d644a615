"""A consortium in one process: honest sites with real keys, and every message of theirs in the coordinator's hands.

tests/privacy/secure_aggregation/conftest.py is a link to this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medquorum.privacy import roster as rosters
from medquorum.privacy.aggregation import Vector
from medquorum.privacy.identity import Identity, fingerprint
from medquorum.privacy.plan import PlanSite
from medquorum.privacy.secure_aggregation import Policy, SecureCoordinator, SecureSite, Terms


class Consortium:
    """n sites named a, b, c, ... with nominal counts 10, 20, ..., their identities, one roster, one vector each."""

    def __init__(self, n: int, length: int = 20, quorum: int = 0, seed: int = 1) -> None:
        self.names = tuple("abcdefghijklmnop"[:n])
        self.identities = {name: Identity.create() for name in self.names}
        first = self.names[0]
        self.roster = rosters.found("consortium", first, self.identities[first].public, at=1)
        for name in self.names[1:]:
            self.admit(name, self.identities[name])
        self.base = Terms(
            consortium="consortium",
            plan_hash=b"p" * 32,
            purpose="update",
            round=1,
            attempt=0,
            sites=tuple(PlanSite(name, 10 * (i + 1)) for i, name in enumerate(self.names)),
            quorum=quorum,
            length=length,
            value_range=1.0,
            content=b"m" * 32,
        )
        draw = np.random.default_rng(seed)
        self.vectors: dict[str, Vector] = {name: draw.normal(size=length) for name in self.names}
        self.policy = Policy()

    def admit(self, name: str, identity: Identity) -> None:
        """The admin compares six words and admits a site."""
        words = " ".join(fingerprint(identity.public))
        self.roster = rosters.admit_by_word(self.roster, name, identity.public, words, at=2)

    def terms(self, **changes: Any) -> Terms:
        return replace(self.base, **changes)

    def site(self, name: str, kind: type[SecureSite] = SecureSite, **changes: Any) -> SecureSite:
        return kind(name, self.identities[name], self.terms(**changes), self.policy, lambda: self.roster)

    def sites(self, kind: type[SecureSite] = SecureSite, **changes: Any) -> dict[str, SecureSite]:
        return {name: self.site(name, kind, **changes) for name in self.names}

    def coordinator(self, cohort: tuple[str, ...] | None = None, **changes: Any) -> SecureCoordinator:
        return SecureCoordinator(self.terms(**changes), cohort or self.names, self.roster)

    def gives(self, name: str) -> Callable[[], Vector]:
        return lambda: self.vectors[name]

    def run(
        self,
        coordinator: SecureCoordinator,
        sites: Mapping[str, SecureSite],
        killed: Mapping[str, int] | None = None,
        steps: int = 5,
    ) -> dict[str, dict[int, bytes]]:
        """Drive honest sides for some steps. killed[name] = k: the site answers k steps and is never seen again.
        Returns every answer by site and step."""
        seen: dict[str, dict[int, bytes]] = {name: {} for name in self.names}
        for step in range(steps):
            for name, payload in coordinator.requests().items():
                if (killed or {}).get(name, 5) > step:
                    seen[name][step] = sites[name].answer(payload, self.gives(name))
            coordinator.receive({name: answers[step] for name, answers in seen.items() if step in answers})
        return seen

    def plain(self, names: tuple[str, ...]) -> Vector:
        """The plain sum of these sites' vectors."""
        return np.sum([self.vectors[name] for name in names], axis=0)


@pytest.fixture(scope="session")
def consortium() -> Callable[..., Consortium]:
    """Makes consortia."""
    return Consortium
