"""How many sites must stay to the end, and what that protects against.

With t > 2n/3, two different survivor lists can both be signed by t sites only if more than n/3 of them sign twice,
which honest sites do not (Bonawitz et al. 2017, section 6.2, active adversary).
"""

from __future__ import annotations

from ..errors import AggregationError


def threshold(cohort: int, quorum: int = 0) -> int:
    """The least t with t > 2n/3, or the plan's quorum where that is higher. n = `cohort` >= 2 sites.

    n = 3 -> 3, 4 -> 3, 5 -> 4, 6 -> 5, 7 -> 5, 10 -> 7. AggregationError for a cohort of one or a quorum above n.
    """
    if cohort < 2:
        raise AggregationError(
            f"a cohort of {cohort} has no sum to hide in", where="aggregation", fix="invite at least three sites"
        )
    if quorum > cohort:
        raise AggregationError(
            f"a quorum of {quorum} among {cohort} sites", where="aggregation", fix="invite more sites, or plan less"
        )
    return max(2 * cohort // 3 + 1, quorum)


def colluders(cohort: int, quorum: int = 0) -> int:
    """How many sites may collude with a hostile coordinator while the others' vectors stay hidden in their sum.

    c < 2t - n, or else two survivor lists can be signed; c <= t - 2, or else the sum less their own is one vector.
    """
    t = threshold(cohort, quorum)
    return min(2 * t - cohort - 1, t - 2)


def guarantee(cohort: int, quorum: int = 0) -> str:
    """Two sentences for people: how many sites of a cohort may drop out, and how many may collude."""
    t = threshold(cohort, quorum)
    may = {0: "none may drop out", 1: "one may drop out"}.get(cohort - t, f"{cohort - t} may drop out")
    c = colluders(cohort, quorum)
    with_sites = f", together with up to {c} of the sites," if c else ""
    return (
        f"Of {cohort} sites, {t} must stay to the end: {may}. A hostile coordinator{with_sites} learns only the sum of "
        f"the other sites' vectors; {c + 1} colluding sites may read a single one."
    )
