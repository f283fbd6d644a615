"""The evaluation vector."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.client.evaluate import score_histograms
from medquorum.models.metrics import auroc, auroc_from_histograms

NAN = float("nan")


def test_a_patient_counts_once_by_their_mean_score() -> None:
    # Patient 4 has scores 0.1 and 0.8 (mean 0.45), one image present; 9 is absent; 5 has no label at all.
    probabilities = np.array([[0.1], [0.8], [0.95], [1.0], [0.3]])
    labels = np.array([[0.0], [1.0], [0.0], [0.0], [NAN]])
    patients = np.array([4, 4, 9, 9, 5])
    histogram = score_histograms(probabilities, labels, patients, 5).reshape(1, 2, 5)
    assert histogram[0, 0].tolist() == [0, 0, 0, 0, 1]
    assert histogram[0, 1].tolist() == [0, 0, 1, 0, 0]


def test_nobody_to_measure_gives_zeros() -> None:
    empty = score_histograms(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, dtype=np.int64), 4)
    assert empty.tolist() == [0.0] * 24


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 199), st.booleans()), min_size=2, max_size=40), st.integers(1, 5))
def test_sites_histograms_add_up_to_the_pooled_auroc(rows: list[tuple[int, bool]], sites: int) -> None:
    """Scores in the middle of their bins lose nothing, so the sum over sites gives the exact AUROC."""
    scores = np.array([(score + 0.5) / 200 for score, _ in rows])
    labels = np.array([float(present) for _, present in rows])
    total = np.zeros(400)
    for site in range(sites):
        mine = np.arange(len(rows)) % sites == site
        total += score_histograms(scores[mine, None], labels[mine, None], np.flatnonzero(mine), 200)
    summed = auroc_from_histograms(*total.reshape(2, 200))
    pooled = auroc(scores, labels)
    assert (summed is None) == (pooled is None)
    assert summed is None or pooled is None or abs(summed - pooled) < 1e-12
