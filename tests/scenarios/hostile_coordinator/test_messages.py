"""Messages that no honest coordinator sends: stale, truncated, duplicated, reordered, oversized, altered and random, at
every step. Whatever comes, the site refuses with one of our errors, contributes nothing, and is then silent for good,
so the honest message that follows is refused too."""

from __future__ import annotations

import copy
from typing import Any

import cbor2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medquorum.privacy import identity, wire
from medquorum.privacy.errors import AggregationError
from medquorum.privacy.secure_aggregation import BreachError, SecureCoordinator, SecureSite, rules, sealing
from medquorum.privacy.secure_aggregation.steps import Inbox, Sealed, SharePair

CASES = 10_000
VICTIM = "b"


class Recording:
    """One honest session of five: the victim as it stood before every step, and what it was sent; and the messages of
    another session of the same sites."""

    def __init__(self, group: Any, **changes: Any) -> None:
        self.group = group
        self.before: list[SecureSite] = []
        self.payloads: list[bytes] = []
        self.coordinators: list[SecureCoordinator] = []
        self.answers: list[dict[str, bytes]] = []
        sites, coordinator = group.sites(**changes), group.coordinator(**changes)
        for _ in range(5):
            requests = coordinator.requests()
            self.before.append(snapshot(sites[VICTIM]))
            self.payloads.append(requests[VICTIM])
            self.coordinators.append(duplicate(coordinator))
            self.answers.append({n: sites[n].answer(p, group.gives(n)) for n, p in requests.items()})
            coordinator.receive(self.answers[-1])
        self.foreign = Recording(group, round=2).payloads if not changes else []

    def victim(self, step: int) -> SecureSite:
        return snapshot(self.before[step])


def snapshot(site: SecureSite) -> SecureSite:
    """A site's state as it is now: everything in it is replaced rather than altered, except its dict of shares."""
    twin = copy.copy(site)
    twin._shares = dict(site._shares)
    return twin


def duplicate(coordinator: SecureCoordinator) -> SecureCoordinator:
    """A coordinator's state as it is now: its tables and its running sum are altered in place."""
    twin = copy.copy(coordinator)
    twin.__dict__.update({k: copy.copy(v) for k, v in vars(coordinator).items() if isinstance(v, dict | np.ndarray)})
    return twin


@pytest.fixture(scope="module")
def recording(consortium: Any) -> Recording:
    return Recording(consortium(5))


KINDS = ("random", "truncated", "flipped", "stale", "foreign", "lengthened", "oversized", "spliced", "cbor")
ODD = (None, True, -(2**70), 1.5, float("nan"), "", "Invite", b"", [], [[]], {}, {"kind": "Invite"}, {1: 2})
# One flat strategy: a step, a kind of damage, where it happens, and bytes for the kinds that need some.
DAMAGE = st.tuples(
    st.integers(0, 4), st.sampled_from(KINDS), st.integers(0, 2**31), st.binary(min_size=1, max_size=100)
)


def damaged(recording: Recording, step: int, kind: str, where: int, noise: bytes) -> bytes:
    """The honest payload of a step, damaged; now and then the damage leaves it as it is."""
    honest = recording.payloads[step]
    cut = where % len(honest)
    if kind == "random":
        return noise
    if kind == "cbor":
        fields = {"kind": ("Invite", "KeyList", "Inbox", "Survivors", "Agreements")[step], "v": where % 3}
        field = ("cohort", "entries", "boxes", "sites", "signatures")[step]
        return cbor2.dumps({**fields, field: ODD[where % len(ODD)]}, canonical=True)
    if kind == "lengthened":
        return honest + noise
    if kind == "truncated":
        return honest[:cut]
    if kind == "flipped":
        return honest[:cut] + bytes([honest[cut] ^ (1 << noise[0] % 8)]) + honest[cut + 1 :]
    if kind == "stale":
        return recording.payloads[where % 5]
    if kind == "foreign":
        return recording.foreign[where % 5]
    if kind == "oversized":
        return honest + bytes(20_000)
    return honest[:cut] + recording.payloads[(step + 1) % 5][cut:]


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(DAMAGE)
def test_no_damaged_message_is_answered(recording: Recording, case: tuple[int, str, int, bytes]) -> None:
    step = case[0]
    payload = damaged(recording, *case)
    if payload == recording.payloads[step]:
        return
    site = recording.victim(step)

    def contribution() -> Any:
        raise AssertionError("a damaged message made the site contribute")

    with pytest.raises(AggregationError):
        site.answer(payload, contribution)
    with pytest.raises(BreachError, match="this aggregation is over"):
        site.answer(recording.payloads[step], contribution)
    assert site._secrets is None
    assert not site._shares


def test_every_honest_message_is_answered_once(recording: Recording) -> None:
    """The counterpart: the recorded messages are right, in their place, and a duplicate of each is refused."""
    for step in range(5):
        site = recording.victim(step)
        assert site.answer(recording.payloads[step], recording.group.gives(VICTIM))
        with pytest.raises(AggregationError):
            site.answer(recording.payloads[step], recording.group.gives(VICTIM))


class Forgiving(SecureSite):
    """A site without the rule that every step is answered once and a refusal ends the session."""

    def answer(self, payload: bytes, contribution: Any) -> bytes:
        for step in reversed(range(self._step + 1)):
            twin = snapshot(self)
            twin._step, twin.__class__ = step, SecureSite
            try:
                answer = twin.answer(payload, contribution)
            except AggregationError:
                continue
            self.__dict__.update({**twin.__dict__, "_step": max(self._step, step + 1), "_ended": ""})
            return answer
        raise BreachError("no step takes this")


def test_duplicates_would_release_a_second_vector(consortium: Any) -> None:
    """What the order of steps prevents: one session, one cohort, two masked vectors under the same masks, whose
    difference is the difference of two updates in clear."""
    group = consortium(3)

    def attack(kind: type[SecureSite]) -> Any:
        sites, coordinator = {**group.sites(), "a": group.site("a", kind)}, group.coordinator()
        group.run(coordinator, sites, steps=2)
        inbox = coordinator.requests()["a"]
        return sites["a"].answer(inbox, group.gives("a")), sites["a"].answer(inbox, lambda: 2 * group.vectors["a"])

    with pytest.raises(AggregationError):
        attack(SecureSite)
    assert len(attack(Forgiving)) == 2


def test_oversized_messages_are_not_even_parsed(recording: Recording, monkeypatch: Any) -> None:
    parsed: list[int] = []
    decode = wire.decode
    monkeypatch.setattr(wire, "decode", lambda kind, data: (parsed.append(len(data)), decode(kind, data))[1])
    for unchecked in (False, True):
        with monkeypatch.context() as patch:
            if unchecked:
                patch.setattr(rules, "small_enough", lambda *_: None)
            for step in range(5):
                with pytest.raises(BreachError):
                    recording.victim(step).answer(bytes(10_000_000), recording.group.gives(VICTIM))
        assert bool(parsed) is unchecked


def test_altered_signatures_are_what_refuses_an_altered_key_list(recording: Recording, monkeypatch: Any) -> None:
    honest = recording.payloads[1]
    at = honest.index(b"signature") + len(b"signature") + 5
    altered = honest[:at] + bytes([honest[at] ^ 1]) + honest[at + 1 :]
    with pytest.raises(BreachError, match="not signed by its identity"):
        recording.victim(1).answer(altered, recording.group.gives(VICTIM))
    monkeypatch.setattr(rules, "verify", lambda *_: True)
    assert recording.victim(1).answer(altered, recording.group.gives(VICTIM))


def test_altered_or_exchanged_seals_do_not_open(recording: Recording, monkeypatch: Any) -> None:
    boxes = wire.decode(Inbox, recording.payloads[2]).boxes
    first, second, *rest = boxes
    altered = Inbox((Sealed(first.peer, first.box[:-1] + bytes([first.box[-1] ^ 1])), second, *rest))
    swapped = Inbox((Sealed(first.peer, second.box), Sealed(second.peer, first.box), *rest))
    for inbox in (altered, swapped):
        with pytest.raises(BreachError, match="do not open"):
            recording.victim(2).answer(wire.encode(inbox), recording.group.gives(VICTIM))
        with monkeypatch.context() as patch:
            patch.setattr(sealing, "unseal", lambda *_: SharePair(bytes(33), bytes(33), None))
            assert recording.victim(2).answer(wire.encode(inbox), recording.group.gives(VICTIM))


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.integers(0, 4), st.binary(max_size=300), st.integers(0, 2**31), st.booleans())
def test_no_answer_of_a_site_upsets_the_coordinator(
    recording: Recording, step: int, noise: bytes, where: int, cut: bool
) -> None:
    """The coordinator, too, takes anything: a faulty answer makes its site count as dropped."""
    coordinator, answers = recording.coordinators[step], dict(recording.answers[step])
    twin = duplicate(coordinator)
    answers["c"] = answers["c"][: where % len(answers["c"])] if cut else noise
    twin.receive(answers)
    assert set(twin.faults) == {"c"}


def test_signatures_of_one_domain_do_not_count_in_another(consortium: Any) -> None:
    group = consortium(3)
    keys = Inbox(())
    signature = group.identities["a"].sign(rules.KEYS_DOMAIN, keys)
    assert identity.verify(group.identities["a"].public, rules.KEYS_DOMAIN, keys, signature)
    assert not identity.verify(group.identities["a"].public, rules.CLOSING_DOMAIN, keys, signature)
