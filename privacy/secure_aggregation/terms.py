"""What one aggregation is about: fixed before it starts, the same for everybody, and bound into every key.

All of it is public. Sizes of the ring and of a site's share of it follow from the plan's nominal counts, never from a
private one.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from .. import wire
from ..aggregation import Purpose
from ..errors import AggregationError
from ..plan import PlanSite
from .thresholds import threshold

RING = 2**32
_WHERE = "aggregation"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a site demands of every aggregation, whatever the plan says.

    minimum_cohort: the fewest sites whose sum it joins, counted at every step. Two is the least that hides anything
    from the coordinator; from each other, two sites hide nothing, hence three by default.
    """

    minimum_cohort: int = 3

    def __post_init__(self) -> None:
        if self.minimum_cohort < 2:
            raise AggregationError(
                f"a minimum cohort of {self.minimum_cohort} would open single sites' vectors",
                where="policy",
                fix="choose 3 or more",
            )


@dataclass(frozen=True, slots=True)
class Session:
    """One aggregation among one cohort. Its hash is in every signature, key and associated datum of it.

    cohort: the sites invited with their nominal patient counts, by name. length: values in a site's vector (d).
    value_range: a site's values saturate at +- value_range x its nominal patients.
    whole: the vectors hold whole numbers, which are summed as they are, modulo 2^32; nothing saturates, and
    value_range is 1 and does not matter.
    """

    consortium: str
    plan_hash: bytes
    purpose: Purpose
    round: int
    attempt: int
    cohort: tuple[PlanSite, ...]
    quorum: int
    length: int
    value_range: float
    whole: bool = False

    def __post_init__(self) -> None:
        names = self.names
        if list(names) != sorted(set(names)):
            raise AggregationError("the cohort is not a sorted list of different sites", where=_WHERE)
        threshold(len(names), self.quorum)
        if self.length < 1 or self.round < 0 or self.attempt < 0:
            raise AggregationError("length, round or attempt is out of range", where=_WHERE)
        if not (self.value_range > 0.0 and math.isfinite(self.value_range)):
            raise AggregationError(f"a value range of {self.value_range}", where=_WHERE, fix="plan one above 0")
        if self.length * len(names) >= RING // 2:
            raise AggregationError("the vector is too long for its saturations to be counted", where=_WHERE)
        if not (self.step > 0.0 and math.isfinite(1.0 / self.step)):
            raise AggregationError(f"a value range of {self.value_range} has no step", where=_WHERE, fix="enlarge it")

    @property
    def names(self) -> tuple[str, ...]:
        """The cohort's names, sorted."""
        return tuple(site.name for site in self.cohort)

    @property
    def hash(self) -> bytes:
        """SHA-256 of the canonical bytes (32 bytes)."""
        return _hash(self)

    @property
    def threshold(self) -> int:
        """The fewest sites that can open this sum."""
        return threshold(len(self.cohort), self.quorum)

    @property
    def step(self) -> float:
        """The value of one unit of the ring: such that the whole cohort at its limits, each value rounded up, stays
        strictly inside (-2^31, 2^31), so that the sum cannot wrap. 1 for whole numbers."""
        if self.whole:
            return 1.0
        patients = sum(site.patients for site in self.cohort)
        return self.value_range * patients / (RING // 2 - 1 - 2 * len(self.cohort))

    @property
    def error_bound(self) -> float:
        """The opened sum differs from the plain sum of the saturated vectors by less than this in every value: one
        step for each site's rounding, and 2^-20 of it for float64 itself. Whole numbers are exact."""
        return 0.0 if self.whole else len(self.cohort) * self.step * (1.0 + 2.0**-20)

    def limit(self, site: str) -> float:
        """Where `site`'s values saturate."""
        return self.value_range * next(one.patients for one in self.cohort if one.name == site)

    def point(self, site: str) -> int:
        """The point (from 1) at which `site` holds its shares."""
        return self.names.index(site) + 1


@functools.lru_cache(maxsize=64)
def _hash(session: Session) -> bytes:
    # Asked for at every signature of a session.
    return wire.digest(session)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a node or coordinator knows before the cohort is named.

    sites: all that the plan names; a cohort is a part of them. quorum: the plan's. content: SHA-256 of the round's
    model and settings (32 bytes) *as this party holds them*: a node computes it from what it received and never takes
    it from a message, because the comparison of this hash across the cohort is what keeps everybody on one model.
    """

    consortium: str
    plan_hash: bytes
    purpose: Purpose
    round: int
    attempt: int
    sites: tuple[PlanSite, ...]
    quorum: int
    length: int
    value_range: float
    content: bytes
    whole: bool = False

    def session(self, cohort: tuple[str, ...]) -> Session:
        """The session among these sites. AggregationError when one is not in the plan, or the cohort is too small,
        unsorted or repeats a site."""
        planned = {site.name: site for site in self.sites}
        strangers = [name for name in cohort if name not in planned]
        if strangers:
            raise AggregationError(f"sites outside the plan were invited: {', '.join(strangers)}", where=_WHERE)
        return Session(
            self.consortium,
            self.plan_hash,
            self.purpose,
            self.round,
            self.attempt,
            tuple(planned[name] for name in cohort),
            self.quorum,
            self.length,
            self.value_range,
            self.whole,
        )
