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


def guarantee(cohort: int, quorum: int = 0) -> str:
    """One sentence for people: how many sites may drop out of a cohort, and how many may collude with impunity.

    A site's vector is the sum less everybody else's, so survivors - 1 colluding survivors always read the last one;
    to read it from the masks alone takes t colluders, or 2t - n beside a hostile coordinator.
    """
    t = threshold(cohort, quorum)
    spare = cohort - t
    may = "no site may drop out" if spare == 0 else f"{spare} of them may drop out"
    return (
        f"With {cohort} sites, {t} must stay to the end: {may}. A hostile coordinator learns only the sum as long as "
        f"fewer than {2 * t - cohort} sites collude with it; {t - 1} colluding survivors of a sum over {t} read the "
        f"one that is left, whatever the coordinator does."
    )
