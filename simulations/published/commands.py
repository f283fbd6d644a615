"""The command `medquorum simulate published`: a study on public arrays in, its test accuracy out.

Nothing heavy is imported before the command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..options import StudyFile, Verbose, fresh_folder, kept_log, require_extra, shown, study_file, watched


def published(
    study: StudyFile,
    data: Annotated[Path, typer.Option(file_okay=False, help="Folder that holds the study's arrays.")],
    out: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, help="Folder for models and figures; the default is a new runs/STUDY.", show_default=False
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many seeds, from the study's own upwards.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the content of published.json, and nothing else, on stdout.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Train a federation on a public set of arrays (mnist) and score it as published figures are."""
    require_extra()
    from ..progress import stage_of
    from ..study import load_study

    loaded = load_study(study_file(study))
    with watched(verbose) as progress:
        with stage_of(progress, "Load libraries"):
            from .running import check
        folder = fresh_folder(loaded.name) if out is None else out
        with kept_log(folder, verbose):
            made = check(loaded, data, folder, seeds, progress)
    if as_json:
        sys.stdout.write(made.dump())
        return
    for one in made.seeds:
        low, high = 100 * one.accuracy.low, 100 * one.accuracy.high
        private = "without privacy" if one.epsilon is None else f"epsilon {one.epsilon:.3f}, delta {made.delta:g}"
        typer.echo(
            f"seed {one.seed}: {100 * one.accuracy.value:.2f} % of {made.test_images} test images "
            f"({low:.2f}–{high:.2f}), {private}; {100 * one.before.value:.2f} % before; {one.seconds:.0f} s"
        )
    typer.echo(
        f"mean of {len(made.seeds)}: {100 * made.mean:.2f} %; {made.hospitals} hospitals, mode {made.mode}, "
        f"{made.rounds} rounds, about {made.sampled:.0f} of {made.images} patients in each, "
        f"{made.parameters} parameters"
    )
    typer.echo(f"All figures: {shown(folder / 'published.json')}")
