"""Messages that no honest coordinator sends: stale, truncated, duplicated, reordered, oversized, altered and random, at
every step. Whatever comes, the site refuses with one of our errors, contributes nothing, and is then silent for good,
so the honest message that follows is refused too."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medquorum.privacy import identity, wire
from medquorum.privacy.errors import AggregationError
from medquorum.privacy.secure_aggregation import BreachError, SecureSite, rules, sealing
from medquorum.privacy.secure_aggregation.steps import Inbox, Sealed, SharePair

CASES = 10_000
VICTIM = "b"


class Recording:
    """One honest session of five: the victim as it stood before every step, and what it was sent; and the messages of
    another session of the same sites."""

    def __init__(self, group: Any) -> None:
        self.group = group
        self.before, self.payloads = self._record(group, {})
        _, self.foreign = self._record(group, {"round": 2})

    @staticmethod
    def _record(group: Any, changes: dict[str, Any]) -> tuple[list[SecureSite], list[bytes]]:
        sites, coordinator = group.sites(**changes), group.coordinator(**changes)
        before: list[SecureSite] = []
        payloads: list[bytes] = []
        for _ in range(5):
            requests = coordinator.requests()
            before.append(snapshot(sites[VICTIM]))
            payloads.append(requests[VICTIM])
            coordinator.receive({n: sites[n].answer(p, group.gives(n)) for n, p in requests.items()})
        return before, payloads

    def victim(self, step: int) -> SecureSite:
        return snapshot(self.before[step])


def snapshot(site: SecureSite) -> SecureSite:
    """A site's state as it is now: everything in it is replaced rather than altered, except its dict of shares."""
    twin = copy.copy(site)
    twin._shares = dict(site._shares)
    return twin


@pytest.fixture(scope="module")
def recording(consortium: Any) -> Recording:
    return Recording(consortium(5))


@st.composite
def damage(draw: Any) -> tuple[int, str, Any]:
    """A step, a kind of damage, and where or with what."""
    step = draw(st.integers(0, 4))
    kind = draw(
        st.sampled_from(
            ["random", "truncated", "flipped", "stale", "foreign", "lengthened", "oversized", "spliced", "cbor"]
        )
    )
    if kind in ("random", "lengthened"):
        return step, kind, draw(st.binary(min_size=1, max_size=200))
    if kind == "cbor":
        scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text() | st.binary()
        tree = st.recursive(scalars, lambda t: st.lists(t) | st.dictionaries(st.text(), t), max_leaves=8)
        return step, kind, draw(tree)
    return step, kind, draw(st.integers(0, 2**31))


def damaged(recording: Recording, step: int, kind: str, extra: Any) -> bytes | None:
    """The damaged payload, or None where the damage leaves the honest one (there is nothing to refuse then)."""
    honest = recording.payloads[step]
    if kind == "random":
        return extra
    if kind == "cbor":
        import cbor2

        return cbor2.dumps(extra, canonical=True)
    if kind == "lengthened":
        return honest + extra
    if kind == "truncated":
        return honest[: extra % len(honest)]
    if kind == "flipped":
        position, bit = divmod(extra % (8 * len(honest)), 8)
        return honest[:position] + bytes([honest[position] ^ (1 << bit)]) + honest[position + 1 :]
    if kind == "stale":
        other = recording.payloads[extra % 5]
        return other if extra % 5 != step else None
    if kind == "foreign":
        # The first step is the same in every session, and survivor lists are names: what binds them comes after.
        other = recording.foreign[extra % 5]
        return other if other != honest else None
    if kind == "oversized":
        return honest + bytes(20_000)
    cut = extra % len(honest)
    other = recording.payloads[(step + 1) % 5]
    return honest[:cut] + other[cut:]


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(damage())
def test_no_damaged_message_is_answered(recording: Recording, case: tuple[int, str, Any]) -> None:
    step, kind, extra = case
    payload = damaged(recording, step, kind, extra)
    if payload is None or payload == recording.payloads[step]:
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
            patch.setattr(sealing, "unseal", lambda *_: SharePair(bytes(33), bytes(33)))
            assert recording.victim(2).answer(wire.encode(inbox), recording.group.gives(VICTIM))


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.integers(0, 4), st.binary(max_size=300), st.integers(0, 2**31), st.booleans())
def test_no_answer_of_a_site_upsets_the_coordinator(
    recording: Recording, step: int, noise: bytes, where: int, cut: bool
) -> None:
    """The coordinator, too, takes anything: a faulty answer makes its site count as dropped."""
    group = recording.group
    sites, coordinator = group.sites(), group.coordinator()
    for at in range(step + 1):
        answers = {n: sites[n].answer(p, group.gives(n)) for n, p in coordinator.requests().items()}
        if at == step:
            honest = answers["c"]
            answers["c"] = honest[: where % len(honest)] if cut else noise
        coordinator.receive(answers)
    assert set(coordinator.faults) == {"c"}


def test_signatures_of_one_domain_do_not_count_in_another(consortium: Any) -> None:
    group = consortium(3)
    keys = Inbox(())
    signature = group.identities["a"].sign(rules.KEYS_DOMAIN, keys)
    assert identity.verify(group.identities["a"].public, rules.KEYS_DOMAIN, keys, signature)
    assert not identity.verify(group.identities["a"].public, rules.CLOSING_DOMAIN, keys, signature)
