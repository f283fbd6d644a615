"""The folder of a resumable run: held by one process, and never mixed with another study, other data or versions."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from ...server.atomic import replace_file
from ...server.holding import hold
from ..errors import StudyError, StudyRefusedError
from ..outcome import versions

MANIFEST = "manifest.json"
# What a run that ended before its manifest was written may have left.
_OURS = frozenset({"lock", "run.log", "work", "plots", "partition.json", "partition.csv"})


@contextmanager
def held(out: Path, kind: str) -> Generator[None]:
    """Make the folder, hold it against a second process, so that no cell is run by both, and clear what a killed run
    left unfinished. StudyRefusedError when it is held, or holds something else than a `kind`."""
    out.mkdir(parents=True, exist_ok=True)
    if kept(out) is None and any(path.name not in _OURS for path in out.iterdir()):
        raise StudyRefusedError(
            f"the folder holds something else than a {kind}", where=str(out), fix="choose another --out"
        )
    with alone(out, f"this {kind}"):
        yield


@contextmanager
def alone(out: Path, what: str) -> Generator[None]:
    """Hold the folder against a second process, and clear out/work, where half-done things lie, before and after.
    StudyRefusedError when it is held."""
    try:
        lock = hold(out / "lock")
    except BlockingIOError:
        raise StudyRefusedError(
            f"another process is running {what}", where=str(out), fix="wait for it, or stop it"
        ) from None
    with lock:
        shutil.rmtree(out / "work", ignore_errors=True)
        try:
            yield
        finally:
            shutil.rmtree(out / "work", ignore_errors=True)


def kept(out: Path) -> dict[str, object] | None:
    """The folder's manifest; None where there is none, StudyError where it cannot be read."""
    path = out / MANIFEST
    try:
        return cast(dict[str, object], json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StudyError(f"the manifest cannot be read: {error}", where=str(path), fix="choose another --out") from None


def require_study(out: Path, kind: str, study_hash: str) -> None:
    """StudyRefusedError when the folder is of another study, or of another kind of run."""
    before = kept(out)
    if before is None:
        return
    if before.get("kind") != kind:
        raise StudyRefusedError(
            f"the folder holds something else than a {kind}", where=str(out), fix="choose another --out"
        )
    if before.get("study_hash") != study_hash:
        raise StudyRefusedError(
            f"the folder holds a {kind} of {before.get('study')!r} with other settings",
            where=str(out),
            fix="choose another --out, or bring back the study file that it was run with",
        )


def write_manifest(out: Path, manifest: Mapping[str, object]) -> None:
    """Check the folder's manifest against the data and versions of now, and write it with what is asked for now."""
    before = kept(out)
    if before is not None and before.get("data_hash") != manifest["data_hash"]:
        raise StudyRefusedError(
            "the images, masks or table changed since the folder's cells were run",
            where=str(out),
            fix="choose another --out, or bring the data back",
        )
    if before is not None and before.get("versions") != manifest["versions"]:
        raise StudyRefusedError(
            "the folder's cells were run with other versions",
            where=str(out / MANIFEST),
            fix="choose another --out, or install the versions that the manifest names",
        )
    replace_file(out / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())


def made_with() -> dict[str, object]:
    """Versions, and what of the machine can move the last bits of a figure."""
    import torch

    return {
        "versions": dict(versions()),
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads()},
    }
