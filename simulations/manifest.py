"""What a run needs to be done again, written beside its figures: the study itself, its data's hash, seeds, versions."""

from __future__ import annotations

import json
from pathlib import Path

from ..server.atomic import replace_file
from .compare.features import data_hash
from .data import Hospital
from .resumable import folder
from .study import Study

SCHEMA = "medquorum.run.manifest/1"
KIND = "run"


def write_run(
    study: Study, data: Path | None, hospitals: tuple[Hospital, ...], engine: str, plan: str, start: str, out: Path
) -> None:
    """Write `out`/manifest.json. plan, start: hashes, in hex, of the plan and of the starting release."""
    manifest = {
        "schema": SCHEMA,
        "kind": KIND,
        "study": study.name,
        "study_text": study.file.read_text(encoding="utf-8"),
        "data": None if data is None else str(data.resolve()),
        "data_hash": data_hash(study, data, hospitals),
        "seed": study.seed,
        "engine": engine,
        "plan": plan,
        "starting_release": start,
        **folder.made_with(),
    }
    replace_file(out / folder.MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())
