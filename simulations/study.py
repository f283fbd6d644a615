"""A study: one TOML file that says which data, which hospitals, which task, model, plan and readers, and which seed.

Every key is described in the comments of `studies/demo.toml`. Reading a study touches no data; a key that is
unknown, missing or of the wrong type is a StudyError of one line that names the file, the key and the fix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from ..models.centring import require_centre
from ..privacy.plan import Mode
from ..server.plan_terms import ModelTerms, PlanTerms, read_findings, read_model, read_plan
from ..task import Finding, Task
from ..toml_table import Table, nearest
from .days.terms import DaysTerms, read_days
from .errors import StudyError
from .phantoms.findings import PLANTERS
from .phantoms.hospital import PhantomHospital
from .phantoms.vendor import VENDORS
from .terms import (
    ArrayData,
    CellSettings,
    Compare,
    Cost,
    LabelRule,
    Look,
    PartitionKind,
    PhantomData,
    Pretraining,
    ReaderTerms,
    RegionKind,
    SiteTerms,
    TableData,
)

STUDIES = Path(__file__).parent / "studies"
_KINDS = ("phantoms", "table", "dicom", "idx")


@dataclass(frozen=True, slots=True)
class Study:
    """A whole study, read and checked; `file` is where it came from."""

    file: Path
    name: str
    description: str
    seed: int
    data: PhantomData | TableData | ArrayData
    sites: SiteTerms
    task: Task
    model: ModelTerms
    plan: PlanTerms
    readers: ReaderTerms
    compare: Compare
    pretraining: Pretraining | None = None
    days: DaysTerms = field(default_factory=DaysTerms)

    @property
    def synthetic(self) -> bool:
        """Whether the images are phantoms."""
        return isinstance(self.data, PhantomData)


def bundled(name: str) -> Path:
    """The file of a study that comes with medquorum; StudyError naming the nearest when there is none."""
    known = sorted(path.stem for path in STUDIES.glob("*.toml"))
    if name not in known:
        raise StudyError(f"no bundled study is called {name!r}", fix=nearest(name, known))
    return STUDIES / f"{name}.toml"


def load_study(file: Path, seed: int | None = None) -> Study:
    """Read a study; `seed` overrides the file's. StudyError on anything that is not as described above."""
    if not file.exists():
        fix = "check the path; bundled studies are named without .toml"
        raise StudyError("there is no such study file", where=str(file), fix=fix)
    return read_study(Table.read(file, StudyError, "study"), file, seed)


def read_study(root: Table, file: Path, seed: int | None = None) -> Study:
    """The study in the root table of `file`, which may have been changed since it was read."""
    about = root.table("study")
    written_seed = about.whole("seed", 0)
    task, rules = _task(root.table("task"), _kind(root))
    pretraining = root.table("pretraining") if root.has("pretraining") else None
    study = Study(
        file=file,
        name=about.text("name"),
        description=about.text("description", ""),
        seed=written_seed if seed is None else seed,
        data=_data(root.table("data"), task, rules),
        sites=_sites(root.table("sites", required=False), _kind(root)),
        task=task,
        model=read_model(root.table("model", required=False)),
        plan=read_plan(root.table("plan"), len(task.findings), simulated=True),
        readers=_readers(root.table("readers", required=False)),
        compare=_compare(root.table("compare", required=False)),
        pretraining=None if pretraining is None else _pretraining(pretraining, task),
        days=read_days(root.table("days", required=False)),
    )
    about.done()
    root.done()
    with root.checked("plan"):
        require_centre(study.model.architecture, study.plan.recipe.centring)
    if isinstance(study.data, TableData):
        if study.sites.partition == "column" and not study.data.site:
            raise root.fault("data.columns.site", "the partition is by a column that is not named", 'add site = "..."')
        if study.readers.regions != "none" and not study.data.mask:
            raise root.fault(
                "data.columns.mask",
                "readers draw regions but no masks are named",
                'add mask, or readers.regions = "none"',
            )
    return study


def _kind(root: Table) -> str:
    return root.table("data").text("kind", choices=_KINDS)


def _task(table: Table, kind: str) -> tuple[Task, tuple[LabelRule, ...]]:
    findings: list[Finding] = []
    rules: list[LabelRule] = []
    for one in table.tables("findings"):
        asked = read_findings(one)
        findings += asked
        if kind != "phantoms" and len(asked) > 1:
            raise one.fault(
                "sides",
                "both sides would be read from one column",
                'write the finding once for each, with sides = ["L"] and sides = ["R"]',
            )
        if kind == "idx":
            rules.append(LabelRule("", (str(one.whole("label", high=255)),), ("*",), ""))
        elif kind != "phantoms":
            rule = LabelRule(one.text("column"), one.texts("present"), one.texts("absent"), one.text("separator", ""))
            shared = sorted(set(rule.present) & set(rule.absent))
            if shared:
                raise one.fault("absent", f"{shared[0]!r} means both present and absent", "list it once")
            rules.append(rule)
        one.done()
    modality, body_part, view = table.text("modality"), table.text("body_part", ""), table.text("view", "")
    with table.checked("findings"):
        task = Task(tuple(findings), modality, body_part, view)
    table.done()
    return task, tuple(rules)


def _data(table: Table, task: Task, rules: tuple[LabelRule, ...]) -> PhantomData | TableData | ArrayData:
    kind = table.text("kind", choices=_KINDS)
    if kind == "idx":
        return _arrays(table, rules)
    if kind == "phantoms":
        hospitals: list[PhantomHospital] = []
        for key in task.keys:
            if key not in PLANTERS:
                raise table.fault("kind", f"phantoms cannot show the finding {key!r}", nearest(key, PLANTERS))
        for one in table.tables("hospitals"):
            shares = one.table("prevalence")
            prevalence = dict(shares.pairs())
            for key in task.keys:
                if key not in prevalence:
                    raise shares.fault(key, "this finding's prevalence is missing", f"add {key} = 0.3")
            for key in prevalence:
                if key not in task.keys:
                    raise shares.fault(key, "the task has no such finding", nearest(key, task.keys))
            hospitals.append(
                PhantomHospital(
                    name=one.text("name"),
                    patients=one.whole("patients", low=4, high=100_000),
                    vendor=one.text("vendor", choices=VENDORS),
                    prevalence=tuple((key, prevalence[key]) for key in task.keys),
                    visibility=one.number("visibility", 1.0),
                    damaged=one.number("damaged", 0.0, high=0.5),
                )
            )
            one.done()
        names = [hospital.name for hospital in hospitals]
        for name in names:
            if names.count(name) > 1:
                raise table.fault("hospitals", f"two hospitals are called {name!r}", "give each its own name")
        table.done()
        return PhantomData(tuple(hospitals))
    columns = table.table("columns", required=False)
    data = TableData(
        kind="dicom" if kind == "dicom" else "table",
        csv=table.text("csv", "labels.csv"),
        file=columns.text("file", "file"),
        patient=columns.text("patient", "patient_id"),
        site=columns.text("site", ""),
        mask=columns.text("mask", ""),
        rules=rules,
        subgroups=columns.texts("subgroups", ()),
        sex=columns.text("sex", ""),
        age=columns.text("age", ""),
    )
    if data.mask and len(task.findings) != 1:
        raise columns.fault("mask", "masks tell where one finding is, and the task has several", "keep one finding")
    columns.done()
    table.done()
    return data


def _arrays(table: Table, rules: tuple[LabelRule, ...]) -> ArrayData:
    values = tuple(int(rule.present[0]) for rule in rules)
    if len(set(values)) < len(values):
        raise table.fault("kind", "two findings have one label", "give each finding of the task its own label")
    data = ArrayData(
        images=table.text("images"),
        labels=table.text("labels"),
        test_images=table.text("test_images"),
        test_labels=table.text("test_labels"),
        values=values,
    )
    table.done()
    return data


def _pretraining(table: Table, task: Task) -> Pretraining:
    kind = table.text("kind", choices=("fonts", "phantoms"))
    known = tuple(PLANTERS) if kind == "phantoms" else tuple("0123456789")
    shows = table.texts("shows")
    for each in shows:
        if each not in known:
            raise table.fault("shows", f"{kind} cannot show {each!r}", nearest(each, known))
    if len(shows) != len(task.findings):
        raise table.fault("shows", f"{len(shows)} for {len(task.findings)} findings", "name one for each, in order")
    terms = Pretraining(
        kind="phantoms" if kind == "phantoms" else "fonts",
        shows=shows,
        images=table.whole("images", low=1, high=10_000_000),
        epochs=table.whole("epochs", 1, low=1, high=10_000),
        learning_rate=table.number("learning_rate", 0.004, low=1e-9),
    )
    table.done()
    return terms


def _sites(table: Table, kind: str) -> SiteTerms:
    phantoms = kind == "phantoms"
    partition: PartitionKind = "column"
    if not phantoms:
        # idx files have neither a column nor a patient's own device to divide by.
        drawn = ("iid", "dirichlet", "sizes")
        choices = drawn if kind == "idx" else get_args(PartitionKind)
        partition = cast(PartitionKind, table.text("partition", choices=choices))
    names = () if phantoms else table.texts("names", ())
    if partition != "column" and len(names) < 2:
        raise table.fault("names", f"a {partition!r} partition has no hospitals to divide among", "name two or more")
    if len(set(names)) != len(names):
        raise table.fault("names", "two hospitals share a name", "give each its own name")
    sizes: tuple[float, ...] = ()
    if partition == "sizes" or (partition == "look" and table.has("sizes")):
        sizes = table.numbers("sizes")
        if len(sizes) != len(names) or not all(size > 0 for size in sizes):
            raise table.fault("sizes", f"{len(sizes)} sizes for {len(names)} hospitals", "give each one above 0")
    terms = SiteTerms(
        partition=partition,
        names=names,
        alpha=table.number("alpha", 1.0, low=0.01) if partition == "dirichlet" else 1.0,
        sizes=sizes,
        held_out=table.number("held_out", 0.3, low=0.05, high=0.8),
        nominal_rounding=table.whole("nominal_rounding", 10, low=1),
        look=cast(Look, table.text("look", choices=get_args(Look))) if partition == "look" else "intensity",
        train_share=table.number("train_share", 1.0, low=0.001, high=1.0),
        one_class=table.flag("one_class", False),
    )
    table.done()
    return terms


def _readers(table: Table) -> ReaderTerms:
    def cost(key: str, actions: float, seconds: float) -> Cost:
        one = table.table(key, required=False)
        value = Cost(one.number("actions", actions), one.number("seconds", seconds))
        one.done()
        return value

    terms = ReaderTerms(
        error_rate=table.number("error_rate", 0.0, high=0.5),
        automation_bias=table.number("automation_bias", 0.0, high=1.0),
        regions=cast(RegionKind, table.text("regions", "none", choices=("none", "box", "mask"))),
        accept_overlap=table.number("accept_overlap", 0.5, low=0.05, high=1.0),
        vertex_spacing=table.number("vertex_spacing", 12.0, low=1.0),
        open=cost("open", 0.0, 2.0),
        state=cost("state", 1.0, 3.0),
        accept=cost("accept", 1.0, 2.0),
        change=cost("change", 1.0, 3.0),
        box=cost("box", 2.0, 4.0),
        vertex=cost("vertex", 1.0, 1.2),
        remove=cost("remove", 1.0, 1.5),
    )
    table.done()
    return terms


def _cell_settings(table: Table) -> CellSettings:
    mode = table.text("mode", choices=get_args(Mode))
    epsilon = table.number("epsilon", low=1e-9) if table.has("epsilon") else None
    changes: list[tuple[str, int | float]] = [
        (key, table.whole(key, low=1, high=10_000)) for key in ("rounds", "local_steps") if table.has(key)
    ]
    bounds = {"learning_rate": math.inf, "clip": math.inf, "momentum": 0.999, "server_momentum": 0.999}
    changes += [(key, table.number(key, high=high)) for key, high in bounds.items() if table.has(key)]
    if mode == "none" and epsilon is not None:
        raise table.fault("epsilon", "mode none has no epsilon", "leave it out")
    table.done()
    return CellSettings(mode, epsilon, tuple(changes))


def _compare(table: Table) -> Compare:
    compare = Compare(
        alone=table.flag("alone", True),
        pooled=table.flag("pooled", True),
        pooled_epochs=table.whole("pooled_epochs", 30, low=1),
        pooled_learning_rate=table.number("pooled_learning_rate", 0.01, low=1e-9),
        settings=tuple(_cell_settings(one) for one in table.tables("settings")) if table.has("settings") else (),
    )
    table.done()
    return compare
