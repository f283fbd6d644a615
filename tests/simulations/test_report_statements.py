"""Sentences: each direction, its doubt, and the baseline beside every saving."""

from __future__ import annotations

import dataclasses

import pytest

from medquorum.simulations.report import figures, statements
from medquorum.simulations.results import Estimate


def test_the_headline_gives_both_intervals_and_admits_their_overlap(make_result):
    result = make_result()
    assert statements.headline(result) == (
        "4\xa0hospitals with 330\xa0patients trained one model together: the AUROC of its proposals went from "
        "0.51 (0.48–0.53) to 0.87 (0.85–0.89)."
    )
    close = dataclasses.replace(result, federated=Estimate(0.55, 0.50, 0.60))
    assert statements.headline(close).endswith("0.55 (0.50–0.60); the 95 % intervals overlap.")
    assert "cannot be measured" in statements.headline(dataclasses.replace(result, federated=None))
    assert "have an AUROC of 0.87" in statements.headline(dataclasses.replace(result, auroc_before=None))


@pytest.mark.parametrize(
    ("federated", "said"),
    [
        (Estimate(0.9, 0.88, 0.92), "is above the best that a hospital"),
        (Estimate(0.6, 0.58, 0.62), "is below the best that a hospital"),
        (Estimate(0.6461, 0.6, 0.7), "equals the best that a hospital"),
    ],
)
def test_the_best_hospital_alone_is_named_whoever_wins(make_result, federated, said):
    sentence = statements.comparisons(dataclasses.replace(make_result(), federated=federated))[0]
    assert said in sentence and "Harbour, 0.65 (0.60–0.68)" in sentence
    assert ("intervals overlap" in sentence) == (federated.low <= 0.677 and federated.high >= 0.605)


def test_effort_is_never_stated_without_its_baseline(make_result):
    result = make_result()
    sentence = statements.comparisons(result)[2]
    assert "needed 47\xa0% fewer actions" in sentence and "they would have needed 29\xa0% fewer actions" in sentence
    assert "4.5\xa0% ended wrong with proposals, and 5.0\xa0% by hand" in sentence
    worse = tuple(
        dataclasses.replace(site, effort=dataclasses.replace(site.effort, actions=2 * site.effort.by_hand_actions))
        for site in result.sites
    )
    assert "needed 100\xa0% more actions" in statements.comparisons(dataclasses.replace(result, sites=worse))[2]


def test_notices_and_guarantee_follow_the_study(make_result):
    result = make_result()
    assert len(statements.notices(result)) == 3
    assert len(statements.notices(dataclasses.replace(result, synthetic=False, aggregation="secure"))) == 1
    assert any("adding or removing one patient" in said for said in statements.guarantee(result))
    (none,) = statements.guarantee(dataclasses.replace(result, mode="none"))
    assert "no differential privacy" in none


def test_quarantine_is_counted_by_reason_whatever_its_numbers(make_result):
    files = (("a", "holds 7 of 9 bytes"), ("b", "empty"), ("c", "holds 8 of 9 bytes"), ("d", "blank"), ("e", "blank"))
    site = dataclasses.replace(make_result().sites[0], quarantined=(*files, ("f", "blank")))
    assert statements.quarantine_counts(site) == [("blank", 3), ("holds 7 of 9 bytes, and alike", 2), ("empty", 1)]


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_960, "100 kB"),
        (999_600, "1.0 MB"),
        (5_040_000, "5.0 MB"),
        (2 * 10**12, "2000 GB"),
    ],
)
def test_sizes(count, written):
    assert figures.size(count) == written.replace(" ", "\xa0")


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (99.4, "99 s"), (99.6, "1 min 40 s"), (3599.7, "1 h 0 min"), (float("nan"), "–")],
)
def test_durations(seconds, written):
    assert figures.duration(seconds) == written.replace(" ", "\xa0")


def test_an_epsilon_is_never_stated_smaller_than_it_is():
    assert (
        figures.epsilon(7.9301) == "7.94" and figures.epsilon(7.93) == "7.93" and figures.epsilon(float("inf")) == "∞"
    )
    assert figures.percent(-0.004) == "0\xa0%" and figures.percent(float("nan")) == "–"


def test_shared_noise_says_against_whom_and_what_more_colluders_would_learn(make_result):
    shared = dataclasses.replace(make_result(), mode="distributed", colluding=1, collusions=(8.0, 10.512, 14.9))
    said = " ".join(statements.notices(shared))
    assert "epsilon of 8.00 holds against the coordinator together with one hospital" in said
    assert "10.51 with 2, 14.90 with 3" in said
    assert any("only the sum over at least the quorum is private" in line for line in statements.guarantee(shared))
    assert statements.mode(shared).startswith("distributed, adding or removing one patient, against the coordinator")
    alone = dataclasses.replace(shared, colluding=0, collusions=(8.0,))
    assert "holds against the coordinator." in " ".join(statements.notices(alone))
    assert statements.mode(make_result()) == "local, adding or removing one patient, against everyone"
    assert "shared" not in " ".join(statements.notices(make_result()))
