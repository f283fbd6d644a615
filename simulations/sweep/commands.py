"""The command `medquorum simulate sweep`: a study and the values to vary in, a row for every combination out.

Nothing heavy is imported before the command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from .rows import Sweep


def sweep(
    study: StudyFile,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUES",
            help="A key of the study and its values: plan.privacy.epsilon=1,3,8, study.seed=1..20. May be repeated.",
            show_default=False,
        ),
    ],
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Folder for cells, tables and plots; the same one again goes on. The default is a new runs/STUDY.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="How many cells are trained at once.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the content of sweep.json, and nothing else, on stdout.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the summary as Markdown, and nothing else, on stdout.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Train a study's federation for every combination of some keys' values; a finished cell is never run again."""
    require_one_form(as_json, markdown)
    require_extra()
    from ..console import console
    from ..progress import stage_of
    from ..study import load_study
    from .grid import plan_cells, read_axes

    with watched(verbose) as progress:
        file = study_file(study)
        axes = read_axes(settings)
        loaded = load_study(file)
        plan_cells(file, axes)  # a key or value that cannot be is said before torch is imported
        with stage_of(progress, "Load libraries"):
            from . import document, report, show
            from .running import sweep_cells
        folder = fresh_folder(f"sweep-{loaded.name}") if out is None else out
        command = typed("sweep", study, data, *(word for text in settings for word in ("--set", text)))
        with kept_log(folder, verbose):
            made: Sweep = sweep_cells(file, axes, data, folder, jobs, progress)
            with stage_of(progress, "Write the report"):
                written = report.write(made, command, folder)
    if as_json:
        sys.stdout.write(document.dump(made, command))
    elif markdown:
        sys.stdout.write(show.markdown(made))
    else:
        show.summary(made, console(sys.stdout), [(what, shown(path)) for what, path in written])
