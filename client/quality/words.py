"""The figures of a node's labels as sentences, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from ...models.estimate import Estimate
from .drift import Drift
from .hidden import HiddenShare
from .measured import FindingQuality, Pair, ReaderQuality, SuspectLabel
from .report import Lack

LACKS: dict[Lack, str] = {
    "readings": "Nobody has read anything yet.",
    "second_reader": "No frame has been read by two readers, so that nothing is said of agreement.",
    "proposals": "No release proposed anything before it was read, so that no label can be suspected.",
    "hidden_readings": "No label of the hidden share counts yet, so that nothing is said of calibration.",
    "hidden_proposals": "The release has not proposed for the hidden share that was read.",
    "images_for_drift": "Too few images, read or waiting, to say whether incoming ones have drifted.",
}


def finding_lines(found: FindingQuality) -> list[str]:
    """One finding's agreement."""
    said = [
        f"{found.finding}: {found.frames} frames rated, {found.twice} by two or more. Krippendorff's alpha "
        f"{figure(found.alpha)}, Fleiss' kappa {figure(found.fleiss)}."
    ]
    for pair in found.pairs:
        overlap = f", Dice where both marked it {figure(pair.dice)}" if pair.dice is not None else ""
        said.append(f"    {pair.one} and {pair.two}: kappa {figure(pair.kappa)} on {pair.frames} frames{overlap}.")
    said += _beside_model(found.blind, "read with the proposal hidden")
    said += _beside_model(found.shown, "read with the proposal shown, which pulls towards it")
    return said


def _beside_model(pairs: Sequence[Pair], how: str) -> list[str]:
    return [
        f"    {pair.one} and the model: kappa {figure(pair.kappa)} on {pair.frames} frames {how}."
        for pair in pairs
        if pair.frames
    ]


def reader_line(reader: ReaderQuality) -> str:
    """One reader's work."""
    shares = ", ".join(f"{finding} {share:.0%}" for finding, share in reader.present)
    return (
        f"{reader.reader}: {reader.frames} frames ({reader.hidden} with the proposal hidden), median "
        f"{reader.seconds:.1f} s and {reader.actions:.1f} actions a frame; present: {shares or 'nothing stated'}."
    )


def hidden_lines(found: HiddenShare) -> list[str]:
    """The hidden share: the model, and what reading by hand costs."""
    if not found.read:
        return []
    said = [
        f"Hidden share: {found.read} frames with a label that counts, the release has proposed for {found.proposed}. "
        f"By hand: {figure(found.actions)} actions and {figure(found.seconds)} s (median) a reading."
    ]
    said += [
        f"    {one.finding}: AUROC {figure(one.auroc)}, calibration error {figure(one.error)} "
        f"on {one.frames} frames of {one.patients} patients, {one.positives} with it."
        for one in found.findings
    ]
    if found.proposed:
        said.append(
            f"    Right as proposed, all findings of a frame: {figure(found.model)}; "
            f"by always giving the commoner answer: {figure(found.commoner)}."
        )
    return said


def suspect_line(suspect: SuspectLabel) -> str:
    """One suspected label."""
    return (
        f"{suspect.instance} frame {suspect.frame}: {suspect.reader} says {suspect.finding} {suspect.state}, the model "
        f"gave it {suspect.probability:.0%}."
    )


def drift_line(found: Drift) -> str:
    """One measure of incoming images."""
    verdict = "has drifted" if found.drifted else "is as before"
    return (
        f"{found.measure} {verdict}: median {found.now:.4g}, {found.before:.4g} in images already read "
        f"(distance {found.distance:.2f}, p {found.p_value:.2g})."
    )


def figure(estimate: Estimate | None) -> str:
    """A figure with its interval, or why there is none."""
    if estimate is None:
        return "undefined (too few frames, or one answer only)"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
