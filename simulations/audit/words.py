"""What an audit says in sentences: its verdicts, and its table's rows, the same in terminal, page and audit.json."""

from __future__ import annotations

from dataclasses import dataclass

from ..report import figures
from .inversion import Inversion, Recovered
from .running import CLEAR, STRICT_DELTA, Arm, Audit

_HOW = {"bare": "bare", "private": "with clip and noise", "masked": "masked"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A sentence and whether it is what should be: a bound above a claim, or an attack that should work and did not,
    is not."""

    good: bool
    text: str


def verdicts(audit: Audit) -> tuple[Verdict, ...]:
    """Every arm's, then the inversion's."""
    found: list[Verdict] = []
    for arm in audit.arms:
        found += [_off(arm)] if arm.mode == "none" else _on(arm)
    return (*found, *_inverted(audit.inversion))


def _seeds(arm: Arm) -> str:
    return figures.count(len(arm.canaries), "seed")


def _off(arm: Arm) -> Verdict:
    least = f"lower bound on epsilon {min(arm.strict):.2f} or more over {_seeds(arm)}, at delta {STRICT_DELTA:g}"
    if arm.leaks:
        return Verdict(True, f"With DP off the audit finds leakage: {least}.")
    return Verdict(False, f"With DP off the audit does not find clear leakage ({CLEAR:g}): {least}.")


def _on(arm: Arm) -> list[Verdict]:
    told = [bound for run in arm.canaries for bound in run.bounds if bound.claim is not None]
    above = sum(bound.epsilon > bound.claim for bound in told if bound.claim is not None)
    highest = max(bound.epsilon for bound in told)
    claims = min(bound.claim for bound in told if bound.claim is not None)
    what = f"highest {highest:.2f}, lowest claim {figures.epsilon(claims)}, over {_seeds(arm)}"
    found = [
        Verdict(False, f"With DP on the canaries' bound exceeds the claim {above} times: {what}.")
        if above
        else Verdict(True, f"With DP on the canaries' bound never exceeds the claim: {what}.")
    ]
    if arm.mechanism is not None:
        one = arm.mechanism
        bound = f"{max(one.epsilon, one.epsilon_free):.4f} against {one.claim:.4f} claimed, from {one.draws:,} draws"
        found.append(
            Verdict(False, f"One step leaks more than is claimed for it: {bound}.")
            if one.refuted
            else Verdict(True, f"One step's bound stays below what is claimed for it: {bound}.")
        )
    return found


def _inverted(inversion: Inversion) -> list[Verdict]:
    found: list[Verdict] = []
    for what, many in (("mean feature", inversion.features), ("image", inversion.images)):
        for one in many:
            reached = one.similarity > 0.5 if one.how == "bare" else abs(one.similarity) > one.chance
            shown = f"similarity {one.similarity:.3f}, chance {one.chance:.3f}"
            verb = "gives the patient's" if reached else "does not give the patient's"
            # What noise leaves visible of a single patient depends on the plan's epsilon: told, not judged.
            good = reached if one.how == "bare" else (not reached or one.how == "private")
            found.append(Verdict(good, f"A single update, {_HOW[one.how]}, {verb} {what}: {shown}."))
    return found


def named(one: Recovered) -> str:
    """How the update came, for a caption."""
    return _HOW[one.how]


HEADERS = (
    "privacy", "seed", "ledger's epsilon", "bound at the plan's delta", "right / guesses",
    f"accountant at {STRICT_DELTA:g}", f"bound at {STRICT_DELTA:g}", "right / guesses",
)  # fmt: skip


def rows(audit: Audit) -> list[tuple[str, ...]]:
    """The canaries' table, a row for each arm and seed, under HEADERS."""
    found: list[tuple[str, ...]] = []
    for arm in audit.arms:
        for run in arm.canaries:
            own, strict = run.bounds
            found.append(
                (
                    "off" if arm.mode == "none" else arm.mode,
                    str(run.seed),
                    figures.NONE if run.ledger is None else figures.epsilon(run.ledger),
                    f"{own.epsilon:.2f}",
                    f"{own.right} / {own.guesses}",
                    figures.NONE if strict.claim is None else figures.epsilon(strict.claim),
                    f"{strict.epsilon:.2f}",
                    f"{strict.right} / {strict.guesses}",
                )
            )
    return found


def markdown(audit: Audit) -> str:
    """The canaries' table and the verdicts as Markdown."""
    lines = [f"| {' | '.join(HEADERS)} |", f"|{'---|' * len(HEADERS)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows(audit)]
    return "\n".join([*lines, "", *(f"- {one.text}" for one in verdicts(audit))]) + "\n"
