"""Whether a task asks of an image at all, by the kind of image that it states to be."""

from __future__ import annotations

from typing import Protocol

from ..task import Task


class Kind(Protocol):
    """What an image states about its kind. laterality: "L" or "R" of an image of one side, else "B" or ""."""

    @property
    def modality(self) -> str: ...
    @property
    def body_part(self) -> str: ...
    @property
    def view(self) -> str: ...
    @property
    def laterality(self) -> str: ...


def why_not_applicable(task: Task, image: Kind) -> str:
    """Why the task does not ask of this image, or "" when it does.

    What the task leaves empty accepts anything; what it names must be stated by the image and equal.
    """
    for name, wanted, found in (
        ("modality", task.modality, image.modality),
        ("body part", task.body_part, image.body_part),
        ("view", task.view, image.view),
    ):
        if wanted and wanted.upper() != found.upper():
            stated = f"its {name} is {found}" if found else f"it states no {name}"
            return f"{stated}; the model is for {wanted}"
    if not task.asked(image.laterality):
        return f"its laterality is {image.laterality}; the model is for the other side"
    return ""
