"""The hospitals as they take part: each one's node, its images with their truth, and which patients are held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from ..client.gate import InProcess
from ..client.intake import Column, IntakeReport, Table, import_dicom, import_table
from ..client.node import Node
from ..client.policy import Policy
from ..client.rights import SimulationRights
from ..client.store import InstanceRow
from ..privacy.ledger import Ledger
from .data import Hospital, Truth
from .errors import StudyError
from .partition import Label, nominal, split_patients
from .study import Study


@dataclass(frozen=True, slots=True)
class Case:
    """One stored image and the truth about it."""

    row: InstanceRow
    truth: Truth


@dataclass(slots=True)
class Site:
    """A hospital with its open node. train and held_out: its images, by whether their patient may be trained on.

    nominal, nominal_held_out: the declared, rounded numbers of training and of held-out patients.
    """

    name: str
    number: int
    node: Node
    rights: SimulationRights
    intake: IntakeReport
    train: tuple[Case, ...]
    held_out: tuple[Case, ...]
    nominal: int
    nominal_held_out: int

    @property
    def cases(self) -> tuple[Case, ...]:
        """Every image that takes part."""
        return self.train + self.held_out

    def close(self) -> None:
        """Close the node, for another process to open it."""
        self.node.close()

    def reopen(self) -> None:
        """Open the node again after `close`."""
        self.node = Node.open(self.node.folder, self.rights)


def patients(cases: Sequence[Case]) -> int:
    """How many patients the images belong to."""
    return len({case.truth.patient for case in cases})


def planned_nominal(study: Study, hospital: Hospital) -> int:
    """The number of training patients that the hospital would declare, before anything is imported."""
    labels = hospital.labels()
    count = len(split_patients(labels, study.sites, study.seed).train) if len(labels) > 1 else len(labels)
    return nominal(count, study.sites.nominal_rounding)


def open_site(
    study: Study, hospital: Hospital, number: int, folder: Path, sites: int, advance: Callable[[int], None]
) -> Site:
    """Create the hospital's node in `folder`, import its images, and set its held-out patients.

    `advance` is told how many files are settled. StudyError when fewer than two patients could be imported.
    """
    plan = study.plan
    rights = SimulationRights(seed=study.seed)
    policy = Policy(plan_epsilon=plan.epsilon_cap, modes=(plan.mode,), minimum_quorum=min(3, sites, plan.quorum))
    node = Node.create(folder, hospital.name, policy, epsilon_cap=plan.epsilon_cap, delta=plan.delta, simulation=rights)
    try:
        if hospital.table is None:
            report = import_dicom(node.store, hospital.folder, InProcess(), lambda done, _: advance(done))
        else:
            task = study.task
            sex, age = (Column(key) if key in hospital.characteristics else "" for key in ("sex", "age"))
            table = Table(
                hospital.table, modality=task.modality, body_part=task.body_part, view=task.view, sex=sex, age=age
            )
            report = import_table(node.store, hospital.folder, table, lambda done, _: advance(done))
        rows = [row for row in node.store.instances() if row.source in hospital.truths]
        cases = [Case(row, hospital.truths[row.source].asked(study.task, row.laterality)) for row in rows]
        labels: dict[str, Label] = {
            patient: label
            for patient, label in hospital.labels().items()
            if patient in {case.truth.patient for case in cases}
        }
        _require_same_patients(hospital, cases)
        if len(labels) < 2:
            raise StudyError(
                f"{len(labels)} patients could be imported at {hospital.name!r}, which leaves none to hold out",
                where=str(hospital.folder),
                fix="look at the quarantined files' reasons, or leave the hospital out",
            )
        split = split_patients(labels, study.sites, study.seed)
        # The node draws its own held-out patients at arrival; a study stratifies them by label instead.
        everybody = {case.row.patient for case in cases}
        keys = {case.row.patient for case in cases if case.truth.patient in split.held_out}
        node.store.set_held_out(sorted(everybody - keys), False)
        node.store.set_held_out(sorted(keys), True)
        # Who is left aside takes no part in any plan, or the node would wait until they are read.
        for patient in sorted({case.row.patient for case in cases if case.truth.patient in split.aside}):
            node.store.consent(patient, "opt_out", date.min)
        train = tuple(case for case in cases if case.truth.patient in split.train)
        held_out = tuple(case for case in cases if case.truth.patient in split.held_out)
    except BaseException:
        node.close()
        raise
    declared, kept = (nominal(patients(one), study.sites.nominal_rounding) for one in (train, held_out))
    return Site(hospital.name, number, node, rights, report, train, held_out, declared, kept)


def _require_same_patients(hospital: Hospital, cases: Sequence[Case]) -> None:
    """The table and the files must agree on who is one patient, or a held-out patient could be trained on."""
    for of, other in ((0, 1), (1, 0)):
        first: dict[str, tuple[str, Case]] = {}
        for case in cases:
            names = case.truth.patient, case.row.patient
            earlier, where = first.setdefault(names[of], (names[other], case))
            if earlier != names[other]:
                differ = ("one patient in the table and two", "two patients in the table and one")[of]
                raise StudyError(
                    f"{where.row.source!r} and {case.row.source!r} are of {differ} by their own headers",
                    where=str(hospital.folder),
                    fix="correct the table's patient column",
                )


def apart(site: Site, folder: Path, study: Study) -> Node:
    """A second node over the same store, with its own ledger, policy and agreements in `folder`.

    Training a hospital alone is a comparison that no real hospital would run beside the federation: it must neither
    spend from the node's real ledger nor be refused by it.
    """
    folder.mkdir(parents=True)
    ledger = Ledger.create(folder / "ledger.sqlite", site.name, study.plan.epsilon_cap, study.plan.delta)
    policy = Policy(plan_epsilon=study.plan.epsilon_cap, modes=(study.plan.mode,), minimum_quorum=1)
    return Node(folder, site.node.store, ledger, policy, site.rights, side=None, trust=None)
