"""The command `medquorum simulate describe`: a study in, who is at which hospital out, before anything is trained.

Nothing heavy is imported before the command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ..options import Data, StudyFile, Verbose, require_extra, shown, study_file, watched


def describe(
    study: StudyFile,
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, help="Folder for partition.json, partition.csv and the plot.", show_default=False
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed than the study's.", show_default=False)] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the content of partition.json, and nothing else, on stdout.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Each hospital's patients, images and prevalence, to train on and held out; trains nothing."""
    require_extra()
    from ..progress import stage_of
    from ..study import load_study

    with watched(verbose) as progress:
        loaded = load_study(study_file(study), seed)
        with tempfile.TemporaryDirectory(prefix="medquorum-") as place, stage_of(progress, "Divide the patients"):
            from ..gather import gather, keep
            from . import text

            _, division = gather(loaded, data, Path(place), lambda _: None)
        written = [] if out is None else keep(division, out)
    if as_json:
        sys.stdout.write(text.dump(division))
        return
    sys.stdout.write(text.table(division) + "\n" + "".join(f"{shown(path)}\n" for path in written))
