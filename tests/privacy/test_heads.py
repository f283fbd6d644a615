"""Heads of ledgers: what peers keep proves what a restored backup lacks, once, in full, and without their word."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from medquorum.privacy.errors import BudgetError, LedgerError
from medquorum.privacy.events import GaussianSteps
from medquorum.privacy.filters import Cost
from medquorum.privacy.heads import NEAR, PREFIX, Head, SignedHead, is_head_of, lineage, sign_head
from medquorum.privacy.identity import Identity
from medquorum.privacy.ledger import Ledger

IDENTITY = Identity.create()
KEY = IDENTITY.public
ROUND = GaussianSteps(50.0, 1.0, 1)
CONTEXT = b"c" * 32


def create(folder: Path) -> Ledger:
    return Ledger.create(folder / "ledger", "north", 20.0, 1e-3)


def charge(ledger: Ledger, plan: int, rounds: int = 1, plan_epsilon: float = 1.0) -> None:
    done = sum(one.plan_hash == bytes([plan]) * 32 for one in ledger.charges())
    for number in range(done + 1, done + rounds + 1):
        ledger.charge(bytes([plan]) * 32, "update", number, 1, [ROUND], plan_epsilon)


def signed(ledger: Ledger) -> SignedHead:
    return sign_head(IDENTITY, ledger.head(), CONTEXT)


def restored(ledger: Ledger, folder: Path, at: Path) -> Ledger:
    """The ledger as it was when it was copied to `at`."""
    shutil.copy(at, folder / "ledger")
    return Ledger.open(folder / "ledger", "north")


def backup(folder: Path, name: str = "backup") -> Path:
    return Path(shutil.copy(folder / "ledger", folder / name))


def test_a_head_says_where_the_ledger_stands_and_what_it_cost(tmp_path: Path) -> None:
    ledger = create(tmp_path)
    first = ledger.head()
    assert (first.site, first.sequence, first.cost, first.lineage) == ("north", 0, Cost(), b"")
    charge(ledger, 1, 2)
    charge(ledger, 2)
    head = ledger.head()
    assert (head.sequence, head.cost.epsilon, head.cost.delta) == (3, 2.0, 2e-3)
    assert head.cost.divergence == pytest.approx(3 * head.order / (2 * 50.0**2))
    assert head.lineage.endswith(first.hash[:PREFIX]) and len(head.lineage) == 3 * PREFIX
    kept = signed(ledger)
    assert is_head_of(KEY, kept) and not is_head_of(Identity.create().public, kept)
    assert not is_head_of(KEY, SignedHead(first, kept.context, kept.signature))


def test_a_lineage_names_the_near_links_and_ever_fewer_of_the_far() -> None:
    hashes = [number.to_bytes(32, "little") for number in range(1000)]
    assert lineage(hashes[:0]) == b""
    named = lineage(hashes)
    distances = [*range(1, NEAR + 1), 64, 128, 256, 512]
    assert named == b"".join(hashes[-distance][:PREFIX] for distance in distances)


def test_heads_of_its_own_past_say_nothing_new(tmp_path: Path) -> None:
    ledger = create(tmp_path)
    heads: list[SignedHead] = []
    for _ in range(80):
        heads.append(signed(ledger))
        charge(ledger, 1)
    assert ledger.adopt(heads, KEY) == ()
    unsigned = SignedHead(heads[3].head, CONTEXT, bytes(64))
    assert ledger.adopt([unsigned], KEY) == (), "what the chain itself holds needs no signature"


def test_a_restored_backup_takes_in_exactly_what_it_lost(tmp_path: Path) -> None:
    ledger = create(tmp_path)
    charge(ledger, 1, 3)
    old = backup(tmp_path)
    charge(ledger, 1, 2)
    charge(ledger, 2, 4)
    truth, kept = ledger.head(), signed(ledger)
    again = restored(ledger, tmp_path, old)
    assert again.committed() == 1.0, "the file itself shows nothing"
    (adoption,) = again.adopt([kept], KEY)
    assert again.head().cost == truth.cost
    assert adoption.lost.epsilon == 1.0
    assert again.head().sequence == truth.sequence + 1
    assert again.adopt([kept], KEY) == (), "once"
    assert Ledger.open(tmp_path / "ledger").head().cost == truth.cost
    assert again.spent() >= 1.0


def test_plans_begun_before_are_closed_and_new_ones_are_not(tmp_path: Path) -> None:
    ledger = create(tmp_path)
    charge(ledger, 1, 3)
    old = backup(tmp_path)
    charge(ledger, 1)
    kept = signed(ledger)
    again = restored(ledger, tmp_path, old)
    again.adopt([kept], KEY)
    with pytest.raises(BudgetError, match="counts as fully spent"):
        again.charge(bytes([1]) * 32, "update", 9, 1, [ROUND], 1.0)
    assert again.affordable(ROUND, bytes([1]) * 32) == 0
    charge(again, 2, 2)
    assert again.head().sequence == kept.head.sequence + 3, "later heads are higher than the lost ones"


def test_the_cap_holds_what_was_lost(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "ledger", "north", 2.0, 1e-3)
    old = backup(tmp_path)
    loud = GaussianSteps(3.0, 1.0, 1)
    ledger.charge(b"a" * 32, "update", 1, 1, [loud], 1.9)
    kept = signed(ledger)
    again = restored(ledger, tmp_path, old)
    again.charge(b"b" * 32, "update", 1, 1, [loud], 1.9)  # nobody has told it yet
    again.adopt([kept], KEY)
    assert again.committed() == pytest.approx(3.8)
    assert again.left() == 0.0
    with pytest.raises(BudgetError):
        again.charge(b"c" * 32, "update", 1, 1, [loud], 0.05, planned=[GaussianSteps(3.0, 1.0, 50)])


def test_peers_that_left_at_different_times_are_counted_once(tmp_path: Path) -> None:
    ledger = create(tmp_path)
    old = backup(tmp_path)
    heads: list[SignedHead] = []
    for plan in range(1, 6):
        charge(ledger, plan, 2)
        heads.append(signed(ledger))
    again = restored(ledger, tmp_path, old)
    assert len(again.adopt([heads[1], heads[4], heads[0]], KEY)) == 1
    assert again.head().cost == heads[-1].head.cost
    assert again.adopt([heads[2], heads[3]], KEY) == ()


def test_a_higher_head_that_comes_later_adds_only_the_rest(tmp_path: Path) -> None:
    ledger = create(tmp_path)
    old = backup(tmp_path)
    charge(ledger, 1)
    low = signed(ledger)
    charge(ledger, 2)
    high = signed(ledger)
    again = restored(ledger, tmp_path, old)
    again.adopt([low], KEY)
    again.adopt([high], KEY)
    assert again.head().cost.epsilon == high.head.cost.epsilon == 2.0


def test_two_lost_ends_are_both_counted(tmp_path: Path) -> None:
    ledger = create(tmp_path)
    charge(ledger, 1)
    old = backup(tmp_path)
    charge(ledger, 2)
    one = signed(ledger)
    second = restored(ledger, tmp_path, old)
    charge(second, 3)
    charge(second, 4)
    two = signed(second)
    third = restored(second, tmp_path, old)
    charge(third, 5)
    third.adopt([one, two], KEY)
    assert third.committed() == 5.0, "plans 1 and 5, and 2, 3 and 4, which this file never saw"


def test_the_same_charge_in_two_copies_is_two_charges(tmp_path: Path) -> None:
    """The coordinator asks the restored node for the very round that it had before, in the same second."""
    ledger = create(tmp_path)
    old = backup(tmp_path)
    charge(ledger, 1)
    kept = signed(ledger)
    again = restored(ledger, tmp_path, old)
    charge(again, 1)
    assert again.head().hash != kept.head.hash
    again.adopt([kept], KEY)
    assert again.committed() == 2.0


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_restored_and_told_nothing_spent_is_missing(tmp_path: Path, seed: int) -> None:
    """Random restores, charges and peers' tellings; in the end every charge that any peer kept is counted."""
    draw = random.Random(seed)
    ledger = create(tmp_path)
    backups = [backup(tmp_path, "b0")]
    made: list[tuple[int, SignedHead]] = []
    spent = Cost()
    for step in range(60):
        act = draw.random()
        if act < 0.6:
            before = ledger.head().cost
            try:
                charge(ledger, draw.randrange(1, 200) if act < 0.2 else 1 + step // 20, plan_epsilon=0.05)
            except BudgetError:
                continue
            spent = spent.plus(ledger.head().cost.beyond(before))
            made.append((step, signed(ledger)))
        elif act < 0.75:
            backups.append(backup(tmp_path, f"b{step}"))
        elif act < 0.85:
            ledger = restored(ledger, tmp_path, draw.choice(backups))
        else:
            ledger.adopt([head for _, head in draw.sample(made, min(3, len(made)))], KEY)
    ledger.adopt([head for _, head in made], KEY)
    counted = ledger.head().cost
    assert counted.epsilon >= spent.epsilon - 1e-9
    assert counted.delta >= spent.delta - 1e-12
    assert counted.divergence >= spent.divergence - 1e-9


def test_a_head_that_the_site_did_not_sign_is_refused_and_adopts_nothing(tmp_path: Path) -> None:
    ledger = create(tmp_path)
    charge(ledger, 1)
    invented = Head("north", 10**9, b"x" * 32, 3, Cost(1e6, 0.5, 1e6), b"")
    other = Identity.create()
    for false in (sign_head(other, invented, CONTEXT), SignedHead(invented, CONTEXT, bytes(64))):
        with pytest.raises(LedgerError, match="nor signed with this site's key") as refusal:
            ledger.adopt([false], KEY)
        assert refusal.value.fix
    with pytest.raises(LedgerError):
        ledger.adopt([sign_head(IDENTITY, Head("south", 7, b"y" * 32, 3, Cost(), b""), CONTEXT)], KEY)
    assert ledger.committed() == 1.0 and len(ledger.book().links) == 1


def test_a_ledger_begun_anew_takes_in_all_of_the_old_one(tmp_path: Path) -> None:
    """Deleted and made again with another cap, hence another order: the divergence carries over where it can bound
    the new one, and closes the Renyi filter where it cannot."""
    old = Ledger.create(tmp_path / "old", "north", 2.0, 1e-3)
    charge(old, 1, 2)
    for cap in (0.5, 30.0):
        new = Ledger.create(tmp_path / f"new{cap}", "north", cap, 1e-3)
        new.adopt([signed(old)], KEY)
        assert new.committed() == 1.0
        if new.head().order <= old.head().order:
            assert new.head().cost.divergence == old.head().cost.divergence
        else:
            assert new.book().renyi_left == 0.0
