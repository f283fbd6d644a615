"""One hospital's readers over the days: who has been read, with what effort, and what the labels say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...client.annotations import Proposal, Region, new_id, utc_now
from ...client.inference import PRESENT_FROM
from ...client.regions import propose_regions
from ...client.store import FrozenRecord, InstanceRow
from ...client.training_set import TrainingSet
from ...models.transform import prepare_mask
from ..compare.folds import Fold, Rows, Ward
from ..data import Truth
from ..readers import Read, ScriptedReader, region_mask
from .course import Work

_BY_LOT = 0x10C4


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a hospital's model says of every image of the fold. chances (N, F): calibrated there; maps (N, F, h, w)."""

    release: str
    chances: NDArray[np.float64]
    maps: NDArray[np.float32]

    def sure(self, rows: Rows) -> NDArray[np.float64]:
        """How sure it is of what it proposes of an image: of its least certain finding, in [0.5, 1]."""
        chances = self.chances[rows]
        return np.maximum(chances, 1.0 - chances).min(axis=1)

    def present(self, rows: Rows) -> NDArray[np.bool_]:
        """The findings (n, F) that it proposes as present."""
        return self.chances[rows] >= PRESENT_FROM


class Desk:
    """A hospital's worklist and readers. `trained` and `hidden` are lists of patients, each with the rows of their
    images; the rest of the ward's held-out patients takes no part and is what releases are tested on."""

    def __init__(self, fold: Fold, ward: Ward, number: int, hidden_share: float) -> None:
        self.fold, self.ward = fold, ward
        seed = fold.study.seed
        self.key = np.random.default_rng([seed, number, 0xC014]).bytes(32)
        self.trained = _by_patient(fold, ward.train)
        held = _by_patient(fold, ward.test)
        lots = np.random.default_rng([seed, number, _BY_LOT]).permutation(len(held))
        everybody = ward.train_patients + ward.test_patients
        count = min(max(1, round(hidden_share * everybody)), len(held) - 1)
        self.hidden = [held[index] for index in lots[:count]]
        self.outside: Rows = np.concatenate([held[index] for index in lots[count:]])
        self.entered = np.zeros(len(self.trained), np.bool_)
        self.read = np.zeros(len(self.trained), np.bool_)
        self.hidden_read = 0
        self.labels = np.full(fold.truth.shape, np.nan)
        self._regions: dict[tuple[int, int], NDArray[np.float32]] = {}
        self._readers = [self._reader(number, purpose) for purpose in range(3)]
        truth = fold.truth[ward.train]
        # Of each finding, whether more than half of the known training images show it.
        self.commoner = [bool(one) for one in 2.0 * np.nansum(truth, axis=0) > (~np.isnan(truth)).sum(axis=0)]
        self.work = self.by_hand = self.common = Work()

    @property
    def studies(self) -> int:
        """Studies read so far."""
        return int(self.read.sum()) + self.hidden_read

    def names(self) -> list[str]:
        """Each training patient as the hospital knows them."""
        return [self._truth(int(rows[0])).patient for rows in self.trained]

    def rows_of(self, patients: Sequence[int]) -> Rows:
        """The images of these of the training patients."""
        return np.concatenate([self.trained[one] for one in patients]) if len(patients) else np.zeros(0, np.int64)

    def rest(self) -> Rows:
        """The images that nobody has read, hidden ones left out."""
        return self.rows_of([int(one) for one in np.flatnonzero(~self.read)])

    def read_patient(self, patient: int, shown: Shown | None) -> None:
        """Read a training patient's images, with what the model proposes where there is a model."""
        self.read[patient] = True
        for row in self.trained[patient].tolist():
            found = self._look(0, row, shown)
            self._keep(row, found)
            self.work = self.work.plus(_work(found))
            self._beside(row)

    def read_hidden(self, readings: int) -> None:
        """Read the next hidden patient: every image with the proposal hidden, by one reader, or by two and a third for
        a finding of which they differ; what most said stands."""
        for row in self.hidden[self.hidden_read].tolist():
            looks = [self._look(0, row, None)]
            if readings > 1:
                looks.append(self._look(0, row, None))
                if _states(looks[0]) != _states(looks[1]):
                    looks.append(self._look(0, row, None))
            said = [self._said(one) for one in looks]
            self.labels[row] = said[0] if len(said) < 3 else np.nanmedian(np.stack(said), axis=0)
            truth, settled = self.fold.truth[row], self.labels[row]
            both = ~np.isnan(truth) & ~np.isnan(settled)
            wrong = int((truth[both] != settled[both]).sum())
            actions, seconds = (sum(getattr(one.cost, name) for one in looks) for name in ("actions", "seconds"))
            self.work = self.work.plus(Work(1, actions, seconds, wrong, int(both.sum())))
            self._beside(row)
        self.hidden_read += 1

    def trial(self, row: int, shown: Shown | None) -> tuple[Work, Work, Work]:
        """What an image that nobody has read would take: with its proposal, by hand, and with the commoner class."""
        return _work(self._look(0, row, shown)), _work(self._look(1, row, None)), _work(self._common(row))

    def training_rows(self) -> TrainingSet:
        """The rows of the patients who entered training, labelled as they were read."""
        import torch

        from ...models.loss import Targets

        fold, patients = self.fold, [int(one) for one in np.flatnonzero(self.entered)]
        rows = self.rows_of(patients)
        labels = self.labels[rows]
        findings, grid = labels.shape[1], fold.regions.shape[2:]
        drawn = labels == 0.0 if fold.study.plan.region_weight else np.zeros(labels.shape, np.bool_)
        regions = np.zeros((len(rows), findings, *grid), np.float32)
        for at, row in enumerate(rows.tolist()):
            for finding in range(findings):
                if (row, finding) in self._regions:
                    regions[at, finding], drawn[at, finding] = self._regions[row, finding], True
        whose = np.repeat(np.arange(len(patients)), [len(self.trained[one]) for one in patients])
        keys = [fold.images.pictures[row].key for row in rows.tolist()]
        return TrainingSet(
            inputs=fold.inputs[torch.from_numpy(rows)],
            features=fold.release.card.architecture.frozen,
            targets=Targets(
                torch.from_numpy(np.nan_to_num(labels).astype(np.float32)),
                torch.from_numpy(~np.isnan(labels)),
                torch.from_numpy(regions),
                torch.from_numpy(drawn),
            ),
            patients=whose.astype(np.int64),
            records=tuple(FrozenRecord(key, 0, str(one), "") for key, one in zip(keys, whose, strict=True)),
            failed=(),
        )

    def _reader(self, number: int, purpose: int) -> ScriptedReader:
        study = self.fold.study
        generator = np.random.default_rng([study.seed, number, purpose, 0x4EAD])
        return ScriptedReader("scripted reader", study.task.keys, study.readers, generator)

    def _truth(self, row: int) -> Truth:
        truth = self.fold.truths[row]
        assert truth is not None  # a ward's rows are those whose truth the fold has
        return truth

    def _row(self, row: int) -> InstanceRow:
        picture, task = self.fold.images.pictures[row], self.fold.study.task
        return InstanceRow(
            picture.key, str(row), picture.key, task.modality, task.body_part, task.view, picture.laterality,
            picture.rows, picture.columns, 1, "png", picture.key, False,
        )  # fmt: skip

    def _look(self, reader: int, row: int, shown: Shown | None) -> Read:
        if shown is None:
            return self._readers[reader].by_hand(self._row(row), self._truth(row))
        return self._readers[reader].with_proposal(self._row(row), self._truth(row), self._proposal(row, shown))

    def _common(self, row: int) -> Read:
        chances = tuple(zip(self.fold.study.task.keys, map(float, self.commoner), strict=True))
        proposal = Proposal(new_id(), self._row(row).id, 0, "the commoner class", True, "", chances, (), utc_now())
        return self._readers[2].with_proposal(self._row(row), self._truth(row), proposal)

    def _beside(self, row: int) -> None:
        """What the same image would have taken by hand, and with the commoner class of each finding proposed."""
        self.by_hand = self.by_hand.plus(_work(self._look(1, row, None)))
        self.common = self.common.plus(_work(self._common(row)))

    def _proposal(self, row: int, shown: Shown) -> Proposal:
        fold, image = self.fold, self._row(row)
        keys, regions = fold.study.task.keys, list[Region]()
        terms = fold.study.readers
        present = terms.regions != "none" and not fold.images.pooled and (shown.chances[row] >= PRESENT_FROM).any()
        maps = fold.maps(row, shown.maps[row]) if present else shown.maps[row]
        for finding, key in enumerate(keys):
            if present and shown.chances[row, finding] >= PRESENT_FROM:
                regions += propose_regions(
                    key, maps[finding], fold.release.card.transform, image.rows, image.columns,
                    "mask" if terms.regions == "mask" else "box",
                )  # fmt: skip
        asked = fold.study.task.asked(image.laterality)
        known = zip(keys, map(float, shown.chances[row]), strict=True)
        chances = tuple((key, chance) for key, chance in known if key in asked)
        said = tuple(region for region in regions if region.finding in asked)
        return Proposal(new_id(), image.id, 0, shown.release, True, "", chances, said, utc_now())

    def _said(self, read: Read) -> NDArray[np.float64]:
        values = {"present": 1.0, "absent": 0.0}
        states = dict(read.annotation.states)
        return np.array([values.get(states.get(key, ""), np.nan) for key in self.fold.study.task.keys])

    def _keep(self, row: int, read: Read) -> None:
        fold, image = self.fold, self._row(row)
        self.labels[row] = self._said(read)
        if not fold.study.plan.region_weight:
            return
        for finding, key in enumerate(fold.study.task.keys):
            mine = [one for one in read.annotation.regions if one.finding == key]
            if mine and self.labels[row, finding] == 1.0:
                mask = region_mask(mine, image.rows, image.columns)
                self._regions[row, finding] = prepare_mask(mask, fold.release.card.transform, *fold.images.grid)


def _by_patient(fold: Fold, rows: Rows) -> list[Rows]:
    """The rows of each patient, in the order in which the patients come."""
    mine: dict[int, list[int]] = {}
    for row in rows.tolist():
        mine.setdefault(int(fold.patients[row]), []).append(row)
    return [np.array(one, np.int64) for one in mine.values()]


def _states(read: Read) -> dict[str, str]:
    return dict(read.annotation.states)


def _work(read: Read) -> Work:
    return Work(1, read.cost.actions, read.cost.seconds, read.wrong, read.findings)
