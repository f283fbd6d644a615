"""Sites that vanish: as long as the threshold holds exactly the survivors' sum opens, below it nothing does."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

from medquorum.privacy.secure_aggregation import QuorumLostError, guarantee, threshold
from medquorum.privacy.secure_aggregation.thresholds import colluders

# A site killed before answering step 3 (index 2) is no survivor; one killed later has left its vector behind.
VECTOR_STEP = 2


@pytest.fixture(scope="module")
def five(consortium: Any) -> Any:
    return consortium(5)


def outcome(group: Any, killed: dict[str, int]) -> Any:
    coordinator = group.coordinator()
    try:
        group.run(coordinator, group.sites(), killed)
    except QuorumLostError:
        assert coordinator.opened is None
        assert coordinator.requests() == {}
        return None
    return coordinator.opened


def check_exact(group: Any, opened: Any, survivors: tuple[str, ...]) -> None:
    assert opened.survivors == survivors
    clipped = [np.clip(group.vectors[s], -1.0 * 10 * (i + 1), 10.0 * (i + 1)) for i, s in enumerate(group.names)]
    plain = np.sum([v for s, v in zip(group.names, clipped, strict=True) if s in survivors], axis=0)
    bound = group.base.session(group.names).error_bound
    assert np.abs(opened.total - plain).max() < bound
    # The bound is fine enough to tell the survivors' sum from any other.
    assert bound < 1e-5


def test_every_site_killed_at_every_step_leaves_the_survivors_sum(five: Any) -> None:
    for site, step in product(five.names, range(6)):
        opened = outcome(five, {site: step})
        gone = {site} if step <= VECTOR_STEP else set()
        check_exact(five, opened, tuple(name for name in five.names if name not in gone))


def test_every_two_sites_killed_at_all_steps_open_nothing(five: Any) -> None:
    for (one, other), (k, m) in product(combinations(five.names, 2), product(range(5), repeat=2)):
        assert outcome(five, {one: k, other: m}) is None, (one, k, other, m)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [3, 4, 5])
def test_every_larger_set_of_sites_killed_at_early_middle_and_late_steps_opens_nothing(five: Any, lost: int) -> None:
    for sites in combinations(five.names, lost):
        for steps in product((0, VECTOR_STEP, 4), repeat=lost):
            assert outcome(five, dict(zip(sites, steps, strict=True))) is None, (sites, steps)


def test_three_sites_tolerate_none_and_say_so(consortium: Any) -> None:
    three = consortium(3)
    check_exact(three, outcome(three, {}), three.names)
    for site, step in product(three.names, range(5)):
        assert outcome(three, {site: step}) is None
    assert "none may drop out" in guarantee(3)
    coordinator = three.coordinator()
    with pytest.raises(QuorumLostError, match=r"2 of 3 sites are left and 3 are needed.*missing: b"):
        three.run(coordinator, three.sites(), {"b": 1})


@pytest.mark.parametrize(("n", "dropped"), [(4, 1), (6, 1), (7, 2), (10, 3)])
def test_larger_cohorts_tolerate_what_the_threshold_says(consortium: Any, n: int, dropped: int) -> None:
    group = consortium(n)
    assert n - threshold(n) == dropped
    last = group.names[-dropped:]
    opened = outcome(group, {name: step for step, name in enumerate(last)})
    check_exact(group, opened, group.names[:-dropped])
    assert outcome(group, dict.fromkeys(group.names[-dropped - 1 :], VECTOR_STEP)) is None


def test_thresholds() -> None:
    assert [threshold(n) for n in range(2, 11)] == [2, 3, 3, 4, 5, 5, 6, 7, 7]
    for n in range(2, 200):
        t = threshold(n)
        assert 3 * t > 2 * n >= 3 * (t - 1)
        assert colluders(n) == min(2 * t - n - 1, t - 2)
    assert threshold(5, quorum=5) == 5
    assert "one may drop out" in guarantee(5)
    assert "2 colluding sites" in guarantee(3)


def test_a_site_back_too_late_is_not_waited_for(five: Any) -> None:
    sites, coordinator = five.sites(), five.coordinator()
    requests = coordinator.requests()
    answers = {name: sites[name].answer(payload, five.gives(name)) for name, payload in requests.items()}
    late = answers.pop("e")
    coordinator.receive(answers)
    assert "e" not in coordinator.requests()
    with pytest.raises(Exception, match="not asked"):
        coordinator.receive({"e": late})


def test_a_site_that_answers_badly_counts_as_dropped_and_is_named(five: Any) -> None:
    for step in range(5):
        sites, coordinator = five.sites(), five.coordinator()
        for at in range(5):
            answers = {n: sites[n].answer(p, five.gives(n)) for n, p in coordinator.requests().items()}
            if at == step:
                answers["c"] = answers["c"][:-1]
            coordinator.receive(answers)
        assert set(coordinator.faults) == {"c"}
        check_exact(five, coordinator.opened, tuple(n for n in five.names if n != "c" or step > VECTOR_STEP))


def test_a_false_share_is_passed_over(five: Any) -> None:
    from medquorum.privacy import wire
    from medquorum.privacy.secure_aggregation.steps import Unmasking

    sites, coordinator = five.sites(), five.coordinator()
    for step in range(5):
        answers = {n: sites[n].answer(p, five.gives(n)) for n, p in coordinator.requests().items()}
        if step == 4:
            honest = wire.decode(Unmasking, answers["b"])
            answers["b"] = wire.encode(Unmasking(tuple((n, bytes(33)) for n, _ in honest.seeds), honest.masking))
        coordinator.receive(answers)
    check_exact(five, coordinator.opened, five.names)
