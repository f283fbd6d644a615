"""Scripted readers: what they state, draw and spend follows from their terms and the truth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from medquorum.client.annotations import Box, Mask, Proposal, Region, new_id, utc_now
from medquorum.client.store import InstanceRow
from medquorum.simulations.data import Truth
from medquorum.simulations.readers import ScriptedReader, outline, overlap
from medquorum.simulations.terms import Cost, ReaderTerms

FINDINGS = ("mass", "fluid")
ROW = InstanceRow("i1", "p1", "1.2", "CR", "", "", "", 40, 50, 1, "dicom", "a.dcm", True)
SQUARE = np.zeros((40, 50), dtype=bool)
SQUARE[10:20, 5:25] = True
TERMS = ReaderTerms(
    error_rate=0.0,
    automation_bias=0.0,
    regions="mask",
    accept_overlap=0.5,
    vertex_spacing=8.0,
    open=Cost(0.0, 2.0),
    state=Cost(1.0, 3.0),
    accept=Cost(1.0, 2.0),
    change=Cost(1.0, 3.0),
    box=Cost(2.0, 4.0),
    vertex=Cost(1.0, 1.0),
    remove=Cost(1.0, 1.5),
)


def truth(*present, mask=SQUARE):
    return Truth("a.dcm", "p1", present, lambda index: mask if present[index] else None)


def reader(**changes):
    return ScriptedReader("r", FINDINGS, dataclasses.replace(TERMS, **changes), np.random.default_rng(0))


def proposal(mass, fluid, *regions, applicable=True):
    return Proposal(
        id=new_id(),
        instance="i1",
        frame=0,
        release="ab",
        applicable=applicable,
        reason="" if applicable else "its view is LATERAL",
        probabilities=(("mass", mass), ("fluid", fluid)) if applicable else (),
        regions=regions if applicable else (),
        at=utc_now(),
    )


def test_by_hand_everything_is_stated_and_what_is_present_is_drawn():
    read = reader().by_hand(ROW, truth(True, False))
    assert dict(read.annotation.states) == {"mass": "present", "fluid": "absent"}
    (region,) = read.annotation.regions
    assert region.finding == "mass" and region.origin == "drawn"
    assert isinstance(region.shape, Mask) and (region.shape.array() == SQUARE).all()
    vertices = int(np.ceil(outline(SQUARE) / 8.0))
    assert read.cost == Cost(2.0 + vertices, 2.0 + 2 * 3.0 + vertices)
    assert (read.annotation.actions, read.wrong, read.findings) == (2 + vertices, 0, 2)
    assert read.annotation.proposal is None


def test_a_box_is_the_masks_own():
    (region,) = reader(regions="box").by_hand(ROW, truth(True, False)).annotation.regions
    assert region.shape == Box(5.0, 10.0, 25.0, 20.0)
    assert reader(regions="none").by_hand(ROW, truth(True, False)).annotation.regions == ()


def test_an_unknown_truth_is_left_unassessed():
    read = reader().by_hand(ROW, truth(None, True))
    assert dict(read.annotation.states) == {"mass": "not_assessed", "fluid": "present"}
    assert read.findings == 1
    shown = reader().with_proposal(ROW, truth(None, False), proposal(0.9, 0.1))
    assert dict(shown.annotation.states)["mass"] == "not_assessed"


def test_a_right_proposal_costs_one_acceptance():
    close = Region("mass", Mask.of(SQUARE), "proposed")
    read = reader().with_proposal(ROW, truth(True, False), proposal(0.9, 0.1, close))
    assert read.cost == Cost(1.0, 4.0) and read.wrong == 0
    assert read.annotation.regions == (close,)
    assert read.annotation.release == "ab"


def test_a_wrong_finding_is_changed_and_a_far_region_drawn_anew():
    far = Region("mass", Box(30.0, 30.0, 40.0, 38.0), "proposed")
    read = reader().with_proposal(ROW, truth(True, True), proposal(0.9, 0.1, far))
    assert dict(read.annotation.states) == {"mass": "present", "fluid": "present"}
    assert {region.origin for region in read.annotation.regions} == {"drawn"}
    vertices = 2 * int(np.ceil(outline(SQUARE) / 8.0))
    assert read.cost.actions == 1 + 1 + 1 + vertices  # accept, change fluid, remove the far box, draw both
    dropped = reader().with_proposal(ROW, truth(False, False), proposal(0.9, 0.1, far))
    assert dropped.annotation.regions == () and dropped.cost.actions == 2


def test_bias_and_errors_come_as_often_as_stated():
    biased = reader(automation_bias=0.3)
    followed = [biased.with_proposal(ROW, truth(False, False), proposal(0.9, 0.1)).wrong for _ in range(2000)]
    assert 0.25 < np.mean(followed) < 0.35
    careless = reader(error_rate=0.1)
    wrong = [careless.by_hand(ROW, truth(True, False)).wrong for _ in range(1000)]
    assert 0.08 < np.mean(wrong) / 2 < 0.12
    agreed = [careless.with_proposal(ROW, truth(True, False), proposal(0.9, 0.1)).wrong for _ in range(1000)]
    assert 0.08 < np.mean(agreed) / 2 < 0.12  # a right proposal does not make a careless reader careful


def test_a_proposal_that_is_not_applicable_is_read_by_hand():
    hand, shown = reader(), reader()
    assert (
        shown.with_proposal(ROW, truth(True, False), proposal(0, 0, applicable=False)).cost
        == hand.by_hand(ROW, truth(True, False)).cost
    )


def test_accepting_the_commoner_class_costs_a_change_wherever_it_is_wrong():
    one = reader(regions="none")
    assert one.accept_all(ROW, truth(False, False), (False, False)) == Cost(1.0, 4.0)
    assert one.accept_all(ROW, truth(True, False), (False, True)) == Cost(3.0, 10.0)


@pytest.mark.parametrize("shift", [0, 3, 30])
def test_overlap_is_intersection_over_union(shift):
    other = np.roll(SQUARE, shift, axis=1)
    inside = max(0, 20 - shift)
    assert overlap(SQUARE, other) == pytest.approx(inside / (40 - inside))
    assert overlap(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 0.0
