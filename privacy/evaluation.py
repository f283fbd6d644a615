"""Evaluation as a private release: score histograms of held-out patients as whole numbers, with their noise.

Each held-out patient adds one to at most one cell of each finding, so adding or removing a patient moves the vector of
all histograms by at most sqrt(findings) in Euclidean norm (`sensitivity`), and by whole numbers. A site counts in units
of 1/1024 patient and adds discrete Gaussian noise N_Z(0, s^2) of Canonne, Kamath and Steinke (2020) in the same units,
before masking; the masked sum of whole numbers is exact. In mode "local" every site adds the full noise, which protects
its patients from everybody; in mode "distributed" a share, of which those of the quorum without its colluders carry
the full noise (see discrete for what either proves, lattice for the shares). Nothing is rounded and nothing is drawn
in, since the histograms are whole numbers already. The units are so fine only for the shares: sums of discrete
Gaussians of many points each are discrete Gaussians as nearly as makes no difference.

The ring of the masked sum holds 2^31 units, two million patients in one cell; more would wrap round, which spoils the
figures and protects no less.

A gate is judged by the site on a noised copy of its own histograms, so that its vote is post-processing of a charged
release. In mode "local" that copy is the contribution itself. In mode "distributed" the contribution has too little
noise to be looked at alone, so the copy is another release, with the full noise, and charged as one.

Gates on subgroups need histograms of each subgroup, and these stand in the copy (`copied`): in mode "distributed"
beside everybody's, in mode "local", where the contribution has everybody's already, alone. The copy is one release, a
vector of as many histograms as groups. A patient adds one to at most one cell of each finding of each group that holds
them, so they move the vector by at most sqrt(findings x k) with k the most groups that can hold one patient at once
(`subgroups.overlap`, counted over all that a patient can be): with A attributes asked, each by disjoint groups, sqrt(A)
beside a root of findings, and sqrt(1 + A) with everybody. The noise and the charge follow from this number.

The other way would be one joint release over the combinations of all attributes, of which a group's histogram is a sum.
Each patient is in one combination, so a cell needs only the k-th part of the noise's variance; but a group of n
combinations gathers n cells' noise. Of A attributes, each with K_b >= 2 answers (one is "not known"), a group of
attribute a is the sum of n >= prod_(b != a) K_b >= 2^(A-1) >= A combinations, and everybody of n >= 2^A >= 1 + A. So in
mode "local" separate histograms are never the noisier, and in mode "distributed" never for everybody; for groups of
sex (4 answers) and a line of age (3) they are 3 against 3 or 4. Only with a single attribute, distributed, would the
joint release have half of the variance for the groups, and 3 or 4 times that for everybody against 2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .errors import UnaccountableError
from .lattice import DIMENSIONS, Shares
from .noise import integer_gaussian
from .plan import EvaluationTerms, Gate, Mode, Plan
from .randomness import Randomness
from .subgroups import EVERYBODY, Subgroup, overlap

Vector = NDArray[np.float64]

UNIT = 1 << 10
"""Lattice points to one patient."""
SPARE = 1
"""Attempts beyond one for each evaluation that the noise is calibrated for: one lost sum does not end the figures."""
_VOTES = 2


def terms_of(plan: Plan) -> EvaluationTerms:
    """The plan's evaluation terms; UnaccountableError when it asks for none."""
    if plan.evaluation is None:
        raise UnaccountableError("the plan asks for no evaluation", where=f"plan {plan.name!r}")
    return plan.evaluation


def sensitivity(findings: int, groups: int = 1) -> float:
    """How far one patient moves the histograms of so many findings in so many groups that hold them, in patients
    (Euclidean norm)."""
    return math.sqrt(findings * groups)


def shares_for(noise_multiplier: float, findings: int, count: int, groups: int = 1) -> Shares:
    """`count` equal shares of the noise, in lattice points. groups: as many as one patient can be in."""
    return Shares(count, UNIT * noise_multiplier * sensitivity(findings, groups) / math.sqrt(count))


def share_count(plan: Plan) -> int:
    """How many shares the guarantee counts on: one in mode "local", the quorum's without the colluders' if shared."""
    return plan.quorum - plan.privacy.colluding if plan.privacy.mode == "distributed" else 1


def shares(plan: Plan) -> Shares:
    """The noise of the opened sum that the guarantee counts on."""
    return shares_for(terms_of(plan).noise_multiplier, len(plan.task.findings), share_count(plan))


def copied(mode: Mode, gate: Gate | None) -> tuple[Subgroup, ...]:
    """The groups whose histograms are in the copy on which a site judges `gate`; () where there is no copy."""
    if gate is None:
        return ()
    asked = () if gate.subgroups is None else gate.subgroups.groups
    return (EVERYBODY, *asked) if mode == "distributed" else asked


def copy_shares(plan: Plan) -> Shares:
    """The noise of the copy on which a site judges a gate: all of it, its own."""
    terms = terms_of(plan)
    groups = overlap(copied(plan.privacy.mode, terms.gate))
    return shares_for(terms.noise_multiplier, len(plan.task.findings), 1, groups)


def counted(plan: Plan, round: int) -> tuple[tuple[Subgroup, int], ...]:
    """The groups whose histograms a site makes of the model after `round`, with their bins: everybody, then the gate's
    subgroups."""
    everybody, gate = (EVERYBODY, terms_of(plan).bins), terms_of(plan).gate
    if gate is None or gate.subgroups is None or not judged(plan, round):
        return (everybody,)
    return (everybody, *((group, gate.subgroups.bins) for group in gate.subgroups.groups))


def cells(plan: Plan) -> int:
    """Values of all histograms of everybody, as (findings, 2, bins)."""
    return len(plan.task.findings) * 2 * terms_of(plan).bins


def copy_cells(plan: Plan) -> int:
    """Values of a copy: the histograms of `copied`, one group's after the other."""
    gate = terms_of(plan).gate
    asked = 0 if gate is None or gate.subgroups is None else len(gate.subgroups.groups) * gate.subgroups.bins
    everybody = cells(plan) if EVERYBODY in copied(plan.privacy.mode, gate) else 0
    return everybody + len(plan.task.findings) * 2 * asked


def length(plan: Plan) -> int:
    """Values in a site's vector: the histograms, and where there is a gate, the votes against and the votes given."""
    return cells(plan) + (_VOTES if terms_of(plan).gate is not None else 0)


def judged(plan: Plan, round: int) -> bool:
    """Whether sites look at their own figures for the gate: of the starting release, and of the last round."""
    return terms_of(plan).gate is not None and round in (0, plan.rounds)


def copies(plan: Plan, round: int) -> bool:
    """Whether judging takes a noised copy apart from the contribution."""
    return judged(plan, round) and bool(copied(plan.privacy.mode, terms_of(plan).gate))


def hidden(plan: Plan, histograms: Vector, source: Randomness) -> Vector:
    """A site's contribution (cells,) in units: whole counts (cells,) under its noise. Mode "none" adds nothing.

    The caller has charged the ledger.
    """
    return _noised(histograms, cells(plan), shares(plan) if plan.privacy.mode != "none" else None, source)


def noised_copy(plan: Plan, histograms: Vector, source: Randomness) -> Vector:
    """A copy (copy_cells,) in units of the histograms of `copied` under noise of the site's own alone.

    The caller has charged the ledger.
    """
    noise = copy_shares(plan) if plan.privacy.mode != "none" else None
    return _noised(histograms, copy_cells(plan), noise, source)


def _noised(histograms: Vector, size: int, noise: Shares | None, source: Randomness) -> Vector:
    if histograms.shape != (size,) or not bool(np.all(histograms == np.rint(histograms))):
        raise UnaccountableError("an evaluation that is not whole numbers of patients")
    if histograms.size > DIMENSIONS:
        raise UnaccountableError(
            f"an evaluation of {histograms.size} values", fix=f"ask for at most {DIMENSIONS}: fewer bins or subgroups"
        )
    scaled = UNIT * histograms
    return scaled if noise is None else scaled + integer_gaussian(scaled.size, noise.points, source)


def deviation(plan: Plan, contributors: int) -> float:
    """The standard deviation of the noise in each cell of the opened sum of so many sites, in patients."""
    if plan.privacy.mode == "none":
        return 0.0
    return shares(plan).points * math.sqrt(contributors) / UNIT


def judged_deviations(plan: Plan) -> tuple[float, ...]:
    """The standard deviation of the noise in each cell, in patients, of what a site judges: everybody's histograms,
    then each subgroup's."""
    gate, mode = terms_of(plan).gate, plan.privacy.mode
    asked = 0 if gate is None or gate.subgroups is None else len(gate.subgroups.groups)
    if mode == "none":
        return (0.0,) * (1 + asked)
    everybody = copy_shares(plan) if mode == "distributed" else shares(plan)
    return (everybody.points / UNIT, *(copy_shares(plan).points / UNIT for _ in range(asked)))


def with_votes(plan: Plan, contribution: Vector, vote: bool | None) -> Vector:
    """The contribution with the site's vote for the release (False: against, None: it did not judge)."""
    if terms_of(plan).gate is None:
        return contribution
    return np.append(contribution, [float(vote is False), float(vote is not None)])


def opened(plan: Plan, total: Vector) -> tuple[Vector, int, int]:
    """Of an opened sum: noised counts (findings, 2, bins) in patients, votes against, votes given (0 with no gate)."""
    counts = total[: cells(plan)].reshape(len(plan.task.findings), 2, terms_of(plan).bins) / UNIT
    against, given = total[cells(plan) :].astype(int) if terms_of(plan).gate is not None else (0, 0)
    return counts, int(against), int(given)
