"""The command `medquorum simulate audit`: a study in, what attackers get from its training out.

Nothing heavy is imported before the command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import Data, StudyFile, Verbose, kept_log, require_extra, shown, study_file, typed, watched

if TYPE_CHECKING:
    from .running import Audit


def audit(
    study: StudyFile,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the audit's files.", show_default=False)],
    data: Data = None,
    canaries: Annotated[int, typer.Option(help="How many canaries; a fair coin decides for each.")] = 200,
    seeds: Annotated[int, typer.Option(help="How many canary audits, from the study's seed upwards.")] = 1,
    trainings: Annotated[int, typer.Option(help="How many trainings the membership attack makes, even.")] = 8,
    draws: Annotated[int, typer.Option(help="How often one step is drawn on each of two patient sets.")] = 2000,
    without_privacy: Annotated[
        bool, typer.Option("--without-privacy", help="Attack only the study without privacy, not both.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the content of audit.json, and nothing else, on stdout.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Attack a study from outside: canaries, membership, one step's noise, inversion. Exits with 1 if a claim falls."""
    require_extra()
    from ..progress import stage_of
    from ..study import load_study

    words = ["--out", str(out), "--canaries", str(canaries), "--seeds", str(seeds)]
    words += ["--trainings", str(trainings), "--draws", str(draws)]
    command = typed("audit", study, data, *words, *(["--without-privacy"] if without_privacy else []))
    with watched(verbose) as progress:
        loaded = load_study(study_file(study))
        with stage_of(progress, "Load libraries"):
            from . import document, page
            from .running import Options, audit_study
        options = Options(canaries, seeds, trainings, draws, private=not without_privacy)
        with kept_log(out, verbose):
            made = audit_study(loaded, data, out, options, progress)
            written = page.write(made, command, out)
    if as_json:
        sys.stdout.write(document.dump(made, command))
    else:
        _show(made, written)
    if made.refuted:
        raise typer.Exit(1)


def _show(made: Audit, written: list[tuple[str, Path]]) -> None:
    from . import page
    from .words import verdicts

    lines = [f"{page.headline(made)}.", ""]
    lines += [f"{'  ' if one.good else '! '}{one.text}" for one in verdicts(made)]
    lines += ["", *(f"{what}: {shown(path)}" for what, path in written)]
    sys.stdout.write("\n".join(lines) + "\n")
