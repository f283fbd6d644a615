"""The section [days] of a study: how much is read, in which order, what enters training, and what a night may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from ...privacy.plan import Mode
from ...toml_table import Table
from ..errors import StudyRefusedError

Order = Literal["random", "uncertainty", "hybrid"]
Enters = Literal["independent", "released"]

ORDERS: tuple[Order, ...] = get_args(Order)

_REFUSED = {
    "read": (
        "training on whatever has been read so far cannot be accounted for: a worklist reads so many a day, so one "
        "patient's place in it takes another's, and adding one patient changes more than one"
    ),
    "local": (
        "a rule on a model that was fitted inside the hospital cannot be accounted for: every patient there changed "
        "that model, and through the rule each would move the others"
    ),
}


@dataclass(frozen=True, slots=True)
class DaysTerms:
    """The loop over days. A study is all images of one patient, since tables name no dates.

    days: how many. studies_a_day: read at each hospital. orders: of the worklist; each is a loop of its own. enters:
    what may be trained on (see worklist). hidden_share: of each hospital's patients, read with the proposal hidden and
    never trained on. hidden_readings: 1, or 3 for two readers of each hidden study and a third where they differ.
    first_night, nights_between: after which days the federation trains. rounds: of one night's plan. mode, epsilon: of
    one night's plan; epsilon_cap: of each hospital's ledger. precisions: asked of what is accepted unseen at the end.
    """

    days: int = 20
    studies_a_day: int = 5
    orders: tuple[Order, ...] = ORDERS
    enters: Enters = "released"
    hidden_share: float = 0.1
    hidden_readings: int = 3
    first_night: int = 5
    nights_between: int = 5
    rounds: int = 10
    mode: Mode = "distributed"
    epsilon: float = 2.0
    epsilon_cap: float = 8.0
    precisions: tuple[float, ...] = (0.95, 0.98)

    def trains(self, day: int) -> bool:
        """Whether the night after `day` (from 1 on) is one of training."""
        return day >= self.first_night and (day - self.first_night) % self.nights_between == 0

    @property
    def nights(self) -> int:
        """How many nights the federation means to train."""
        return sum(self.trains(day) for day in range(1, self.days + 1))


def read_days(table: Table) -> DaysTerms:
    """The section [days]; every key has a default. StudyRefusedError for what no accountant could account for."""
    plain = DaysTerms()
    enters = table.text("enters", plain.enters, choices=(*get_args(Enters), *_REFUSED))
    if enters in _REFUSED:
        fault = table.fault("enters", _REFUSED[enters], 'write "released" or "independent" (docs/days.md)')
        raise StudyRefusedError(fault.what, where=fault.where, fix=fault.fix)
    orders = table.texts("orders", plain.orders)
    for order in orders:
        if order not in ORDERS or orders.count(order) > 1 or not orders:
            raise table.fault("orders", f"{order!r} is unknown or listed twice", f"choose among {', '.join(ORDERS)}")
    if not orders:
        raise table.fault("orders", "no order is listed", f"choose among {', '.join(ORDERS)}")
    terms = DaysTerms(
        days=table.whole("days", plain.days, low=1, high=10_000),
        studies_a_day=table.whole("studies_a_day", plain.studies_a_day, low=1, high=1_000_000),
        orders=cast(tuple[Order, ...], orders),
        enters=cast(Enters, enters),
        hidden_share=table.number("hidden_share", plain.hidden_share, low=0.01, high=0.8),
        hidden_readings=table.whole("hidden_readings", plain.hidden_readings, low=1, high=3),
        first_night=table.whole("first_night", plain.first_night, low=1),
        nights_between=table.whole("nights_between", plain.nights_between, low=1),
        rounds=table.whole("rounds", plain.rounds, low=1, high=10_000),
        mode=cast(Mode, table.text("mode", plain.mode, choices=get_args(Mode))),
        epsilon=table.number("epsilon", plain.epsilon, low=1e-9),
        epsilon_cap=table.number("epsilon_cap", plain.epsilon_cap, low=1e-9),
        precisions=table.numbers("precisions", plain.precisions),
    )
    if terms.hidden_readings == 2:
        raise table.fault("hidden_readings", "two readers who differ settle nothing", "write 1 or 3")
    for precision in terms.precisions:
        if not 0.5 < precision < 1.0:
            raise table.fault("precisions", f"a precision of {precision:g}", "give numbers above 0.5 and below 1")
    if terms.mode != "none" and terms.epsilon > terms.epsilon_cap:
        raise table.fault(
            "epsilon", f"one night may spend {terms.epsilon:g} of a cap of {terms.epsilon_cap:g}", "lower it"
        )
    table.done()
    return terms
