"""The parts of a study: frozen data without any reading of files. `study` reads them from TOML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .phantoms.hospital import PhantomHospital

PartitionKind = Literal["column", "iid", "dirichlet", "sizes", "look"]
Look = Literal["intensity", "noise", "resolution"]
RegionKind = Literal["none", "box", "mask"]


@dataclass(frozen=True, slots=True)
class LabelRule:
    """How the cells of `column` become a finding's states: `present` and `absent` list the cells' values (for a cell
    with several values, parted by `separator`, one in `present` suffices), "*" in `absent` takes every other value.
    An empty cell leaves the finding not assessed."""

    column: str
    present: tuple[str, ...]
    absent: tuple[str, ...]
    separator: str


@dataclass(frozen=True, slots=True)
class PhantomData:
    """Synthetic radiographs, generated into the run's own folder."""

    hospitals: tuple[PhantomHospital, ...]


@dataclass(frozen=True, slots=True)
class TableData:
    """Files of a folder named by a CSV. kind: "table" (PNG or JPEG) or "dicom". csv: relative to the data folder.
    file, patient, site, mask: names of columns ("" for none); rules: one for each finding of the task. Masks are
    images of the same size, non-zero where the study's only finding is. subgroups: columns by whose values held-out
    patients are also told apart. sex, age: columns that the hospitals' nodes take in, for gates on subgroups."""

    kind: Literal["table", "dicom"]
    csv: str
    file: str
    patient: str
    site: str
    mask: str
    rules: tuple[LabelRule, ...]
    subgroups: tuple[str, ...] = ()
    sex: str = ""
    age: str = ""


@dataclass(frozen=True, slots=True)
class ArrayData:
    """Images and labels in four files of the idx format (plain or gzip), relative to the data folder; every image is a
    patient of its own. The test files belong to no hospital: they are only for checks against published figures.
    values: for each finding of the task, the label that says it is present; every other says it is absent."""

    images: str
    labels: str
    test_images: str
    test_labels: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pretraining:
    """Training of the starting model on generated images (see pretraining).

    kind: "fonts" renders digits, from fonts and pen strokes; "phantoms" draws chest radiographs. shows: for each
    finding of the task, the digit ("0" to "9") or the finding of PLANTERS that stands for it. images: in an epoch.
    epochs: rendered digits are drawn anew in each, phantoms are the same in all. learning_rate: of Adam, at first.
    """

    kind: Literal["fonts", "phantoms"]
    shows: tuple[str, ...]
    images: int
    epochs: int
    learning_rate: float


@dataclass(frozen=True, slots=True)
class SiteTerms:
    """How data become hospitals: the partition and its settings, the share of each hospital's patients held out, and
    the multiple to which the declared patient counts are rounded (to the nearest, at least one multiple).

    look: what the partition "look" orders patients by (see look). train_share: the share of the patients not held out
    that is trained on. one_class: whether a hospital may have one class only of a finding."""

    partition: PartitionKind
    names: tuple[str, ...]
    alpha: float
    sizes: tuple[float, ...]
    held_out: float
    nominal_rounding: int
    look: Look = "intensity"
    train_share: float = 1.0
    one_class: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """Actions (clicks and keys) and seconds that one piece of a reader's work takes."""

    actions: float
    seconds: float


@dataclass(frozen=True, slots=True)
class ReaderTerms:
    """A scripted reader.

    error_rate: chance that a finding is stated wrong. automation_bias: chance that a wrong proposed finding or
    region is accepted all the same. regions: what readers draw for a finding that is present. accept_overlap: the
    intersection over union from which a proposed region is accepted as it is. vertex_spacing: length of outline, in
    stored pixels, between two vertices of a mask drawn by hand. open: looking at an image; state: stating one
    finding by hand; accept: confirming all that is proposed of an image; change: correcting one proposed finding;
    box, vertex: drawing one; remove: deleting a proposed region.
    """

    error_rate: float
    automation_bias: float
    regions: RegionKind
    accept_overlap: float
    vertex_spacing: float
    open: Cost
    state: Cost
    accept: Cost
    change: Cost
    box: Cost
    vertex: Cost
    remove: Cost


@dataclass(frozen=True, slots=True)
class CellSettings:
    """What `simulate compare` changes of the plan in trainings of one mode, at every epsilon or at one.

    changes: plan keys with their values; a key that is not changed keeps the study's.
    """

    mode: str
    epsilon: float | None
    changes: tuple[tuple[str, int | float], ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """What is trained beside the federation: each hospital alone on the same terms, and all data pooled without
    privacy, by Adam at its own learning rate for so many epochs. settings: of `simulate compare`, where a mode or an
    epsilon needs its own; later ones win."""

    alone: bool
    pooled: bool
    pooled_epochs: int
    pooled_learning_rate: float
    settings: tuple[CellSettings, ...] = ()
