"""PLAN.toml, as an operator writes it: task, model or release, plan, sites. docs/coordinator.md shows one in full.

Reading one gives the plan with calibrated noise and the release that it starts from. The same file gives the same
plan every time, so that running it again goes on with the run instead of beginning another.
"""

from __future__ import annotations

from pathlib import Path

from ..models import checkpoint
from ..models.centring import require_centre
from ..models.checkpoint import Release
from ..privacy.plan import Plan, PlanSite
from ..privacy.secure_aggregation.thresholds import threshold
from ..task import Finding, Task
from ..toml_table import Table
from .errors import PlanFileError
from .plan_terms import PlanTerms, read_findings, read_model, read_plan


def load_plan(file: Path, consortium: str) -> tuple[Plan, Release]:
    """Read a plan file for a consortium: the plan, and the release that it starts from.

    PlanFileError, on one line that names file, key and fix, for whatever cannot be used: an unknown or missing key, a
    wrong type, a release of another task, sites whose sum could never be opened, a budget that cannot work.
    """
    root = Table.read(file, PlanFileError, "plan")
    task = _task(root.table("task"))
    start = root.table("release")
    section = root.table("plan")
    name = section.text("name", file.stem)
    terms = read_plan(section, len(task.findings), simulated=False)
    sites = _sites(root, terms)
    release, seed = _release(root, start, task, file)
    start.done()
    root.done()
    with root.checked("plan"):
        require_centre(release.card.architecture, terms.recipe.centring)
        privacy = terms.privacy([site.patients for site in sites])
        plan = terms.plan(
            consortium=consortium, name=name, task=task, release=release, sites=sites, privacy=privacy, seed=seed
        )
    return plan, release


def _task(table: Table) -> Task:
    findings: list[Finding] = []
    for one in table.tables("findings"):
        findings += read_findings(one)
        one.done()
    modality, body_part, view = table.text("modality"), table.text("body_part", ""), table.text("view", "")
    with table.checked("findings"):
        task = Task(tuple(findings), modality, body_part, view)
    table.done()
    return task


def _sites(root: Table, terms: PlanTerms) -> tuple[PlanSite, ...]:
    sites: list[PlanSite] = []
    for one in root.tables("sites"):
        name, patients = one.text("name"), one.whole("patients", low=1)
        if any(name == site.name for site in sites):
            raise one.fault("name", f"two sites are called {name!r}", "name each site once")
        sites.append(PlanSite(name, patients, one.whole("held_out", 0)))
        one.done()
    if len(sites) < 3:
        raise root.fault("sites", f"{len(sites)} sites have no sum to hide in", "plan with at least three")
    if terms.quorum > len(sites):
        raise root.fault("plan.quorum", f"a quorum of {terms.quorum} out of {len(sites)} sites", "choose fewer")
    least = threshold(len(sites))
    if terms.quorum < least:
        raise root.fault(
            "plan.quorum",
            f"the sum of {len(sites)} sites opens only when at least {least} of them stay, and the quorum is "
            f"{terms.quorum}",
            f"give quorum = {least} or more",
        )
    return tuple(sites)


def _release(root: Table, start: Table, task: Task, file: Path) -> tuple[Release, int]:
    """The starting release: that of a folder (relative to the plan file), or a fresh one of [model]; and the seed."""
    seed = start.whole("seed", 0)
    if not start.has("folder"):
        return read_model(root.table("model")).release(task, seed), seed
    folder = file.parent / start.text("folder")
    if root.has("model"):
        raise root.fault("model", "the release of release.folder has its own model", "remove one of the two")
    with start.checked("folder"):
        release = checkpoint.load(folder)
    if release.card.task != task:
        raise start.fault("folder", "that release was made for another task", "give [task] that release's task")
    return release, seed
