"""What a hospital allows the coordinator to ask: one TOML file, read strictly, checked against every plan."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import asdict, dataclass, fields
from datetime import datetime, time
from pathlib import Path
from typing import Any, get_args

from ..errors import BadInputError, RefusedError
from ..models.card import Backbone, ModelCard
from ..privacy.plan import Mode, Plan
from ..task import Task
from .errors import NodeError


class PolicyFileError(NodeError, BadInputError):
    """The policy file cannot be used as it is."""


class PolicyError(NodeError, RefusedError):
    """The site's policy forbids what a plan asks for. The text goes to the coordinator and holds no data."""


_COMMENTS = {
    "plan_epsilon": "the most epsilon that one plan may spend on any patient",
    "year_epsilon": "the most epsilon that all plans may commit within 365 days; inf: only the ledger's own cap",
    "modes": 'privacy modes: "local"; "distributed", whose noise is shared among the sites; "none": only simulation',
    "backbones": "networks that may be trained here",
    "modalities": "DICOM modalities that may be trained on; empty: any",
    "findings": 'findings that may be learned, as "SCHEME:CODE"; empty: any',
    "minimum_quorum": "the fewest sites whose sum this site lets be opened",
    "witnesses": "how many sites of a sum must keep a head of this site's ledger, once any does, to notice a backup",
    "subgroups": "whether gates may judge this site's patients by sex and age; only the site's one vote ever leaves",
    "hours": 'when training may begin, by this machine\'s local clock, as "19:00-07:00"; empty: at any time',
}
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def _require(holds: bool, what: str, fix: str) -> None:
    if not holds:
        raise PolicyFileError(what, where="policy", fix=fix)


@dataclass(frozen=True, slots=True)
class Policy:
    """A site's own limits; `_COMMENTS`, written into the file, says what each is.

    The cap over all plans together stands in the ledger, not here: editing a file must not raise it. Epsilons are
    under adding or removing one patient. Raises PolicyFileError on a limit that makes no sense.
    """

    plan_epsilon: float = 8.0
    year_epsilon: float = math.inf
    modes: tuple[str, ...] = ("local",)
    backbones: tuple[str, ...] = get_args(Backbone)
    modalities: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    minimum_quorum: int = 3
    witnesses: int = 1
    subgroups: bool = True
    hours: str = ""

    def __post_init__(self) -> None:
        cap = self.plan_epsilon
        _require(math.isfinite(cap) and cap > 0.0, f"plan_epsilon is {cap}", "choose a number above 0")
        _require(self.year_epsilon > 0.0, f"year_epsilon is {self.year_epsilon}", "choose a number above 0, or inf")
        _require(self.minimum_quorum >= 1, f"minimum_quorum is {self.minimum_quorum}", "choose 1 or more")
        _require(self.witnesses >= 0, f"witnesses is {self.witnesses}", "choose 0 or more; 1 for most")
        for name, allowed in (("modes", get_args(Mode)), ("backbones", get_args(Backbone))):
            unknown = sorted(set(getattr(self, name)) - set(allowed))
            _require(not unknown, f"{name} holds {unknown}", f"choose among {', '.join(allowed)}")
        hours = _HOURS.fullmatch(self.hours)
        _require(
            not self.hours or (hours is not None and self.hours[:5] != self.hours[6:]),
            f"hours is {self.hours!r}",
            'write two different times of the day, such as "19:00-07:00", or nothing',
        )

    def check(self, plan: Plan, card: ModelCard) -> None:
        """Raise PolicyError with the first reason why `plan`, training the network of `card`, is not allowed here."""
        _allow(plan.privacy.mode in self.modes, f"privacy mode {plan.privacy.mode!r} is not allowed here")
        _allow(
            plan.privacy.mode == "none" or plan.privacy.epsilon <= self.plan_epsilon,
            f"the plan may spend epsilon {plan.privacy.epsilon:.4g} and this site's cap for one plan is "
            f"{self.plan_epsilon:.4g}",
        )
        self.check_model(card.architecture.backbone, plan.task)
        _allow(
            plan.quorum >= self.minimum_quorum,
            f"a quorum of {plan.quorum} is below this site's minimum of {self.minimum_quorum}",
        )
        gate = None if plan.evaluation is None else plan.evaluation.gate
        asked = gate is not None and gate.subgroups is not None
        _allow(self.subgroups or not asked, "gates on subgroups by sex and age are not allowed here")

    def check_model(self, backbone: str, task: Task) -> None:
        """Raise PolicyError unless a network on this backbone for this task may be used here."""
        _allow(backbone in self.backbones, f"backbone {backbone!r} is not allowed here")
        modality = task.modality
        _allow(not self.modalities or modality in self.modalities, f"modality {modality!r} is not allowed here")
        for finding in task.findings:
            name = f"{finding.scheme}:{finding.code}"
            _allow(not self.findings or name in self.findings, f"finding {name} is not allowed here")

    def require_open(self, at: datetime) -> None:
        """Raise PolicyError unless training may begin at `at`, local time. The last minute of `hours` is outside."""
        hours = _HOURS.fullmatch(self.hours)
        if hours is None:
            return
        first, last = time(int(hours[1]), int(hours[2])), time(int(hours[3]), int(hours[4]))
        now = at.time()
        inside = first <= now < last if first < last else now >= first or now < last
        _allow(inside, f"this site takes part between {self.hours} only, by its local time, and it is {now:%H:%M}")

    def text(self) -> str:
        """The policy as commented TOML, for people to read and edit."""
        lines = ["# What this site allows the coordinator to ask. Read again each time the node starts."]
        for name, value in asdict(self).items():
            lines += ["", f"# {_COMMENTS[name]}", f"{name} = {_toml(value)}"]
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> None:
        """Write `text` to a file."""
        path.write_text(self.text(), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Policy:
        """Read a policy file; missing keys keep their defaults.

        Raises PolicyFileError naming the first unknown key, wrong type or senseless limit.
        """
        try:
            table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as fault:
            raise PolicyFileError(f"cannot be read: {fault}", where=str(path), fix="correct or restore it") from fault
        kinds = {field.name: type(field.default) for field in fields(cls)}
        for name, value in table.items():
            kind = kinds.get(name)
            if kind is None:
                raise PolicyFileError(f"unknown key {name!r}", where=str(path), fix=f"use one of {', '.join(kinds)}")
            table[name] = _typed(name, value, kind, path)
        try:
            return cls(**table)
        except PolicyFileError as fault:
            raise PolicyFileError(fault.what, where=str(path), fix=fault.fix) from None


def _allow(holds: bool, reason: str) -> None:
    if not holds:
        raise PolicyError(reason, where="policy")


def _typed(name: str, value: Any, kind: type, path: Path) -> Any:
    if kind in (str, bool) and isinstance(value, kind):
        return value
    if kind is tuple and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    words = {tuple: "a list of texts", float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    wanted = words[kind]
    raise PolicyFileError(f"{name} is not {wanted}", where=str(path), fix=f"write {wanted}")


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else repr(value)
