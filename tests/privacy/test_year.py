"""The cap for a year: a rolling window over the ledger's own times, which no clock set back can open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medquorum.privacy.charges import Charge, committed_in_year
from medquorum.privacy.errors import BudgetError
from medquorum.privacy.events import GaussianSteps
from medquorum.privacy.ledger import Ledger

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ROUND = GaussianSteps(5.0, 1.0, 1)


def charged(*entries: tuple[bytes, float]) -> list[Charge]:
    """Charges of epsilon 2 for a plan, so many days before NOW, in the chain's order."""
    return [
        Charge(
            i + 1,
            plan * 32,
            "update",
            i,
            1,
            (ROUND,),
            2.0,
            1e-5,
            (NOW - timedelta(days=days)).isoformat(),
            bytes(32),
            b"",
        )
        for i, (plan, days) in enumerate(entries)
    ]


def test_plans_of_the_last_year_count_in_full_and_once() -> None:
    assert committed_in_year([], NOW) == 0.0
    assert committed_in_year(charged((b"a", 10), (b"a", 5), (b"b", 1)), NOW) == 4.0
    assert committed_in_year(charged((b"a", 366), (b"b", 364)), NOW) == 2.0
    assert committed_in_year(charged((b"a", 400), (b"a", 300)), NOW) == 2.0, "one charge within it brings a plan in"


def test_a_clock_set_back_frees_nothing() -> None:
    ahead = charged((b"a", 10), (b"b", -3))
    assert committed_in_year(ahead, NOW - timedelta(days=2000)) == 4.0, "what is still to come counts"
    stamped_back = charged((b"a", 10), (b"b", 5000))
    assert committed_in_year(stamped_back, NOW) == 4.0, "a charge is no older than the one before it"
    assert committed_in_year(stamped_back, NOW + timedelta(days=356)) == 0.0


def test_the_ledger_refuses_the_charge_that_would_pass_it(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "ledger", "north", 100.0, 1e-3)
    ledger.charge(b"a" * 32, "update", 1, 1, [ROUND], 2.0, year_cap=3.0)
    with pytest.raises(BudgetError, match="cap for a year is 3"):
        ledger.charge(b"b" * 32, "update", 1, 1, [ROUND], 2.0, year_cap=3.0)
    ledger.charge(b"a" * 32, "update", 2, 1, [ROUND], 2.0, year_cap=3.0)
    assert ledger.committed_in_year() == 2.0
    with pytest.raises(BudgetError, match="cap for a year is 1"):
        ledger.charge(b"a" * 32, "update", 3, 1, [ROUND], 2.0, year_cap=1.0)
    assert len(ledger.charges()) == 2
