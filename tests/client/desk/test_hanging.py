"""How a study hangs: the order of views, sides and slices, and letters only where the file says them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from medquorum.client.desk.hanging import hung, orientation, stacks
from medquorum.client.store import InstanceRow
from medquorum.client.store.desk import DeskRow


def row(
    number: int, view: str = "", side: str = "", modality: str = "DX", frames: int = 1, series: str = "s"
) -> DeskRow:
    """The image that arrived as `number`, named by it."""
    image = InstanceRow(
        str(number), "p", f"1.{number}", modality, "CHEST", view, side, 9, 9, frames, "dicom", f"{number}.dcm", False
    )
    return DeskRow(image, "study", "20260101", number, series)


def names(rows: list[DeskRow]) -> list[str]:
    """View and side of each."""
    return [f"{one.image.view} {one.image.laterality}".strip() for one in rows]


def test_a_chest_hangs_frontal_then_lateral() -> None:
    assert names(hung([row(1, "LL"), row(2, "PA")], {})) == ["PA", "LL"]
    assert names(hung([row(1, "LATERAL"), row(2, "AP"), row(3, "LL")], {})) == ["AP", "LATERAL", "LL"]


def test_a_mammogram_hangs_mlo_before_cc_and_right_before_left() -> None:
    arrived = [row(1, "CC", "L", "MG"), row(2, "MLO", "L", "MG"), row(3, "CC", "R", "MG"), row(4, "MLO", "R", "MG")]
    assert names(hung(arrived, {})) == ["MLO R", "MLO L", "CC R", "CC L"]


@given(st.permutations(range(8)))
def test_slices_come_by_series_and_instance_number_however_they_arrived(order: list[int]) -> None:
    rows = [row(place, modality="CT", series=f"r{number // 4}") for place, number in enumerate(order, 1)]
    numbers = {str(place): (number // 4, number % 4) for place, number in enumerate(order, 1)}
    assert [numbers[one.image.id] for one in hung(rows, numbers)] == sorted(numbers.values())
    assert [one.number for one in hung(rows, {})] == list(range(1, 9))


def test_a_stack_is_of_one_series_size_view_and_side_or_a_film_of_its_own() -> None:
    slices = [row(number, modality="CT") for number in (1, 2, 3)]
    film, again = row(4, frames=9, modality="US"), row(5, frames=9, modality="US")
    assert stacks([*slices, film, again, row(6, modality="CT", series="t")]) == [0, 0, 0, 1, 2, 3]
    assert stacks([row(1, "PA"), row(2, "LL")]) == [0, 1]


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PatientOrientation": ["L", "F"]}, ("L", "F")),
        ({"PatientOrientation": ["A", "FR"]}, ("A", "FR")),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, ("L", "P")),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, ("P", "F")),
        ({"ImageOrientationPatient": [0.9, 0.436, 0, 0, 0, -1]}, ("LP", "F")),
        ({"PatientOrientation": ["L"], "ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]}, ("R", "A")),
        ({"PatientOrientation": ["<b>", "F"]}, None),
        ({"PatientOrientation": ["LE", "RT"]}, None),  # a quadruped's
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, None),
        ({"ImageOrientationPatient": [1, 0, 0]}, None),
        ({}, None),
    ],
)
def test_letters_are_the_file_s_own_or_none(elements: dict[str, Any], expected: tuple[str, str] | None) -> None:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    assert orientation(made, 0) == expected


def test_an_enhanced_image_states_the_plane_of_each_frame() -> None:
    def group(*cosines: int) -> Dataset:
        plane, found = Dataset(), Dataset()
        plane.ImageOrientationPatient = list(cosines)
        found.PlaneOrientationSequence = [plane]
        return found

    made = Dataset()
    made.PerFrameFunctionalGroupsSequence = [group(1, 0, 0, 0, 1, 0), group(0, 1, 0, 0, 0, -1)]
    assert [orientation(made, frame) for frame in (0, 1, 2)] == [("L", "P"), ("P", "F"), None]
    made.PerFrameFunctionalGroupsSequence = [Dataset()]
    made.SharedFunctionalGroupsSequence = [group(-1, 0, 0, 0, 1, 0)]
    assert orientation(made, 0) == ("R", "P")
