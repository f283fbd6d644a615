"""Suspected label errors: planted ones are found, about as well as cleanlab finds them on the same predictions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.client.quality.suspects import ranking, suspects

PATIENTS, PLANTED = 2000, 200


def planted(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels with a tenth turned over, a fair model's probabilities, and which were turned over."""
    source = np.random.default_rng(seed)
    truth = source.random(PATIENTS) < 0.3
    logits = np.where(truth, 1.6, -1.6) + 1.3 * source.standard_normal(PATIENTS)
    wrong = np.zeros(PATIENTS, bool)
    wrong[source.choice(PATIENTS, PLANTED, replace=False)] = True
    return truth ^ wrong, 1.0 / (1.0 + np.exp(-logits)), wrong


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_of_a_tenth_planted_errors_as_many_are_found_as_cleanlab_finds(seed: int) -> None:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    labels, probabilities, wrong = planted(seed)
    classes = np.stack([1.0 - probabilities, probabilities], axis=1)
    first = [one.index for one in ranking(labels, probabilities)[:PLANTED]]
    theirs = np.argsort(get_label_quality_scores(labels.astype(int), classes, method="self_confidence"))[:PLANTED]
    ours, cleanlab = wrong[first].mean(), wrong[theirs].mean()
    assert ours >= cleanlab - 0.01 and ours > 0.6
    # And those that are called suspects, of whatever number.
    called = [one.index for one in suspects(labels, probabilities)]
    issues = find_label_issues(labels.astype(int), classes, filter_by="confident_learning", n_jobs=1)
    assert wrong[called].mean() >= wrong[issues].mean() - 0.05
    assert wrong[called].sum() >= 0.9 * wrong[issues].sum()


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 1.0)), max_size=60))
def test_what_the_model_agrees_with_is_never_suspected(rows: list[tuple[bool, float]]) -> None:
    labels = np.array([label for label, _ in rows], dtype=bool)
    probabilities = np.array([probability for _, probability in rows])
    found = suspects(labels, probabilities)
    assert all(-1.0 <= one.margin <= 1.0 for one in found)
    margins = [one.margin for one in ranking(labels, probabilities)]
    assert margins == sorted(margins, reverse=True)
    perfect = suspects(labels, labels.astype(float))
    assert perfect == ()


def test_labels_of_one_class_are_not_judged() -> None:
    assert suspects(np.ones(5, bool), np.linspace(0, 1, 5)) == ()
    assert ranking(np.zeros(0, bool), np.zeros(0)) == ()
