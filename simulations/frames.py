"""The folder of a finished run, comparison or sweep as pandas frames, for a researcher's own tables and plots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from .errors import StudyError

if TYPE_CHECKING:
    from pandas import DataFrame

    from .report.fields import Json
    from .results import CalibrationBin, Estimate
    from .resumable.outcomes import Outcome

Kind = Literal["run", "comparison", "sweep"]
_Rows = list[dict[str, object]]


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """What `load_results` found. docs/researchers.md lists the columns.

    cells: a row for each training, `status` "done" or "refused" with its `reason`. sites, subgroups, calibration: rows
    of a cell, whose number is in the column `cell`. rounds: rows of a run's rounds and findings (empty for
    comparisons and sweeps, where nothing is measured between rounds). manifest: versions, hashes, seeds.
    """

    kind: Kind
    study: str
    cells: DataFrame
    sites: DataFrame
    rounds: DataFrame
    subgroups: DataFrame
    calibration: DataFrame
    manifest: dict[str, object]


def load_results(folder: str | Path) -> Results:
    """The frames of a folder that `medquorum simulate run`, `compare` or `sweep` finished.

    StudyError when there is no such folder, it holds none of them, or a file in it cannot be read.
    """
    place = Path(folder)
    for file, load in (("report.json", _run), ("compare.json", _comparison), ("sweep.json", _sweep)):
        if (place / file).is_file():
            return load(place)
    raise StudyError(
        "the folder holds no finished run, comparison or sweep" if place.is_dir() else "there is no such folder",
        where=str(place),
        fix="give the --out of a finished medquorum simulate run, compare or sweep",
    )


def _run(place: Path) -> Results:
    from .report import load

    result = load(place / "report.json").result
    cell: dict[str, object] = {"study": result.study, "seed": result.seed, "mode": result.mode, "status": "done"}
    cell |= {"reason": "", **_spread("auroc", result.federated), **_spread("auroc_before", result.auroc_before)}
    cell |= {**_spread("auroc_pooled", result.pooled), "calibration_error": result.calibration_error}
    cell |= {"bytes_sent": result.bytes_sent, "seconds": result.seconds, "release": result.release}
    sites: _Rows = []
    for site in result.sites:
        row: dict[str, object] = {"cell": 0, "site": site.name, "patients": site.held_out_patients}
        row |= {**_spread("auroc", site.auroc_after), **_spread("auroc_before", site.auroc_before)}
        row |= {**_spread("auroc_alone", site.auroc_alone), "train_patients": site.train_patients}
        row |= {f"prevalence_{key}": share for key, share in zip(result.findings, site.prevalence, strict=False)}
        row |= {"epsilon": site.epsilon, "noise_multiplier": site.noise_multiplier, "bytes_sent": site.bytes_sent}
        row |= {"calibration_error": site.calibration_error, "dice": site.dice, "pointing": site.pointing}
        row |= {"actions_saved": site.effort.actions_saved, "label_errors": site.effort.label_errors}
        sites.append(row)
    rounds: _Rows = []
    for done in result.rounds:
        shared = {"round": done.round, "update_norm": done.update_norm, "epsilon": done.epsilon}
        shared |= {"survivors": len(done.survivors), "bytes_sent": done.bytes_sent, "seconds": done.seconds}
        measured = zip(result.findings, done.auroc or (None,) * len(result.findings), strict=True)
        rounds += [{"cell": 0, **shared, "finding": key, **_spread("auroc", one)} for key, one in measured]
    bins: _Rows = [_bin(0, part) for part in result.calibration]
    return _results("run", place, result.study, [cell], sites, rounds, [], bins)


def _comparison(place: Path) -> Results:
    from .resumable import outcomes

    findings = tuple(cast("list[str]", _read(place / "compare.json")["findings"]))
    found: list[tuple[dict[str, Json], Outcome]] = []
    for path in sorted((place / "cells").glob("seed*.json")):
        identity = cast("dict[str, Json]", _read(path).get("training", {}))
        outcome = outcomes.load(path, identity)
        if outcome is not None:
            found.append((identity, outcome))
    return _trainings("comparison", place, found, findings)


def _sweep(place: Path) -> Results:
    from .resumable import outcomes
    from .resumable.outcomes import Refusal

    document = _read(place / "sweep.json")
    keys = list(cast("dict[str, object]", document["axes"]))
    found: list[tuple[dict[str, Json], Outcome]] = []
    for cell in cast("list[dict[str, Json]]", document["cells"]):
        identity = {key: cell[key] for key in keys}
        outcome = outcomes.load(place / str(cell["file"]), identity)
        found.append((identity, outcome or Refusal(str(cell["reason"]), "")))
    return _trainings("sweep", place, found, tuple(cast("list[str]", document["findings"])))


def _trainings(
    kind: Kind, place: Path, found: list[tuple[dict[str, Json], Outcome]], findings: tuple[str, ...]
) -> Results:
    from .resumable.outcomes import Refusal
    from .sweep.document import DONE, REFUSED, figures_row

    cells: _Rows = []
    sites: _Rows = []
    subgroups: _Rows = []
    bins: _Rows = []
    for number, (identity, outcome) in enumerate(found):
        if isinstance(outcome, Refusal):
            reason = f"{outcome.reason}; {outcome.fix}" if outcome.fix else outcome.reason
            told: dict[str, object] = {"status": REFUSED, "reason": reason}
            cells.append({**identity, **told, **figures_row(None, findings)})
            continue
        cells.append({**identity, "status": DONE, "reason": "", **figures_row(outcome, findings)})
        for one in outcome.own:
            sites.append({"cell": number, "site": one.name, "patients": one.patients, **_spread("auroc", one.auroc)})
        for one in outcome.subgroups:
            named = {"cell": number, "column": one.column, "value": one.value, "patients": one.patients}
            subgroups.append({**named, **_spread("auroc", one.auroc)})
        bins += [_bin(number, part) for part in outcome.calibration]
    study = str(_read(place / "manifest.json")["study"])
    return _results(kind, place, study, cells, sites, [], subgroups, bins)


def _results(
    kind: Kind, place: Path, study: str, cells: _Rows, sites: _Rows, rounds: _Rows, subgroups: _Rows, bins: _Rows
) -> Results:
    from pandas import DataFrame

    estimate = ["auroc", "auroc_low", "auroc_high"]

    def frame(rows: _Rows, columns: list[str]) -> DataFrame:
        return DataFrame(rows) if rows else DataFrame(columns=columns)

    return Results(
        kind=kind,
        study=study,
        cells=DataFrame(cells),
        sites=frame(sites, ["cell", "site", "patients", *estimate]),
        rounds=frame(rounds, ["cell", "round", "finding", *estimate]),
        subgroups=frame(subgroups, ["cell", "column", "value", "patients", *estimate]),
        calibration=frame(bins, ["cell", "stated", "observed", "count"]),
        manifest=dict(_read(place / "manifest.json")),
    )


def _read(path: Path) -> Mapping[str, object]:
    import json

    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StudyError(f"cannot be read: {error}", where=str(path), fix="run the study again") from None
    if not isinstance(content, dict):
        raise StudyError("is not what medquorum wrote", where=str(path), fix="run the study again")
    return cast("dict[str, object]", content)


def _bin(cell: int, part: CalibrationBin) -> dict[str, object]:
    return {"cell": cell, "stated": part.stated, "observed": part.observed, "count": part.count}


def _spread(name: str, estimate: Estimate | None) -> dict[str, object]:
    values = (None,) * 3 if estimate is None else (estimate.value, estimate.low, estimate.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
