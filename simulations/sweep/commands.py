"""The command `medquorum simulate sweep`: a study and the values to vary in, a row for every combination out.

Nothing heavy is imported before the command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import StudyError
from ..options import StudyFile, Verbose, fresh_folder, require_extra, shown, study_file

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
    data: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder that holds the study's images.", show_default=False)
    ] = None,
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
    if as_json and markdown:
        raise StudyError("two forms of output were asked for", where="--json, --markdown", fix="give one of them")
    require_extra()
    from ..console import console, watching
    from ..progress import StageFinished, StageStarted
    from ..study import load_study
    from .grid import plan_cells, read_axes

    # Whatever a library prints belongs to the watcher: standard output is for the result alone.
    with redirect_stdout(sys.stderr), watching(sys.stderr, bars=not verbose) as progress:
        file = study_file(study)
        axes = read_axes(settings)
        loaded = load_study(file)
        plan_cells(file, axes)  # a key or value that cannot be is said before torch is imported
        began = time.monotonic()
        progress(StageStarted("Load libraries", 0))
        from ..run_log import run_log
        from . import document, report, show
        from .running import sweep_cells

        progress(StageFinished("Load libraries", time.monotonic() - began))
        folder = fresh_folder(f"sweep-{loaded.name}") if out is None else out
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "run.log"
        words = ["medquorum", "simulate", "sweep", str(study), *([] if data is None else ["--data", str(data)])]
        command = shlex.join([*words, *(word for text in settings for word in ("--set", text))])
        try:
            with run_log(log, sys.stderr if verbose else None):
                made: Sweep = sweep_cells(file, axes, data, folder, jobs, progress)
                began = time.monotonic()
                progress(StageStarted("Write the report", 0))
                written = report.write(made, command, folder)
                progress(StageFinished("Write the report", time.monotonic() - began))
        except Exception:
            if log.exists() and not verbose:
                typer.echo(f"The run's log: {shown(log)}", err=True)
            raise
    if as_json:
        sys.stdout.write(document.dump(made, command))
    elif markdown:
        sys.stdout.write(show.markdown(made))
    else:
        show.summary(made, console(sys.stdout), [(what, shown(path)) for what, path in written])
