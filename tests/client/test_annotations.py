"""Regions, proposals and annotations refuse what contradicts itself, and masks survive packing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from medquorum.client.annotations import Annotation, Box, Mask, Proposal, Region
from medquorum.client.errors import AnnotationError
from medquorum.client.store.coding import (
    microseconds,
    moment,
    pack_annotation,
    pack_proposal,
    unpack_annotation,
    unpack_proposal,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

masks = npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, max_side=40)).map(Mask.of)
corners = st.floats(0, 5000, allow_nan=False).flatmap(
    lambda low: st.tuples(st.just(low), st.floats(low, 6000, exclude_min=True, allow_nan=False))
)
boxes = st.builds(lambda x, y: Box(x[0], y[0], x[1], y[1]), corners, corners)
findings = st.sampled_from(["pneumonia", "effusion", "nodule"])
regions = st.builds(Region, findings, st.one_of(masks, boxes), st.sampled_from(["proposed", "drawn"]))
moments = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


def proposal(**changes: Any) -> Proposal:
    return replace(
        Proposal("p1", "i1", 0, "ab" * 32, True, "", (("pneumonia", 0.7),), (), NOW),
        **changes,
    )


def annotation(**changes: Any) -> Annotation:
    return replace(
        Annotation("a1", "i1", 0, "dr b", NOW, None, None, (("pneumonia", "present"),), (), 1, 2.5, None), **changes
    )


@given(npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_a_mask_comes_back_as_it_was(array: np.ndarray[Any, Any]) -> None:
    mask = Mask.of(array)
    assert mask.array().dtype == np.bool_
    assert np.array_equal(mask.array(), array)
    assert Mask.of(mask.array()) == mask


def test_a_mask_is_packed_row_by_row_from_the_top_left() -> None:
    array = np.zeros((2, 9), np.bool_)
    array[0, 0] = array[1, 8] = True
    assert Mask.of(array).bits == bytes([0b10000000, 0b00000000, 0b01000000])


@pytest.mark.parametrize(
    ("rows", "columns", "bits", "says"),
    [
        (0, 5, b"", "0 x 5"),
        (2, 9, b"\x00\x00", "3 bytes"),
        (1, 4, b"\x0f", "padding"),
    ],
)
def test_a_mask_with_wrong_bits_is_refused(rows: int, columns: int, bits: bytes, says: str) -> None:
    with pytest.raises(AnnotationError, match=says):
        Mask(rows, columns, bits)


@pytest.mark.parametrize("array", [np.zeros((2, 2)), np.zeros((1, 2, 2), np.bool_)])
def test_a_mask_is_made_of_two_dimensional_booleans_only(array: Any) -> None:
    with pytest.raises(AnnotationError, match="2-D boolean"):
        Mask.of(array)


def test_a_box_covers_the_pixels_whose_centres_it_holds() -> None:
    covered = Box(1.0, 0.4, 3.0, 1.6).mask(3, 5)
    assert covered.tolist() == [
        [False, True, True, False, False],
        [False, True, True, False, False],
        [False, False, False, False, False],
    ]


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 1), (2, 0, 1, 1), (-1, 0, 1, 1), (0, float("nan"), 1, 1), (0, 0, float("inf"), 1)]
)
def test_an_impossible_box_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(AnnotationError, match="Fix"):
        Box(*box)


@given(
    probabilities=st.dictionaries(findings, st.floats(0, 1)).map(lambda d: tuple(d.items())),
    shapes=st.lists(regions, max_size=3).map(tuple),
    frame=st.integers(0, 500),
    at=moments,
)
def test_a_proposal_survives_its_bytes(probabilities: Any, shapes: Any, frame: int, at: datetime) -> None:
    said = proposal(probabilities=probabilities, regions=shapes, frame=frame, at=at)
    back = unpack_proposal(pack_proposal(said), said.id, said.instance, frame, said.release, microseconds(at))
    assert back == said


@given(
    states=st.dictionaries(findings, st.sampled_from(["present", "absent", "uncertain", "not_assessed"]), min_size=3),
    shapes=st.lists(regions, max_size=3).map(tuple),
    reader=st.text(min_size=1),
    seconds=st.floats(0, 1e6),
    at=moments,
)
def test_an_annotation_survives_its_bytes(states: Any, shapes: Any, reader: str, seconds: float, at: datetime) -> None:
    said = annotation(states=tuple(states.items()), regions=shapes, reader=reader, seconds=seconds, at=at)
    back = unpack_annotation(pack_annotation(said), said.id, said.instance, 0, None, None, microseconds(at))
    assert back == said


@given(moments)
def test_times_are_kept_to_the_microsecond(at: datetime) -> None:
    assert moment(microseconds(at)) == at


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"probabilities": (("pneumonia", 1.5),)}, "1.5"),
        ({"probabilities": (("pneumonia", float("nan")),)}, "nan"),
        ({"probabilities": (("pneumonia", 0.5), ("pneumonia", 0.6))}, "twice"),
        ({"applicable": False, "reason": "a CT"}, "not applicable"),
        ({"applicable": False, "probabilities": ()}, "no reason"),
        ({"release": ""}, "release"),
        ({"frame": -1}, "frame -1"),
        ({"at": datetime(2026, 1, 1)}, "UTC"),
        ({"at": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=8)))}, "UTC"),
        ({"id": ""}, "id"),
    ],
)
def test_a_contradictory_proposal_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(AnnotationError, match=says):
        proposal(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"states": (("pneumonia", "maybe"),)}, "maybe"),
        ({"states": (("pneumonia", "present"), ("pneumonia", "absent"))}, "twice"),
        ({"regions": (Region("nodule", Box(0, 0, 1, 1), "drawn"),)}, "nothing is stated"),
        ({"reader": ""}, "reader"),
        ({"actions": -1}, "-1 actions"),
        ({"seconds": float("inf")}, "inf"),
        ({"release": "ab"}, "shown"),
        ({"proposal": "p1"}, "shown"),
    ],
)
def test_a_contradictory_annotation_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(AnnotationError, match=says):
        annotation(**changes)


def test_an_annotation_that_assesses_nothing_says_so() -> None:
    assert annotation().assessed
    assert not annotation(states=(("pneumonia", "not_assessed"),)).assessed
    with pytest.raises(AnnotationError, match="origin"):
        Region("nodule", Box(0, 0, 1, 1), "guessed")  # pyright: ignore[reportArgumentType] # what is tested
