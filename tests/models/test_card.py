"""Cards: canonical JSON, strictly read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.models.card import Architecture, InputTransform, ModelCard, TrainingRecord
from medquorum.models.errors import CardError
from medquorum.task import Finding, Task

TASK = Task((Finding("pneumonia", "SCT", "233604007", "Pneumonia"),), "DX", "CHEST", "PA")
CARD = ModelCard(
    TASK,
    Architecture("small", "random", False, 32, "lse", 5.0),
    InputTransform(128, 0.5, 0.25),
    (1.5,),
    (
        TrainingRecord(
            "first",
            "ab" * 32,
            12,
            ("north", "south"),
            (100, 60),
            "local",
            8.0,
            1e-5,
            "plain",
            True,
            "add_or_remove_one_patient",
            1,
        ),
    ),
)


def test_json_round_trip_is_exact_and_canonical() -> None:
    text = CARD.to_json()
    assert ModelCard.from_json(text) == CARD
    assert ModelCard.from_json(text).to_json() == text
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text


@given(st.floats(1e-3, 1e3), st.floats(-10, 10), st.text(min_size=1, max_size=20))
def test_any_figure_and_text_survives(temperature: float, mean: float, meaning: str) -> None:
    card = replace(
        CARD,
        task=Task((Finding("a", "99X", "1", meaning),), "MR"),
        temperatures=(temperature,),
        transform=InputTransform(64, mean, 1.0),
    )
    text = card.to_json()
    assert text.isascii()
    assert ModelCard.from_json(text) == card


def damaged(path: list[str | int], value: Any) -> str:
    data = json.loads(CARD.to_json())
    place = data
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["format"], "medquorum-card-9", "medquorum-card-9"),
        (["colour"], 1, "unknown key 'colour'"),
        (["task", "colour"], 1, "unknown key 'colour'"),
        (["training", 0, "colour"], 1, "unknown key 'colour'"),
        (["task", "findings", 0, "colour"], 1, "unknown key 'colour'"),
        (["temperatures"], None, "card.temperatures is missing"),
        (["temperatures"], ["hot"], "card.temperatures.0 is not a number"),
        (["temperatures"], [1.0, 1.0], "2 temperatures for 1 findings"),
        (["temperatures"], [0.0], "not above 0"),
        (["transform", "size"], 128.0, "card.transform.size is not a whole number"),
        (["transform", "size"], True, "card.transform.size is not a whole number"),
        (["transform", "size"], 100, "input size of 100"),
        (["transform", "size"], 1 << 40, "input size"),
        (["transform", "std"], 0, "std"),
        (["architecture", "backbone"], "vgg", "backbone 'vgg'"),
        (["architecture", "weights"], "packaged", "weights 'packaged' for small"),
        (["architecture", "pooling"], "max", "pooling 'max'"),
        (["architecture", "frozen"], True, "a frozen small with random weights"),
        (["architecture", "frozen"], 1, "not true or false"),
        (["architecture", "width"], 1 << 30, "width"),
        (["architecture", "sharpness"], -1.0, "sharpness"),
        (["training", 0, "plan_hash"], "xyz", "plan hash"),
        (["training", 0, "sites"], ["north"], "2 nominal counts for 1 sites"),
        (["training", 0, "rounds"], -1, "-1 rounds"),
        (["training", 0, "epsilon"], -8.0, "privacy figure"),
        (["task", "findings"], [], "asks for no finding"),
        (["task", "findings", 0], "pneumonia", "is not an object"),
        (["task", "modality"], "", "no modality"),
    ],
)
def test_a_damaged_card_is_refused_by_key(path: list[str | int], value: Any, named: str) -> None:
    with pytest.raises(CardError, match=named) as caught:
        ModelCard.from_json(damaged(path, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "NaN", "[" * 100_000, '{"format": NaN}', CARD.to_json().replace("1.5", "Infinity")]
)
def test_what_is_not_a_card_is_refused(text: str) -> None:
    with pytest.raises(CardError):
        ModelCard.from_json(text)


def test_efficientnet_must_be_frozen() -> None:
    with pytest.raises(CardError, match="not frozen"):
        Architecture("efficientnet_lite0", "packaged", False, 32, "lse", 5.0)


def test_fine_maps_are_of_a_frozen_backbone() -> None:
    frozen = Architecture("efficientnet_lite0", "packaged", True, 32, "lse", 5.0)
    fine = replace(CARD, architecture=replace(frozen, fine=True))
    assert ModelCard.from_json(fine.to_json()) == fine
    assert "fine" not in json.loads(CARD.to_json())["architecture"]
    for change in ({"trained_blocks": 1}, {"backbone": "small", "weights": "random", "frozen": False}):
        with pytest.raises(CardError, match="fine maps of a backbone that is trained"):
            replace(frozen, fine=True, **change)  # pyright: ignore[reportArgumentType]


def sided() -> ModelCard:
    return replace(CARD, task=Task(TASK.findings[0].of_sides(["L", "R"]), "DX"), temperatures=(1.0, 2.0))


def test_a_card_says_the_side_and_one_without_sides_stays_as_it_was() -> None:
    text = sided().to_json()
    assert ModelCard.from_json(text) == sided() and ModelCard.from_json(text).to_json() == text
    assert [one["laterality"] for one in json.loads(text)["task"]["findings"]] == ["L", "R"]
    # A release from before there were sides keeps its bytes, and with them its hash.
    assert set(json.loads(CARD.to_json())["task"]["findings"][0]) == {"key", "scheme", "code", "meaning"}
    with pytest.raises(CardError, match="of the side 'B'"):
        ModelCard.from_json(text.replace('"laterality":"L"', '"laterality":"B"'))


def test_sides_do_not_exclude_each_other() -> None:
    with pytest.raises(CardError, match="a side of a finding that excludes the others"):
        replace(sided(), architecture=replace(CARD.architecture, exclusive=True))
