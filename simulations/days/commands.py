"""The command `medquorum simulate days`: a study in, effort and label quality over the days of labelling out.

Nothing heavy is imported before the command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..options import (
    Data,
    StudyFile,
    Verbose,
    fresh_folder,
    kept_log,
    require_extra,
    require_one_form,
    shown,
    study_file,
    typed,
    watched,
)


def days(
    study: StudyFile,
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Folder for loops, tables and plots; the same one again goes on. The default is a new one in runs.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="How many seeds, from the first upwards; each divides anew.")
    ] = 3,
    seed: Annotated[
        int | None, typer.Option(min=0, help="The first seed; the default is the study's.", show_default=False)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the content of days.json, and nothing else, on stdout.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables as Markdown, and nothing else, on stdout.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Readers label a few studies a day, nights train, proposals return: effort and label quality against days."""
    require_one_form(as_json, markdown)
    require_extra()
    from ..console import console
    from ..progress import stage_of
    from ..study import load_study

    with watched(verbose) as progress:
        loaded = load_study(study_file(study), seed)
        with stage_of(progress, "Load libraries"):
            from . import document, report, show
            from .running import run_days
        folder = fresh_folder(f"days-{loaded.name}") if out is None else out
        more = ["--seeds", str(seeds), *([] if seed is None else ["--seed", str(seed)])]
        command = typed("days", study, data, *more)
        with kept_log(folder, verbose):
            found = run_days(loaded, data, folder, seeds, progress)
            with stage_of(progress, "Write the report"):
                written = report.write(found, command, folder)
    if as_json:
        sys.stdout.write(document.dump(found, command))
    elif markdown:
        sys.stdout.write(show.markdown(found))
    else:
        show.summary(found, console(sys.stdout), [(what, shown(path)) for what, path in written])
