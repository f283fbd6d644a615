"""The ledger: durable before release, never past a cap, and never believed when it does not check."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from medquorum.privacy import wire
from medquorum.privacy.accounting import epsilon
from medquorum.privacy.calibration import noise_multiplier
from medquorum.privacy.errors import BudgetError, LedgerError, UnaccountableError
from medquorum.privacy.events import GaussianSteps
from medquorum.privacy.ledger import Ledger

PLAN, OTHER = b"p" * 32, b"q" * 32
ROUNDS = 10
ROUND = GaussianSteps(noise_multiplier(4.0, 1e-3, 1.0, ROUNDS), 1.0, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    return Ledger.create(path, "north", 10.0, 1e-3)


def fill(ledger: Ledger, rounds: int = ROUNDS, plan: bytes = PLAN, plan_epsilon: float = 4.0) -> None:
    for round_ in range(rounds):
        ledger.charge(plan, "update", round_, 0, [ROUND], plan_epsilon)


def test_a_new_ledger_has_spent_nothing(ledger: Ledger, path: Path) -> None:
    assert (ledger.site, ledger.epsilon_cap, ledger.delta) == ("north", 10.0, 1e-3)
    assert (ledger.spent(), ledger.committed(), ledger.left(), ledger.charges()) == (0.0, 0.0, 10.0, ())
    assert path.stat().st_mode & 0o077 == 0


def test_a_charge_is_there_after_opening_again(ledger: Ledger, path: Path) -> None:
    charge = ledger.charge(PLAN, "update", 0, 0, [ROUND], 4.0)
    again = Ledger.open(path, "north")
    assert again.charges() == (charge,)
    assert again.spent_on(PLAN) == pytest.approx(epsilon([ROUND], 1e-3))
    assert again.head() == ledger.head()


def test_a_plan_spends_to_its_own_epsilon_and_not_past_it(ledger: Ledger) -> None:
    fill(ledger)
    assert 3.99 < ledger.spent_on(PLAN) <= 4.0
    with pytest.raises(BudgetError, match=r"past its 4") as refusal:
        ledger.charge(PLAN, "update", ROUNDS, 0, [ROUND], 4.0)
    assert refusal.value.fix
    assert len(ledger.charges()) == ROUNDS


def test_a_retry_is_a_new_attempt_with_a_new_charge(ledger: Ledger) -> None:
    ledger.charge(PLAN, "update", 0, 0, [ROUND], 4.0)
    with pytest.raises(BudgetError, match="charged before"):
        ledger.charge(PLAN, "update", 0, 0, [ROUND], 4.0)
    before = ledger.spent_on(PLAN)
    ledger.charge(PLAN, "update", 0, 1, [ROUND], 4.0)
    ledger.charge(PLAN, "evaluation", 0, 0, [ROUND], 4.0)
    assert ledger.spent_on(PLAN) > before


def test_plans_add_up_at_what_they_may_spend_and_the_cap_holds_their_sum(ledger: Ledger) -> None:
    """Basic composition: a started plan counts in full, because when it stops may depend on what it released."""
    fill(ledger)
    fill(ledger, plan=OTHER)
    assert ledger.committed() == 8.0
    assert ledger.committed_delta() == pytest.approx(2e-3)
    assert ledger.spent() == pytest.approx(ledger.spent_on(PLAN) + ledger.spent_on(OTHER))
    assert ledger.spent() <= ledger.committed()
    by_renyi = ledger.book().renyi_rounds(ROUND)
    assert by_renyi > 3
    with pytest.raises(BudgetError, match="2 of the cap of 10 is left") as refusal:
        ledger.charge(b"r" * 32, "update", 0, 0, [ROUND], 8.0, planned=[ROUND] * 3 * ROUNDS)
    assert f"at most 2: 3 rounds with this noise, or plan at most {by_renyi} rounds" in refusal.value.fix
    assert ledger.affordable(ROUND) == by_renyi
    fill(ledger, plan=b"r" * 32, rounds=3, plan_epsilon=2.0)
    assert ledger.left() == 0.0
    with pytest.raises(BudgetError, match="0 of the cap"):
        ledger.charge(b"s" * 32, "update", 0, 0, [ROUND], 4.0, planned=[ROUND] * 3 * ROUNDS)
    fill(ledger, plan=b"s" * 32, rounds=ledger.affordable(ROUND), plan_epsilon=8.0)
    with pytest.raises(BudgetError, match="all plans together may cost") as refusal:
        ledger.charge(b"s" * 32, "update", 90, 0, [ROUND], 8.0)
    assert "0 more rounds" in refusal.value.fix


def test_a_plan_with_more_rounds_than_the_cap_affords_is_refused_at_its_first_charge(path: Path) -> None:
    small = Ledger.create(path, "north", 1.0, 1e-3)
    with pytest.raises(BudgetError, match="1 of the cap of 1 is left"):
        fill(small)
    assert small.charges() == ()


def test_affordable_counts_what_really_fits(ledger: Ledger) -> None:
    fill(ledger, rounds=3)
    more = ledger.affordable(ROUND, PLAN)
    assert more == ROUNDS - 3
    for round_ in range(3, 3 + more):
        ledger.charge(PLAN, "update", round_, 0, [ROUND], 4.0)
    assert ledger.affordable(ROUND, PLAN) == 0
    five = GaussianSteps(ROUND.noise_multiplier, 1.0, 5)
    assert ledger.affordable(five) == ledger.affordable(ROUND) // 5


def test_sampled_steps_are_charged_too(ledger: Ledger) -> None:
    event = GaussianSteps(1.0, 0.1, 5)
    for round_ in range(3):
        ledger.charge(PLAN, "update", round_, 0, [event], 6.0)
    assert ledger.spent_on(PLAN) == pytest.approx(epsilon([GaussianSteps(1.0, 0.1, 15)], 1e-3))


def test_a_plans_budget_is_fixed_by_its_first_charge(ledger: Ledger) -> None:
    fill(ledger, rounds=1)
    with pytest.raises(BudgetError, match="started with epsilon 4"):
        ledger.charge(PLAN, "update", 1, 0, [ROUND], 5.0)
    with pytest.raises(BudgetError, match="started with"):
        ledger.charge(PLAN, "update", 1, 0, [ROUND], 4.0, plan_delta=1e-4)


def test_a_plan_with_a_smaller_delta_is_accounted_at_its_own(ledger: Ledger) -> None:
    ledger.charge(PLAN, "update", 0, 0, [ROUND], 4.0, plan_delta=1e-5)
    assert ledger.spent_on(PLAN) == pytest.approx(epsilon([ROUND], 1e-5))
    assert ledger.committed_delta() == 1e-5


@pytest.mark.parametrize("delta", [0.1, 1e-2, 0.0, -1.0])
def test_a_plan_whose_delta_the_site_does_not_allow_is_refused(ledger: Ledger, delta: float) -> None:
    with pytest.raises(BudgetError, match="delta"):
        ledger.charge(PLAN, "update", 0, 0, [ROUND], 4.0, plan_delta=delta)


@pytest.mark.parametrize("plan_epsilon", [0.0, -1.0, float("inf"), float("nan")])
def test_a_plan_without_a_budget_is_refused(ledger: Ledger, plan_epsilon: float) -> None:
    with pytest.raises((BudgetError, wire.WireError)):
        ledger.charge(PLAN, "update", 0, 0, [ROUND], plan_epsilon)
    assert ledger.charges() == ()


def test_a_charge_for_nothing_is_refused(ledger: Ledger) -> None:
    with pytest.raises(BudgetError, match="without events"):
        ledger.charge(PLAN, "update", 0, 0, [], 4.0)


def test_whole_numbers_where_floats_are_meant_do_not_close_the_ledger(ledger: Ledger, path: Path) -> None:
    ledger.charge(PLAN, "update", 0, 0, [GaussianSteps(5, 1, 1)], 4)
    assert Ledger.open(path).spent() > 0.0


def test_what_could_not_be_read_back_is_not_written(ledger: Ledger, path: Path) -> None:
    with pytest.raises(wire.WireError):
        ledger.charge(PLAN, "update", 1.5, 0, [ROUND], 4.0)  # type: ignore[arg-type]
    assert Ledger.open(path).charges() == ()


def test_a_ledger_is_never_replaced(ledger: Ledger, path: Path) -> None:
    fill(ledger, rounds=1)
    with pytest.raises(LedgerError, match="there already"):
        Ledger.create(path, "north", 99.0, 1e-3)
    assert len(Ledger.open(path).charges()) == 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("cap", "delta"), [(0.0, 1e-3), (-1.0, 1e-3), (float("nan"), 1e-3), (1.0, 0.0), (1.0, 1.0)])
def test_a_cap_that_caps_nothing_is_refused(path: Path, cap: float, delta: float) -> None:
    with pytest.raises(BudgetError):
        Ledger.create(path, "north", cap, delta)
    assert not path.exists()


def test_another_sites_ledger_is_refused(ledger: Ledger, path: Path) -> None:
    with pytest.raises(LedgerError, match="of site 'north', not of 'south'"):
        Ledger.open(path, "south")


def test_a_missing_ledger_is_not_made_up(path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger") as refusal:
        Ledger.open(path)
    assert "forget" in refusal.value.fix
    assert not path.exists()


def test_a_ledger_that_vanishes_while_open_is_not_made_up(ledger: Ledger, path: Path) -> None:
    path.unlink()
    with pytest.raises(LedgerError, match="there is no ledger"):
        fill(ledger, rounds=1)
    assert not path.exists()


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9])
def test_a_ledger_cut_short_is_refused_and_left_alone(ledger: Ledger, path: Path, keep: float) -> None:
    fill(ledger)
    whole = path.read_bytes()
    cut = whole[: int(len(whole) * keep)]
    path.write_bytes(cut)
    with pytest.raises(LedgerError, match="ledger"):
        Ledger.open(path)
    with pytest.raises(LedgerError):
        ledger.charge(PLAN, "update", ROUNDS, 0, [ROUND], 4.0)
    assert path.read_bytes() == cut


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_no_ledger_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LedgerError):
        Ledger.open(path)


def test_another_programs_database_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE charges (sequence INTEGER)")
    connection.close()
    with pytest.raises(LedgerError, match="something else"):
        Ledger.open(path)


def _forget_last(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM links WHERE sequence = (SELECT max(sequence) FROM links)")


def _forget_first(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM links WHERE sequence = 1")


def _swap(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE links SET sequence = 100 WHERE sequence = 1")
    connection.execute("UPDATE links SET sequence = 1 WHERE sequence = 2")
    connection.execute("UPDATE links SET sequence = 2 WHERE sequence = 100")


def _renumber(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE links SET sequence = 70 WHERE sequence = 4")


def _cheapen(connection: sqlite3.Connection) -> None:
    (entry,) = connection.execute("SELECT entry FROM links WHERE sequence = 3").fetchone()
    connection.execute("UPDATE links SET entry = ? WHERE sequence = 3", (entry.replace(b"update", b"uqdate"),))


def _scramble(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE links SET entry = x'00' WHERE sequence = 3")


def _raise_cap(connection: sqlite3.Connection) -> None:
    from medquorum.privacy.charges import Opening

    connection.execute("UPDATE ledger SET opening = ?", (wire.encode(Opening("north", 1000.0, 1e-3, 1e-2, 3)),))


def _forget_all(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM links")


def _no_opening(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM ledger")


def _no_table(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TABLE links")


def _future(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA user_version = 3")


@pytest.mark.parametrize(
    "alter",
    [
        _forget_last,
        _forget_first,
        _swap,
        _renumber,
        _cheapen,
        _scramble,
        _raise_cap,
        _forget_all,
        _no_opening,
        _no_table,
        _future,
    ],
)
def test_an_altered_ledger_is_refused_by_reader_and_charger(
    ledger: Ledger, path: Path, alter: Callable[[sqlite3.Connection], None]
) -> None:
    fill(ledger, rounds=4)
    with sqlite3.connect(path) as connection:
        alter(connection)
    connection.close()
    for act in (
        lambda: Ledger.open(path),
        ledger.spent,
        lambda: ledger.charge(PLAN, "update", 8, 0, [ROUND], 4.0),
    ):
        with pytest.raises(LedgerError) as refusal:
            act()
        assert str(path) in str(refusal.value) and refusal.value.fix


def test_an_event_that_proves_nothing_cannot_be_charged(ledger: Ledger) -> None:
    with pytest.raises(UnaccountableError):
        ledger.charge(PLAN, "update", 0, 0, [GaussianSteps(0.0, 1.0, 1)], 4.0)


def _spend(path: str, worker: int, tries: int) -> None:
    ledger = Ledger.open(Path(path))
    for attempt in range(tries):
        try:
            ledger.charge(PLAN, "update", worker, attempt, [ROUND], 4.0)
        except BudgetError:
            return


def test_processes_at_once_never_overspend(ledger: Ledger, path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_spend, args=(str(path), worker, ROUNDS)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(ledger.charges()) == ROUNDS
    assert ledger.spent_on(PLAN) <= 4.0
