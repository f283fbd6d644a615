"""Partitions and hold-outs: whole patients, both sides of every label, the same from the same seed."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.simulations.errors import StudyError
from medquorum.simulations.partition import divide_patients, hold_out, nominal, split_patients
from medquorum.simulations.terms import SiteTerms


def terms(kind="iid", names=("A", "B", "C"), alpha=1.0, sizes=()):
    return SiteTerms(kind, names, alpha, sizes, 0.3, 10)


LABELS = st.dictionaries(
    st.text("abcdefghij0123456789", min_size=1, max_size=6),
    st.tuples(st.booleans(), st.booleans()),
    min_size=2,
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(LABELS, st.floats(0.05, 0.8), st.integers(0, 1000))
def test_a_hold_out_is_a_share_of_whole_patients_with_both_sides_of_each_label(labels, share, seed):
    held = hold_out(labels, share, seed)
    assert held == hold_out(dict(reversed(labels.items())), share, seed)
    assert held < labels.keys() and held
    for label in set(labels.values()):
        members = {patient for patient in labels if labels[patient] == label}
        if len(members) > 1:
            assert 0 < len(held & members) < len(members)
    assert abs(len(held) - share * len(labels)) <= len(set(labels.values())) + 1


def test_iid_parts_are_equal_and_sizes_in_proportion():
    labels = {f"p{n}": (n % 2 == 0,) for n in range(120)}
    iid = divide_patients(labels, terms(), seed=1)
    assert iid.keys() == labels.keys()
    assert sorted(list(iid.values()).count(site) for site in "ABC") == [40, 40, 40]
    sized = divide_patients(labels, terms("sizes", sizes=(3.0, 2.0, 1.0)), seed=1)
    assert [list(sized.values()).count(site) for site in "ABC"] == [60, 40, 20]
    assert divide_patients(labels, terms(), seed=1) == iid != divide_patients(labels, terms(), seed=2)


def test_a_dirichlet_partition_skews_labels_and_refuses_to_starve_a_hospital():
    labels = {f"p{n}": (n % 2 == 0,) for n in range(400)}

    def shares(alpha: float) -> list[float]:
        found = divide_patients(labels, terms("dirichlet", alpha=alpha), seed=3)
        return [
            sum(labels[p][0] for p in labels if found[p] == site) / sum(1 for p in labels if found[p] == site)
            for site in "ABC"
        ]

    even, skewed = shares(1000.0), shares(0.5)
    assert max(even) - min(even) < 0.1 < max(skewed) - min(skewed)
    with pytest.raises(StudyError, match="raise alpha"):
        divide_patients({f"p{n}": (True,) for n in range(9)}, terms("dirichlet", alpha=0.01), seed=0)


@given(st.integers(1, 10_000), st.integers(1, 50))
def test_a_nominal_count_is_a_multiple_and_never_zero(patients, multiple):
    found = nominal(patients, multiple)
    assert found % multiple == 0 and found >= multiple
    assert abs(found - patients) <= max(multiple / 2, multiple - patients)


@settings(max_examples=60, deadline=None)
@given(LABELS, st.floats(0.1, 0.9), st.floats(0.05, 1.0), st.integers(0, 1000))
def test_a_smaller_training_share_is_part_of_a_larger_one_and_the_hold_out_stays(labels, less, more, seed):
    small, large = (
        split_patients(labels, dataclasses.replace(terms(), train_share=share), seed) for share in sorted((less, more))
    )
    assert small.held_out == large.held_out == hold_out(labels, 0.3, seed)
    assert small.train and small.train <= large.train
    for one in (small, large):
        assert one.train | one.held_out | one.aside == labels.keys()
        assert len(one.train) + len(one.held_out) + len(one.aside) == len(labels)


def test_a_partition_by_look_orders_patients_and_never_splits_one():
    labels = {f"p{n:03}": (n % 2 == 0,) for n in range(60)}
    looks = {patient: float(int(patient[1:]) // 2) for patient in labels}
    cut = dataclasses.replace(terms("look", sizes=(1.0, 2.0, 3.0)), look="noise")
    found = divide_patients(labels, cut, 1, looks)
    assert [list(found.values()).count(site) for site in "ABC"] == [10, 20, 30]
    tops = [max(looks[p] for p in labels if found[p] == site) for site in "ABC"]
    bottoms = [min(looks[p] for p in labels if found[p] == site) for site in "ABC"]
    assert tops[0] <= bottoms[1] and tops[1] <= bottoms[2]
    assert divide_patients(labels, cut, 2, looks) == found  # no ties at the cuts: the seed moves nobody
