"""Which images a task asks of, by what they state."""

from __future__ import annotations

from medquorum.client.applicability import why_not_applicable
from medquorum.client.store import InstanceRow
from medquorum.task import Finding, Task

FINDINGS = (Finding("opacity", "SCT", "128305008", "Opacity"), Finding("nodule", "SCT", "27925004", "Nodule"))


def test_what_the_task_names_must_be_stated() -> None:
    row = InstanceRow("i", "p", "1", "DX", "", "PA", "", 4, 4, 1, "dicom", "x", False)
    assert why_not_applicable(Task(FINDINGS, "DX"), row) == ""
    assert why_not_applicable(Task(FINDINGS, "dx", "", "pa"), row) == ""
    assert why_not_applicable(Task(FINDINGS, "DX", "CHEST"), row) == "it states no body part; the model is for CHEST"
    assert "its view is PA; the model is for AP" in why_not_applicable(Task(FINDINGS, "DX", "", "AP"), row)


def test_an_image_of_one_side_is_not_asked_about_the_other() -> None:
    left, right = FINDINGS[1].of_sides(["L", "R"])
    row = InstanceRow("i", "p", "1", "DX", "", "", "R", 4, 4, 1, "dicom", "x", False)
    assert why_not_applicable(Task((left,), "DX"), row) == "its laterality is R; the model is for the other side"
    assert why_not_applicable(Task((right,), "DX"), row) == ""
