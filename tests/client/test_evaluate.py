"""The evaluation vector."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.client.evaluate import group_histograms, score_histograms
from medquorum.models.histograms import noised_auroc
from medquorum.models.metrics import auroc
from medquorum.privacy.evaluation import sensitivity
from medquorum.privacy.subgroups import EVERY_PATIENT, EVERYBODY, SEXES, Sex, Subgroup, Traits, overlap, parsed

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


IMAGE = st.tuples(
    st.integers(0, 5),
    st.tuples(*[st.floats(0.0, 1.0)] * 3),
    st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, NAN])] * 3),
)


@settings(max_examples=200, deadline=None)
@given(images=st.lists(IMAGE, min_size=1, max_size=20), gone=st.integers(0, 5), bins=st.integers(2, 30))
def test_removing_any_patient_moves_the_vector_by_at_most_the_stated_sensitivity(
    images: list[tuple[int, tuple[float, ...], tuple[float, ...]]], gone: int, bins: int
) -> None:
    """However many images they have and whatever is said of them; and by whole numbers, in at most a cell a finding."""
    patients = np.array([patient for patient, _, _ in images])
    scores, labels = (np.array([image[place] for image in images]) for place in (1, 2))
    kept = patients != gone
    difference = score_histograms(scores, labels, patients, bins) - score_histograms(
        scores[kept], labels[kept], patients[kept], bins
    )
    assert np.linalg.norm(difference) <= sensitivity(3)
    assert set(difference.tolist()) <= {0.0, 1.0}
    assert difference.reshape(3, -1).sum(axis=1).max() <= 1.0


LINES = st.sampled_from((0, 18, 40, 65, 80))
GROUPS = st.lists(
    st.tuples(st.sampled_from(SEXES), LINES, LINES).filter(lambda t: not 0 < t[2] <= t[1]).map(lambda t: Subgroup(*t)),
    min_size=1,
    max_size=5,
    unique=True,
)


@settings(max_examples=200, deadline=None)
@given(
    images=st.lists(IMAGE, min_size=1, max_size=20),
    traits=st.lists(st.sampled_from(EVERY_PATIENT), min_size=6, max_size=6),
    groups=GROUPS,
    gone=st.integers(0, 5),
)
def test_with_groups_too_a_patient_moves_the_vector_by_no_more_than_what_noise_and_charge_are_made_for(
    images: list[tuple[int, tuple[float, ...], tuple[float, ...]]],
    traits: list[Traits],
    groups: list[Subgroup],
    gone: int,
) -> None:
    """Whoever they are, in all groups that hold them at once, however these overlap."""
    patients = np.array([patient for patient, _, _ in images])
    scores, labels = (np.array([image[place] for image in images]) for place in (1, 2))
    kept = patients != gone
    with_all = group_histograms(scores, labels, patients, [(one, 7) for one in groups], traits)
    without = group_histograms(scores[kept], labels[kept], patients[kept], [(one, 7) for one in groups], traits)
    assert np.linalg.norm(with_all - without) <= sensitivity(3, overlap(groups)) + 1e-12
    assert set((with_all - without).tolist()) <= {0.0, 1.0}


@given(st.lists(IMAGE, min_size=1, max_size=20), st.lists(st.sampled_from(SEXES[1:]), min_size=6, max_size=6))
def test_everybody_is_the_whole_and_the_sexes_are_its_parts(
    images: list[tuple[int, tuple[float, ...], tuple[float, ...]]], sexes: list[Sex]
) -> None:
    patients = np.array([patient for patient, _, _ in images])
    scores, labels = (np.array([image[place] for image in images]) for place in (1, 2))
    groups = [(one, 7) for one in (EVERYBODY, *parsed("sex"))]
    whole, *parts = group_histograms(scores, labels, patients, groups, [Traits(sex) for sex in sexes]).reshape(4, -1)
    assert np.array_equal(whole, score_histograms(scores, labels, patients, 7))
    assert np.array_equal(whole, sum(parts))


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
    summed = noised_auroc(total[:200], total[200:], 0.0)
    pooled = auroc(scores, labels)
    assert (summed is None) == (pooled is None)
    assert summed is None or pooled is None or abs(summed[0] - pooled) < 1e-12
