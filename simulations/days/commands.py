"""The command `medquorum simulate days`: a study in, effort and label quality over the days of labelling out.

Nothing heavy is imported before the command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from ..errors import StudyError
from ..options import StudyFile, Verbose, fresh_folder, require_extra, shown, study_file


def days(
    study: StudyFile,
    data: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder that holds the study's images.", show_default=False)
    ] = None,
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
    if as_json and markdown:
        raise StudyError("two forms of output were asked for", where="--json, --markdown", fix="give one of them")
    require_extra()
    from ..console import console, watching
    from ..progress import StageFinished, StageStarted
    from ..study import load_study

    # Whatever a library prints belongs to the watcher: standard output is for the result alone.
    with redirect_stdout(sys.stderr), watching(sys.stderr, bars=not verbose) as progress:
        loaded = load_study(study_file(study), seed)
        began = time.monotonic()
        progress(StageStarted("Load libraries", 0))
        from ..run_log import run_log
        from . import document, report, show
        from .running import run_days

        progress(StageFinished("Load libraries", time.monotonic() - began))
        folder = fresh_folder(f"days-{loaded.name}") if out is None else out
        folder.mkdir(parents=True, exist_ok=True)
        words = ["medquorum", "simulate", "days", str(study), *([] if data is None else ["--data", str(data)])]
        words += ["--seeds", str(seeds), *([] if seed is None else ["--seed", str(seed)])]
        command = shlex.join(words)
        log = folder / "run.log"
        try:
            with run_log(log, sys.stderr if verbose else None):
                found = run_days(loaded, data, folder, seeds, progress)
                began = time.monotonic()
                progress(StageStarted("Write the report", 0))
                written = report.write(found, command, folder)
                progress(StageFinished("Write the report", time.monotonic() - began))
        except Exception:
            if log.exists() and not verbose:
                typer.echo(f"The run's log: {shown(log)}", err=True)
            raise
    if as_json:
        sys.stdout.write(document.dump(found, command))
    elif markdown:
        sys.stdout.write(show.markdown(found))
    else:
        show.summary(found, console(sys.stdout), [(one.what, shown(one.path)) for one in written])
