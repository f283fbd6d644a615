"""`simulate verify`: the study of a folder's manifest is run again beside it, and every figure compared."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ..errors import StudyError, StudyRefusedError
from ..progress import Progress, silent
from ..report.fields import Json
from ..resumable import folder
from ..study import Study, load_study
from .differences import Difference, differences

Manifest = dict[str, object]


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of it. compared: files of figures. versions: (name, kept, now) of each that differs; machine:
    likewise, what of the machine can move the last bits of a figure."""

    kind: str
    study: str
    compared: int
    versions: tuple[tuple[str, str, str], ...]
    machine: tuple[tuple[str, str, str], ...]
    differences: tuple[Difference, ...]

    @property
    def good(self) -> bool:
        """Whether all figures are equal."""
        return not self.differences


def verify(kept: Path, data: Path | None = None, tolerance: float = 0.0, progress: Progress = silent) -> Verified:
    """Run again what `kept` holds, in a folder of its own that is removed afterwards, and compare.

    data: where the images are now (the manifest's own folder when None). tolerance: relative, of numbers. Raises
    StudyError when the folder holds no finished run, comparison or sweep, StudyRefusedError when its data are others
    now or its figures cannot come again.
    """
    manifest = folder.kept(kept)
    if manifest is None:
        raise StudyError(
            "the folder has no manifest",
            where=str(kept),
            fix="give the --out of a medquorum simulate run, compare or sweep",
        )
    kind = str(manifest.get("kind"))
    if kind not in _AGAIN:
        raise StudyError(f"the manifest is of a {kind!r}", where=str(kept), fix="verify a run, a comparison or a sweep")
    if kind == "run" and manifest.get("engine") == "processes":
        raise StudyRefusedError(
            "its noise came from the operating system, so its figures cannot come again",
            where=str(kept),
            fix="run it with --engine inprocess to have figures that can be verified",
        )
    images = data if data is not None else None if manifest["data"] is None else Path(str(manifest["data"]))
    # Beside the folder, where features of the same data may be kept already.
    with tempfile.TemporaryDirectory(prefix=".verify-", dir=kept.resolve().parent) as place:
        file = Path(place) / "study.toml"
        file.write_text(str(manifest["study_text"]), encoding="utf-8")
        study = load_study(file, int(cast(int, manifest["seed"])))
        now = Path(place) / "out"
        again = _AGAIN[kind](study, manifest, images, now, progress)
        _require_data(manifest, folder.kept(now), kept)
        found: list[Difference] = []
        for name in again:
            found += differences(_document(kept / name), _document(now / name), tolerance, name)
        made = folder.kept(now) or {}
    return Verified(
        kind=kind,
        study=study.name,
        compared=len(again),
        versions=_changed(manifest, made, "versions"),
        machine=_changed(manifest, made, "machine"),
        differences=tuple(found),
    )


def _run(study: Study, manifest: Manifest, data: Path | None, out: Path, progress: Progress) -> list[str]:
    from .. import report
    from ..run import EngineName, run_study

    out.mkdir()
    engine = cast(EngineName, manifest["engine"])
    result = run_study(study, data, out, engine=engine, progress=progress)
    (out / "report.json").write_text(report.dump(report.Report(result, "")), encoding="utf-8")
    return ["report.json"]


def _comparison(study: Study, manifest: Manifest, data: Path | None, out: Path, progress: Progress) -> list[str]:
    from ..compare.running import Options, compare_cells

    seeds = cast("list[int]", manifest["seeds"])
    epsilons, modes = cast("list[float]", manifest["epsilons"]), cast("list[str]", manifest["modes"])
    compare_cells(study, data, out, Options(len(seeds), tuple(epsilons), tuple(modes)), progress)
    return _cells(out)


def _sweep(study: Study, manifest: Manifest, data: Path | None, out: Path, progress: Progress) -> list[str]:
    from ..sweep.grid import Axis
    from ..sweep.running import sweep_cells

    axes = [Axis(key, tuple(values)) for key, values in cast("dict[str, list[Json]]", manifest["axes"]).items()]
    sweep_cells(study.file, axes, data, out, progress=progress)
    return _cells(out)


_AGAIN: dict[str, Callable[[Study, Manifest, Path | None, Path, Progress], list[str]]] = {
    "run": _run,
    "comparison": _comparison,
    "sweep": _sweep,
}


def _cells(out: Path) -> list[str]:
    return sorted(f"cells/{path.name}" for path in (out / "cells").glob("[!.]*.json"))


def _require_data(kept: Manifest, now: Manifest | None, where: Path) -> None:
    if now is None or now["data_hash"] != kept["data_hash"]:
        raise StudyRefusedError(
            "the images, masks or table are not those that the figures came from",
            where=str(where),
            fix="bring the data back, or name their folder with --data",
        )


def _document(path: Path) -> Json:
    try:
        return cast(Json, json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise StudyError(
            f"the figures cannot be read: {error}", where=str(path), fix="finish the run, then verify it"
        ) from None


def _changed(kept: Manifest, now: Manifest, key: str) -> tuple[tuple[str, str, str], ...]:
    before, after = (cast("dict[str, object]", one.get(key) or {}) for one in (kept, now))
    names = dict.fromkeys([*before, *after])
    pairs = ((name, str(before.get(name, "none")), str(after.get(name, "none"))) for name in names)
    return tuple(one for one in pairs if one[1] != one[2])
