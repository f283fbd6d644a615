"""Agreement beyond chance: published worked examples, and what must hold of any ratings."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.client.quality.agreement import MISSING, Ratings, cohen_kappa, fleiss_kappa, krippendorff_alpha

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "agreement.json").read_text())


def ratings_of(counts: list[list[int]]) -> Ratings:
    """(readers, units): for each unit so many readers chose each category; which reader chose what does not matter."""
    columns = [np.repeat(np.arange(len(row)), row) for row in counts]
    return np.stack(columns, axis=1)


def vectors(key: str) -> list[dict]:
    return [one for one in VECTORS if key in one]


@pytest.mark.parametrize("vector", vectors("alpha"), ids=lambda one: one["source"].split(":")[0])
def test_alpha_is_the_published_one(vector: dict) -> None:
    assert krippendorff_alpha(np.array(vector["ratings"])) == pytest.approx(vector["alpha"], abs=5e-4)


@pytest.mark.parametrize("vector", vectors("fleiss"), ids=lambda one: one["source"].split(",")[0])
def test_fleiss_kappa_is_the_published_one(vector: dict) -> None:
    assert fleiss_kappa(ratings_of(vector["counts"])) == pytest.approx(vector["fleiss"], abs=5e-4)


@pytest.mark.parametrize("vector", vectors("cohen"), ids=lambda one: one["source"].split(",")[0])
def test_cohen_kappa_is_the_published_one(vector: dict) -> None:
    pairs = [(a, b) for a, row in enumerate(vector["table"]) for b, times in enumerate(row) for _ in range(times)]
    one, two = np.array(pairs).T
    assert cohen_kappa(one, two) == pytest.approx(vector["cohen"], abs=1e-12)


def test_cohen_kappa_is_scikit_learns() -> None:
    from sklearn.metrics import cohen_kappa_score

    source = np.random.default_rng(1)
    for kinds in (2, 3, 5):
        one = source.integers(0, kinds, 200)
        two = np.where(source.random(200) < 0.6, one, source.integers(0, kinds, 200))
        assert cohen_kappa(one, two) == pytest.approx(cohen_kappa_score(one, two), abs=1e-12)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.integers(2, 5))
def test_full_agreement_is_one_or_undefined(units: list[int], readers: int) -> None:
    ratings = np.tile(np.array(units), (readers, 1))
    expected = math.nan if len(set(units)) == 1 else 1.0
    for found in (cohen_kappa(ratings[0], ratings[1]), fleiss_kappa(ratings), krippendorff_alpha(ratings)):
        assert found == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.tuples(*[st.integers(MISSING, 2)] * 3), min_size=1, max_size=30), st.permutations(range(3)))
def test_neither_the_order_of_readers_nor_the_names_of_categories_matter(
    units: list[tuple[int, int, int]], names: list[int]
) -> None:
    ratings = np.array(units).T
    renamed = np.where(ratings == MISSING, MISSING, np.array(names)[ratings])
    for statistic in (fleiss_kappa, krippendorff_alpha):
        found = statistic(ratings)
        assert statistic(ratings[::-1]) == pytest.approx(found, nan_ok=True)
        assert statistic(renamed) == pytest.approx(found, nan_ok=True)
        assert math.isnan(found) or -1.0 <= found <= 1.0 + 1e-12


def test_nobody_who_read_the_same_gives_no_figure() -> None:
    apart = np.array([[0, 1, MISSING, MISSING], [MISSING, MISSING, 1, 0]])
    assert math.isnan(cohen_kappa(*apart)) and math.isnan(fleiss_kappa(apart)) and math.isnan(krippendorff_alpha(apart))
    assert math.isnan(krippendorff_alpha(np.full((2, 3), MISSING)))
