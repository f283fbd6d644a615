"""The command `medquorum simulate compare`: a study in, one table of every way of learning from its data out.

Nothing heavy is imported before the command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...toml_table import nearest
from ..errors import StudyError
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
    from .running import Options


def compare(
    study: StudyFile,
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Folder for cells, table and plots; the same one again goes on. The default is a new runs/STUDY.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="How many seeds, from the study's own upwards; each divides anew.")
    ] = 5,
    epsilon: Annotated[str, typer.Option(help="Epsilons of the private trainings, comma-separated.")] = "1,3,8",
    mode: Annotated[
        str | None,
        typer.Option(help="Private modes, comma-separated; the default is every one there is.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the content of compare.json, and nothing else, on stdout.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table as Markdown, and nothing else, on stdout.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Pooled, alone and federated, without and with privacy: every way of learning, tested on the same patients."""
    require_one_form(as_json, markdown)
    require_extra()
    from ..console import console
    from ..progress import stage_of
    from ..study import load_study

    with watched(verbose) as progress:
        loaded = load_study(study_file(study))
        epsilons = _epsilons(epsilon)
        with stage_of(progress, "Load libraries"):
            from . import document, report, show
            from .running import Options, compare_cells
        options = Options(seeds, epsilons, _modes(mode))
        folder = fresh_folder(f"compare-{loaded.name}") if out is None else out
        with kept_log(folder, verbose):
            comparison = compare_cells(loaded, data, folder, options, progress)
            with stage_of(progress, "Write the report"):
                written = report.write(comparison, _command(study, data, options), folder)
    if as_json:
        sys.stdout.write(document.dump(comparison, _command(study, data, options)))
    elif markdown:
        sys.stdout.write(show.markdown(comparison))
    else:
        show.summary(comparison, console(sys.stdout), [(what, shown(path)) for what, path in written])


def _command(study: Path, data: Path | None, options: Options) -> str:
    epsilons, modes = ",".join(f"{one:g}" for one in options.epsilons), ",".join(options.modes)
    return typed("compare", study, data, "--seeds", str(options.seeds), "--epsilon", epsilons, "--mode", modes)


def _epsilons(text: str) -> tuple[float, ...]:
    """The numbers of --epsilon, each once, rising."""
    found: set[float] = set()
    for word in text.split(","):
        try:
            value = float(word)
        except ValueError:
            value = -1.0
        if not 0.0 < value <= 1000.0:
            raise StudyError(
                f"{word.strip()!r} is not an epsilon",
                where="--epsilon",
                fix="give numbers above 0 and at most 1000, such as 1,3,8",
            )
        found.add(value)
    return tuple(sorted(found))


def _modes(text: str | None) -> tuple[str, ...]:
    """The words of --mode, each a private mode of this version."""
    from .running import private_modes

    known = private_modes()
    if text is None:
        return known
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        if word not in known:
            fix = "leave it out: the rows without privacy are always there" if word == "none" else nearest(word, known)
            raise StudyError(f"{word!r} is not a private mode of this version", where="--mode", fix=fix)
    return words
