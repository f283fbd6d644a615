"""A hospital brings its ledger back from an old backup, and the coordinator would rather that nobody noticed.

Sites with real ledgers and kept heads, over the encrypted sum; every message passes through the coordinator, who may
withhold, exchange and replay. What it can reach by that is that nothing is trained.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medquorum.client.witnesses import LedgerWitness, Witnesses
from medquorum.privacy import roster as rosters
from medquorum.privacy import wire
from medquorum.privacy.aggregation import Vector
from medquorum.privacy.errors import BudgetError, LedgerError, PrivacyError
from medquorum.privacy.events import GaussianSteps
from medquorum.privacy.filters import Cost
from medquorum.privacy.heads import Head, SignedHead, sign_head
from medquorum.privacy.identity import Identity, fingerprint
from medquorum.privacy.ledger import Ledger
from medquorum.privacy.plan import PlanSite
from medquorum.privacy.secure_aggregation import (
    BreachError,
    Policy,
    QuorumLostError,
    SecureCoordinator,
    SecureSite,
    Terms,
    rules,
)
from medquorum.privacy.secure_aggregation.steps import Inbox, Masked, Survivors

ROUND = GaussianSteps(40.0, 1.0, 1)
PLAN, NEXT = b"p" * 32, b"q" * 32
Meddling = Callable[[int, str, bytes], bytes | None]


class Hospitals:
    """n sites a, b, c, ... with folders of their own."""

    def __init__(self, folder: Path, n: int, witnesses: int = 1) -> None:
        self.folder, self.minimum = folder, witnesses
        self.names = tuple("abcdefg"[:n])
        self.identities = {name: Identity.create() for name in self.names}
        self.roster = rosters.found("tests", "a", self.identities["a"].public, at=1)
        for name in self.names[1:]:
            key = self.identities[name].public
            self.roster = rosters.admit_by_word(self.roster, name, key, " ".join(fingerprint(key)), at=2)
        for name in self.names:
            (folder / name).mkdir()
            Ledger.create(self.path(name), name, 20.0, 1e-3)
        self.attempt = 0
        self.refusals: dict[str, PrivacyError] = {}
        self.sent: dict[str, dict[int, bytes]] = {}

    def path(self, name: str) -> Path:
        return self.folder / name / "ledger.sqlite"

    def ledger(self, name: str) -> Ledger:
        return Ledger.open(self.path(name), name)

    def kept(self, name: str) -> Witnesses:
        return Witnesses(self.folder / name / "witnesses.sqlite")

    def back_up(self, name: str, whole: bool = True) -> Path:
        copy = self.folder / f"{name}.backup.{self.attempt}"
        if whole:
            shutil.copytree(self.folder / name, copy)
        else:
            copy.mkdir()
            shutil.copy(self.path(name), copy)
        return copy

    def restore(self, name: str, backup: Path, whole: bool = True) -> None:
        if whole:
            shutil.rmtree(self.folder / name)
        shutil.copytree(backup, self.folder / name, dirs_exist_ok=True)

    def sum(
        self,
        plan: bytes = PLAN,
        cohort: Sequence[str] = (),
        meddle: Meddling = lambda step, site, payload: payload,
        silent: dict[str, int] | None = None,
        charged: Iterable[str] | None = None,
    ) -> Vector:
        """One sum among the cohort, everybody charged. meddle: what the coordinator sends instead, or nothing.
        silent: the step from which a site is not heard any more. Raises QuorumLostError as the coordinator does."""
        self.attempt += 1
        self.refusals, self.sent = {}, {name: {} for name in self.names}
        cohort = tuple(cohort) or self.names
        terms = Terms(
            "tests",
            plan,
            "update",
            1,
            self.attempt,
            tuple(PlanSite(name, 10) for name in self.names),
            0,
            5,
            1.0,
            b"m" * 32,
        )
        sites = {name: self.site(name, terms) for name in cohort}
        paying = set(cohort if charged is None else charged)
        coordinator = SecureCoordinator(terms, cohort, self.roster)
        for step in range(5):
            answers: dict[str, bytes] = {}
            for name, honest in coordinator.requests().items():
                payload = meddle(step, name, honest)
                if payload is None or step >= (silent or {}).get(name, 5):
                    continue
                try:
                    answers[name] = sites[name].answer(payload, self.contribution(name, plan, name in paying))
                    self.sent[name][step] = answers[name]
                except PrivacyError as refusal:
                    self.refusals[name] = refusal
            coordinator.receive(answers)
        assert coordinator.opened is not None
        return coordinator.opened.total

    def site(self, name: str, terms: Terms) -> SecureSite:
        witness = LedgerWitness(name, self.ledger(name), self.kept(name), self.minimum)
        return SecureSite(name, self.identities[name], terms, Policy(), lambda: self.roster, witness)

    def contribution(self, name: str, plan: bytes, pays: bool) -> Callable[[], Vector]:
        def make() -> Vector:
            if pays:
                self.ledger(name).charge(plan, "update", 1, self.attempt, [ROUND], 0.5)
            return np.ones(5)

        return make


@pytest.mark.parametrize("n", [3, 4])
def test_every_opened_sum_leaves_all_survivors_heads_with_all_survivors(tmp_path: Path, n: int) -> None:
    hospitals = Hospitals(tmp_path, n)
    silent = {"d": 3} if n == 4 else {}
    hospitals.sum(silent=silent)
    answering = [name for name in hospitals.names if name not in silent]
    for keeper in answering:
        for other in hospitals.names:
            kept = hospitals.kept(keeper).seen(other)
            assert kept is not None and kept.head == hospitals.ledger(other).head()
            assert kept.head.sequence == 1, "the head after this sum's charge, not before it"
        others = tuple(name for name in answering if name != keeper)
        assert hospitals.kept(keeper).witnesses() == others


@pytest.mark.parametrize("n", [3, 4])
def test_a_restored_backup_is_noticed_before_it_is_charged_again(
    tmp_path: Path, n: int, caplog: pytest.LogCaptureFixture
) -> None:
    hospitals = Hospitals(tmp_path, n)
    hospitals.sum()
    backup = hospitals.back_up("a")
    for _ in range(3):
        hospitals.sum()
    truth = hospitals.ledger("a").head()
    hospitals.restore("a", backup)
    assert hospitals.ledger("a").head().sequence == 1, "nothing in the folder itself shows it"
    with caplog.at_level(logging.ERROR):
        if n == 3:
            with pytest.raises(QuorumLostError):
                hospitals.sum()
        else:
            hospitals.sum()  # four do without one
    assert isinstance(hospitals.refusals["a"], BudgetError)
    assert "counts as fully spent" in str(hospitals.refusals["a"]), "an unfinished plan is over for this site"
    assert "brought back from a backup" in caplog.text
    assert hospitals.ledger("a").head().cost == truth.cost
    hospitals.sum(NEXT)
    assert not hospitals.refusals, "a new plan goes on"
    assert hospitals.ledger("a").committed() == 1.0
    assert hospitals.ledger("a").head().sequence > truth.sequence + 1


def test_only_the_ledger_restored_is_noticed_by_what_the_node_itself_keeps(tmp_path: Path) -> None:
    hospitals = Hospitals(tmp_path, 3)
    backup = hospitals.back_up("a", whole=False)
    hospitals.sum()
    truth = hospitals.ledger("a").head()
    hospitals.restore("a", backup, whole=False)
    for peer in ("b", "c"):
        (hospitals.folder / peer / "witnesses.sqlite").unlink()  # they have nothing to tell
    with pytest.raises(QuorumLostError):
        hospitals.sum(NEXT)
    assert "0 of the 2 other sites" in str(hospitals.refusals["a"])
    assert hospitals.ledger("a").head().cost == truth.cost


def test_one_peer_that_keeps_it_is_enough(tmp_path: Path) -> None:
    hospitals = Hospitals(tmp_path, 4, witnesses=0)
    backup = hospitals.back_up("a")
    hospitals.sum(silent={"c": 2})  # c missed the heads
    truth = hospitals.ledger("a").head()
    hospitals.restore("a", backup)
    hospitals.sum(NEXT, cohort=("a", "b", "c"))
    assert hospitals.ledger("a").head().cost.epsilon == truth.cost.epsilon + 0.5


def test_a_head_whose_sum_was_never_opened_may_be_lost_and_nothing_with_it(tmp_path: Path) -> None:
    """Charged, masked, and the coordinator drops it: no peer has the head, so nobody can open the vector either."""
    hospitals = Hospitals(tmp_path, 3)
    with pytest.raises(QuorumLostError):
        hospitals.sum(silent={"b": 3, "c": 3})
    assert hospitals.ledger("a").head().sequence == 1
    assert hospitals.kept("b").seen("a") is None
    assert 3 not in hospitals.sent["b"], "no agreement, hence no share of anybody's mask"


def test_withholding_what_peers_keep_ends_in_no_sum(tmp_path: Path) -> None:
    """The proof lies in the sealed shares: the coordinator can drop a peer's seal; then that peer does not count."""
    hospitals = Hospitals(tmp_path, 3)
    backup = hospitals.back_up("a")
    hospitals.sum()
    hospitals.restore("a", backup)

    def drop_seals(step: int, site: str, payload: bytes) -> bytes:
        return wire.encode(Inbox(())) if (step, site) == (2, "a") else payload

    with pytest.raises(QuorumLostError):
        hospitals.sum(meddle=drop_seals)
    assert "no sum over fewer" in str(hospitals.refusals["a"])
    assert hospitals.ledger("a").charges() == (), "not charged, nothing made"


def test_withholding_a_head_from_the_peers_ends_in_no_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are to agree without a's head, or with an older one: a does not sign, and they do not either."""
    hospitals = Hospitals(tmp_path, 3)
    hospitals.sum()
    old = wire.decode(Masked, hospitals.sent["a"][2]).head

    def attack(instead: SignedHead | None) -> None:
        def exchange(step: int, site: str, payload: bytes) -> bytes:
            if step != 3:
                return payload
            shown = wire.decode(Survivors, payload)
            heads = shown.heads[1:] if instead is None else (instead, *shown.heads[1:])
            return wire.encode(replace(shown, heads=heads))

        hospitals.sum(meddle=exchange)

    with pytest.raises(QuorumLostError):
        attack(None)
    assert all("not every survivor's ledger head" in str(refusal) for refusal in hospitals.refusals.values())
    with pytest.raises(QuorumLostError):
        attack(old)
    assert "withheld or exchanged" in str(hospitals.refusals["a"])
    assert "not of this sum" in str(hospitals.refusals["b"])
    for rule in ("a_head_each", "own_head_shown", "signed_head"):
        monkeypatch.setattr(rules, rule, lambda *_: None)
    with pytest.raises(QuorumLostError, match=r"another survivor list|sites are left"):
        attack(old)  # an honest coordinator's own check; the sites have all signed by now
    assert all(3 in sent for sent in hospitals.sent.values())


def test_a_forged_head_is_refused_by_name_and_changes_nothing(tmp_path: Path) -> None:
    """A colluding peer claims a head that a never signed: a stops and says so; its ledger is as it was."""
    hospitals = Hospitals(tmp_path, 3)
    hospitals.sum()
    before = hospitals.ledger("a").head()
    forged = Head("a", 10**6, b"f" * 32, before.order, Cost(19.0, 1e-3, 1.0), b"")
    hospitals.kept("b").keep({"a": sign_head(hospitals.identities["b"], forged, bytes(32))})
    with pytest.raises(QuorumLostError):
        hospitals.sum()
    assert isinstance(hospitals.refusals["a"], LedgerError)
    assert "nor signed with this site's key" in str(hospitals.refusals["a"])
    assert hospitals.ledger("a").head() == before


def test_among_strangers_a_witnessed_ledger_is_not_charged(tmp_path: Path) -> None:
    """The coordinator puts a restored node among sites that never met it. A node that knows of witnesses asks for one;
    one restored to before its first sum cannot know, and what it then spends is added when a witness is met."""
    hospitals = Hospitals(tmp_path, 6)
    first = hospitals.back_up("a")
    hospitals.sum(cohort=("a", "b", "c"))
    later = hospitals.back_up("a")
    hospitals.sum(cohort=("a", "b", "c"))
    truth = hospitals.ledger("a").head()
    hospitals.restore("a", later)
    with pytest.raises(QuorumLostError):
        hospitals.sum(NEXT, cohort=("a", "d", "e"))
    assert "its policy asks for 1" in str(hospitals.refusals["a"])
    assert "(b, c)" in str(hospitals.refusals["a"].fix)
    hospitals.restore("a", first)
    hospitals.sum(NEXT, cohort=("a", "d", "e"))
    unaware = hospitals.ledger("a").head().cost
    assert unaware.epsilon == 0.5
    with pytest.raises(QuorumLostError):
        hospitals.sum(NEXT, cohort=("a", "b", "c"))
    assert "counts as fully spent" in str(hospitals.refusals["a"])
    both = hospitals.ledger("a").head().cost
    assert both.epsilon == unaware.epsilon + truth.cost.epsilon
    assert both.divergence == pytest.approx(unaware.divergence + truth.cost.divergence)


def test_a_policy_may_ask_for_more_witnesses_or_for_none(tmp_path: Path) -> None:
    hospitals = Hospitals(tmp_path, 4, witnesses=2)
    hospitals.sum(cohort=("a", "b", "c"))
    with pytest.raises(QuorumLostError):
        hospitals.sum(cohort=("a", "b", "d"))
    assert "1 of the 2 other sites" in str(hospitals.refusals["a"])
    hospitals.minimum = 0
    hospitals.sum(cohort=("a", "b", "d"))


def test_a_peers_table_never_goes_back(tmp_path: Path) -> None:
    hospitals = Hospitals(tmp_path, 3)
    hospitals.sum()
    low = hospitals.kept("b").seen("a")
    hospitals.sum()
    high = hospitals.kept("b").seen("a")
    assert low is not None and high is not None and low.head.sequence < high.head.sequence
    same = replace(high, head=replace(high.head, hash=b"z" * 32))
    for other in (low, same):
        hospitals.kept("b").keep({"a": other})
        assert hospitals.kept("b").seen("a") == high


def test_a_damaged_table_of_heads_is_said_and_nothing_is_trained(tmp_path: Path) -> None:
    hospitals = Hospitals(tmp_path, 3)
    hospitals.sum()
    (hospitals.folder / "a" / "witnesses.sqlite").write_bytes(b"not a database, but long enough to be read as one" * 20)
    with pytest.raises(QuorumLostError):
        hospitals.sum()
    assert "cannot be read or written" in str(hospitals.refusals["a"])
    with pytest.raises(LedgerError):
        hospitals.kept("a").seen("b")
    assert not isinstance(hospitals.refusals["a"], (BreachError, sqlite3.Error))
